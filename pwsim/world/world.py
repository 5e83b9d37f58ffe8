"""One execution of a program, as a transition system: what may happen next, and making it happen.

An action is ``(since, kind, process index, detail)``: *perform* the effect that a slot waits for, *deliver* the head of
a queue to a free worker, *sweep* due timers, *mark* a queue for recovery, *start* a run, send a *signal* to one.
``point(action)`` is where in the program that is, and a fault's mode may be given to ``apply``. Whoever drives the
world chooses both; the least action (the one that has waited longest) without a fault is the default. A world can be
copied at any time.

What each fault does is in ``strikes``; what the laws see is in ``pwsim.history``.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from pwf_runtime.codec import decode_message
from pwf_runtime.core import effects as e
from pwf_runtime.core import keys as k
from pwf_runtime.core.inputs import Published, TaskDone, TaskFailed
from pwf_runtime.core.model import Failure, Marker, Message, Signal
from pwf_runtime.core.states import Running
from pwf_runtime.core.txn import Txn, TxnReply
from pwf_runtime.core.wire import decode_timer
from pwf_runtime.pause import NEVER

from .. import faults as f
from ..history import CallKey, History
from ..laws.base import Violated, Watch
from ..probes import Entry, ProbedCall
from ..program import Program, Ran, Sending, Start
from . import lost, strikes
from .broker import Broker, SimTransport
from .clock import VirtualClock
from .naming import TraceStep, effect_of
from .process import Process, Slot
from .store import SimStore
from .tasks import Tasks

PERFORM, DELIVER, SWEEP, MARK, START, SIGNAL = range(6)
Action: TypeAlias = tuple[int, int, int, Any]

SWEEP_LIMIT = 100
RECOVERIES = 12
"""How many rounds of recovery a world gets before what is still open counts as stuck."""


class World:
    """A program being executed, watched by laws."""

    def __init__(self, program: Program, watch: Watch) -> None:
        self.program = program
        self.watch = watch
        self.clock = VirtualClock()
        self.history = History.empty(program.memo)
        self.step = 0
        self.to_start: list[Start] = list(program.starts)
        self.to_signal: list[Sending] = list(program.signals)
        self.told: dict[str, Any] = {}  # signal -> what its sender was told at last
        self.to_mark: list[str] = []
        self.deliveries: dict[CallKey, int] = {}
        self.paths: dict[CallKey, str] = {}  # of every call ever created, also where the store has forgotten it
        self.modes_struck: frozenset[str] = frozenset()
        self.idle = 0  # how often time has passed since anything happened that a law could be about
        self.ledger: tuple[Entry, ...] = ()  # the probed calls that happened
        self.past: tuple[Any, SimStore, History] | None = None  # the store's earlier states, newest first
        self._trace: tuple[Any, TraceStep] | None = None  # the latest step and all before it
        self._names: dict[str, int] = {}  # how often a sweep, a start or a marker was begun
        self._owners = 0
        self._recoveries = 0
        self._attach(SimStore(self.clock, program.memo), Broker(program.queues, program.returns))
        self.processes = [
            Process(f"{queue}/{i + 1}", queue, program.prefetch, self.broker.open_channel())
            for queue in program.queues
            for i in range(program.workers)
        ]
        self.processes.append(Process("client", "", len(program.starts) + len(program.signals), 0))
        self._own = set(range(len(self.processes)))

    def _attach(self, store: SimStore, broker: Broker) -> None:
        self.store, self.broker = store, broker
        self.transport = SimTransport(broker)
        self.tasks = Tasks(self.program, store)
        self.driver = self.program.driver(store, self.transport, self.tasks.start)

    @property
    def client(self) -> Process:
        """The process that begins the runs."""
        return self.processes[-1]

    def own(self, index: int) -> Process:
        """A process that is to be changed. Until it is, worlds that are copies of each other share it."""
        if index not in self._own:
            self.processes[index] = self.processes[index].copy()
            self._own.add(index)
        return self.processes[index]

    def copy(self) -> World:
        """A world that goes on from here by itself. It shares with this one what neither has changed yet."""
        new = World.__new__(World)
        new.program, new.watch = self.program, self.watch
        new.clock = VirtualClock(self.clock.time_ms)
        new.history = self.history.fork()
        new.step, new.to_start, new.to_mark = self.step, self.to_start[:], self.to_mark[:]
        new.to_signal, new.told = self.to_signal[:], self.told
        new.deliveries, new.paths, new.past = self.deliveries, self.paths, self.past
        new._trace, new._names, new.ledger = self._trace, self._names, self.ledger
        new.modes_struck, new.idle = self.modes_struck, self.idle
        new._owners, new._recoveries = self._owners, self._recoveries
        new._attach(self.store.copy(new.clock), self.broker.copy())
        new.processes = self.processes[:]
        new._own, self._own = set(), set()
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
        due = self._is_timer_due()
        for index, process in enumerate(self.processes):
            if process.frozen_until is not None:
                continue
            slots = process.slots
            if slots:
                for owner, slot in slots.items():
                    if slot.asleep_until is None:
                        actions.append((slot.since, PERFORM, index, owner))
            if len(slots) < process.capacity and process.queue:
                queued = self.broker.queues[process.queue]
                if queued:
                    actions.append((queued[0].since, DELIVER, index, process.queue))
                if due:
                    actions.append((self.step + 1, SWEEP, index, None))
                if process.queue in self.to_mark:
                    actions.append((self.step + 1, MARK, index, process.queue))
        if self.to_start:
            actions.append((0, START, len(self.processes) - 1, None))
        for sending in self.to_signal:
            if sending.after_ms <= self.clock.time_ms and self._is_begun(sending.run_id):
                actions.append((self.step + 1, SIGNAL, len(self.processes) - 1, sending.signal_id))
        return actions

    def _is_begun(self, run_id: str) -> bool:
        """Whether whoever began the run knows that it is begun."""
        starting = [slot.run_id for slot in self.client.slots.values() if slot.machine is self.program.start]
        return run_id not in starting and all(start.run_id != run_id for start in self.to_start)

    def default(self) -> Action | None:
        """The least of ``enabled()``, found without listing them; ``None``: there is none."""
        if self.to_start:
            return min(self.enabled())
        since, kind, at = self.step + 1, DELIVER, 0
        detail: Any = None
        queues = self.broker.queues
        for index, process in enumerate(self.processes):
            if process.frozen_until is not None:
                continue
            slots = process.slots
            for owner, slot in slots.items():
                sooner = slot.since < since or (slot.since == since and kind != PERFORM)
                if sooner and slot.asleep_until is None:
                    since, kind, at, detail = slot.since, PERFORM, index, owner
            if process.queue and len(slots) < process.capacity:
                queued = queues[process.queue]
                if queued and queued[0].since < since:
                    since, kind, at, detail = queued[0].since, DELIVER, index, process.queue
        if since <= self.step:
            return since, kind, at, detail
        return min(self.enabled(), default=None)

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
            if slot.struck or (slot.answer is not None and not slot.inner):
                return None
            _, name = effect_of(slot)
            point = f.Point(slot.path, slot.nth, name, slot.counts.get(name, 0) + 1)
            if index == len(self.processes) - 1:
                return point, f.modes_at(name, client=True)
            several = slot.part == 0 and type(slot.effect) is e.Publish and len(slot.effect.messages) > 1
            return point, f.modes_at(name, of_run=bool(slot.run_id), several=several) + self.program.pauses
        if kind == DELIVER:
            _, path, nth = self._addressee(detail)
            return f.Point(path, nth, "receive"), f.modes_at("receive", again=self.broker.queues[detail][0].redelivered)
        return None

    def advance(self) -> bool:
        """Let time pass until something can happen. Whether anything ever can."""
        now = self.clock.time_ms
        times = [due for due in self.store.indexes.get(e.TIMERS, {}).values() if due > now]
        times += [sending.after_ms for sending in self.to_signal if sending.after_ms > now]
        for process in self.processes:
            if process.frozen_until is not None:
                times.append(process.frozen_until)
            else:
                times += [slot.asleep_until for slot in process.slots.values() if slot.asleep_until is not None]
        if not times:
            return self._recover()
        self.idle += 1
        self.pass_until(min(times))
        return True

    def pass_until(self, until_ms: int) -> None:
        """Time passes. Live workers renew the leases of what they run, a few times per lease."""
        renewing = [s for p in self.processes if p.frozen_until is None for s in p.slots.values() if s.is_running]
        step_ms = self.program.steps.lease_ms // 3
        while renewing and self.clock.time_ms < until_ms:
            for slot in renewing:
                if slot.message is not None:
                    self.driver.perform([(slot.owner, self.program.steps.renew(slot.message, slot.token))])
            self.clock.time_ms = min(self.clock.time_ms + step_ms, until_ms)
        self.clock.time_ms = until_ms
        for process in map(self.own, range(len(self.processes))):
            if process.frozen_until is not None and process.frozen_until <= until_ms:
                process.frozen_until = None
                process.channel = self.broker.open_channel()
                for slot in process.slots.values():
                    slot.woke = slot.woke or slot.is_running
            for slot in process.slots.values():
                if slot.asleep_until is not None and slot.asleep_until <= until_ms:
                    slot.asleep_until = None

    def _recover(self) -> bool:
        """Nothing goes on by itself: is it time for the recovery scan?"""
        if not self.program.recovers or self._recoveries >= RECOVERIES:
            return False
        waiting = {run for run in self.history.status if self.is_waiting(run)}
        running = [run for run, status in self.history.status.items() if status == k.RUNNING and run not in waiting]
        listed = {run.decode() for run in self.store.indexes.get(e.OPEN, {})}
        if all(self.is_stopped(run) for run in running) and listed <= waiting:
            return False
        self._recoveries += 1
        self.clock.time_ms += self.program.mark.interval_ms
        self.to_mark = list(self.program.queues)
        return True

    # ── making it happen ──────────────────────────────────────────────────────────────────────

    def apply(self, action: Action, mode: str | None = None) -> None:
        """Make an action of ``enabled()`` happen, with a fault of this mode. Raises ``Violated``."""
        self.step += 1
        self.transport.step = self.step
        if self.step > self.program.max_steps:
            raise Violated("L4", f"the run does not end: {self.program.max_steps:,} steps were not enough")
        _, kind, index, detail = action
        process = self.own(index)
        if kind == PERFORM:
            self._perform(process, process.slots[detail], mode)
        elif kind == DELIVER:
            self._deliver(process, detail, mode)
        else:
            self._begin(process, kind, detail)

    def _begin(self, process: Process, kind: int, detail: Any) -> None:
        """Something that no message asks for."""
        program, now = self.program, self.clock.time_ms
        if kind == SWEEP:
            begun = program.memo.begin(program.sweep, now, SWEEP_LIMIT)
            self.open(process, program.sweep, begun, "sweep", self._count("sweep"))
        elif kind == MARK:
            self.to_mark.remove(detail)
            path = f"mark of {detail}"
            self.open(process, program.mark, program.memo.begin(program.mark, detail), path, self._count(path))
        elif kind == SIGNAL:
            self._signal(process, next(each for each in self.to_signal if each.signal_id == detail))
        else:
            start = self.to_start.pop(0)
            begun = program.memo.begin(program.start, start.run_id, start.task, start.data, now)
            path = f"start of {start.run_id}"
            self.open(process, program.start, begun, path, self._count(path)).run_id = start.run_id

    def _signal(self, process: Process, sending: Sending) -> None:
        self.to_signal.remove(sending)
        signal = Signal(sending.signal_id, sending.event, sending.data, self.clock.time_ms)
        path = f"sending of {sending.signal_id}"
        begun = self.program.memo.begin(self.program.signal, sending.run_id, signal)
        slot = self.open(process, self.program.signal, begun, path, self._count(path))
        slot.run_id, slot.call_id, slot.outcome = sending.run_id, sending.call_id, sending.outcome

    def _count(self, name: str) -> int:
        nth = self._names.get(name, 0) + 1
        self._names = {**self._names, name: nth}
        return nth

    def _addressee(self, queue: str) -> tuple[Message | Marker, str, int]:
        """The message at a queue's head, its call's path, and the how-manieth delivery of it this would be."""
        message = decode_message(self.broker.queues[queue][0].body)
        if isinstance(message, Marker):
            path = f"scan of {queue}"
            return message, path, self._names.get(path, 0) + 1
        key = (message.run_id, message.call_id)
        return message, self.paths.get(key, message.task), self.deliveries.get(key, 0) + 1

    def _deliver(self, process: Process, queue: str, mode: str | None) -> None:
        message, path, nth = self._addressee(queue)
        if isinstance(message, Message):
            self.deliveries = {**self.deliveries, (message.run_id, message.call_id): nth}
        else:
            self._count(path)
        if mode in strikes.LOSES:
            strikes.lose(self.broker, queue, mode)
            return self.record(process.name, path, nth, "receive", 1, mode, None)
        delivery = self.broker.deliver(queue, process.channel, keep_copy=mode == f.DUPLICATE)
        self.record(process.name, path, nth, "receive", 1, mode, delivery.redelivered)
        machine: Any
        if isinstance(message, Marker):
            machine = self.program.scan
            slot = self.open(process, machine, self.program.memo.begin(machine, message), path, nth)
        else:
            machine = self.program.old_delivery if mode == f.OLD_CODE else self.program.delivery
            token = self._token(message.call_id)
            again = self.clock.time_ms if delivery.redelivered else None
            slot = self.open(process, machine, self.program.memo.begin(machine, message, token, again), path, nth)
            slot.concerns(message, token)
        slot.delivery = delivery
        self.driver.holds(slot.owner, delivery)
        return None

    def _token(self, call_id: str) -> str:
        """A token that nobody holds. The same one serves again, so that equal worlds have equal tokens; but not where a
        store may fall back to a time when somebody else held it."""
        if self.program.remembers_past:
            return f"{call_id}.{self._owners}"
        taken = set()
        timers = list(self.store.indexes.get(e.TIMERS, ()))
        for process in self.processes:
            for slot in process.slots.values():
                taken.add(slot.token)
                timers += getattr(slot.state, "members", ())  # that a sweep will remove, though they may be gone
        for run in self.store.runs.values():
            if call_id in run.leases:
                taken.add(run.leases[call_id][0])
        taken.update([decode_timer(timer).token for timer in timers])
        n = 0
        while (token := f"{call_id}.{n}") in taken:
            n += 1
        return token

    def open(self, process: Process, machine: Any, begun: tuple[Any, Any], path: str, nth: int) -> Slot:
        self._owners += 1
        slot = process.slots[self._owners] = Slot(self._owners, machine, *begun, path, nth, self.step)
        slot.asked_ms = self.clock.time_ms
        return slot

    def _perform(self, process: Process, slot: Slot, mode: str | None) -> None:
        slot.forms = {}
        if slot.answer is not None and not slot.inner:  # it took its time, and this is what came of it
            answer, slot.answer = slot.answer, None
            return self._answer(process, slot, answer)
        effect, name = effect_of(slot)
        if slot.struck:
            slot.struck = False
        else:
            slot.counts[name] = slot.counts.get(name, 0) + 1
        occurrence = slot.counts[name]
        if mode is not None:
            if not strikes.before(self, process, slot, mode):
                return self.record(process.name, slot.path, slot.nth, name, occurrence, mode, None)
            effect, _ = effect_of(slot)  # it may be another now
        self.store.performed = None
        came = self._bring_about(process, slot, effect, mode)
        shown = came.answer if type(came) is Ran else came
        self.record(process.name, slot.path, slot.nth, name, occurrence, mode, shown)
        if self.store.performed is not None:
            self._observe(slot, *self.store.performed)
        if mode is None or strikes.after(self, process, slot, mode, came):
            self._answer(process, slot, came)
        return None

    def _bring_about(self, process: Process, slot: Slot, effect: e.Effect | ProbedCall, mode: str | None) -> Any:
        """Make an effect happen, and return what the worker would hear of it."""
        if type(effect) is ProbedCall:
            self.ledger = (*self.ledger, Entry(*effect, slot.path, slot.attempt))
            return None
        if mode == f.UNROUTED:
            return Published(effect.messages)  # type: ignore[union-attr]
        if mode in strikes.REFUSES:
            return self._refused(process, slot, effect, mode)  # type: ignore[arg-type]
        if type(effect) is not Txn:
            self.watch.before(self, process, slot, effect)  # type: ignore[arg-type]
        came = self._ask_driver(slot.owner, effect)  # type: ignore[arg-type]
        return lost.at_first(self, slot, came) if type(came) is Ran else came

    def _refused(self, process: Process, slot: Slot, publish: e.Publish, mode: str) -> Any:
        """The broker does not take all of it, or does not say so; the driver publishes that again."""
        if mode == f.PARTLY:
            assert isinstance(slot.effect, e.Publish)
            publish, slot.part = slot.effect, len(slot.effect.messages) - 1
        self.watch.before(self, process, slot, publish)
        self.transport.refuses = mode
        came = self._ask_driver(slot.owner, publish)
        due = self.driver.publish_again(self.clock.time_ms / 1000)
        while came is None and due != NEVER:
            due = self.driver.publish_again(due)
            came = self._heard()
        return came

    def _ask_driver(self, owner: int, effect: e.Effect) -> Any:
        """Perform one effect through the production driver."""
        answers = self.driver.perform(((owner, effect),))
        if self.transport.heard:
            return self._heard()
        return answers[0][1] if answers else self.tasks.ran  # only a task is not answered at once

    def _heard(self) -> Any:
        """What follows from what the broker has said; ``None``: something is not confirmed yet."""
        heard, self.transport.heard = self.transport.heard, []
        answers = [answer for event in heard for answer in self.driver.heard(event)]
        return answers[0][1] if answers else None

    def _answer(self, process: Process, slot: Slot, answer: Any) -> None:
        """Give the machine its answer and take its next effect."""
        slot.since = self.step
        if type(answer) is Ran:
            if answer.inner:
                slot.ran, slot.inner, slot.answer = answer, answer.inner, answer.answer
                return
            answer = answer.answer
        elif slot.inner:
            slot.inner = slot.inner[1:]
            if type(answer) is TxnReply and not answer.held:
                slot.inner, slot.answer = (), TaskFailed(_OVER)
            else:
                lost.from_here(self, slot)
            return
        if type(answer) is Published:
            assert isinstance(slot.effect, e.Publish)
            slot.unroutable += answer.unroutable
            slot.part += 1
            if slot.part < len(slot.effect.messages):
                return
            answer = Published(slot.unroutable)
            slot.part, slot.unroutable, slot.reordered = 0, (), False
        elif type(answer) is TaskDone:
            slot.outcome = answer.outcome
        slot.asked_ms = self.clock.time_ms
        slot.state, slot.effect = self.program.memo.step(slot.machine, slot.state, answer, slot.asked_ms)
        if type(slot.state) is Running:
            slot.attempt = slot.state.claim.attempt
        if slot.effect is None:
            del process.slots[slot.owner]
            if slot.machine is self.program.signal:
                self.told = {**self.told, slot.call_id: slot.state}

    # ── watching ──────────────────────────────────────────────────────────────────────────────

    def record(self, process: str, path: str, nth: int, effect: str, nr: int, mode: str | None, answer: Any) -> None:
        step = _new_step(TraceStep, (self.clock.time_ms, process, path, nth, effect, nr, mode or "", answer))
        self._trace = (self._trace, step)
        if mode is not None:
            self.modes_struck |= {mode}
            self._recoveries = 0  # what a fault undoes is recovered from, however late it strikes

    def _observe(self, slot: Slot, txn: Txn, reply: Any) -> None:
        self.history, change = self.history.observe(txn, reply, slot.call_id, slot.outcome)
        if change is None:
            return
        self.idle = 0
        if change.granted is not None:
            slot.claimed_ms = self.clock.time_ms
        if change.created:
            self.paths = {**self.paths, **{call.key: call.path for call in change.created}}
        if self.program.remembers_past:
            self.past = (self.past, self.store.copy(self.clock), self.history.fork())
        self.watch.changed(self, slot, change)

    def finish(self) -> None:
        """Nothing can happen any more: what do the laws say of that?"""
        self.watch.ends(self)
        for check in self.program.checks:
            check(self)

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

    def is_waiting(self, run_id: str) -> bool:
        """Whether nothing of the run is left to do, but a join of it waits for the outside."""
        if any(call.key[0] == run_id and not call.settled and not call.dead for call in self.history.calls.values()):
            return False
        return any(join.key[0] == run_id and join.waits_outside for join in self.history.joins.values())

    def struck(self, *modes: str) -> bool:
        """Whether a fault of one of these modes has struck."""
        return not self.modes_struck.isdisjoint(modes)

    def is_unlisted(self) -> bool:
        """Whether something is gone that only the recovery scan could bring back, and no list names the run."""
        return self.struck(f.OPEN_EVICTED) and self.struck(*f.RECOVERED)

    def has_choice(self) -> bool:
        """Whether what a run without faults did was one of several right things to do."""
        if any(join.record.at_least < len(join.record.needs) for join in self.history.joins.values()):
            return True
        return any(need.count > 1 for join in self.history.joins.values() for need in join.record.needs)

    def committed_graph(self) -> frozenset[tuple[str, Any]]:
        """Which call committed what. Whether a signal comes before the end of its run is nobody's business here."""
        calls = [call for call in self.history.calls.values() if call.commits and not call.is_signal]
        return frozenset((call.path, call.outcome) for call in calls)


_new_step = tuple.__new__  # a third faster than TraceStep(...), and made once per step


_OVER = Failure("PwfError", "the attempt is over: its lease ran out and another attempt began")
"""How a task fails whose step can no longer be remembered."""
