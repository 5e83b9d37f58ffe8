"""What can be set, checked once: a wrong value is told with its remedy before anything starts.

What must live here: every default of the runtime, and how a server's URL is found. What must never: a connection.
Durations are in seconds, as everywhere in the public interface; properties give the milliseconds that the core counts
in.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from msgspec import Struct

from .errors import UsageError

AMQP_URL_VARIABLE = "PWF_AMQP_URL"
REDIS_URL_VARIABLE = "PWF_REDIS_URL"
TRACE_VARIABLE = "PWF_TRACE"
REPLICAS_VARIABLE = "PWF_WAIT_REPLICAS"
AMQP_EXAMPLE = "amqp://guest:guest@localhost:5672"
REDIS_EXAMPLE = "redis://localhost:6379/0"
QUEUE_TYPES = ("quorum", "classic")
MEMORY_URL = "memory://"

_RANGES = {
    "lease": (0.1, 3600, "how long a crashed worker's calls wait; short leases need short pauses of the process"),
    "retention": (0, 10 * 365 * 86400, "how long the result of an ended run can be read"),
    "recovery": (0.1, 86400, "how often to look for lost messages"),
    "grace": (0, 86400, "how long running tasks may go on after SIGTERM"),
    "concurrency": (1, 1000, "how many tasks run at a time in one process"),
    "prefetch": (0, 65535, "how many messages of each queue a process holds; 0 chooses by the concurrency"),
    "history": (0, 10_000, "how many facts of each run are kept, for `pwf export`; 0: none"),
    "wait_replicas": (0, 100, "how many replicas of Redis must have a write before it counts as done"),
    "wait_timeout": (0.01, 60, "how long to wait for them before it is tried again"),
    "timeout": (0.1, 3600, "how long a client tries before it says that a server is down"),
}


class Settings(Struct, frozen=True, kw_only=True):
    """How workers and clients behave. Every field can be left out.

    ``lease``: seconds that a claim lasts without renewal; a call of a worker that died is taken over after this long.
    ``retention``: seconds that an ended run's status and result can be read. ``concurrency``: tasks at a time (plain
    and async ones each), per process. ``prefetch``: messages of each queue that a process holds (0: chosen by the
    concurrency). ``grace``: seconds that running tasks may go on after SIGTERM. ``recovery``: seconds between two looks
    for lost messages. ``timeout``: seconds that a client tries before it gives up. ``queue_type``: ``quorum`` or
    ``classic``. ``trace``: a file to which workers append each step of theirs, for ``pwsim check``; the environment
    variable ``PWF_TRACE`` does the same. ``history``: so many facts of each run (who claimed, committed,
    failed, took over, settled, and when) are kept for ``pwf export``; they cost a tenth to a quarter of the throughput.
    ``wait_replicas``: so many replicas of Redis must have a write before it counts as done (the environment variable
    ``PWF_WAIT_REPLICAS`` says it for all programs, the commands included); ``wait_timeout``: seconds to wait for them
    before it is tried again.

    Raises UsageError for a value out of range.
    """

    lease: float = 10.0
    retention: float = 86_400.0
    concurrency: int = 8
    prefetch: int = 0
    grace: float = 30.0
    recovery: float = 60.0
    timeout: float = 10.0
    queue_type: str = "quorum"
    trace: str = ""
    history: int = 0
    wait_replicas: int = 0
    wait_timeout: float = 1.0

    def __post_init__(self) -> None:
        for name, (least, most, what) in _RANGES.items():
            value = getattr(self, name)
            whole = name in ("concurrency", "prefetch", "history", "wait_replicas")
            if (
                not isinstance(value, int if whole else int | float)
                or isinstance(value, bool)
                or not least <= value <= most
            ):
                kind = "a whole number" if whole else "a number"
                raise UsageError(f"{name}={value!r}: must be {kind} from {least} to {most} ({what})")
        if self.queue_type not in QUEUE_TYPES:
            raise UsageError(f"queue_type={self.queue_type!r}: must be one of {', '.join(QUEUE_TYPES)}")

    @property
    def lease_ms(self) -> int:
        return round(self.lease * 1000)

    @property
    def retention_ms(self) -> int:
        return round(self.retention * 1000)

    @property
    def recovery_ms(self) -> int:
        return round(self.recovery * 1000)

    @property
    def prefetch_count(self) -> int:
        """Enough to keep every task busy over a round trip, and little enough that other workers get their share."""
        return self.prefetch or max(64, 4 * self.concurrency)


def trace_file(settings: Settings, environ: Mapping[str, str] = os.environ) -> str:
    """Where workers record what they do; "": nowhere."""
    return settings.trace or environ.get(TRACE_VARIABLE, "")


def wait_replicas(settings: Settings, environ: Mapping[str, str] = os.environ) -> int:
    """How many replicas must have a write before it counts as done. Raises UsageError for a variable that is none."""
    given = environ.get(REPLICAS_VARIABLE, "0")
    if settings.wait_replicas or given == "0":
        return settings.wait_replicas
    if not given.isdecimal() or int(given) > 100:
        raise UsageError(f"{REPLICAS_VARIABLE}={given!r}: must be a whole number from 0 to 100")
    return int(given)


def amqp_url(given: str | None, environ: Mapping[str, str] = os.environ) -> str:
    """The broker's URL: the one given, or that of the environment. Raises UsageError when it is none of RabbitMQ."""
    return _url(given, environ, AMQP_URL_VARIABLE, "RabbitMQ", ("amqp://", "amqps://"), AMQP_EXAMPLE)


def redis_url(given: str | None, environ: Mapping[str, str] = os.environ) -> str:
    """The store's URL: the one given, or that of the environment. Raises UsageError when it is none of Redis."""
    return _url(given, environ, REDIS_URL_VARIABLE, "Redis", ("redis://", "rediss://", "unix://"), REDIS_EXAMPLE)


def _url(
    given: str | None, environ: Mapping[str, str], variable: str, server: str, schemes: tuple[str, ...], example: str
) -> str:
    url = given or environ.get(variable)
    if not url:
        raise UsageError(f"where is {server}? Give its URL, such as {example}, or set {variable}")
    if not isinstance(url, str):
        raise UsageError(f"{url!r:.60} is no URL of {server}: write one such as {example}; workflows go to apps=")
    if not url.startswith(schemes):
        where = "" if given else f"{variable}="
        raise UsageError(f"{where}{without_password(url)!r} is no URL of {server}: write one such as {example}")
    return url


def without_password(url: str) -> str:
    """A URL that can be shown: whoever reads a log need not learn the password."""
    scheme, separator, rest = url.partition("://")
    login, at, place = rest.rpartition("@")
    user = login.partition(":")[0]
    return f"{scheme}{separator}{user}{at}{place}" if at else url
