"""Redis as a server: how to reach it, what its faults mean, and whether it is set up to be trusted.

What must live here: whatever concerns the server and not what is kept in it. Messages name the server and say what to
do; a password is in none of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from redis import exceptions as e
from redis.backoff import NoBackoff
from redis.connection import Connection, ConnectionPool, parse_url
from redis.retry import Retry

from ..doctor import Finding
from ..errors import PwfError, RunDamaged, ServerRefused, StoreUnavailable, UsageError

EXAMPLES = "redis://localhost:6379/0, rediss://user:password@host:6380/0 or unix:///run/redis.sock?db=0"
OLDEST = (6, 2)  # the oldest version to be trusted unseen

_parse: Callable[[str], dict[str, Any]] = parse_url

# ── reaching it ───────────────────────────────────────────────────────────────────────────────


def connections(url: str, timeout: float) -> ConnectionPool:
    """A pool for the server at ``url``; nothing is connected yet.

    Redis-py must not send anything twice by itself (by default it does, up to 10 times): it cannot know whether a lost
    reply was the reply of something done.
    """
    try:
        asked = _parse(url)
        where = urlsplit(url)
        if where.scheme != "unix" and not re.fullmatch("/?[0-9]*", where.path):
            raise ValueError("the path is not the number of a database")
        if where.scheme == "unix" and not where.path:
            raise ValueError("the path of the socket is missing")
        kind = asked.pop("connection_class", Connection)
        options = {"socket_timeout": timeout, "socket_connect_timeout": timeout, "socket_keepalive": True, **asked}
        if kind.__name__ == "UnixDomainSocketConnection":
            del options["socket_keepalive"], options["socket_connect_timeout"]
        options.update(retry=Retry(NoBackoff(), 0), retry_on_error=[], retry_on_timeout=False, decode_responses=False)
        limit = options.pop("max_connections", None)
        kind(**options)  # it does not connect, but it knows which options there are
    except (ValueError, TypeError, AttributeError, e.RedisError) as error:
        # Not `from error`: what urllib says can quote a part of the password.
        raise UsageError(
            f"not the URL of a Redis: {_masked(url)!r}{_reason(error)}; expected such as {EXAMPLES}"
        ) from None
    return ConnectionPool(connection_class=kind, max_connections=limit, **options)


def name_of(options: Mapping[str, Any]) -> str:
    """How messages call the server: ``host:port``, or the path of its socket."""
    if options.get("path"):
        return str(options["path"])
    return f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"


def _masked(url: str) -> str:
    url = re.sub(r"//.*@", "//***@", str(url))
    return re.sub(r"(password=)[^&]*", r"\1***", url)


def _reason(error: Exception) -> str:
    """What is wrong with the URL, as far as it can be told without quoting it."""
    text = str(error)
    if re.search("Port|port", text):
        return " (the port is not a number up to 65535, or an odd character in the password is not written as %xx)"
    option = re.search(r"unexpected keyword argument '(\w+)'|Invalid value for '(\w+)'", text)
    if option:
        return f" (?{option[1] or option[2]}= is not known, or cannot have this value)"
    return f" ({text})" if text.startswith("the path") else ""


# ── what a fault means ────────────────────────────────────────────────────────────────────────

FAULTS = (e.RedisError, e.RedisClusterException, OSError)
"""All that can come out of redis-py when something is wrong with the server or the way to it."""

_UNKNOWN = "what was asked may or may not have been done; check that it runs and can be reached, then try again"
_DENIED = "denies this user a right: ACL SETUSER grants it; `pwf doctor` tries them all"
_CLUSTER = "is a node of a cluster, which is not supported: give the URL of a single server"

# The first row that fits says it: by class, else by the word that Redis puts in front (older versions wrap what a
# command in a script says into another text, so the word may stand anywhere).
_Row: TypeAlias = tuple[Any, str, type[PwfError], str]
_MEANINGS: tuple[_Row, ...] = (
    (e.AuthenticationError, "WRONGPASS|NOAUTH", ServerRefused, "refuses the user name or password: mend its URL"),
    (e.AuthenticationWrongNumberOfArgsError, "", ServerRefused, "knows no user names: leave the name out of its URL"),
    ((e.NoPermissionError, e.AuthorizationError), "NOPERM|can't run this", ServerRefused, _DENIED),
    (e.ReadOnlyError, "READONLY", ServerRefused, "is a read-only replica: give the URL of its master"),
    ((e.AskError, e.ClusterCrossSlotError), "MOVED|ASK|CROSSSLOT", ServerRefused, _CLUSTER),
    (e.OutOfMemoryError, "OOM", StoreUnavailable, "is full: raise its maxmemory or purge old runs, then try again"),
    (e.BusyLoadingError, "LOADING", StoreUnavailable, "is still loading its data: try again"),
    (e.MasterDownError, "MASTERDOWN", StoreUnavailable, "has lost its master: try again"),
    (e.ClusterError, "CLUSTERDOWN", StoreUnavailable, "belongs to a cluster that is down: try again"),
    (e.TryAgainError, "TRYAGAIN", StoreUnavailable, "is moving these keys: try again"),
    ((), "MISCONF", StoreUnavailable, "cannot write to its disk: mend that, then try again"),
    ((), "NOREPLICAS", StoreUnavailable, "has too few replicas to accept writes: try again"),
    ((), "BUSY|UNKILLABLE", StoreUnavailable, "is busy with a long script: try again"),
    ((), "DB index is out of range", ServerRefused, "has fewer databases: mend the number in its URL"),
    ((), "connecting to", StoreUnavailable, "cannot be reached: check that it runs, and the address in its URL"),
    (e.TimeoutError, "", StoreUnavailable, f"did not answer in time; {_UNKNOWN}"),
    ((e.ConnectionError, OSError), "", StoreUnavailable, f"did not answer; {_UNKNOWN}"),
    ((), "[Uu]nknown Redis command", ServerRefused, "lacks a command: use 6.2 or later, and rename none"),
    (e.InvalidResponse, "", ServerRefused, "does not answer as a Redis does: is that the right port?"),
    (Exception, "", ServerRefused, "refuses"),
)


def damage(error: Exception, server: str, run_id: str, label: str) -> PwfError:
    """The error of ours for what Redis answered to one transaction: about what it holds of the run, or about itself."""
    text = str(error)
    number = re.search("PWFNUMBER (.*)", text, re.DOTALL)
    if number or (_meaning(error) is _MEANINGS[-1] and re.search("WRONGTYPE|user_script", text)):
        return RunDamaged(run_id, f"{number[1] if number else text} ({label!r} in Redis at {server})")
    return explain(error, server, f"{label!r} of run {run_id!r}")


def explain(error: Exception, server: str, asked: str = "") -> PwfError:
    """The error of ours that says what ``error`` means and what to do. ``asked``: what was being done."""
    _, _, ours, meaning = _meaning(error)
    return ours(f"Redis at {server} {meaning} ({f'{asked}: ' if asked else ''}{error})")


def _meaning(error: Exception) -> _Row:
    text = str(error)
    return next(
        row for row in _MEANINGS if isinstance(error, row[0]) or (row[1] and re.search(rf"\b({row[1]})\b", text))
    )


# ── is it set up to be trusted? ───────────────────────────────────────────────────────────────


def examine(client: Any, server: str, replicas: int = 0) -> list[Finding]:
    """Look at what decides whether work can be lost. A server that cannot be asked is itself a finding.

    ``replicas``: so many are waited for."""
    try:
        info = client.info()
    except e.NoPermissionError as error:
        return [Finding("warn", "redis", f"{server}: could not check anything, INFO is forbidden ({error})")]
    except FAULTS as error:
        return [Finding("fail", "redis", str(explain(error, server)))]
    try:
        fsync = client.config_get("appendfsync").get("appendfsync")
    except e.ResponseError:  # managed servers forbid CONFIG
        fsync = None
    found = [_version(info), _role(info), _eviction(info), _persistence(info, fsync)]
    return [*found, _replicas(info, replicas)] if replicas else found


def _version(info: Mapping[str, Any]) -> Finding:
    version = str(info.get("redis_version", "unknown"))
    numbers = tuple(map(int, re.findall(r"\d+", version)[:2]))
    if numbers >= OLDEST:
        return Finding("ok", "redis version", version)
    return Finding("warn", "redis version", f"{version}: not tested; use {OLDEST[0]}.{OLDEST[1]} or later")


def _role(info: Mapping[str, Any]) -> Finding:
    if info.get("cluster_enabled"):
        return Finding("fail", "redis role", "a node of a cluster, which is not supported: use a single server")
    role = str(info.get("role", "unknown"))
    if role in ("master", "unknown"):
        return Finding("ok", "redis role", role)
    return Finding("fail", "redis role", f"{role}: it takes no writes; give the URL of its master")


def _replicas(info: Mapping[str, Any], wanted: int) -> Finding:
    there = int(info.get("connected_slaves", 0))
    if there >= wanted:
        return Finding("ok", "redis replicas", f"{there} connected, {wanted} waited for")
    return Finding("fail", "redis replicas", f"{there} connected, {wanted} waited for: nothing goes on until they are")


def _eviction(info: Mapping[str, Any]) -> Finding:
    policy = info.get("maxmemory_policy")
    if policy is None:
        return Finding("warn", "redis maxmemory-policy", "could not check; make sure that it is noeviction")
    if policy == "noeviction":
        return Finding("ok", "redis maxmemory-policy", "noeviction")
    remedy = "when memory runs out it throws parts of runs away; set `maxmemory-policy noeviction`"
    return Finding("fail", "redis maxmemory-policy", f"{policy}: {remedy}")


def _persistence(info: Mapping[str, Any], fsync: str | None) -> Finding:
    subject = "redis persistence"
    if "aof_enabled" not in info:
        return Finding("warn", subject, "could not check; make sure that `appendonly yes` is set")
    if not info["aof_enabled"]:
        return Finding("fail", subject, "appendonly no: a restart loses runs; set `appendonly yes`")
    if info.get("aof_last_write_status", "ok") != "ok":
        return Finding("fail", subject, "the last write to the append-only file failed: look at the disk")
    if fsync is None:
        return Finding("warn", subject, "appendonly yes; could not check appendfsync (CONFIG is forbidden)")
    if fsync == "no":
        return Finding("warn", subject, "appendfsync no: a power cut can lose 30 s; set `appendfsync everysec`")
    loses = "nothing" if fsync == "always" else "about 1 s; `appendfsync always` loses nothing and is slower"
    return Finding("ok", subject, f"appendonly yes, appendfsync {fsync}: a power cut loses {loses}")
