"""What is simulated: the user's workflows, how they are begun, what signals come, and with how many workers.

A program is fixed for a whole campaign and shared by its worlds; a world is one execution of it. What tasks returned is
remembered here by all that they were given, so that a task is not run again in each of thousands of schedules. The
first answer of each task, and one call in ``RECHECK``, is run again all the same, and must be the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from msgspec import Struct

from pwf_runtime.actions import event_name, seconds
from pwf_runtime.codec import brief, decode, encode
from pwf_runtime.core.delivery import DeliveryMachine
from pwf_runtime.core.effects import RunTask
from pwf_runtime.core.ids import signal_call
from pwf_runtime.core.inputs import TaskDone, TaskFailed
from pwf_runtime.core.model import Event, Outcome
from pwf_runtime.core.recover import MarkMachine, ScanMachine
from pwf_runtime.core.signal import SignalMachine
from pwf_runtime.core.start import StartMachine
from pwf_runtime.core.steps import Steps
from pwf_runtime.core.sweep import SweepMachine
from pwf_runtime.driver import Driver
from pwf_runtime.errors import UsageError
from pwf_runtime.outcome import failure_of, milliseconds
from pwf_runtime.workflow import AnyTask, Context, Workflow, run_task, run_task_async

from . import faults as f
from . import pauses
from .history import DEFAULT_RUN
from .memo import Memo
from .network import guarded
from .probes import Inner, Recorder
from .purity import compare

RECHECK = 47  # a prime: schedules ask for the same tasks over and over, and another one is to be checked each time
LEASE_MS = 10_000
RETENTION_MS = 86_400_000
RECOVERY_MS = 60_000


class Start(Struct, frozen=True):
    """Begin a run: its id, the full name of its first task, and that task's data."""

    run_id: str
    task: str
    data: bytes


class Signal(Struct, frozen=True):
    """An event that comes from outside, as a test names it: ``data`` is a value.

    ``after``: seconds from the beginning of the simulation before which it is not sent. ``run``: which run it is sent
    to, by the number of its start, from 1. ``id``: of the signal; by default it is the event, with a number where there
    are several of it.
    """

    event: str
    data: Any = None
    after: float = 0.0
    run: int = 1
    id: str = ""


class Sending(Struct, frozen=True):
    """A signal that a world's client sends, at any time from ``after_ms`` on; with one id, however often."""

    run_id: str
    signal_id: str
    event: str
    data: bytes
    after_ms: int
    outcome: Outcome
    """What its call commits."""

    @property
    def call_id(self) -> str:
        return signal_call(self.signal_id)


class Protocol(Struct, frozen=True):
    """What to simulate. ``pwsim.planted`` has broken machines and drivers; production's are the default."""

    steps: type[Steps] = Steps
    delivery: type[DeliveryMachine] = DeliveryMachine
    sweep: type[SweepMachine] = SweepMachine
    start: type[StartMachine] = StartMachine
    signal: type[SignalMachine] = SignalMachine
    driver: type[Driver] = Driver
    scan: type[ScanMachine] = ScanMachine


class Ran(NamedTuple):
    """What came of a task: its answer, and what it did on probed clients and in steps before it answered.

    ``remembered``: what it was given of the steps of earlier attempts.
    """

    answer: TaskDone | TaskFailed
    inner: tuple[Inner, ...]
    remembered: bytes | None = None


class _Context(Context):
    """Notes whether a task asks for the number of its attempt."""

    asked = False

    @property
    def attempt(self) -> int:
        self.asked = True
        return self._attempt

    @attempt.setter
    def attempt(self, attempt: int) -> None:
        self._attempt = attempt


def _pair(signal: Any) -> tuple[str, Any]:
    if not isinstance(signal, tuple) or len(signal) != 2:
        raise UsageError(f"signals: {brief(signal)}: give pairs (event, data), or pwsim.Signal(event, data, after=...)")
    return signal


