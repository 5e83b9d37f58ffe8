"""One execution of a program, as a transition system: what may happen next, and making it happen.

An action is ``(since, kind, process index, detail)``: *perform* the effect that a slot waits for, *deliver* the head of
a queue to a free worker, *sweep* due timers, *start* a run. ``point(action)`` is where in the program that is, and a
fault's mode may be given to ``apply``. Whoever drives the world chooses both; the least action (the one that has
waited longest) without a fault is the default. A world can be copied at any time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

from pwf_runtime.codec import decode_message
from pwf_runtime.core import effects as e
from pwf_runtime.core import keys as k
from pwf_runtime.core.inputs import Input, Published, TaskDone
from pwf_runtime.core.model import Message
from pwf_runtime.core.states import Running
from pwf_runtime.core.txn import Txn, TxnReply
from pwf_runtime.core.wire import decode_timer
from pwf_runtime.driver import Driver

from .. import faults as f
from ..history import History
from ..laws.base import Law, Violated
from ..program import LEASE_MS, Program, Start
from .broker import Broker, SimTransport
from .clock import VirtualClock
from .process import Process, Slot
from .store import SimStore

PERFORM, DELIVER, SWEEP, START = 0, 1, 2, 3
Action: TypeAlias = tuple[int, int, int, Any]

FREEZE_MS = 2 * LEASE_MS
"""How long a stalled worker is frozen."""
SWEEP_LIMIT = 100
MAX_STEPS = 20_000
"""More steps than this in one schedule is a run that does not end. A world of six calls needs some 60."""


class TraceStep(NamedTuple):
    """A step as it happened: an effect in the ``nth`` delivery of ``path``, the fault that struck, and the answer."""

    time_ms: int
    process: str
    path: str
    nth: int
    effect: str
    occurrence: int
    fault: str
    answer: Any

    @property
    def point(self) -> f.Point:
        return f.Point(self.path, self.nth, self.effect, self.occurrence)


class World:
    """A program being executed, watched by laws."""

    def __init__(self, program: Program, laws: Sequence[Law]) -> None:
        self.program = program
        self.laws = laws
        self.clock = VirtualClock()
        self.history = History()
        self.step = 0
        self.to_start: list[Start] = list(program.starts)
        self._trace: tuple[Any, TraceStep] | None = None  # the latest step and all before it
        self._names: dict[str, int] = {}  # how often a sweep or a start was begun
        self._owners = 0
        self._ran: Input | None = None
        self._attach(SimStore(self.clock), Broker(program.queues))
        self.processes = [
            Process(f"{queue}/{i + 1}", (queue,), 1, self.broker.open_channel())
            for queue in program.queues
            for i in range(program.workers)
        ]
        self.client = Process("client", (), len(program.starts), 0)
        self.processes.append(self.client)

    def _attach(self, store: SimStore, broker: Broker) -> None:
        self.store, self.broker = store, broker
        self.transport = SimTransport(broker)
        self.driver = Driver(store, self.transport, self._start_task)

    def copy(self) -> World:
        """A world that goes on from here by itself."""
        new = World.__new__(World)
        new.program, new.laws = self.program, self.laws
        new.clock = VirtualClock(self.clock.time_ms)
        new.history = self.history.copy()
        new.step, new.to_start = self.step, list(self.to_start)
        new._trace, new._names, new._owners, new._ran = self._trace, dict(self._names), self._owners, None
        new._attach(self.store.copy(new.clock), self.broker.copy())
        new.processes = [process.copy() for process in self.processes]
        new.client = new.processes[-1]
        for process in new.processes:
            for slot in process.slots.values():
                if slot.delivery is not None:
                    new.driver.holds(slot.owner, slot.delivery)
        return new

    @property
    def trace(self) -> list[TraceStep]:
        """Every step so far."""
        steps, rest = [], self._trace
        while rest is not None:
            rest, step = rest
            steps.append(step)
        return steps[::-1]

    # ── what may happen ───────────────────────────────────────────────────────────────────────

    def enabled(self) -> list[Action]:
        """All that may happen now; empty: only time can bring something."""
        actions: list[Action] = []
        heads = [(queue, queued[0].since) for queue, queued in self.broker.queues.items() if queued]
        due = self._is_timer_due()
        for index, process in enumerate(self.processes):
            if process.frozen_until is not None:
                continue
            for owner, slot in process.slots.items():
                actions.append((slot.since, PERFORM, index, owner))
            if len(process.slots) < process.capacity and process.queues:
                for queue, since in heads:
                    if queue in process.queues:
                        actions.append((since, DELIVER, index, queue))
                if due:
                    actions.append((self.step, SWEEP, index, None))
        if self.to_start:
            actions.append((0, START, len(self.processes) - 1, None))
        return actions

    def _is_timer_due(self) -> bool:
        timers = self.store.indexes.get(e.TIMERS)
        if not timers or min(timers.values()) > self.clock.time_ms:
            return False
        return not any(slot.path == "sweep" for process in self.processes for slot in process.slots.values())

    def point(self, action: Action) -> tuple[f.Point, tuple[str, ...]] | None:
        """Where in the program an action is and which faults can strike there; ``None``: none can."""
        _, kind, index, detail = action
        if kind == PERFORM:
            slot = self.processes[index].slots[detail]
            if slot.struck:
                return None
            _, name = _part(slot)
            point = f.Point(slot.path, slot.nth, name, slot.counts.get(name, 0) + 1)
            return point, f.CLIENT_MODES if index == len(self.processes) - 1 else f.modes_at(name)
        if kind == DELIVER:
            path, nth = self._addressee(detail)[1:]
            return f.Point(path, nth, "receive"), f.modes_at("receive")
        return None

    def advance(self) -> bool:
        """Let time pass until something can happen. Whether anything ever can."""
        now = self.clock.time_ms
        times = [due for due in self.store.indexes.get(e.TIMERS, {}).values() if due > now]
        times += [process.frozen_until for process in self.processes if process.frozen_until is not None]
        if not times:
            return False
        self.clock.time_ms = now = min(times)
        for process in self.processes:
            if process.frozen_until is not None and process.frozen_until <= now:
                process.frozen_until = None
                process.channel = self.broker.open_channel()
        return True

    # ── making it happen ──────────────────────────────────────────────────────────────────────

    def apply(self, action: Action, mode: str | None = None) -> None:
        """Make an action of ``enabled()`` happen, with a fault of this mode. Raises ``Violated``."""
        self.step += 1
        self.transport.step = self.step
        if self.step > MAX_STEPS:
            raise Violated("L4", f"the run does not end: {MAX_STEPS} steps were not enough")
        _, kind, index, detail = action
        process = self.processes[index]
        if kind == PERFORM:
            self._perform(process, process.slots[detail], mode)
        elif kind == DELIVER:
            self._deliver(process, detail, mode)
        elif kind == SWEEP:
            sweep = self.program.sweep
            self._open(process, sweep, sweep.begin(self.clock.time_ms, SWEEP_LIMIT), "sweep", self._count("sweep"))
        else:
            start, machine = self.to_start.pop(0), self.program.start
            begun = machine.begin(start.run_id, start.task, start.data, self.clock.time_ms)
            path = f"start of {start.run_id}"
            self._open(process, machine, begun, path, self._count(path)).run_id = start.run_id

    def _count(self, name: str) -> int:
        self._names[name] = nth = self._names.get(name, 0) + 1
        return nth

    def _addressee(self, queue: str) -> tuple[Message, str, int]:
        """The message at a queue's head, its call's path, and the how-manieth delivery of it this would be."""
        message = decode_message(self.broker.queues[queue][0].body)
        assert isinstance(message, Message)
        call = self.history.calls.get((message.run_id, message.call_id))
        return (message, call.path, call.deliveries + 1) if call is not None else (message, message.task, 1)

    def _deliver(self, process: Process, queue: str, mode: str | None) -> None:
        message, path, nth = self._addressee(queue)
        call = self.history.calls.get((message.run_id, message.call_id))
        if call is not None:
            call.deliveries = nth
        delivery = self.broker.deliver(queue, process.channel, keep_copy=mode == f.DUPLICATE)
        self._record(process.name, path, nth, "receive", 1, mode, delivery.redelivered)
        token = f"{process.name}.{self._owners}"
        slot = self._open(process, self.program.delivery, self.program.delivery.begin(message, token), path, nth)
        slot.concerns(message, token, delivery)
        self.driver.holds(slot.owner, delivery)

    def _open(self, process: Process, machine: Any, begun: tuple[Any, Any], path: str, nth: int) -> Slot:
        self._owners += 1
        slot = process.slots[self._owners] = Slot(self._owners, machine, *begun, path, nth, self.step)
        return slot

    def _perform(self, process: Process, slot: Slot, mode: str | None) -> None:
        effect, name = _part(slot)
        if slot.struck:
            slot.struck = False
        else:
            slot.counts[name] = slot.counts.get(name, 0) + 1
        where = (process.name, slot.path, slot.nth, name, slot.counts[name], mode)
        if mode == f.BEFORE:
            self._record(*where, None)
            return self._crash(process)
        if mode == f.STALL:
            self._record(*where, None)
            return self._freeze(process, slot)
        if mode == f.REQUEUE:
            self.broker.close_channel(process.channel, self.step)
            process.channel = self.broker.open_channel()
        self._watch_before(process, slot, effect)
        answer = self._ask_driver(slot.owner, effect)
        self._record(*where, answer)
        if type(effect) is Txn:
            self._watch_txn(slot, effect, answer)
        if mode == f.AFTER:
            self._crash(process)
        elif mode == f.REPLY_LOST:
            slot.since = self.step
        else:
            self._answer(process, slot, answer)
        return None

    def _ask_driver(self, owner: int, effect: e.Effect) -> Input:
        """Perform one effect through the production driver."""
        answers = self.driver.perform([(owner, effect)])
        heard = self.transport.heard
        if heard:
            answers = [answer for event in heard for answer in self.driver.heard(event)]
            heard.clear()
        if answers:
            return answers[0][1]
        assert self._ran is not None, "every effect but a task is answered at once in a simulated world"
        return self._ran

    def _start_task(self, _owner: int, effect: e.RunTask) -> None:
        self._ran = self.program.run_task(effect)

    def _answer(self, process: Process, slot: Slot, answer: Input) -> None:
        """Give the machine its answer and take its next effect."""
        slot.since = self.step
        if type(answer) is Published:
            assert isinstance(slot.effect, e.Publish)
            slot.unroutable += answer.unroutable
            slot.part += 1
            if slot.part < len(slot.effect.messages):
                return
            answer = Published(slot.unroutable)
            slot.part, slot.unroutable = 0, ()
        elif type(answer) is TaskDone:
            slot.outcome = answer.outcome
        slot.state, slot.effect = slot.machine.step(slot.state, answer, self.clock.time_ms)
        if type(slot.state) is Running:
            slot.attempt = slot.state.claim.attempt
        if slot.effect is None:
            del process.slots[slot.owner]

    # ── faults ────────────────────────────────────────────────────────────────────────────────

    def _crash(self, process: Process) -> None:
        """All it holds in memory is gone; a new one takes its place, and a client begins its runs again."""
        if process is self.client:
            begun = {slot.run_id for slot in process.slots.values()}
            self.to_start += [start for start in self.program.starts if start.run_id in begun]
        process.slots = {}
        self.broker.close_channel(process.channel, self.step)
        process.channel = self.broker.open_channel()

    def _freeze(self, process: Process, slot: Slot) -> None:
        slot.struck = True
        process.frozen_until = self.clock.time_ms + FREEZE_MS
        self.broker.close_channel(process.channel, self.step)

    # ── watching ──────────────────────────────────────────────────────────────────────────────

    def _record(
        self, process: str, path: str, nth: int, effect: str, occurrence: int, mode: str | None, answer: Any
    ) -> None:
        step = TraceStep(self.clock.time_ms, process, path, nth, effect, occurrence, mode or "", answer)
        self._trace = (self._trace, step)

    def _watch_before(self, process: Process, slot: Slot, effect: e.Effect) -> None:
        if isinstance(effect, e.RunTask):
            for law in self.laws:
                law.runs(self, process, slot, effect)
        elif isinstance(effect, e.Publish):
            message = effect.messages[0]
            if isinstance(message, Message):
                for law in self.laws:
                    law.publishes(self, slot, message)
        elif isinstance(effect, e.Ack):
            for law in self.laws:
                law.acks(self, slot)

    def _watch_txn(self, slot: Slot, txn: Txn, reply: Input) -> None:
        assert isinstance(reply, TxnReply)
        change = self.history.observe(txn, reply, slot.call_id, slot.outcome)
        if change is not None:
            if change.granted is not None:
                slot.claimed_ms = self.clock.time_ms
            for law in self.laws:
                law.changed(self, slot, change)

    def finish(self) -> None:
        """Nothing can happen any more: what do the laws say of that?"""
        for law in self.laws:
            law.ends(self)

    # ── what the laws ask ─────────────────────────────────────────────────────────────────────

    def will_return(self, slot: Slot) -> bool:
        """Whether a message or a timer other than this slot's own delivery will bring its call back."""
        assert slot.delivery is not None
        body, own = slot.delivery.body, (slot.delivery.channel, slot.delivery.tag)
        if any(queued.body == body for queued in self.broker.queues[slot.delivery.queue]):
            return True
        for channel, unacked in self.broker.unacked.items():
            if any(queued.body == body and (channel, tag) != own for tag, (_, queued) in unacked.items()):
                return True
        timers = map(decode_timer, self.store.indexes.get(e.TIMERS, {}))
        return any((timer.run_id, timer.call_id) == (slot.run_id, slot.call_id) for timer in timers)

    def is_cancelled(self, run_id: str) -> bool:
        return self.history.status.get(run_id) == k.CANCELLED

    def is_stopped(self, run_id: str) -> bool:
        """Whether all that is open in the run is dead calls."""
        open_calls = [call for call in self.history.calls.values() if call.key[0] == run_id and not call.settled]
        return bool(open_calls) and all(call.dead for call in open_calls)

    def has_choice(self) -> bool:
        """Whether what a run without faults did was one of several right things to do."""
        if any(join.record.at_least < len(join.record.needs) for join in self.history.joins.values()):
            return True
        return any(need.count > 1 for join in self.history.joins.values() for need in join.record.needs)

    def committed_graph(self) -> frozenset[tuple[str, Any]]:
        """Which call committed what."""
        return frozenset((call.path, call.outcome) for call in self.history.calls.values() if call.commits)


_NAMES: dict[type, str] = {e.RunTask: "run", e.Ack: "ack"}
_VERBS: dict[type, str] = {e.IndexAdd: "add to", e.IndexRead: "read", e.IndexRemove: "remove from"}


def _part(slot: Slot) -> tuple[e.Effect, str]:
    """The effect to perform now and its name in addresses: of a publish of several messages, the next one."""
    effect = slot.effect
    assert effect is not None
    if isinstance(effect, Txn):
        return effect, effect.label
    if isinstance(effect, e.Publish):
        message = effect.messages[slot.part]
        task = message.task.partition(".")[2] if isinstance(message, Message) else "marker"
        return e.Publish((message,)), f"publish {task}"
    return effect, _NAMES.get(type(effect)) or f"{_VERBS[type(effect)]} {effect.index}"  # type: ignore[union-attr]
