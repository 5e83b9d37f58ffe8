"""What two worlds must have in common to have the same future: the key under which a search knows them.

Left out is what only names things or orders them by default (owners, steps, counts of deliveries), the ``redelivered``
flag, which no machine looks at, and which of several workers of the same queue is which. Kept is what the laws
remember. Times are kept absolute: worlds that differ in them are different, which costs states and never soundness.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from .process import Process, Slot
from .world import World


def fingerprint(world: World) -> int:
    """A 64-bit hash of it: among a million worlds two different ones collide with a chance of some 3 in 10^8."""
    return hash((_store(world), _broker(world), _processes(world), _history(world), world.clock.time_ms))


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


def _broker(world: World) -> Hashable:
    return tuple([tuple([item.body for item in queued]) for queued in world.broker.queues.values()])


def _processes(world: World) -> Hashable:
    """Workers of one queue may change places: their forms are put in an order of their own."""
    unacked = world.broker.unacked
    forms = sorted([(process.queue, hash(_process(process, unacked))) for process in world.processes])
    return tuple(forms), tuple(world.to_start), tuple(world.to_mark), world.ledger


def _process(process: Process, unacked: Mapping[int, Mapping[int, object]]) -> Hashable:
    return process.frozen_until, tuple([_slot(process, slot, unacked) for slot in process.slots.values()])


def _slot(process: Process, slot: Slot, unacked: Mapping[int, Mapping[int, object]]) -> Hashable:
    delivery = slot.delivery
    is_held = delivery is not None and delivery.tag in unacked.get(delivery.channel, ())
    progress = (slot.part, slot.reordered, slot.unroutable, slot.struck, slot.asleep_until, len(slot.inner))
    return slot.state, id(slot.outcome), slot.answer is None, is_held, progress


def _history(world: World) -> Hashable:
    history = world.history
    calls = tuple([(c.commits, c.settled, c.dead, c.attempt, id(c.outcome)) for c in history.calls.values()])
    return calls, tuple([(join.fired, join.expired) for join in history.joins.values()])
