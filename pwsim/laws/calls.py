"""Laws about single calls: L1, L2, L5, L8, L9."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from pwf_runtime.core import keys as k
from pwf_runtime.core.effects import RunTask
from pwf_runtime.core.ids import derive
from pwf_runtime.core.model import Message, Outcome
from pwf_runtime.core.signal import Signalled
from pwf_runtime.core.states import Committing

from .. import faults as f
from .base import Law

if TYPE_CHECKING:
    from ..history import CallView, Change
    from ..world.process import Process, Slot
    from ..world.world import World


class CommitsOnce(Law):
    """A call commits at most once."""

    name, title = "L1", "a call commits at most once"

    def changed(self, world: World, slot: Slot, change: Change) -> None:
        call = change.committed
        if call is not None and call.commits > 1:
            done = "was counted" if call.is_signal else "committed"
            raise self.broken(f"{call.path} {done} {call.commits} times")


class CreatesExactly(Law):
    """What a commit created is exactly what its task returned, or what a signal says: no ghost, no loss."""

    name, title = "L2", "a commit creates exactly what its task returned"

    def changed(self, world: World, slot: Slot, change: Change) -> None:
        call = change.committed
        if call is None:
            self._beside_commits(slot, change)
        if call is None or slot.outcome is None or call.commits > 1:
            return
        created = {child.key[1] for child in change.created} - {call.key[1]}  # a signal creates itself
        armed = {join.key[1] for join in change.armed}
        calls, joins = _expected(call.key[1], slot.outcome)
        if created != calls or armed != joins:
            ghosts = sorted(child.path for child in change.created if child.key[1] not in calls)
            raise self.broken(
                f"the commit of {call.path} created {len(created)} calls and {len(armed)} joins "
                f"where its task returned {len(calls)} and {len(joins)}"
                + (f" (not asked for: {', '.join(ghosts)})" if ghosts else "")
            )
        events = _events(call, slot.outcome)
        if sorted(change.emitted) != sorted(events):
            raise self.broken(
                f"the commit of {call.path} emitted {len(change.emitted)} events where its task returned {len(events)}"
            )

    def _beside_commits(self, slot: Slot, change: Change) -> None:
        """Only a commit emits. Calls are created by a start and by a join that fires as well, each once."""
        if change.emitted:
            raise self.broken(f"{slot.path} emitted {change.emitted[0]!r} without a commit")
        if change.again and not change.fired:
            raise self.broken(f"{change.again[0].path} was created again")

    def ends(self, world: World) -> None:
        """A signal is counted if its sender was told so, and not if it was refused; unless the store forgot it."""
        for sending in () if world.struck(*f.FORGETS) else world.program.signals:
            told = world.told.get(sending.call_id)
            events = world.history.events.get((sending.run_id, sending.event), ())
            is_there = any(by == sending.call_id for _, by in events)
            if told is not None and is_there != isinstance(told, Signalled):
                counted, has = ("was counted", "does not take") if is_there else ("was not counted", "has")
                signal = f"the signal {sending.signal_id!r}"
                raise self.broken(f"{signal} {counted}, and its sender was told that the run {has} it")


def _events(call: CallView, outcome: Outcome) -> list[str]:
    """The names of the events that an outcome emits; a fork's member reports with an event of its own."""
    reports = [call.record.reports] if call.record.reports else []
    return [*(event.name for event in outcome.events), *reports]


@lru_cache(maxsize=4096)  # few calls commit few outcomes, over and over
def _expected(call: str, outcome: Outcome) -> tuple[set[str], set[str]]:
    """The ids of the calls and joins that an outcome stands for, told from the outcome alone."""
    calls = {derive(call, f"c{i}") for i in range(len(outcome.calls))}
    joins = {derive(call, f"j{i}") for i in range(len(outcome.joins))}
    calls |= {derive(call, f"j{i}.t") for i, join in enumerate(outcome.joins) if join.timeout_ms is not None}
    for i, fork in enumerate(outcome.forks):
        calls |= {derive(call, f"f{i}.{m}") for m in range(len(fork.calls))}
        joins |= {derive(call, f"f{i}")} if fork.then is not None else set()
    return calls, joins


