"""The store in Redis: a shell around one script, ``txn.lua``, which is explained there.

Layout. A run is one hash, ``pwf:{run_id}``; a lease is a string with a TTL, ``pwf:{run_id}:l:<lease>``; an index is a
sorted set, ``pwf:<index>``. The braces make all keys of a run fall into one slot of a Redis Cluster, so a run id is
written with its own braces (and ``%``) percent-encoded.

What must live here: how a transaction is written down for the script and how its answer is read. What must not: any
rule of the protocol.

Nothing is ever sent a second time behind the caller's back: redis-py would do so by itself, its retry is switched off.
A lost reply is told as ``StoreUnavailable``, and whoever asked knows what is safe to repeat. So is it told when too few
replicas have got a write, where that is asked for.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from importlib.resources import files
from typing import Any, TypeAlias, TypeVar

import msgspec
import redis
from hiredis import pack_command
from redis import exceptions as e

from ..core import txn as t
from ..doctor import Finding
from ..errors import PwfError, RunDamaged, StoreUnavailable, UsageError
from .base import whole
from .redis_server import FAULTS, connections, damage, examine, explain, name_of

T = TypeVar("T")
Step: TypeAlias = Sequence[Any]  # one operation of the plan: its name, then what it needs

SCRIPT = files(__package__).joinpath("txn.lua").read_text(encoding="utf-8")
SHA = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()  # the name by which Redis keeps it


SCAN_AT_ONCE = 1_000


class RedisStore:
    """Implements ``store.base.Store``.

    Safe to share between threads: it holds nothing that changes but redis-py's connection pool, which lends every
    call a connection of its own (at most 100 at a time unless the URL says ``?max_connections=``).

    ``timeout`` (seconds) bounds connecting, and each wait for an answer. A ``socket_timeout`` in the URL wins.
    ``replicas``: how many must have got what was asked for before it counts as done, within ``replicas_timeout``
    seconds; else it is StoreUnavailable, though the server itself has done it.
    """

    def __init__(
        self, url: str, *, prefix: str = "pwf", timeout: float = 5.0, replicas: int = 0, replicas_timeout: float = 1.0
    ) -> None:
        longest = timeout + replicas_timeout if replicas else timeout
        self._set_up(redis.Redis(connection_pool=connections(url, longest)), prefix)
        self._replicas, self._replicas_timeout = replicas, replicas_timeout

    @classmethod
    def from_client(cls, client: Any, *, prefix: str = "pwf") -> RedisStore:
        """A store on a ready-made client, which must answer in bytes and should not retry by itself."""
        self = cls.__new__(cls)
        self._set_up(client, prefix)
        return self

    def _set_up(self, client: Any, prefix: str) -> None:
        if not prefix or "{" in prefix or "}" in prefix:
            raise UsageError(f"store prefix {prefix!r}: expected a short name without braces, such as 'pwf'")
        self._redis = client
        self._prefix = prefix
        self._replicas, self._replicas_timeout = 0, 0.0
        self.server = name_of(client.connection_pool.connection_kwargs)

    # ── the contract ──────────────────────────────────────────────────────────────────────────

    def txns(self, txns: Sequence[t.Txn]) -> list[t.TxnReply]:
        """As the contract says.

        Few compares fail. So each is sent without its ``otherwise`` first, which spares both sides a seventh of their
        work; where that does not hold nothing was done, and it is done anew as a whole. It may hold by then.
        """
        replies = self._script([self._encode(txn, ()) for txn in txns])
        failed = [i for i, (txn, reply) in enumerate(zip(txns, replies, strict=True)) if txn.otherwise and reply == [0]]
        again = self._script([self._encode(txns[i], txns[i].otherwise) for i in failed])
        for i, reply in zip(failed, again, strict=True):
            replies[i] = reply
        if not any(isinstance(reply, Exception) for reply in replies):
            return [_decode(txn, reply) for txn, reply in zip(txns, replies, strict=True)]
        return whole([self._read(txn, reply) for txn, reply in zip(txns, replies, strict=True)])

    def index_add(self, index: str, entries: Sequence[tuple[bytes, int]]) -> None:
        if entries:
            self._write("ZADD", self._index(index), *[part for member, score in entries for part in (score, member)])

    def index_read(self, index: str, upto: int, limit: int) -> list[tuple[bytes, int]]:
        found = self._ask(
            lambda: self._redis.zrangebyscore(self._index(index), "-inf", upto, start=0, num=limit, withscores=True)
        )
        return [(member, int(score)) for member, score in found]

    def index_remove(self, index: str, members: Sequence[bytes]) -> None:
        if members:
            self._write("ZREM", self._index(index), *members)

    def index_size(self, index: str) -> int:
        return int(self._ask(lambda: self._redis.zcard(self._index(index))))

    def run_ids(self) -> Iterator[str]:
        cursor = 0
        while True:
            ask = partial(self._redis.scan, cursor, match=f"{_literally(self._prefix)}:{{*}}", count=SCAN_AT_ONCE)
            cursor, keys = self._ask(ask)
            for key in keys:
                yield _from_key(key.decode()[len(self._prefix) + 2 : -1])
            if not cursor:
                return

    def close(self) -> None:
        self._redis.close()
        self._redis.connection_pool.disconnect()

    # ── for doctors ───────────────────────────────────────────────────────────────────────────

    def check(self) -> list[Finding]:
        """What ``pwf doctor`` should know about this server."""
        findings = examine(self._redis, self.server, self._replicas)
        reached = all(finding.subject != "redis" or finding.level != "fail" for finding in findings)
        return [*findings, self._rights()] if reached else findings

    def _rights(self) -> Finding:
        """Do each operation once. A right that is missing would else show in the middle of a transaction."""
        store = RedisStore.from_client(self._redis, prefix=f"{self._prefix}:doctor")
        try:
            store.txns([t.Txn("try", "trial", then=_ONE_OF_EACH)])
            store.index_add("trial", [(b"a", 1)])
            store.index_read("trial", 1, store.index_size("trial"))
            store.index_remove("trial", [b"a"])
        except PwfError as error:
            return Finding("fail", "redis rights", str(error))
        return Finding("ok", "redis rights", "every operation was done once")

    def _read(self, txn: t.Txn, reply: Any) -> t.TxnReply | RunDamaged:
        """What one transaction was answered; an error that is the server's is raised."""
        if not isinstance(reply, Exception):
            return _decode(txn, reply)
        error = damage(reply, self.server, txn.run_id, txn.label)
        if isinstance(error, RunDamaged):
            return error
        raise error from reply

    # ── asking Redis ──────────────────────────────────────────────────────────────────────────

    def _index(self, index: str) -> str:
        return f"{self._prefix}:{index}"

    def _ask(self, question: Callable[[], T]) -> T:
        try:
            return question()
        except FAULTS as error:
            raise explain(error, self.server) from error

    def _write(self, *command: Any) -> None:
        (reply,) = self._pipeline([command])
        if isinstance(reply, Exception):
            raise explain(reply, self.server) from reply

    def _script(self, calls: Sequence[Sequence[Any]]) -> list[Any]:
        """Run the script with each of these arguments, in one round trip, or two when Redis has lost it."""
        if not calls:
            return []
        replies = self._pipeline([("EVALSHA", SHA, *call) for call in calls])
        lost = [i for i, reply in enumerate(replies) if isinstance(reply, e.NoScriptError)]
        if lost:  # nothing was done of these; EVAL brings the script along, and Redis keeps it
            again = self._pipeline([("EVAL", SCRIPT, *calls[i]) for i in lost])
            for i, reply in zip(lost, again, strict=True):
                replies[i] = reply
        return replies

    def _pipeline(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """``_round_trip``, and where replicas are asked for not before so many have all that was written until now."""
        if not self._replicas:
            return self._round_trip(commands)
        # WAIT looks at what this connection wrote last. What is found done already may have been written by another
        # connection, which was given up, or by another worker: a write of our own comes behind all of that.
        behind = ("SET", self._index("waited"), b"")
        wait = ("WAIT", self._replicas, round(self._replicas_timeout * 1000))
        *replies, written, reached = self._round_trip([*commands, behind, wait])
        for reply in (written, reached):
            if isinstance(reply, Exception):
                raise explain(reply, self.server) from reply
        if reached < self._replicas:
            raise StoreUnavailable(
                f"{reached} of {self._replicas} replicas of Redis at {self.server} have got what was written, after "
                f"{self._replicas_timeout:g} s; it counts as not known to be done: look at the replicas, then try again"
            )
        return replies

    def _round_trip(self, commands: Iterable[tuple[Any, ...]]) -> list[Any]:
        """All in one go. An error that concerns one command is its reply; any other is raised.

        On a connection of the pool and not through redis-py's pipeline, whose share was a third of the client's CPU per
        transaction (18.5 us, now 12).
        """
        packed = [pack_command(command) for command in commands]

        def question() -> list[Any]:
            connection = self._redis.connection_pool.get_connection()
            try:
                connection.send_packed_command([b"".join(packed)])
                return [_reply(connection) for _ in packed]
            except BaseException:
                connection.disconnect()  # replies may be on their way that nobody will read
                raise
            finally:
                self._redis.connection_pool.release(connection)

        return self._ask(question)

    def _encode(self, txn: t.Txn, otherwise: Iterable[t.Op]) -> list[Any]:
        """The arguments of the script: number of keys, keys, plan, values. ``txn.lua`` says what they mean."""
        draft = _Draft(f"{self._prefix}:{{{_in_key(txn.run_id)}}}")
        fields: list[str] = []
        expected: list[int | bool] = []
        tokens: list[str | bool] = []
        for compare in txn.compare:
            if isinstance(compare, t.Is):
                fields.append(compare.field)
                expected.append(False if compare.value is None else draft.value(compare.value))
            elif isinstance(compare, t.Has):
                fields.append(compare.field)
                expected.append(True)
            else:
                draft.key(compare.lease)
                tokens.append(False if compare.token is None else compare.token)
        then, then_sums = draft.ops(txn.then)
        instead, otherwise_sums = draft.ops(otherwise)
        fields += then_sums
        fields += otherwise_sums
        plan = _to_json((fields, expected, tokens, len(then_sums), len(otherwise_sums), then, instead))
        return [len(draft.keys), *draft.keys, plan, *draft.values]


def _in_key(run_id: str) -> str:
    return run_id.replace("%", "%25").replace("{", "%7B").replace("}", "%7D") or "%"  # '{}' is no hash tag


def _from_key(written: str) -> str:
    return "" if written == "%" else written.replace("%7D", "}").replace("%7B", "{").replace("%25", "%")


def _literally(text: str) -> str:
    """As a pattern of Redis that matches nothing else."""
    return re.sub(r"([*?\[\]\\^-])", r"\\\1", text)


def _reply(connection: Any) -> Any:
    try:
        return connection.read_response()
    except e.ResponseError as error:
        return error


# ── writing a transaction down for the script ─────────────────────────────────────────────────

_to_json = msgspec.json.Encoder().encode


class _Draft:
    """The keys and values of a transaction as they are collected; the plan names them by their number."""

    __slots__ = ("keys", "sums", "values")

    def __init__(self, key: str) -> None:
        self.keys = [key]
        self.values: list[bytes] = []
        self.sums: list[str] = []

    def key(self, lease: str) -> int:
        self.keys.append(f"{self.keys[0]}:l:{lease}")
        return len(self.keys)

    def value(self, value: bytes) -> int:
        self.values.append(value)
        return len(self.values) + 1  # the plan is the first argument

    def ops(self, ops: Iterable[t.Op]) -> tuple[list[Step], list[str]]:
        """The steps of the plan, and the fields that they add to."""
        steps: list[Step] = []
        self.sums = []
        put: list[Any] | None = None
        for op in ops:
            if not isinstance(op, t.Put):
                steps.append(_OPS[type(op)][0](self, op))
                put = None
            elif put is None:  # the commonest by far
                put = ["put", op.field, self.value(op.value)]
                steps.append(put)
            else:  # neighbours become one command
                put += (op.field, self.value(op.value))
        return steps, self.sums


def _add(draft: _Draft, op: t.Add) -> Step:
    if not -(10**18) < op.delta < 10**18:
        raise UsageError(f"cannot add {op.delta} to {op.field!r}: Redis counts in 64 bits")
    draft.sums.append(op.field)
    return "add", op.field, str(op.delta)


def _append(draft: _Draft, op: t.Append) -> Step:
    draft.sums.append(op.list + "#")
    return "append", op.list, draft.value(op.value)


def _expire(ttl_ms: int | None) -> Step:
    if ttl_ms is None:
        return ("persist",)
    return ("expire", ttl_ms) if ttl_ms > 0 else ("clear",)


def _lease(draft: _Draft, op: t.Lease) -> Step:
    if op.ttl_ms <= 0:  # SET refuses it, and what runs out at once is not held
        return "release", draft.key(op.lease)
    return "lease", draft.key(op.lease), op.token, op.ttl_ms


# ── reading the answer ────────────────────────────────────────────────────────────────────────


def _decode(txn: t.Txn, raw: list[Any]) -> t.TxnReply:
    held = raw[0] == 1
    ops = txn.then if held else txn.otherwise
    if len(raw) == 1:  # the common case: nothing but writes
        return t.TxnReply(held, (None,) * len(ops))
    rest = iter(raw)
    next(rest)
    return t.TxnReply(held, tuple([_read(op, rest) for op in ops]))


def _read(op: t.Op, rest: Iterator[Any]) -> Any:
    decode = _OPS[type(op)][1]
    return None if decode is None else decode(next(rest))


def _read_holder(raw: list[Any] | None) -> tuple[str, int] | None:
    return None if raw is None else (raw[0].decode(), raw[1])


def _read_scan(raw: list[Any]) -> tuple[int, dict[str, bytes]]:
    cursor, flat = raw
    return int(cursor), {field.decode(): value for field, value in zip(flat[::2], flat[1::2], strict=True)}


# Every operation: how it is written down, and how its reply is read (None: it has none).
_OPS: dict[type, tuple[Callable[[_Draft, Any], Step], Callable[[Any], Any] | None]] = {
    t.Get: (lambda draft, op: ("get", *op.fields), tuple),
    t.Put: (lambda draft, op: ("put", op.field, draft.value(op.value)), None),
    t.Add: (_add, int),
    t.Append: (_append, int),
    t.Length: (lambda draft, op: ("length", op.list), int),
    t.Range: (lambda draft, op: ("range", op.list, op.start, op.stop), tuple),
    t.Delete: (lambda draft, op: ("delete", *op.fields), None),
    t.Lease: (_lease, None),
    t.Release: (lambda draft, op: ("release", draft.key(op.lease)), None),
    t.Holder: (lambda draft, op: ("holder", draft.key(op.lease)), _read_holder),
    t.Keep: (lambda draft, op: ("keep", op.listed, *op.fields), None),
    t.Expire: (lambda draft, op: _expire(op.ttl_ms), None),
    t.Scan: (lambda draft, op: ("scan", str(op.cursor), max(op.limit, 1)), _read_scan),
}

# It begins and ends with nothing there, and what a missing right leaves behind in the middle runs out.
_ONE_OF_EACH: tuple[t.Op, ...] = (
    *(t.Expire(0), t.Put("a", b"1"), t.Expire(1000), t.Add("a", 1), t.Get(("a",)), t.Delete(("b",))),
    *(t.Append("x", b"1"), t.Length("x"), t.Range("x", 0, 1), t.Scan(0, 1)),
    *(t.Lease("l", "doctor", 1000), t.Holder("l"), t.Release("l")),
    *(t.Keep(("a",), "x"), t.Expire(None), t.Expire(0)),
)
