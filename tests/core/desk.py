"""A desk at which machines are driven by hand: effects are performed one at a time, in whatever order a test wants.

The store is the one in memory, the broker a list of messages per queue, time stands still unless a test moves it. What
a task answers is a value in ``answers``. There is no driver: a test sees every effect, and may keep, lose or repeat it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from pwf_runtime.core.delivery import DeliveryMachine
from pwf_runtime.core.effects import (
    TIMERS,
    Ack,
    IndexAdd,
    IndexRead,
    IndexRemove,
    Publish,
    RunTask,
)
from pwf_runtime.core.ids import ROOT_CALL, derive
from pwf_runtime.core.inputs import Acked, Entries, Indexed, Published, TaskDone, TaskFailed
from pwf_runtime.core.joins import joined_call
from pwf_runtime.core.machine import Machine
from pwf_runtime.core.model import Event, Failure, Marker, Message, Need, NewCall, NewJoin, Outcome, Signal, Timer
from pwf_runtime.core.recover import MarkMachine, ScanMachine
from pwf_runtime.core.retry import Retry
from pwf_runtime.core.signal import SignalMachine
from pwf_runtime.core.start import StartMachine
from pwf_runtime.core.steps import Steps
from pwf_runtime.core.sweep import SweepMachine
from pwf_runtime.core.txn import Txn, TxnReply
from pwf_runtime.core.wire import decode_timer, number
from pwf_runtime.store.memory import MemoryStore, Run

RUN = "run"
LEASE_MS = 10_000
RETENTION_MS = 3_600_000
INTERVAL_MS = 60_000
AT_MOST = 10_000
"""Steps of one machine, and deliveries of one run. More is a loop."""
PLAIN = Retry(max_attempts=3, first_delay=1.0, factor=2.0, jitter=0.0)

Answer: TypeAlias = Outcome | Failure | Callable[[RunTask], Outcome | Failure]
Met: TypeAlias = tuple[type[Machine], type, type, type]
"""A step that a machine took: which machine, from which state, on which input, to which state."""
BOOM = Failure("ValueError", "boom")


def call(task: str, data: bytes = b"", delay_ms: int = 0) -> NewCall:
    return NewCall(f"q.{task}", data, delay_ms)


def event(name: str, data: bytes = b"") -> Event:
    return Event(name, data)


def outside(name: str, count: int = 1) -> Need:
    """A need that signals meet."""
    return Need(name, count, outside=True)


def join(then: str, *names: str | tuple[str, int] | Need, at_least: int | None = None, **more: Any) -> NewJoin:
    """A join of names, each with its count, on all of them or ``at_least`` so many."""
    needs = tuple([_need(name) for name in names])
    return NewJoin(call(then), needs, len(needs) if at_least is None else at_least, **more)


def _need(name: str | tuple[str, int] | Need) -> Need:
    if isinstance(name, Need):
        return name
    return Need(name, 1) if isinstance(name, str) else Need(*name)


class Clock:
    def __init__(self) -> None:
        self.ms = 1_000_000

    def now_ms(self) -> int:
        return self.ms


class Desk:
    """``tasks``: what each task of the queue "q" answers, and so which tasks its worker has."""

    def __init__(self, tasks: Mapping[str, Answer] | None = None, policy: Retry = PLAIN) -> None:
        self.clock = Clock()
        self.store = MemoryStore(self.clock)
        self.steps = Steps(LEASE_MS, RETENTION_MS)
        self.answers: dict[str, Answer] = dict(tasks or {})
        self.delivery = DeliveryMachine(self.steps, {f"q.{name}": policy for name in self.answers})
        self.starter = StartMachine(self.steps)
        self.signaller = SignalMachine(self.steps)
        self.sweeper = SweepMachine(self.steps)
        self.marker = MarkMachine(INTERVAL_MS)
        self.scanner = ScanMachine(self.steps)
        self.queues: dict[str, list[Message | Marker]] = {"q": []}
        self.txns: list[Txn] = []
        self.ran: list[RunTask] = []
        self.met: set[Met] = set()
        self.seen: list[tuple[Any, Any]] = []
        self._tokens = 0

    # ── performing effects ────────────────────────────────────────────────────────────────────

    def perform(self, effect: Any) -> Any:
        """What a driver would answer."""
        if isinstance(effect, Txn):
            self.txns.append(effect)
            return self.txn(effect)
        if isinstance(effect, RunTask):
            return self._run(effect)
        if isinstance(effect, Publish):
            return self._publish(effect)
        if isinstance(effect, IndexAdd):
            self.store.index_add(effect.index, effect.entries)
        elif isinstance(effect, IndexRemove):
            self.store.index_remove(effect.index, effect.members)
        elif isinstance(effect, IndexRead):
            return Entries(tuple(self.store.index_read(effect.index, effect.upto, effect.limit)))
        else:
            assert isinstance(effect, Ack)
            return Acked()
        return Indexed()

    def txn(self, txn: Txn) -> TxnReply:
        return self.store.txns([txn])[0]

    def _run(self, effect: RunTask) -> TaskDone | TaskFailed:
        self.ran.append(effect)
        answer = self.answers[effect.message.task.partition(".")[2]]
        given = answer(effect) if callable(answer) else answer
        return TaskDone(given) if isinstance(given, Outcome) else TaskFailed(given)

    def _publish(self, effect: Publish) -> Published:
        lost = []
        for message in effect.messages:
            if message.queue in self.queues:
                self.queues[message.queue].append(message)
            else:
                lost.append(message)
        return Published(tuple(lost))

    # ── machines ──────────────────────────────────────────────────────────────────────────────

    def start(self, task: str, data: bytes = b"", run_id: str = RUN) -> Hand:
        return Hand(self, self.starter, *self.starter.begin(run_id, f"q.{task}", data, self.clock.ms))

    def signal(self, name: str, data: bytes = b"", signal_id: str = "s", run_id: str = RUN) -> Hand:
        """Somebody sends a signal."""
        sent = Signal(signal_id, name, data, self.clock.ms)
        return Hand(self, self.signaller, *self.signaller.begin(run_id, sent))

    def begin(self, task: str, data: bytes = b"") -> Message:
        """Begin the run, and take its first message from the queue."""
        self.start(task, data).finish()
        return self.take(task)

    def begin_and_drain(self, task: str, data: bytes = b"") -> None:
        """A whole run."""
        self.start(task, data).finish()
        self.drain()

    def take(self, task: str | None = None, queue: str = "q") -> Message:
        """The first message of a queue, or the first of this task."""
        waiting = self.queues[queue]
        wanted = [m for m in waiting if isinstance(m, Message) and task in (None, m.task.partition(".")[2])]
        assert wanted, f"no message of {task} in {waiting}"
        waiting.remove(wanted[0])
        return wanted[0]

    def deliver(self, message: Message, token: str = "") -> Hand:
        """A worker gets this message."""
        self._tokens += 1
        begun = self.delivery.begin(message, token or f"token {self._tokens}")
        return Hand(self, self.delivery, *begun)

    def handle(self, task: str | None = None) -> Any:
        """Deliver the next message (of this task) and see it through. Returns the last state."""
        return self.deliver(self.take(task)).finish()

    def sweep(self, limit: int = 100) -> Hand:
        return Hand(self, self.sweeper, *self.sweeper.begin(self.clock.ms, limit))

    def mark(self, queue: str = "q") -> Hand:
        return Hand(self, self.marker, *self.marker.begin(queue))

    def scan(self, sent_ms: int | None = None, queue: str = "q") -> Hand:
        """A marker that was sent at this time, now unless it is given, comes back."""
        marker = Marker(queue, self.clock.ms if sent_ms is None else sent_ms)
        return Hand(self, self.scanner, *self.scanner.begin(marker))

    def drain(self) -> None:
        """Handle all messages and timers, as they come and as time passes, until there is nothing left to do."""
        for _ in range(AT_MOST):
            if self.queues["q"]:
                self.handle()
            elif timers := self.timers():
                self.clock.ms = max(self.clock.ms, min(timers.values()))
                self.sweep().finish()
            else:
                return
        raise AssertionError(f"it goes on and on: {self.labels()[-20:]}")

    # ── looking ───────────────────────────────────────────────────────────────────────────────

    def fields(self) -> dict[str, bytes]:
        run = self.store.runs.get(RUN)
        return dict(run.fields) if run is not None else {}

    def field(self, name: str) -> bytes | None:
        return self.fields().get(name)

    def number(self, name: str) -> int:
        return number(self.field(name))

    def holder(self, call_id: str) -> tuple[str, int] | None:
        return self.store.runs[RUN].holder(call_id, self.clock.ms)

    def timers(self) -> dict[Timer, int]:
        return {decode_timer(member): due for member, due in self.store.indexes.get(TIMERS, {}).items()}

    def members(self, index: str) -> list[bytes]:
        return list(self.store.indexes.get(index, {}))

    def labels(self) -> list[str]:
        """The transactions so far, by name."""
        return [txn.label for txn in self.txns]

    def put(self, field: str, value: bytes) -> None:
        """Change the run behind everybody's back."""
        self.store.runs[RUN].fields[field] = value

    def fall_back(self, past: dict[str, bytes]) -> None:
        """The store fails over to what ``fields`` were once; leases are gone."""
        run = self.store.runs[RUN] = Run()
        run.fields = dict(past)


