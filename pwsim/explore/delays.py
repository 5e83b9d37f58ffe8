"""All schedules with up to d deviations from the default order, and up to k faults.

Most bugs of order need few deviations from a plain order (Emmi, Qadeer, Rakamaric, Delay-Bounded Scheduling, POPL
2011), so the bound is small where the number of all orders is not.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..faults import Fault
from ..program import Program
from ..runner import LAWS, Result, apply, finish
from ..schedule import Schedule
from ..world.world import World


def explore(program: Program, modes: frozenset[str], max_faults: int, deviations: int) -> Iterator[Result]:
    """Fewest deviations first, then fewest faults."""
    for few in range(deviations + 1):
        for faults in range(max_faults + 1):
            yield from _exactly(World(program, LAWS), modes, few, faults, Schedule())


def _exactly(world: World, modes: frozenset[str], deviations: int, faults: int, made: Schedule) -> Iterator[Result]:
    """All ways to go on from here with exactly so many more of both."""
    shared = world.step
    if not (deviations or faults):
        violation = finish(world)
        yield Result(world, made, violation, world.step - shared)
        return
    while True:
        actions = world.enabled()
        if not actions:
            if world.advance():
                continue
            return
        default = min(actions)
        for number, action in enumerate(actions):
            deviates = action != default
            if deviates and not deviations:
                continue
            chosen = (*made.deviations, (world.step, number)) if deviates else made.deviations
            at = world.point(action) if faults else None
            for mode in (None, *(at[1] if at is not None else ())):
                if (mode is None and not deviates) or (mode is not None and mode not in modes):
                    continue
                struck = (*made.faults, Fault(at[0], mode)) if at is not None and mode is not None else made.faults
                schedule, branch = Schedule(struck, chosen), world.copy()
                violation = apply(branch, action, mode)
                if violation is not None:
                    yield Result(branch, schedule, violation, 1)
                    continue
                left = (deviations - deviates, faults - (mode is not None))
                yield from _exactly(branch, modes, *left, schedule)
        if apply(world, default) is not None:
            return
