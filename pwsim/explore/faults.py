"""Every single fault, every pair, every triple ... in the default order.

The first run meets the crash points; at each a copy of the world goes on with a fault, and meets in turn the points
that only exist because of it. So a pair's second fault may strike in the recovery from the first.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..faults import Fault
from ..program import Program
from ..runner import LAWS, Result, apply, finish
from ..schedule import Schedule
from ..world.world import World


def explore(program: Program, modes: frozenset[str], many: frozenset[str], max_faults: int) -> Iterator[Result]:
    """The run without faults, then all schedules with one fault, then all with two, up to ``max_faults``.

    Single faults are of ``modes``; sets of several are of ``many``.
    """
    for count in range(max_faults + 1):
        yield from _exactly(World(program, LAWS), modes if count < 2 else many, count, (), 0)


def _exactly(
    world: World, modes: frozenset[str], count: int, faults: tuple[Fault, ...], shared: int
) -> Iterator[Result]:
    """All ways to go on from here with ``count`` more faults. ``shared``: the steps made before, for others too."""
    if not count:
        violation = finish(world)
        yield Result(world, Schedule(faults), violation, world.step - shared)
        return
    while True:
        actions = world.enabled()
        if not actions:
            if world.advance():
                continue
            return
        action = min(actions)
        at = world.point(action)
        if at is not None:
            point, possible = at
            for mode in possible:
                if mode not in modes:
                    continue
                branch, struck = world.copy(), (*faults, Fault(point, mode))
                violation = apply(branch, action, mode)
                if violation is not None:
                    yield Result(branch, Schedule(struck), violation, 1)
                else:
                    yield from _exactly(branch, modes, count - 1, struck, world.step)
        if apply(world, action) is not None:
            return  # this prefix breaks a law by itself, and was reported with fewer faults
