"""The engine of a worker: one thread that steps the machines and has the driver perform what they ask for.

A *turn* takes whatever has come in (deliveries, confirms, ends of tasks), steps every machine that has an answer,
admits deliveries while there are free slots, and performs all that was asked for together: one pipeline to the store,
one batch to the broker. Batching is what makes it fast, and it needs no waiting: while one turn is under way the next
one's work gathers in the inbox.

Rules of this file
------------------
- Everything but ``inbox`` belongs to the engine's thread.
- A *slot* is a call between its claim and the end of its task. Deliveries without a slot wait in the backlog,
  unclaimed, so that no call holds a lease without being run soon. There are as many slots as tasks run at a time, and
  more while tasks are short (see ``executions``), because short tasks need larger batches.
- No delivery can end the engine: one whose machine raises is kept with the traceback, acked, and shown to people.
- While the store is away nothing is asked of it but the one retry; what machines ask for is held until it answers.
"""

from __future__ import annotations

import itertools
import logging
import secrets
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, TypeAlias

from msgspec import Struct

from . import duties, facts, failures, trace
from .chores import KeepMachine, Renewed, RenewMachine
from .clock import Clock, SystemClock
from .codec import decode_message
from .config import Settings, trace_file
from .core.delivery import DeliveryMachine
from .core.effects import TIMERS, Effect, IndexAdd, RunTask
from .core.inputs import Damaged
from .core.machine import Machine
from .core.model import Marker
from .core.recover import ScanMachine
from .core.states import Claiming, Failing, Gathering, Running
from .core.steps import Steps
from .driver import Answer, Asked, Driver, Owner
from .errors import DecodeError, PwfError, RunDamaged, ServerRefused
from .executions import Executions
from .pause import NEVER, Pause
from .store.base import Store
from .tasks import Ended, Execution
from .transport.base import Delivery, Down, Refused, Transport, TransportEvent, Up
from .workflow import AnyTask

log = logging.getLogger("pwf")

SLOTTED = frozenset((Claiming, Gathering, Running))


class Stop(Struct, frozen=True):
    """To the inbox: end, and give running tasks ``grace`` seconds."""

    grace: float


Item: TypeAlias = "Sequence[TransportEvent] | Ended | Stop"


class Activity:
    """A machine under way. ``since``: when it was begun or last asked for a claim, monotonic."""

    __slots__ = ("delivery", "duty", "ended", "machine", "since", "slotted", "state")

    def __init__(self, machine: Machine, since: float, delivery: Delivery | None = None) -> None:
        self.machine = machine
        self.since = since
        self.delivery = delivery
        self.state: Any = None
        self.slotted = False
        self.duty: duties.Duty | None = None
        self.ended: Callable[[Any], None] | None = None


