"""Play one schedule: a world from its beginning to its end."""

from __future__ import annotations

from hashlib import blake2b

from msgspec.structs import replace

from pwf_runtime.core.inputs import TaskFailed

from .faults import Fault, Point
from .laws import ALL, Violated, Watch
from .network import Refused
from .program import Program
from .purity import NotAFunction
from .schedule import Schedule
from .world.naming import TraceStep
from .world.world import Action, World

LAWS = Watch([law() for law in ALL])
STEPS_AT_LEAST, STEPS_FACTOR = 1_000, 40
"""A schedule with more steps than so many, and so many times those of the run without faults, does not end."""


class Result:
    """What came of one schedule. ``steps``: how many were made for it (the rest was shared with others). ``drawn``: it
    was left to chance, and not the next of all there are."""

    __slots__ = ("drawn", "schedule", "steps", "violation", "world")

    def __init__(
        self, world: World, schedule: Schedule, violation: Violated | None, steps: int, *, drawn: bool = False
    ) -> None:
        self.world = world
        self.schedule = schedule
        self.violation = violation
        self.steps = steps
        self.drawn = drawn

    @property
    def trace(self) -> list[TraceStep]:
        return self.world.trace

    def fingerprint(self) -> str:
        """The same for the same trace, in any process."""
        return blake2b(repr([_comparable(step) for step in self.trace]).encode(), digest_size=12).hexdigest()

    def unmatched(self) -> tuple[Fault, ...]:
        """The schedule's faults that never struck: their addresses are not met by this program."""
        struck = {(step.point, step.fault) for step in self.trace if step.fault}
        return tuple(fault for fault in self.schedule.faults if (fault.point, fault.mode) not in struck)


def _comparable(step: TraceStep) -> TraceStep:
    """Without a traceback, which names files and lines of the place where it is played."""
    if not isinstance(step.answer, TaskFailed):
        return step
    return step._replace(answer=replace(step.answer.failure, traceback=""))


def finish(world: World) -> Violated | None:
    """Go on in the default order, without faults, to the end; what law that breaks."""
    while True:
        action = world.default()
        if action is not None:
            violation = apply(world, action)
            if violation is not None:
                return violation
        elif not world.advance():
            break
    try:
        world.finish()
    except Violated as violation:
        return violation
    return None


def apply(world: World, action: Action, mode: str | None = None) -> Violated | None:
    """Apply an action; what law that breaks."""
    try:
        world.apply(action, mode)
    except Violated as violation:
        return violation
    except Refused:
        raise  # nothing is known of a workflow that calls the real world
    except NotAFunction as answer:
        return Violated("L6", str(answer))
    except Exception as error:  # a machine that cannot go on is as wrong as one that goes astray
        return Violated("machine", f"a worker failed with {type(error).__name__}: {error}")
    return None


def rehearse(program: Program) -> Result:
    """The run without faults, by which all others of a program are judged: it knows afterwards what that commits, and
    how many steps are too many."""
    clean = play(program, Schedule())
    program.reference = clean.world.committed_graph() if clean.violation is None else None
    if clean.violation is None:  # else it may have gone on and on, which is no measure
        program.max_steps = STEPS_AT_LEAST + STEPS_FACTOR * clean.world.step
    return clean


def play(program: Program, schedule: Schedule, watch: Watch = LAWS) -> Result:
    """Execute exactly this schedule. A fault whose address is never met does not strike; see ``Result.unmatched``."""
    world = World(program, watch)
    faults: dict[Point, str] = {fault.point: fault.mode for fault in schedule.faults}
    deviations = dict(schedule.deviations)
    while faults or deviations:
        actions = world.enabled()
        if not actions:
            if world.advance():
                continue
            break
        number = deviations.pop(world.step, None)
        action = min(actions) if number is None or number >= len(actions) else actions[number]
        at = world.point(action) if faults else None
        violation = apply(world, action, faults.pop(at[0], None) if at is not None else None)
        if violation is not None:
            return Result(world, schedule, violation, world.step)
    violation = finish(world)
    return Result(world, schedule, violation, world.step)
