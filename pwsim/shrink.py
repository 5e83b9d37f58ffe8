"""From a schedule that breaks a law to the smallest one that still does: fewest faults, then fewest deviations.

Each candidate is played; whatever breaks the same law counts. Faults are few, so they are tried one by one until none
can go; deviations are cut in halves first (Zeller and Hildebrandt, delta debugging, TSE 2002). What remains need not be
the fewest: so single faults and pairs are tried in its place, and where three or more remain, fewer in random orders.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from .explore import random as at_random
from .explore.faults import explore
from .program import Program
from .runner import Result, play
from .schedule import Schedule

MOST_TRIED = 10_000
"""So many sets of faults are tried in place of those that were found; it takes seconds, and is seldom needed."""

MOST_DRAWN = 4_000
"""So many random schedules are played for one with fewer faults, where there are three or more."""


def shrink(program: Program, result: Result, modes: frozenset[str] = frozenset()) -> Result:
    """The smallest result found that breaks the same law as ``result``, which must break one.

    ``modes``: what may strike instead of the faults in it, where a single one is enough.
    """
    assert result.violation is not None
    law = result.violation.law
    best = _by_taking_out(program, result, law)
    best = _by_trying_each(program, best, law, modes)
    return _by_chance(program, best, law) if len(best.schedule.faults) > 2 else best


def _by_taking_out(program: Program, result: Result, law: str) -> Result:
    best = _fewer_faults(program, result, law)
    in_order = _try(program, Schedule(result.schedule.faults), law)
    if in_order is not None:
        in_order = _fewer_faults(program, in_order, law)
        if len(in_order.schedule.faults) <= len(best.schedule.faults):
            return in_order
    best = _fewer_deviations(program, best, law)
    return _fewer_faults(program, best, law)


def _by_trying_each(program: Program, best: Result, law: str, modes: frozenset[str]) -> Result:
    """Fewer faults, if so few do it, or as few in the default order: a fault in the recovery from another cannot go
    without that other, though the same fault a delivery earlier would have been enough. All single ones are tried, then
    pairs of the same kinds."""
    same = frozenset([fault.mode for fault in best.schedule.faults])
    many = len(best.schedule.faults) - (not best.schedule.deviations)
    for result in islice(explore(program, same | modes, same, min(many, 2)), MOST_TRIED) if many >= 0 else ():
        if result.violation is not None and result.violation.law == law:
            return _try(program, result.schedule, law) or best
    return best


def _by_chance(program: Program, best: Result, law: str) -> Result:
    """Fewer faults of the same kinds in some other order, where the default order needs more."""
    same = frozenset([fault.mode for fault in best.schedule.faults])
    for result in islice(at_random.explore(program, same, len(best.schedule.faults) - 1, seed=0), MOST_DRAWN):
        if result.violation is not None and result.violation.law == law:
            return shrink(program, result)
    return best


def _try(program: Program, schedule: Schedule, law: str) -> Result | None:
    result = play(program, schedule)
    return result if result.violation is not None and result.violation.law == law else None


def _fewer_faults(program: Program, best: Result, law: str) -> Result:
    """Take out faults one at a time, from the last, until each is needed."""
    improved = True
    while improved:
        improved = False
        for i in reversed(range(len(best.schedule.faults))):
            faults = best.schedule.faults[:i] + best.schedule.faults[i + 1 :]
            found = _try(program, Schedule(faults, best.schedule.deviations), law)
            if found is not None:
                best, improved = found, True
                break
    return best


def _fewer_deviations(program: Program, best: Result, law: str) -> Result:
    size = len(best.schedule.deviations)
    while size:
        size = min(size, len(best.schedule.deviations))
        at = 0
        while at < len(best.schedule.deviations):
            kept = _without(best.schedule.deviations, at, size)
            found = _try(program, Schedule(best.schedule.faults, kept), law)
            if found is None:
                at += size
            else:
                best = found
        size //= 2
    return best


def _without(items: Sequence[tuple[int, int]], at: int, size: int) -> tuple[tuple[int, int], ...]:
    return tuple(items[:at]) + tuple(items[at + size :])
