"""What each fault does to a world. ``faults`` names the modes; here they strike.

``before`` and ``after`` are called around an effect that a fault strikes, and say whether it goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pwf_runtime.core.effects import OPEN, TIMERS
from pwf_runtime.core.inputs import TaskDone
from pwf_runtime.core.model import Outcome
from pwf_runtime.pause import FIRST_S

from .. import faults as f
from .. import pauses
from .broker import Broker
from .process import Process, Slot

if TYPE_CHECKING:
    from .world import World

LOSES = (f.LOST, f.QUEUE_LOST, f.LIMIT)
REFUSES = (f.NACKED, f.UNCONFIRMED, f.PARTLY)
BLOCKED_MS = 60_000


def lose(broker: Broker, queue: str, mode: str | None) -> None:
    """The broker loses the head of a queue, or all of it."""
    queued = broker.queues[queue]
    del queued[: len(queued) if mode == f.QUEUE_LOST else 1]


def before(world: World, process: Process, slot: Slot, mode: str) -> bool:
    """Strike before the effect is performed. Whether it is performed now."""
    if mode == f.BEFORE:
        crash(world, process)
        return False
    if mode == f.SHUTDOWN:
        _shut_down(world, process, slot)
        return False
    if mode == f.STALL:
        slot.struck = True
        process.frozen_until = world.clock.time_ms + 2 * world.program.steps.lease_ms
        world.broker.close_channel(process.channel, world.step)
        return False
    if mode == f.BLOCKED:
        slot.struck = True
        slot.asleep_until = world.clock.time_ms + BLOCKED_MS
        return False
    if mode == f.REQUEUE:
        _reopen(world, process)
    elif mode == f.REORDERED:
        slot.reordered = slot.reordered or slot.part == 0
    elif mode == f.LEASE_LOST:
        _end_lease(world, slot)
    elif mode in f.ROLLBACK:
        _fall_back(world, int(mode.partition("-")[2]))
    elif mode == f.EVICTED:
        world.store.evict(slot.run_id)
        world.history = world.history.without(slot.run_id)
    elif mode in _LISTS:
        world.store.indexes.pop(_LISTS[mode], None)
    elif pauses.is_pause(mode):
        _go_down(world, pauses.length_ms(mode))
        return False
    return True


_LISTS = {f.TIMERS_EVICTED: TIMERS, f.OPEN_EVICTED: OPEN}


def _end_lease(world: World, slot: Slot) -> None:
    """The lease ends early, if it is still this slot's. As the laws see it, its worker has outlived it."""
    run = world.store.runs.get(slot.run_id)
    held = run.leases.get(slot.call_id) if run is not None else None
    if held is not None and held[0] == slot.token:
        with world.store.changing(slot.run_id) as run:
            del run.leases[slot.call_id]
        slot.claimed_ms -= world.program.steps.lease_ms


def after(world: World, process: Process, slot: Slot, mode: str, answer: Any) -> bool:
    """Strike after the effect was performed. Whether its answer is heard now."""
    if mode == f.AFTER:
        crash(world, process)
        return False
    if mode == f.REPLY_LOST:
        slot.since = world.step
        return False
    if mode in (f.SLOW, f.CONSUMER_TIMEOUT):
        slot.answer = answer
        slot.asleep_until = world.clock.time_ms + 5 * world.program.steps.lease_ms // 2
        if mode == f.CONSUMER_TIMEOUT:
            _reopen(world, process)
        return False
    if mode in REFUSES:
        slot.answer = answer
        slot.asleep_until = world.clock.time_ms + round(FIRST_S * 1000)
        return False
    if mode == f.LEASE_LATE and slot.run_id in world.store.runs:
        with world.store.changing(slot.run_id) as run:
            if slot.call_id in run.leases:
                token, end = run.leases[slot.call_id]
                run.leases[slot.call_id] = (token, end + 2 * world.program.steps.lease_ms)
    elif mode == f.DIFFERS and isinstance(answer.answer, TaskDone):
        slot.answer = answer._replace(answer=TaskDone(_differently(answer.answer.outcome)))
        slot.since = world.step
        return False
    return True


def crash(world: World, process: Process) -> None:
    """All it holds in memory is gone; a new one takes its place, and a client begins its runs and sends its signals
    again."""
    if process is world.client:
        program, slots = world.program, process.slots.values()
        begun = {slot.run_id for slot in slots if slot.machine is program.start}
        sent = {(slot.run_id, slot.call_id) for slot in slots if slot.machine is program.signal}
        world.to_start += [start for start in program.starts if start.run_id in begun]
        world.to_signal += [each for each in program.signals if (each.run_id, each.call_id) in sent]
    process.slots = {}
    _reopen(world, process)


def _reopen(world: World, process: Process) -> None:
    """Its channel goes, with all that is unacked on it, and it opens another."""
    world.broker.close_channel(process.channel, world.step)
    process.channel = world.broker.open_channel()


def _shut_down(world: World, process: Process, slot: Slot) -> None:
    """A worker that is told to stop gives back the lease of what it cannot finish."""
    assert slot.message is not None
    world.driver.perform([(slot.owner, world.program.steps.release(slot.message, slot.token))])
    crash(world, process)


def _go_down(world: World, pause_ms: int) -> None:
    """Every worker is off, time passes, and then as many begin with empty hands. Who begins a run waits, and asks no
    more for one whose retention is over: with that id it would begin another."""
    *workers, client = map(world.own, range(len(world.processes)))
    for process in workers:
        crash(world, process)
        process.frozen_until = None
    world.pass_until(world.clock.time_ms + pause_ms)
    world.store.expire()
    forgotten = world.history.status.keys() - world.store.runs.keys()
    world.to_start = [start for start in world.to_start if start.run_id not in forgotten]
    world.to_signal = [sending for sending in world.to_signal if sending.run_id not in forgotten]
    client.slots = {owner: slot for owner, slot in client.slots.items() if slot.run_id not in forgotten}


def _fall_back(world: World, writes: int) -> None:
    """The store is as it was ``writes`` writes ago; so is what survives of history."""
    past = world.past
    for _ in range(writes):
        if past is None or past[0] is None:
            break
        past = past[0]
    if past is None:
        return
    world.past = past
    world.store.fall_back(past[1])
    world.history = past[2].fork()


def _differently(outcome: Outcome) -> Outcome:
    """Another answer: less by the last thing that it asked for."""
    for kind in ("joins", "calls", "events", "forks"):
        if items := getattr(outcome, kind):
            return replace(outcome, **{kind: items[:-1]})
    return replace(outcome, result=b"\xa9different" if outcome.result is not None else None)
