"""A schedule played once more, watched: what every step did to the workers, the queues and the store.

``runner.play`` is fast and keeps the trace only. This plays the same, slowly, and keeps after each step how the view of
the world (``view.look``) differs from the one before.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from ..faults import Point
from ..program import Program
from ..runner import LAWS, Result, apply, play
from ..schedule import Schedule
from ..world.naming import TraceStep
from ..world.world import Action, World
from .view import Row, View, look

LONGEST = 2000
"""A run of more steps is watched for its last ``TAIL`` only: it is one that does not end, and goes round in circles."""
TAIL = 500


class Moment(NamedTuple):
    """A step, its number from 1, and what changed with it: rows that are new or different, and keys that are gone."""

    number: int
    step: TraceStep
    set: dict[str, Row]
    gone: tuple[str, ...]


class Unmade(NamedTuple):
    """The step that a law forbade, and who was about to make it."""

    process: str
    point: Point


class Recording:
    """``first``: the view before the first moment. ``holders``: whose the tokens were."""

    def __init__(
        self, program: Program, result: Result, first: View, moments: list[Moment], holders: dict[str, str]
    ) -> None:
        self.program = program
        self.result = result
        self.first = first
        self.moments = moments
        self.holders = holders

    def view(self, number: int) -> View:
        """The view after step ``number``; 0: before the first."""
        view = dict(self.first)
        for moment in self.moments:
            if moment.number > number:
                break
            view.update(moment.set)
            for key in moment.gone:
                del view[key]
        return view

    def moment(self, number: int) -> Moment | None:
        """The step of this number, if there is one that was watched."""
        return next((moment for moment in self.moments if moment.number == number), None)


def record(program: Program, schedule: Schedule) -> Recording:
    """Play a schedule and watch it."""
    result = play(program, schedule)
    world = World(program, LAWS)
    steps = _steps(world, schedule)
    for _ in islice(steps, 0 if result.world.step <= LONGEST else result.world.step - TAIL):
        pass
    holders: dict[str, str] = {}
    made, first = len(world.trace), look(world, holders)
    before, moments = first, list[Moment]()
    for _ in steps:
        trace, after = world.trace, look(world, holders)
        if len(trace) > made:
            made = len(trace)
            moments.append(Moment(made, trace[-1], *_difference(before, after)))
            before = after
    return Recording(program, result, first, moments, holders)


def unmade(program: Program, result: Result) -> Unmade | None:
    """The step that a law forbade, if the result was ended by one that did."""
    world = World(program, LAWS)
    steps = _steps(world, result.schedule)
    for _ in islice(steps, result.world.step - 1):
        pass
    about = next(steps, None)
    return about if result.violation is not None and _is_missing(world, about) else None


def _is_missing(world: World, about: Unmade | None) -> bool:
    """Whether what was to be done is not in the trace."""
    latest = world.trace[-1:]
    return about is not None and not (latest and (latest[0].process, latest[0].point) == about)


def _steps(world: World, schedule: Schedule) -> Iterator[Unmade | None]:
    """Make the steps of a schedule as ``runner.play`` does, pausing after each; says what was to be done in it."""
    faults = {fault.point: fault.mode for fault in schedule.faults}
    deviations = dict(schedule.deviations)
    while True:
        actions = world.enabled()
        if not actions:
            if world.advance():
                continue
            return
        number = deviations.pop(world.step, None)
        action: Action = min(actions) if number is None or number >= len(actions) else actions[number]
        at = world.point(action)
        about = Unmade(world.processes[action[2]].name, at[0]) if at is not None else None
        violation = apply(world, action, faults.pop(at[0], None) if at is not None else None)
        yield about
        if violation is not None:
            return


def _difference(before: View, after: View) -> tuple[dict[str, Row], tuple[str, ...]]:
    changed = {key: row for key, row in after.items() if before.get(key) != row}
    return changed, tuple([key for key in before if key not in after])