class Engine:
    """Consumes ``queues`` and runs ``tasks`` (by full name) until it is told to stop. One ``run`` per engine."""

    def __init__(
        self,
        queues: Sequence[str],
        tasks: Mapping[str, AnyTask],
        store: Store,
        transport: Transport,
        settings: Settings,
        *,
        clock: Clock | None = None,
        on_ready: Callable[[], None] | None = None,
    ) -> None:
        self.inbox: SimpleQueue[Item] = SimpleQueue()
        self._queues = tuple(queues)
        self._store = store
        self._transport = transport
        self._settings = settings
        self._clock = clock or SystemClock()
        self._on_ready = on_ready
        self._executions = Executions(tasks, store, settings, self.inbox.put)
        self._driver = Driver(store, transport, self._run_task)
        self._driver.heard(Down("not connected yet"))

        self._steps = steps = Steps(settings.lease_ms, settings.retention_ms)
        self._deliveries = DeliveryMachine(steps, {name: task.retry for name, task in tasks.items()})
        self._scans, self._keeps, self._renews = ScanMachine(steps), KeepMachine(), RenewMachine(steps)
        self._sweep = duties.sweeping(steps, monotonic())
        self._duties = [self._sweep, *duties.others(steps, self._queues, settings, monotonic())]

        if file := trace_file(settings):
            machines = (self._deliveries, self._scans, self._keeps, self._renews, *[d.machine for d in self._duties])
            trace.watch(file, self._clock, settings.recovery_ms, machines)
        if settings.history:
            facts.keep(self._deliveries, self._clock, settings.history)

        self._owners = itertools.count(1)
        self._token = f"{secrets.token_hex(8)}-"  # with the owner's number: unique over processes and restarts
        self._activities: dict[Owner, Activity] = {}
        self._backlog: deque[Delivery] = deque()
        self._answers: list[Answer] = []
        self._asked: list[Asked] = []
        self._slots = 0
        self._up = False
        self._was_up = False
        self._outage = Pause()  # runs while the store is away
        self._publish_at = NEVER  # the broker refused something
        self._stop_at: float | None = None

    def stop(self, grace: float | None = None) -> None:
        """End, from any thread or signal handler. ``run`` returns when running tasks have ended, or after ``grace``."""
        self.inbox.put(Stop(self._settings.grace if grace is None else grace))

    def run(self) -> None:
        """Work until stopped. Raises ServerRefused when a server is there and will not have us."""
        self._transport.start(self.inbox.put, self._queues, self._settings.prefetch_count)
        try:
            while not self._is_over():
                self._turn()
        finally:
            self._release()
            self._executions.close()
            self._transport.close()

    # ── a turn ────────────────────────────────────────────────────────────────────────────────

    def _turn(self) -> None:
        self._listen()
        now, now_ms = monotonic(), self._clock.now_ms()
        if self._outage.is_over(now):
            self._retry()
        self._publish_again(now)
        self._look_at_the_clock(now, now_ms)
        self._step(now, now_ms)
        if not self._outage.runs:
            self._admit(now, now_ms)
            asked, self._asked = self._asked, []
            if asked:
                self._answers += self._perform(asked)

    def _listen(self) -> None:
        """Take what has come in. With nothing else to do, wait for it, until the next thing is due."""
        idle = not self._answers and (not self._asked or self._outage.runs)
        try:
            item = self.inbox.get(timeout=max(0.0, self._next_due() - monotonic())) if idle else self.inbox.get_nowait()
        except Empty:
            return
        self._take(item)
        for _ in range(self.inbox.qsize()):  # and not what comes meanwhile: the turn has to end
            self._take(self.inbox.get_nowait())

    def _next_due(self) -> float:
        due = min(monotonic() + 60.0, self._executions.next_due(), self._outage.at, self._publish_at)
        if not self._outage.runs and self._up and self._stop_at is None:
            due = min(due, min([duty.due for duty in self._duties if not duty.under_way], default=due))
        if self._stop_at is not None:
            due = min(due, self._stop_at)
        return due

    def _take(self, item: Item) -> None:
        if isinstance(item, Ended):
            answer = self._executions.ended(item)
            if answer is not None:
                self._answers.append(answer)
        elif isinstance(item, Stop):
            self._begin_to_stop(item.grace)
        else:
            for event in item:
                if isinstance(event, Delivery):
                    if self._stop_at is None:
                        self._backlog.append(event)
                else:
                    self._answers += self._driver.heard(event)
                    if isinstance(event, (Up, Down, Refused)):
                        self._connection(event)

    def _connection(self, event: Up | Down | Refused) -> None:
        if isinstance(event, Refused):
            raise ServerRefused(event.reason)
        if isinstance(event, Down):
            log.warning("no connection to RabbitMQ: %s; it is tried again, and nothing is lost meanwhile", event.reason)
        elif self._was_up:
            log.warning("RabbitMQ is back; consuming %s", ", ".join(self._queues))
        self._up = isinstance(event, Up)
        if self._up and not self._was_up:
            self._was_up = True
            if self._on_ready is not None:
                self._on_ready()

    # ── machines ──────────────────────────────────────────────────────────────────────────────

    def _step(self, now: float, now_ms: int) -> None:
        answers, self._answers = self._answers, []
        for owner, input in answers:
            activity = self._activities.get(owner)
            if activity is None:
                continue
            before = activity.state
            try:
                state, effect = activity.machine.step(before, input, now_ms)
            except Exception as error:
                self._broken(owner, RunDamaged(input.run_id, input.what) if isinstance(input, Damaged) else error)
            else:
                self._went(owner, activity, state, effect)
                if type(before) is Failing:
                    failures.tell(before, input, now_ms)
                if type(effect) is IndexAdd and effect.index == TIMERS:
                    self._expect(effect, now, now_ms)

    def _begin(self, owner: Owner, activity: Activity, state: Any, effect: Effect | None) -> None:
        self._activities[owner] = activity
        self._went(owner, activity, state, effect)

    def _went(self, owner: Owner, activity: Activity, state: Any, effect: Effect | None) -> None:
        activity.state = state
        if type(state) is Claiming:
            activity.since = monotonic()
        if activity.slotted is not (type(state) in SLOTTED):
            self._slots += -1 if activity.slotted else 1
            activity.slotted = not activity.slotted
        if effect is not None:
            self._asked.append((owner, effect))
            return
        del self._activities[owner]
        if activity.duty is not None:
            activity.duty.under_way = False
            activity.duty.due = monotonic() + activity.duty.pause(state)
        if activity.ended is not None:
            activity.ended(state)

    def _expect(self, timers: IndexAdd, now: float, now_ms: int) -> None:
        """Sweep when these are due, and not only at the next look."""
        first = min(due_ms for _, due_ms in timers.entries)
        self._sweep.due = min(self._sweep.due, now + (first - now_ms + 1) / 1000)

    def _broken(self, owner: Owner, error: Exception) -> None:
        """This machine cannot go on. It may be a bug or a damaged record; either way the others must."""
        activity = self._activities.pop(owner)
        self._slots -= activity.slotted
        self._executions.give_up(owner)
        damaged = isinstance(error, RunDamaged)  # by whomever: our own code is not to be blamed
        what, trace = (str(error), None) if damaged else (repr(activity.state)[:500], error)
        if activity.duty is not None:
            log.error("%s failed: %s; it is tried again", activity.duty.name, what, exc_info=trace)
            activity.duty.under_way = False
            activity.duty.due = monotonic() + duties.AFTER_TROUBLE_S
        if activity.delivery is None:
            return
        if activity.machine is self._keeps:
            log.error("a message cannot be kept: %s; it comes back when this worker ends", what, exc_info=trace)
            return
        log.error("a delivery cannot be dealt with: %s; kept, see `pwf dead list`", what, exc_info=trace)
        reason = what if trace is None else "".join(traceback.format_exception(trace, limit=-8))
        self._keep(owner, activity.delivery, reason)

    def _keep(self, owner: Owner, delivery: Delivery, reason: str) -> None:
        state, effect = self._keeps.begin(delivery.queue, delivery.body, reason, self._clock.now_ms())
        self._begin(owner, Activity(self._keeps, monotonic(), delivery), state, effect)

    # ── deliveries ────────────────────────────────────────────────────────────────────────────

    def _admit(self, now: float, now_ms: int) -> None:
        room = self._executions.room() if self._backlog else 0
        while self._backlog and self._slots < room:
            delivery = self._backlog.popleft()
            owner = next(self._owners)
            self._driver.holds(owner, delivery)
            try:
                message = decode_message(delivery.body)
            except DecodeError as error:
                log.error("unreadable message in %s: %s; kept, see `pwf dead list`", delivery.queue, error)
                self._keep(owner, delivery, str(error))
                continue
            if isinstance(message, Marker):
                self._begin(owner, Activity(self._scans, now, delivery), *self._scans.begin(message))
            else:
                again = self._clock.now_ms() if delivery.redelivered else None
                begun = self._deliveries.begin(message, f"{self._token}{owner:x}", again)
                self._begin(owner, Activity(self._deliveries, now, delivery), *begun)

    def _run_task(self, owner: Owner, asked: RunTask) -> None:
        self._executions.start(owner, asked, self._activities[owner].since)

    # ── what is due ───────────────────────────────────────────────────────────────────────────

    def _look_at_the_clock(self, now: float, now_ms: int) -> None:
        self._answers += self._executions.timed_out(now)
        for execution in self._executions.to_renew(now):
            self._renew(execution, now)
        if self._up and self._stop_at is None and not self._outage.runs:
            for duty in self._duties:
                if duty.due <= now and not duty.under_way:
                    self._do(duty, now, now_ms)

    def _do(self, duty: duties.Duty, now: float, now_ms: int) -> None:
        duty.under_way = True
        activity = Activity(duty.machine, now)
        activity.duty = duty
        self._begin(next(self._owners), activity, *duty.begin(now_ms))

    def _renew(self, execution: Execution, now: float) -> None:
        execution.renewing = True
        activity = Activity(self._renews, now)
        activity.ended = self._on_renewal(execution, now)
        begun = self._renews.begin(execution.asked.message, execution.asked.token)
        self._begin(next(self._owners), activity, *begun)

    def _on_renewal(self, execution: Execution, sent: float) -> Callable[[Renewed], None]:
        def ended(renewed: Renewed) -> None:
            execution.renewing = False
            if renewed.held:
                execution.lease_end = sent + self._settings.lease
            elif self._executions.is_running(execution) and not execution.lost_lease:
                execution.lost_lease = True
                message = execution.asked.message
                log.warning("run %s: the lease of %s %s is lost", message.run_id, message.task, message.call_id)

        return ended

    # ── the store ─────────────────────────────────────────────────────────────────────────────

    def _perform(self, asked: list[Asked]) -> list[Answer]:
        try:
            answers = self._driver.perform(asked)
        except ServerRefused:
            raise
        except Exception as error:
            answers = self._one_by_one([one for one in asked if type(one[1]) is not RunTask], error)
        self._notice_outage()
        return answers

    def _one_by_one(self, asked: Sequence[Asked], error: Exception) -> list[Answer]:
        """One of these made the store raise; find which, so that the others get their answers."""
        log.warning("a batch of %d failed (%s); performing each by itself", len(asked), error)
        answers: list[Answer] = []
        for owner, effect in asked:
            try:
                answers += self._driver.perform([(owner, effect)])
            except ServerRefused:
                raise
            except Exception as culprit:
                self._broken(owner, culprit)
        return answers

    def _notice_outage(self) -> None:
        if self._driver.deferred and not self._outage.runs:
            log.warning("the store does not answer: %s; calls wait", self._driver.store_error)
            self._outage.begin(monotonic())

    def _retry(self) -> None:
        waiting = list(self._driver.deferred)
        try:
            self._answers += self._driver.retry()
        except ServerRefused:
            raise
        except Exception as error:
            self._answers += self._one_by_one(waiting, error)
        if self._driver.deferred:
            self._outage.lengthen(monotonic())
        else:
            self._outage.end()
            log.warning("the store answers again")

    # ── the broker ────────────────────────────────────────────────────────────────────────────

    def _publish_again(self, now: float) -> None:
        """What the broker did not take. It is said once in a series, because only people can make room."""
        before, self._publish_at = self._publish_at, self._driver.publish_again(now)
        if before == NEVER != self._publish_at:
            queues = ", ".join(f"{queue} ({count})" for queue, count in self._driver.refused().items())
            log.warning(
                "RabbitMQ does not take messages for %s (a full queue?); they are tried again, ever later", queues
            )

    # ── the end ───────────────────────────────────────────────────────────────────────────────

    def _begin_to_stop(self, grace: float) -> None:
        if self._stop_at is None:
            self._transport.stop_consuming()
            self._backlog.clear()  # unacked, so the broker gives them to others
            log.info("stopping: %d calls under way, %d s for them to end", len(self._deliveries_under_way()), grace)
        self._stop_at = monotonic() + grace

    def _is_over(self) -> bool:
        if self._stop_at is None:
            return False
        return monotonic() >= self._stop_at or not self._deliveries_under_way()

    def _deliveries_under_way(self) -> list[Activity]:
        return [activity for activity in self._activities.values() if activity.delivery is not None]

    def _release(self) -> None:
        """Let others take over at once what still runs, instead of after the lease."""
        releases = [self._steps.release(asked.message, asked.token) for asked in self._executions.give_up_all()]
        if not releases:
            return
        log.warning("%d tasks still run and are given up; other workers run them again", len(releases))
        try:
            self._store.txns(releases)
        except PwfError as error:
            log.warning("their leases could not be released (%s); others wait until they run out", error)
