"""Which step may be taken at once, before anybody else's: the reductions of ``exhaustive``.

A step may be *forced* when every schedule has an equal one that takes it first: equal in what the laws see of it and in
where it ends, up to which of several workers of a queue does what. So where one is found nothing else is tried. Each
rule below says why it holds. Two conditions stand above them all:

- *Calm*: no fault that can still strike takes a message from a worker which goes on (a stall, a dropped connection), or
  depends on what waits in a queue. A worker that dies is idle at once and takes the first message that is there: its
  own, or one that stands before it, and then another worker takes its own. So it makes no lasting difference when among
  the steps of others it dies, and a forced step is taken with its crashes, there and then.
- *Alone*: the worker has nothing else under way that a crash at this step would take along, or no crash is left.

The rules about claims that come first, relisting and runs that have completed lean on what production's transactions
do, and hold only where nothing that has ended goes on (``Program.is_final``).
"""

from __future__ import annotations

from pwf_runtime.core import keys as k
from pwf_runtime.core import states as s
from pwf_runtime.core import sweep
from pwf_runtime.core.effects import OPEN, TIMERS, Ack, RunTask
from pwf_runtime.core.txn import Is, Txn
from pwf_runtime.store.memory import Run

from .. import faults as f
from ..world.process import Process, Slot
from ..world.world import DELIVER, PERFORM, Action, World

CALM = frozenset((f.BEFORE, f.AFTER, f.REPLY_LOST))


def forced(world: World, actions: list[Action], left: int, modes: frozenset[str]) -> int | None:
    """The number of an action to be taken at once, if ``left`` more faults of these modes may strike."""
    if left and not modes <= CALM:
        return None
    for number, (_, kind, index, detail) in enumerate(actions):
        process = world.processes[index]
        if kind == PERFORM:
            if (not left or len(process.slots) == 1) and _is_forced(world, process, process.slots[detail], left):
                return number
        elif kind == DELIVER and process.capacity == 1 and _nothing_but_messages(world):
            return number
    return None


def _nothing_but_messages(world: World) -> bool:
    """An idle worker and a message for it: it takes it now, or another idle one does later, which is the same. Unless
    an idle worker may have something else to do, or one that is not idle comes back by itself: where timers are due, a
    marker is to be sent, or somebody sleeps."""
    if world.to_mark or any(p.frozen_until is not None for p in world.processes):
        return False
    timers = world.store.indexes.get(TIMERS)
    if timers and min(timers.values()) <= world.clock.time_ms:
        return False
    return not any(slot.asleep_until is not None for p in world.processes for slot in p.slots.values())


def _is_forced(world: World, process: Process, slot: Slot, left: int) -> bool:
    """Whether it makes no difference to anybody else when this slot's next effect happens."""
    effect, state = slot.effect, type(slot.state)
    if slot.inner or slot.answer is not None:
        return False
    if type(effect) is RunTask:
        return world.program.is_production  # a law asks who still runs where others run what follows; nobody does here
    if state is s.Parking or type(effect) is Ack:
        return True  # a timer for later; what only a crash of this worker would bring back
    if state is s.Gathering:
        return _is_latest(world, slot)  # what a fired join has got does not change while its call is open
    if state is s.Claiming and _is_only_message(world, slot):
        return True  # nobody else will look at this call before
    run = world.store.runs.get(slot.run_id)
    if run is None or not world.program.is_final:
        return False
    if state is s.Claiming and _comes_first(world, process, slot, run, left):
        return True
    if state is s.Relisting:
        return _is_listed(world, slot)
    return state is s.Listing or _fails_for_good(run, slot)  # nobody reads which runs have finished


def _is_latest(world: World, slot: Slot) -> bool:
    run = world.store.runs.get(slot.run_id)
    return run is not None and run.fields.get(k.attempt(slot.call_id)) == b"%d" % slot.state.claim.attempt


def _is_only_message(world: World, slot: Slot) -> bool:
    """Whether nothing but this slot's delivery will ever lead to its call: no other message, timer, or publisher."""
    call = world.history.calls.get((slot.run_id, slot.call_id))
    if call is None or slot.delivery is None or world.will_return(slot):
        return False
    if call.record.join:
        return not any(busy is not slot and busy.is_publishing for p in world.processes for busy in p.slots.values())
    parent = world.history.calls.get((slot.run_id, call.record.parent))
    return parent is not None and parent.settled


def _is_listed(world: World, slot: Slot) -> bool:
    """Its run is listed as open, and stays so until its call, which only this slot brings on, is settled."""
    call = world.history.calls.get((slot.run_id, slot.call_id))
    listed = world.store.indexes.get(OPEN, {})
    return call is not None and not call.settled and slot.run_id.encode() in listed and _is_only_message(world, slot)


def _comes_first(world: World, process: Process, slot: Slot, run: Run, left: int) -> bool:
    """Nobody has this call under way, so whoever claims it first is a worker with nothing but a message for it in hand:
    one like this. It is granted, or meets a dead worker's lease; neither changes while no claim is made."""
    call = world.history.calls.get((slot.run_id, slot.call_id))
    effect = slot.effect
    if call is None or call.record.expires or not isinstance(effect, Txn):
        return False
    if left and (process.capacity > 1 or world.broker.returns != "first"):
        return False  # others like it would leave something else behind when they die
    others = [other for p in world.processes for other in p.slots.values() if other is not slot]
    if any(isinstance(other.state, s.Noting | sweep.Noting) for other in others):
        return False  # these write to calls that nobody has
    rivals = [other for other in others if (other.run_id, other.call_id) == (slot.run_id, slot.call_id)]
    if any(type(each.state) not in (s.Claiming, s.Relisting) or each.machine is not slot.machine for each in rivals):
        return False
    ready = all(run.fields.get(each.field) == each.value for each in effect.compare if isinstance(each, Is))
    held = run.holder(slot.call_id, world.clock.time_ms)
    return ready and (held is None or all(held[0] != each.token for each in (*others, slot)))


def _fails_for_good(run: Run, slot: Slot) -> bool:
    """The run has completed, which is for good. Then a transaction that compares whether it is running, or looks for a
    call that is settled, only reads, and what it reads does not change any more."""
    effect = slot.effect
    if run.fields.get(k.STATUS) != k.COMPLETED or not isinstance(effect, Txn):
        return False
    final = (k.STATUS, k.state(slot.call_id))
    return final[1] not in run.fields and any(
        each.field in final and run.fields.get(each.field) != each.value
        for each in effect.compare
        if isinstance(each, Is)
    )