class Program:
    """A workflow to simulate.

    ``apps``: the services. ``start``: pairs (task, data), one run each; a task without a queue belongs to the
    first service. ``workers``: processes per service, each with ``prefetch`` deliveries at a time. ``signals``: a pair
    (event, data) for the first run, or a ``Signal``.
    """

    def __init__(
        self,
        apps: Sequence[Workflow],
        start: Sequence[tuple[str, Any]],
        *,
        workers: int = 2,
        prefetch: int = 1,
        protocol: Protocol | None = None,
        remember: bool = True,
        signals: Sequence[Signal | tuple[str, Any]] = (),
    ) -> None:
        if not apps:
            raise UsageError("nothing to simulate: name at least one Workflow")
        if not start:
            raise UsageError("nothing to begin: name at least one first task and its data")
        if workers < 1:
            raise UsageError(f"workers={workers}: at least one worker per service is needed")
        self.apps = tuple(apps)
        self.workers = workers
        self.prefetch = prefetch
        self.queues = tuple(app.name for app in apps)
        self.tasks = {task.full_name: task for app in apps for task in app.tasks.values()}
        self.starts = tuple(self._start(i, len(start), *each) for i, each in enumerate(start))
        self.signals = self._signals(signals)
        self._machines(protocol or Protocol())
        self.max_steps = 20_000
        """More steps than this in one schedule is a run that does not end."""
        self.returns: f.Returns = "first"
        """Where a message goes that comes back to its queue; set by a profile of ``faults``."""
        self.recovers = False
        """Whether worlds run the recovery scan, which hides what else would get stuck."""
        self.scans = False
        """Whether they do so whatever the faults are."""
        self.remembers_past = False
        """Whether worlds keep the store's earlier states, to fall back to."""
        self.pauses: tuple[str, ...] = ()
        """The modes by which the whole system may be down, before each effect of a worker."""
        self.reference: frozenset[tuple[str, Any]] | None = None
        """What a run without faults commits; set once that is known, for L6."""
        self.checks: tuple[Callable[[Any], None], ...] = ()
        """What users demand of a world that has ended, besides the laws: called with it, they raise ``Violated``."""
        self.memo = Memo()
        self.network = False
        """Whether tasks may open connections."""
        self.remember = remember
        self._answers: dict[Any, Ran] = {}
        self._asked = 0
        self._rechecked: set[str] = set()
        self.asked_attempt = False
        """Whether a task looked at the number of its attempt, so that its answer may rightly differ after a fault."""
        self.asked_lost = False
        """Whether a task asked whether its lease is over, so that it may have to be asked again."""
        self._loop: asyncio.AbstractEventLoop | None = None

    def _machines(self, protocol: Protocol) -> None:
        self.is_production = protocol == Protocol()
        self.steps = protocol.steps(LEASE_MS, RETENTION_MS)
        self.delivery = protocol.delivery(self.steps, {name: task.retry for name, task in self.tasks.items()})
        self.old_delivery = protocol.delivery(self.steps, {})
        self.sweep = protocol.sweep(self.steps)
        self.start = protocol.start(self.steps)
        self.signal = protocol.signal(self.steps)
        self.driver = protocol.driver
        self.mark = MarkMachine(RECOVERY_MS)
        self.scan = protocol.scan(self.steps)

    @property
    def is_final(self) -> bool:
        """Whether what has ended stays so: under production's protocol, if no scan recovers and no signal comes."""
        return self.is_production and not self.recovers and not self.signals

    def expects(self, modes: frozenset[str]) -> None:
        """Prepare worlds for faults of these modes."""
        self.recovers = self.scans or bool(modes & f.RECOVERED)
        self.remembers_past = bool(modes & frozenset(f.ROLLBACK))
        self.pauses = pauses.among(modes)

    def _start(self, index: int, count: int, task: str, data: Any) -> Start:
        name = task if "." in task else f"{self.apps[0].name}.{task}"
        if name not in self.tasks:
            raise UsageError(f"there is no task {name!r} to begin with; there are {', '.join(sorted(self.tasks))}")
        run_id = DEFAULT_RUN if count == 1 else f"{DEFAULT_RUN}-{index + 1}"
        return Start(run_id, name, encode(data))

    def _signals(self, given: Sequence[Signal | tuple[str, Any]]) -> tuple[Sending, ...]:
        signals = [each if isinstance(each, Signal) else Signal(*_pair(each)) for each in given]
        found: list[Sending] = []
        for n, signal in enumerate(signals):
            place = f"signals[{n}]: "
            if type(signal.run) is not int or not 1 <= signal.run <= len(self.starts):
                raise UsageError(f"{place}run={brief(signal.run)}: there are {len(self.starts)} runs, counted from 1")
            name = event_name(signal.event, place)
            before = sum(each.event == name for each in signals[:n])
            signal_id = signal.id or (f"{name}[{before}]" if sum(each.event == name for each in signals) > 1 else name)
            if any(sending.signal_id == signal_id for sending in found):
                raise UsageError(f"{place}id={signal_id!r}: an earlier one has this id: give it another")
            after_ms = milliseconds(seconds(signal.after, place, "after"))
            data = encode(signal.data, f"{place}data")
            outcome = Outcome(events=(Event(name, data),))
            found.append(Sending(self.starts[signal.run - 1].run_id, signal_id, name, data, after_ms, outcome))
        return tuple(found)

    # ── running the user's tasks ──────────────────────────────────────────────────────────────

    def run_task(self, effect: RunTask, remembered: bytes | None = None, lost_after: int | None = None) -> Ran:
        """What the user's function does and answers; from memory, if it was asked exactly this before.

        ``remembered``: what the call's steps returned in earlier attempts, as the store has it. ``lost_after``: when it
        has done so many things, its lease is over; ``None``: it never is.
        """
        if not self.remember:
            return self._run(effect, remembered, lost_after)
        key = (effect.message, effect.attempt, effect.data, effect.events, remembered, lost_after)
        ran = self._answers.get(key)
        if ran is None:
            ran = self._answers[key] = self._run(effect, remembered, lost_after)
            return ran
        self._asked += 1
        if self._asked % RECHECK == 0 or effect.message.task not in self._rechecked:
            self._recheck(effect, remembered, lost_after, ran)
            self._rechecked.add(effect.message.task)
        return ran

    def _recheck(self, effect: RunTask, remembered: bytes | None, lost_after: int | None, ran: Ran) -> None:
        compare(self.tasks[effect.message.task], ran, self._run(effect, remembered, lost_after))

    def _run(self, effect: RunTask, remembered: bytes | None, lost_after: int | None) -> Ran:
        task = self.tasks[effect.message.task]
        if self.network:
            return self._attempt(task, effect, remembered, lost_after)
        with guarded(task):
            return self._attempt(task, effect, remembered, lost_after)

    def _attempt(self, task: AnyTask, effect: RunTask, remembered: bytes | None, lost_after: int | None) -> Ran:
        message = effect.message
        recorder = Recorder(decode(remembered, dict[str, bytes]) if remembered else {})
        names = (message.run_id, message.call_id, task.full_name)
        ctx = _Context(*names, effect.attempt, lost=lambda: self._is_lost(recorder, lost_after), step=recorder.step)
        try:
            with recorder:
                if task.is_async:
                    work = run_task_async(task, effect.data, effect.events, ctx)
                    outcome = self._event_loop().run_until_complete(work)
                else:
                    outcome = run_task(task, effect.data, effect.events, ctx)
        except Exception as error:
            return Ran(TaskFailed(failure_of(error)), tuple(recorder.inner), remembered)
        finally:
            self.asked_attempt |= ctx.asked
        return Ran(TaskDone(outcome), tuple(recorder.inner), remembered)

    def _is_lost(self, recorder: Recorder, lost_after: int | None) -> bool:
        self.asked_lost = True
        return lost_after is not None and len(recorder.inner) >= lost_after

    def _event_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        return self._loop

    def close(self) -> None:
        if self._loop is not None:
            self._loop.close()
            self._loop = None
