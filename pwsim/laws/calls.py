"""Laws about single calls: L1, L2, L5, L8."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pwf_runtime.core import keys as k
from pwf_runtime.core.effects import RunTask
from pwf_runtime.core.ids import derive
from pwf_runtime.core.model import Message, Outcome

from .base import Law

if TYPE_CHECKING:
    from ..history import Change
    from ..world.process import Process, Slot
    from ..world.world import World


class CommitsOnce(Law):
    """A call commits at most once."""

    name, title = "L1", "a call commits at most once"

    def changed(self, world: World, slot: Slot, change: Change) -> None:
        call = change.committed
        if call is not None and call.commits > 1:
            raise self.broken(f"{call.path} committed {call.commits} times")


class CreatesExactly(Law):
    """What a commit created is exactly what its task returned: no ghost, no loss."""

    name, title = "L2", "a commit creates exactly what its task returned"

    def changed(self, world: World, slot: Slot, change: Change) -> None:
        call = change.committed
        if call is None or slot.outcome is None or call.commits > 1:
            return
        created = {child.key[1] for child in change.created}
        armed = {join.key[1] for join in change.armed}
        calls, joins = _expected(call.key[1], slot.outcome)
        if created != calls or armed != joins:
            ghosts = sorted(child.path for child in change.created if child.key[1] not in calls)
            raise self.broken(
                f"the commit of {call.path} created {len(created)} calls and {len(armed)} joins "
                f"where its task returned {len(calls)} and {len(joins)}"
                + (f" (not asked for: {', '.join(ghosts)})" if ghosts else "")
            )


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
        call = change.committed
        if call is not None and slot.attempt and slot.attempt != call.attempt:
            raise self.broken(
                f"attempt {slot.attempt} of {call.path} committed after attempt {call.attempt} was granted"
            )

    def runs(self, world: World, process: Process, slot: Slot, effect: RunTask) -> None:
        run_id, call_id = effect.message.run_id, effect.message.call_id
        mine = world.history.path(run_id, call_id)
        if not self._holds_lease(world, slot):
            if world.clock.time_ms < slot.claimed_ms + world.program.steps.lease_ms:
                raise self.broken(f"{mine} runs in {process.name}, which holds no lease on it")
            return  # its worker outlived its lease
        ancestors = self._ancestors(world, run_id, call_id)
        for other in world.processes:
            for busy in other.slots.values():
                if busy is slot or not busy.is_running or busy.run_id != run_id or busy.call_id not in ancestors:
                    continue
                if self._holds_lease(world, busy):
                    raise self.broken(f"{mine} runs in {process.name} while {busy.path} still runs in {other.name}")

    def _holds_lease(self, world: World, slot: Slot) -> bool:
        run = world.store.runs.get(slot.run_id)
        holder = run.holder(slot.call_id, world.clock.time_ms) if run is not None else None
        return holder is not None and holder[0] == slot.token

    def _ancestors(self, world: World, run_id: str, call_id: str) -> set[str]:
        """The call and all from which it follows."""
        found = {call_id}
        while call_id := world.history.calls[run_id, call_id].record.parent:
            found.add(call_id)
        return found


class Ordered(Law):
    """Nothing is shown before it is durable: no publish before its commit, no ack before its settle."""

    name, title = "L8", "no publish before its commit, no ack before its settle"

    def publishes(self, world: World, slot: Slot, message: Message) -> None:
        if (message.run_id, message.call_id) not in world.history.calls:
            raise self.broken(
                f"{message.task} was published by {slot.path or 'the client'} before any commit created it"
            )

    def acks(self, world: World, slot: Slot) -> None:
        run = world.store.runs.get(slot.run_id)
        if run is None or not slot.call_id or world.will_return(slot):
            return
        state = run.fields.get(k.state(slot.call_id))
        if state == k.COMMITTED:
            raise self.broken(f"the last delivery of {slot.path} was acked after its commit, before it settled")
        holder = run.holder(slot.call_id, world.clock.time_ms)
        if state == k.READY and holder is not None and holder[0] == slot.token:
            raise self.broken(f"the last delivery of {slot.path} was acked by its lease holder, before it committed")