class Hand:
    """A machine in somebody's hand: ``effect`` is what it asks for in ``state``, and is not performed yet."""

    def __init__(self, desk: Desk, machine: Machine, state: Any, effect: Any) -> None:
        self.desk = desk
        self.machine = machine
        self.state = state
        self.effect = effect
        self.states: list[type] = [type(state)]
        desk.seen.append((state, effect))

    def answer(self, given: Any) -> Any:
        """Give it this answer. Returns the state it leads to."""
        assert len(self.states) < AT_MOST, f"it goes on and on: {self.states[-20:]}"
        before = type(self.state)
        self.state, self.effect = self.machine.step(self.state, given, self.desk.clock.ms)
        self.desk.met.add((type(self.machine), before, type(given), type(self.state)))
        self.states.append(type(self.state))
        self.desk.seen.append((self.state, self.effect))
        return self.state

    def go(self) -> Any:
        """Perform the effect and answer it."""
        return self.answer(self.desk.perform(self.effect))

    def lose(self) -> Hand:
        """Perform the effect, and never hear of it; it will be performed again."""
        self.desk.perform(self.effect)
        return self

    def until(self, *states: type) -> Hand:
        """Go on until it is in one of these states, whose effect is not performed."""
        while not isinstance(self.state, states):
            assert self.effect is not None, f"it ended as {self.state} and never was in any of {states}"
            self.go()
        return self

    def finish(self) -> Any:
        """Go on to the end. Returns the last state."""
        while self.effect is not None:
            self.go()
        return self.state


def child(position: str, parent: str = ROOT_CALL) -> str:
    """The id of what stands at this position below a call, the run's first one unless it is given."""
    return derive(parent, position)


def joined(position: str = "j0", parent: str = ROOT_CALL) -> str:
    """The id of the call that this join of a call fires."""
    return joined_call(derive(parent, position))
