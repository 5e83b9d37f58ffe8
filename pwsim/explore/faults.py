"""Every single fault, every pair, every triple ... in the default order.

The first run meets the crash points; at each a copy of the world goes on with a fault, and meets in turn the points
that only exist because of it. So a pair's second fault may strike in the recovery from the first.

Of pairs there are about as many as the square of single faults. Where that is too many, some are taken: see ``Sets``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache

from .. import pauses
from ..faults import Fault, modes_at
from ..program import Program
from ..runner import LAWS, Result, apply, finish
from ..schedule import Schedule
from ..world.world import World


class Sets:
    """Which sets of several faults are played: all (``most`` is ``None``), or about ``most`` of each size.

    How many pairs there are is known when all single faults have been played: each may be followed by those that its
    schedule meets afterwards. ``played``: how many sets were played, by their size.
    """

    def __init__(self, most: int | None = None) -> None:
        self.most = most
        self.singles = 0
        self.pairs = 0
        self.played: Counter[int] = Counter()
        self._met: Counter[int] = Counter()

    @property
    def are_all(self) -> bool:
        """Whether every one is played."""
        return self.most is None or self.pairs <= self.most

    def begin(self) -> None:
        """Sets of another size follow."""
        self._met.clear()

    def takes(self, struck: int) -> bool:
        """Whether to play what strikes next, after ``struck`` others: evenly many of all, and the same each time."""
        if not struck or self.are_all:
            return True
        assert self.most is not None
        one_in = self.pairs / self.most if struck == 1 else max(1.0, self.pairs / self.singles)
        self._met[struck] += 1
        return self._met[struck] * _GOLDEN % 1.0 < 1 / one_in


_GOLDEN = 0.6180339887498949
"""Its multiples, without what is before the point, fill the interval from 0 to 1 evenly wherever one begins."""


def explore(
    program: Program, modes: frozenset[str], many: frozenset[str], max_faults: int, sets: Sets | None = None
) -> Iterator[Result]:
    """The run without faults, then all schedules with one fault, then those with two, up to ``max_faults``.

    Single faults are of ``modes``; sets of several are of ``many``.
    """
    sets = sets or Sets()
    for count in range(max_faults + 1):
        sets.begin()
        for result in _exactly(World(program, LAWS), modes if count < 2 else many, count, (), 0, sets):
            if count == 1 and result.schedule.faults[0].mode in many:
                sets.singles += 1
                sets.pairs += _met_after(result, many)
            sets.played[count] += 1
            yield result


def _met_after(result: Result, modes: frozenset[str]) -> int:
    """How many other faults of these modes could strike after the one that did."""
    steps = result.trace
    struck = next((number for number, step in enumerate(steps) if step.fault), len(steps))
    met = Counter([(step.effect, step.process == "client") for step in steps[struck + 1 :]])
    return sum(times * _possible(effect, client, modes) for (effect, client), times in met.items())


@cache
def _possible(effect: str, client: bool, modes: frozenset[str]) -> int:
    return len(modes.intersection(modes_at(effect, client=client))) + (0 if client else len(pauses.among(modes)))


def _exactly(
    world: World, modes: frozenset[str], count: int, faults: tuple[Fault, ...], shared: int, sets: Sets
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
                if mode not in modes or not sets.takes(len(faults)):
                    continue
                branch, struck = world.copy(), (*faults, Fault(point, mode))
                violation = apply(branch, action, mode)
                if violation is not None:
                    yield Result(branch, Schedule(struck), violation, 1)
                else:
                    yield from _exactly(branch, modes, count - 1, struck, world.step, sets)
        if apply(world, action) is not None:
            return  # this prefix breaks a law by itself, and was reported with fewer faults
