"""Begin runs, send them signals, wait for them, look at them, change their course.

What must live here: what a program that uses workflows meets. What must never: a rule of the protocol; a client's
publish is a machine like all else, and the courier brings it to its end.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable, Mapping, Sequence
from time import monotonic, sleep
from typing import Any, Literal, TypeAlias, cast

from msgspec import Struct

from . import codec
from .actions import event_name, task_name
from .admin import Admin
from .clock import Clock, SystemClock
from .config import MEMORY_URL, Settings, amqp_url, redis_url, wait_replicas
from .core import keys as k
from .core import signal as s
from .core.model import Signal
from .core.start import Begun, Conflict, StartMachine
from .core.steps import Steps
from .core.txn import Get, Txn
from .courier import Begin, Courier
from .describe import RunDescription, dead_reason, describe, explain, stranded_reason, unknown_run, waits_for
from .errors import RunConflict, RunEnded, SignalConflict, Unavailable, UsageError, WaitTimeout
from .store.base import Store
from .store.memory import MemoryStore
from .transport.base import Transport
from .transport.memory import MemoryBroker
from .worker import Worker
from .workflow import Task, Workflow

log = logging.getLogger("pwf")

FIRST_LOOK_S = 0.005
LAST_LOOK_S = 0.1
MAX_ID_BYTES = 200

Status: TypeAlias = Literal["completed", "stranded", "cancelled", "dead"]


class RunOutcome(Struct, frozen=True):
    """How a run ended.

    ``status``: ``completed``; ``stranded`` (joins wait for events that no call can emit any more; a signal may still
    bring them, and then the run goes on); ``cancelled``; or
    ``dead`` (every open call has used up its attempts: it may go on when they are redriven). ``result`` is what
    ``result(...)`` of its last call said, None if none did. ``reason`` says why it is not completed.
    """

    run_id: str
    status: Status
    result: Any = None
    reason: str = ""


class SentSignal(Struct, frozen=True):
    """A signal that its run has. ``created``: by this very sending, and not by an earlier one of the same id."""

    signal_id: str
    created: bool


class RunHandle:
    """A run that was begun, here or elsewhere. ``created``: by this very publish, and not by an earlier one."""

    def __init__(self, client: Client, run_id: str, created: bool) -> None:
        self.id = run_id
        self.created = created
        self._client = client

    def wait(self, timeout: float | None = None) -> RunOutcome:
        """The outcome, when there is one. Raises WaitTimeout after ``timeout`` seconds, which says what is open."""
        return self._client.wait(self.id, timeout)

    def signal(self, event: str, data: Any = None, *, signal_id: str | None = None) -> SentSignal:
        """As ``Client.signal`` to this run."""
        return self._client.signal(self.id, event, data, signal_id=signal_id)

    def __repr__(self) -> str:
        return f"<run {self.id}>"


class Client:
    """Made by ``connect``; a context manager. Safe to share between threads."""

    def __init__(
        self,
        apps: Sequence[Workflow],
        store: Store,
        transport: Transport,
        settings: Settings | None = None,
        *,
        clock: Clock | None = None,
        worker: Worker | None = None,
    ) -> None:
        """``worker``: one that lives and ends with this client. The client closes ``store`` and ``transport``."""
        self._apps = {app.name: app for app in apps}
        self._store = store
        self._settings = settings or Settings()
        self._clock = clock or SystemClock()
        self._worker = worker
        self._courier = Courier(store, transport, self._clock, self._settings.timeout)
        steps = Steps(self._settings.lease_ms, self._settings.retention_ms)
        self._starts, self._signals = StartMachine(steps), s.SignalMachine(steps)
        self.admin = Admin(store, self._courier, self._clock, self._settings)

    # ── begin ─────────────────────────────────────────────────────────────────────────────────

    def publish(self, task: str | Task[Any, Any], data: Any = None, *, run_id: str | None = None) -> RunHandle:
        """Begin a run with ``task`` (of the client's only workflow, "queue.task", or the function). Durable on return.

        With the ``run_id`` of a run that exists, begun with the same task and data, that one is returned. Raises
        RunConflict if it was begun otherwise, UsageError and DataError for what cannot be meant, Unavailable when a
        server does not answer: then the run may have begun, and publishing with the same ``run_id`` again is safe.
        """
        return self.publish_many([(task, data, run_id)])[0]

    def publish_many(self, starts: Iterable[tuple[str | Task[Any, Any], Any, str | None]]) -> list[RunHandle]:
        """Begin many runs at once, each ``(task, data, run_id or None)``; much faster than one by one.

        Raises as ``publish``; the others have begun all the same.
        """
        begins = [self._begin(*start) for start in starts]
        try:
            ends = self._courier.run(self._starts, [begin for _, begin in begins])
        except Unavailable as error:
            ids = ", ".join(repr(run_id) for run_id, _ in begins[:3]) + ("..." if len(begins) > 3 else "")
            raise type(error)(
                f"{error}; may have begun: {ids}: publish with the same run_id again to be sure"
            ) from error
        handles = []
        for end in ends:
            if isinstance(end, Conflict):
                raise RunConflict(f"{end.reason}: choose another run_id, or publish what was published before")
            handles.append(self._begun(end))
        return handles

    def _begin(self, task: str | Task[Any, Any], data: Any, run_id: str | None) -> tuple[str, Begin]:
        name = self._full_name(task_name(task, "publish("))
        payload = codec.encode(data, "data")
        run = _checked_id(run_id) if run_id is not None else secrets.token_hex(10)
        return run, lambda now_ms: self._starts.begin(run, name, payload, now_ms)

    def _full_name(self, name: str) -> str:
        queue, dot, short = name.partition(".")
        if not dot:
            if len(self._apps) != 1:
                known = ", ".join(sorted(self._apps)) or "none"
                raise UsageError(f'publish({name!r}): of which service? Write "queue.task"; this client knows {known}')
            queue, short = next(iter(self._apps)), name
        app = self._apps.get(queue)
        if app is not None and short not in app.tasks:
            raise UsageError(
                f"publish({name!r}): {queue} has no task {short!r}; it has {', '.join(app.tasks) or 'none'}"
            )
        return f"{queue}.{short}"

    def _begun(self, end: Begun) -> RunHandle:
        message = end.message
        if not end.routed:
            log.warning(
                "run %s is begun, but queue %r does not exist yet: it waits for a worker of that service",
                message.run_id,
                message.queue,
            )
        return RunHandle(self, message.run_id, end.created)

    # ── signal ────────────────────────────────────────────────────────────────────────────────

    def signal(self, run_id: str, event: str, data: Any = None, *, signal_id: str | None = None) -> SentSignal:
        """Bring an event into a run from outside, as if one of its calls had emitted it. Durable on return.

        Joins of the run that wait for ``event`` count it, whether they are armed already or later. A run that is
        stranded goes on, if its retention is not over. With a ``signal_id`` the same signal can be sent again and is
        one signal (as long as the run's result is kept); left out, an id is drawn.

        Raises SignalConflict if the run has another signal of this id, RunEnded for a run that is completed or
        cancelled, UsageError for one that is unknown, UsageError and DataError for what cannot be meant, Unavailable
        when a server does not answer: then it may have been sent, and sending it with the same ``signal_id`` is safe.
        """
        run, name = _checked_id(run_id), event_name(event, "signal(..., ")
        payload = codec.encode(data, "data")
        drawn = _checked_id(signal_id, "signal_id") if signal_id is not None else secrets.token_hex(10)
        try:
            (end,) = self._courier.run(
                self._signals, [lambda now_ms: self._signals.begin(run, Signal(drawn, name, payload, now_ms))]
            )
        except Unavailable as error:
            raise type(error)(
                f"{error}; may have been sent: signal {name!r} to run {run!r}: send it again with "
                f"signal_id={drawn!r} to be sure"
            ) from error
        return self._sent(run, name, drawn, end)

    def _sent(self, run: str, event: str, signal_id: str, end: s.End) -> SentSignal:
        if isinstance(end, s.Conflict):
            there = "other data" if end.there.event == event else f"event {end.there.event!r}"
            raise SignalConflict(
                f"run {run!r} has signal {signal_id!r} already, with {there}: choose another signal_id, "
                "or send what was sent before"
            )
        if isinstance(end, s.Refused):
            if not end.status:
                raise unknown_run(run)
            raise RunEnded(
                f"signal {event!r} to run {run!r}: it is {end.status}, and nothing can be brought to it any more; "
                "begin another run, or signal one that `pwf runs` lists as running or stranded"
            )
        if not end.routed:
            log.warning(
                "signal %r is in run %s, but the queue of its first task does not exist: it waits for a worker",
                event,
                run,
            )
        return SentSignal(signal_id, end.created)

    # ── look ──────────────────────────────────────────────────────────────────────────────────

    def run(self, run_id: str) -> RunHandle:
        """A handle on a run that was begun elsewhere. Nothing is asked of a server."""
        return RunHandle(self, run_id, created=False)

    def wait(self, run_id: str, timeout: float | None = None) -> RunOutcome:
        """As ``RunHandle.wait``. Raises UsageError for a run that is unknown or whose retention is over."""
        deadline = None if timeout is None else monotonic() + timeout
        pause = FIRST_LOOK_S
        while True:
            found = self._look(run_id)
            if found is not None:
                return found
            left = LAST_LOOK_S if deadline is None else deadline - monotonic()
            if left <= 0:
                raise WaitTimeout(
                    f"run {run_id!r} has not ended after {timeout:g} s: {waits_for(self.describe(run_id))}"
                )
            sleep(min(pause, left))
            pause = min(pause * 1.5, LAST_LOOK_S)

    def _look(self, run_id: str) -> RunOutcome | None:
        get = Get((k.STATUS, k.OPEN, k.DEAD_COUNT, k.RESULT))
        ((status, open_, dead, value),) = self._store.txns([Txn("wait", run_id, then=(get,))])[0].replies
        if status is None:
            raise unknown_run(run_id)
        if status == k.RUNNING:
            if dead and dead != b"0" and dead == open_:
                return RunOutcome(run_id, "dead", reason=dead_reason(self.describe(run_id)))
            return None
        reason = ""
        if status == k.STRANDED:
            reason = stranded_reason(self.describe(run_id))
        elif status == k.CANCELLED:
            reason = "it was cancelled"
        result = None if value is None else codec.decode(value)
        return RunOutcome(run_id, cast(Status, status.decode()), result, reason)

    def describe(self, run_id: str) -> RunDescription:
        """What is open in a run, what it waits for, what went wrong. Raises UsageError when there is none such."""
        return describe(self._store, run_id, self._clock.now_ms())

    def explain(self, run_id: str) -> str:
        """The same in words."""
        return explain(self.describe(run_id), self._clock.now_ms())

    def cancel(self, run_id: str) -> None:
        """End a run now. Raises UsageError when there is none such or it has ended."""
        self.admin.cancel(run_id)

    # ── close ─────────────────────────────────────────────────────────────────────────────────

    def close(self) -> None:
        if self._worker is not None:
            self._worker.stop(grace=0)
        self._courier.close()
        self._store.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def connect(
    apps: Workflow | Iterable[Workflow] = (),
    amqp: str | None = None,
    redis: str | None = None,
    *,
    settings: Settings | Mapping[str, Any] | None = None,
) -> Client:
    """See ``pwf_runtime.connect``, and ``Workflow.connect``: what they load only when it is called."""
    apps = [apps] if isinstance(apps, Workflow) else list(apps)
    chosen = settings if isinstance(settings, Settings) else Settings(**(settings or {}))
    if amqp == MEMORY_URL:
        if redis is not None:
            raise UsageError(f'connect("{MEMORY_URL}", {redis!r}): takes no second URL: there is no server')
        return _embedded(apps, chosen)
    store, transport = connections(amqp, redis, chosen)
    return Client(apps, store, transport, chosen)


def connections(amqp: str | None, redis: str | None, settings: Settings) -> tuple[Store, Transport]:
    """A store and a transport for real servers; not connected yet. Raises UsageError for a wrong URL."""
    broker, data, replicas = amqp_url(amqp), redis_url(redis), wait_replicas(settings)
    from .store.redis import RedisStore
    from .transport.rabbitmq import QueueType, RabbitMQTransport

    store = RedisStore(data, replicas=replicas, replicas_timeout=settings.wait_timeout)
    return store, RabbitMQTransport(broker, queue_type=cast(QueueType, settings.queue_type))


def _embedded(apps: Sequence[Workflow], settings: Settings) -> Client:
    clock, broker = SystemClock(), MemoryBroker()
    store = MemoryStore(clock)
    worker = None
    if apps:
        worker = Worker(apps, store, broker.transport(), settings, clock=clock)
        worker.start()
    return Client(apps, store, broker.transport(), settings, clock=clock, worker=worker)


def _checked_id(given: str, name: str = "run_id") -> str:
    if not isinstance(given, str) or not given or not given.isprintable() or len(given.encode()) > MAX_ID_BYTES:
        raise UsageError(
            f"{name}={codec.brief(given)}: a {name.partition('_')[0]}'s id is a str of 1 to {MAX_ID_BYTES} bytes, "
            "without control characters"
        )
    return given
