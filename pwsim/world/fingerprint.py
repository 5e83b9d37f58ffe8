"""What two worlds must have in common to have the same future: the key under which a search knows them.

Left out is what only names things or orders them by default (owners, steps, counts of deliveries), and which of several
workers of the same queue is which. Kept is what the laws remember. Times are kept absolute: worlds that differ in them
are different, which costs states and never soundness.
"""

from __future__ import annotations

from collections.abc import Hashable

from .. import faults as f
from .process import Process, Slot
from .world import World


def fingerprint(world: World) -> int:
    """A 64-bit hash of it: among a million worlds two different ones collide with a chance of some 3 in 10^8."""
    places = _places(world)
    seen = (_store(world), _broker(world, places), _processes(world, places), _history(world), world.clock.time_ms)
    return hash(seen)


def _store(world: World) -> Hashable:
    now = world.clock.time_ms
    runs = tuple(
        [
            (
                run_id,
                frozenset(run.fields.items()),
                frozenset([(lease, held) for lease, held in run.leases.items() if held[1] > now]),
            )
            for run_id, run in world.store.runs.items()
        ]
    )
    return runs, tuple([frozenset(entries.items()) for entries in world.store.indexes.values()])


def _broker(world: World, places: dict[tuple[int, int], int]) -> Hashable:
    """What is in each queue, in order, and what would come back to it."""
    unacked = [
        (queue, queued.body, places[channel, tag])
        for channel, held in world.broker.unacked.items()
        for tag, (queue, queued) in held.items()
    ]
    waiting = [tuple([(item.body, item.redelivered) for item in queued]) for queued in world.broker.queues.values()]
    return tuple(waiting), frozenset(unacked)


def _processes(world: World, places: dict[tuple[int, int], int]) -> Hashable:
    """Workers of one queue may change places: their forms are put in an order of their own."""
    forms = sorted([(process.queue, hash(_process(process, places))) for process in world.processes])
    told = frozenset([(call_id, type(state)) for call_id, state in world.told.items()])
    return tuple(forms), tuple(world.to_start), frozenset(world.to_signal), told, tuple(world.to_mark), world.ledger


def _places(world: World) -> dict[tuple[int, int], int]:
    """Of each unacked delivery, by channel and tag: behind how many of what waits it would come back, if that depends
    on where it was."""
    keeps = world.broker.returns == "place"
    return {
        (channel, tag): sum([item.place < queued.place for item in world.broker.queues[queue]]) if keeps else 0
        for channel, unacked in world.broker.unacked.items()
        for tag, (queue, queued) in unacked.items()
    }


def _process(process: Process, places: dict[tuple[int, int], int]) -> Hashable:
    return process.frozen_until, tuple([_slot(slot, places) for slot in process.slots.values()])


def _slot(slot: Slot, places: dict[tuple[int, int], int]) -> Hashable:
    delivery = slot.delivery
    place = places.get((delivery.channel, delivery.tag)) if delivery is not None else None
    progress = (slot.part, slot.reordered, slot.unroutable, slot.struck, slot.asleep_until, len(slot.inner))
    return slot.state, id(slot.outcome), slot.answer, place, progress, slot.woke, slot.lost_after


def _history(world: World) -> Hashable:
    """What the laws remember: calls, joins, and which kinds of faults have struck."""
    history = world.history
    calls = tuple([(c.commits, c.settled, c.dead, c.attempt, id(c.outcome)) for c in history.calls.values()])
    joins = tuple([(join.fired, join.expired) for join in history.joins.values()])
    return calls, joins, world.modes_struck & f.ASKED_ABOUT
