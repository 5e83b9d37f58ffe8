"""``ctx.lost``: a worker that stalled beyond its lease goes on, and its task may ask.

A task's function is executed at once, and what it does is played afterwards. So when a worker wakes whose lease is
over, the function is executed again: up to what it has done by now it is told what it was told, and then the truth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pwf_runtime.core.effects import RunTask

from ..program import Ran

if TYPE_CHECKING:
    from .process import Slot
    from .world import World


def at_first(world: World, slot: Slot, ran: Ran) -> Ran:
    """What a task does that has just begun, by a worker that may have slept since its claim."""
    if not _is_lost(world, slot):
        return ran
    return _again(world, slot, ran, 0)


def from_here(world: World, slot: Slot) -> None:
    """The task has done one thing more, and its worker may have slept before that."""
    ran = slot.ran
    if ran is None or slot.lost_after is not None or not _is_lost(world, slot):
        return
    done = len(ran.inner) - len(slot.inner)
    ran = _again(world, slot, ran, done)
    slot.inner, slot.answer = ran.inner[done:], ran.answer


def _is_lost(world: World, slot: Slot) -> bool:
    """A worker knows by its own clock, when it wakes. Of a lease that ends early it learns with the next renewal."""
    if not slot.woke or not world.program.asked_lost:
        return False
    run = world.store.runs.get(slot.run_id)
    held = run.holder(slot.call_id, world.clock.time_ms) if run is not None else None
    return held is None or held[0] != slot.token


def _again(world: World, slot: Slot, ran: Ran, done: int) -> Ran:
    assert isinstance(slot.effect, RunTask)
    slot.lost_after = done
    return world.program.run_task(slot.effect, ran.remembered, done)