class Fenced(Law):
    """At no time do two attempts hold a valid lease; a stale attempt changes nothing; no task runs beside its own
    successors, unless its worker outlived its lease."""

    name, title = "L5", "only the latest attempt counts, and no task runs beside itself or its successors"

    def changed(self, world: World, slot: Slot, change: Change) -> None:
        for call, what in ((change.committed, "committed"), (change.failed, "noted its failure")):
            if call is not None and slot.attempt and slot.attempt != call.attempt:
                raise self.broken(
                    f"attempt {slot.attempt} of {call.path} {what} after attempt {call.attempt} was granted"
                )

    def runs(self, world: World, process: Process, slot: Slot, effect: RunTask) -> None:
        run_id, call_id = effect.message.run_id, effect.message.call_id
        if not self._holds_lease(world, slot):
            outlived = world.clock.time_ms >= slot.claimed_ms + world.program.steps.lease_ms
            if not outlived and not world.struck(*f.FORGETS):
                raise self.broken(f"{slot.path} runs in {process.name}, which holds no lease on it")
            return
        ancestors = self._ancestors(world, run_id, call_id)
        for other in world.processes:
            for busy in other.slots.values():
                if busy is slot or not busy.is_running or busy.run_id != run_id or busy.call_id not in ancestors:
                    continue
                if isinstance(busy.state, Committing) and self._has_committed(world, run_id, busy.call_id):
                    continue  # its task has ended, it only has not heard yet that its answer is committed
                if self._holds_lease(world, busy) or not world.struck(f.STALL, *_ENDS_LEASES):
                    raise self.broken(
                        f"{slot.path} runs in {process.name} while {busy.path} still runs in {other.name}"
                    )

    def acks(self, world: World, slot: Slot) -> None:
        call = world.history.calls.get((slot.run_id, slot.call_id))
        if call is not None and slot.attempt and slot.attempt != call.attempt and self._holds_lease(world, slot):
            raise self.broken(f"attempt {slot.attempt} of {call.path} took the lease from attempt {call.attempt}")

    def _has_committed(self, world: World, run_id: str, call_id: str) -> bool:
        call = world.history.calls.get((run_id, call_id))
        return call is not None and call.commits > 0

    def _holds_lease(self, world: World, slot: Slot) -> bool:
        run = world.store.runs.get(slot.run_id)
        holder = run.holder(slot.call_id, world.clock.time_ms) if run is not None else None
        return holder is not None and holder[0] == slot.token

    def _ancestors(self, world: World, run_id: str, call_id: str) -> set[str]:
        """The call and all from which it follows."""
        found = {call_id}
        while (call := world.history.calls.get((run_id, call_id))) is not None and call.record.parent:
            call_id = call.record.parent
            found.add(call_id)
        return found


_ENDS_LEASES = (f.LEASE_LOST, *f.FORGETS)
"""Faults that take a lease from a worker which could not know it."""


class Ordered(Law):
    """Nothing is shown before it is durable: no publish before its commit, no ack before its settle."""

    name, title = "L8", "no publish before its commit, no ack before its settle"

    def publishes(self, world: World, slot: Slot, message: Message) -> None:
        key = (message.run_id, message.call_id)
        call = world.history.calls.get(key)
        if key not in world.paths or (call is not None and call.record.task != message.task):
            raise self.broken(
                f"{message.task} was published by {slot.path or 'the client'} before any commit created it"
            )

    def acks(self, world: World, slot: Slot) -> None:
        run = world.store.runs.get(slot.run_id)
        state = run.fields.get(k.state(slot.call_id)) if run is not None else None
        if run is None or state is None or world.will_return(slot) or world.is_cancelled(slot.run_id):
            return
        if world.struck(*f.FORGETS):
            return  # what a store has forgotten was durable when the ack was sent
        if state == k.COMMITTED:
            raise self.broken(f"the last delivery of {slot.path} was acked after its commit, before it settled")
        holder = run.holder(slot.call_id, world.clock.time_ms)
        if state == k.READY and holder is not None and holder[0] == slot.token:
            raise self.broken(f"the last delivery of {slot.path} was acked by its lease holder, before it committed")


class Punctual(Law):
    """A delay is a promise, and so is a cancellation: no call begins before its time, and none when its run is over."""

    name, title = "L9", "no call begins before it is due, or after its run was cancelled"

    def changed(self, world: World, slot: Slot, change: Change) -> None:
        call = change.granted
        if call is not None and call.due_ms > world.clock.time_ms:
            early = (call.due_ms - world.clock.time_ms) / 1000
            raise self.broken(f"{call.path} was claimed {early:g} s before it is due")
        for call, what in ((change.granted, "was claimed"), (change.committed, "committed")):
            if call is not None and change.status is None and world.is_cancelled(call.key[0]):
                raise self.broken(f"{call.path} {what} after its run was cancelled")
