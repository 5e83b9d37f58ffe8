"""Where two runs of a program part: the first step that is not the same in both.

Times and tokens do not count, and when a failure is compared with a passing run, neither does the fault itself: that it
struck is known; what is sought is the first thing that went another way because of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..faults import Fault
from ..program import Program
from ..runner import Result, play
from ..schedule import Schedule
from ..world.naming import TraceStep
from . import words

NOTHING = "nothing more happens"


class Parting(NamedTuple):
    """Two runs part at step ``number`` (from 1). ``other`` says what the passing one is without."""

    number: int
    here: str
    there: str
    other: str

    def __str__(self) -> str:
        return (
            f"parts from the passing run at step {self.number}: here {self.here}, there {self.there} "
            f"(the passing run: without {self.other})"
        )


def first(here: Sequence[TraceStep], there: Sequence[TraceStep], *, ignore_faults: bool = False) -> int | None:
    """The index of the first step that differs; ``None``: there is none."""
    for index, (a, b) in enumerate(zip(here, there, strict=False)):
        if _essence(a, b, ignore_faults) != _essence(b, a, ignore_faults):
            return index
    shorter = min(len(here), len(there))
    return shorter if len(here) != len(there) else None


def _essence(step: TraceStep, other: TraceStep, ignore_faults: bool) -> tuple[Any, ...]:
    where = (step.process, step.path, step.nth, step.effect, step.occurrence)
    if not ignore_faults:
        return (*where, step.fault, words.answer(step))
    return where if step.fault or other.fault else (*where, words.answer(step))


def from_passing(program: Program, failing: Result) -> Parting | None:
    """Where a failure parts from the passing run nearest to it; ``None``: it fails without faults."""
    passing = nearest_passing(program, failing)
    if passing is None:
        return None
    result, other = passing
    index = first(failing.trace, result.trace, ignore_faults=True)
    if index is None:
        return None
    return Parting(index + 1, at(failing.trace, index), at(result.trace, index), other)


def at(trace: Sequence[TraceStep], index: int) -> str:
    return words.line(trace[index]) if index < len(trace) else NOTHING


def nearest_passing(program: Program, failing: Result) -> tuple[Result, str] | None:
    """The run without the fault that struck last; if that fails too, the one without any; and what it is without."""
    schedule = failing.schedule
    last = _struck_last(failing)
    candidates = []
    if last is not None and len(schedule.faults) > 1:
        faults = tuple([fault for fault in schedule.faults if fault != last])
        candidates.append((Schedule(faults, schedule.deviations), "the last fault"))
    if schedule.faults and schedule.deviations:
        candidates.append((Schedule((), schedule.deviations), "faults, in the same order"))
    if schedule.faults or schedule.deviations:
        candidates.append((Schedule(), "faults, in the default order" if schedule.deviations else "faults"))
    for candidate, name in candidates:
        result = play(program, candidate)
        if result.violation is None:
            return result, name
    return None


def _struck_last(failing: Result) -> Fault | None:
    struck = [Fault(step.point, step.fault) for step in failing.trace if step.fault]
    return struck[-1] if struck else None
