"""From a schedule that breaks a law to the smallest one that still does: fewest faults, then fewest deviations.

Each candidate is played; whatever breaks the same law counts. Faults are few, so they are tried one by one until none
can go; deviations are cut in halves first (Zeller and Hildebrandt, delta debugging, TSE 2002).
"""

from __future__ import annotations

from collections.abc import Sequence

from .program import Program
from .runner import Result, play
from .schedule import Schedule


def shrink(program: Program, result: Result) -> Result:
    """The smallest result found that breaks the same law as ``result``, which must break one."""
    assert result.violation is not None
    law = result.violation.law
    best = _try(program, Schedule(result.schedule.faults), law) or result
    best = _fewer_faults(program, best, law)
    best = _fewer_deviations(program, best, law)
    return _fewer_faults(program, best, law)


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
