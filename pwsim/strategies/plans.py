"""Random faults: with addresses, if the program is known; else as a ``Plan``, which finds them in whatever it meets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from msgspec import Struct
from msgspec.structs import replace

from ..coverage import points
from ..faults import Fault, Point, families, names_of
from ..program import Program
from ..runner import LAWS, Result, apply, finish
from ..schedule import Schedule
from ..testing import Apps, Report, Start, simulate
from ..world.world import RECOVERIES, World

MAX_FAULTS = 3


class Plan(Struct, frozen=True):
    """Faults for a program that is not known yet.

    ``picks``: pass so many crash points, then strike with one of the modes that the next one has (by number, counted
    around). ``modes`` are those that may be used.
    """

    picks: tuple[tuple[int, int], ...]
    modes: frozenset[str]

    def play(self, apps: Apps, *, start: Start | Sequence[Start], **options: Any) -> Report:
        """Play it on a workflow, once, in the default order: a report as ``pwsim.simulate`` gives, with its options."""
        named = names_of(self.modes)
        return simulate(apps, start=start, only=lambda program: Schedule(self.on(program)), faults=named, **options)

    def played(self, program: Program) -> Result:
        """The same with a program. The result's schedule has the faults by address."""
        program.expects(self.modes)
        world, struck, left = World(program, LAWS), list[Fault](), list(self.picks)
        skip = left[0][0] if left else 0
        while left:
            actions = world.enabled()
            if not actions:
                if world.advance():
                    continue
                break
            mode = None
            at = world.point(min(actions))
            possible = [mode for mode in at[1] if mode in self.modes] if at is not None else []
            if at is not None and possible:
                if skip:
                    skip -= 1
                else:
                    mode = possible[left.pop(0)[1] % len(possible)]
                    struck.append(Fault(at[0], mode))
                    skip = left[0][0] if left else 0
            violation = apply(world, min(actions), mode)
            if violation is not None:
                return Result(world, Schedule(tuple(struck)), violation, world.step)
        return Result(world, Schedule(tuple(struck)), finish(world), world.step)

    def on(self, program: Program) -> tuple[Fault, ...]:
        """The faults, by address."""
        return self.played(program).schedule.faults


def fault_plans(
    program: Program | None = None, *, faults: str | None = None, max_faults: int = MAX_FAULTS
) -> SearchStrategy[Any]:
    """Up to ``max_faults`` faults of some families (as ``--faults``; ``None``: the default profile).

    For a ``program``: a tuple of ``Fault``, with addresses from its run without faults. Without one: a ``Plan``.
    """
    modes = families(faults)
    if program is None:
        picks = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 7)), max_size=max_faults)
        return picks.map(lambda picks: Plan(tuple(picks), modes))
    return _addressed(crash_points(program, modes), max_faults)


def crash_points(program: Program, modes: frozenset[str]) -> list[tuple[Point, tuple[str, ...]]]:
    """The places where these modes can strike in a run without faults, each with those that can."""
    program.expects(modes)
    found = [(point, tuple([mode for mode in possible if mode in modes])) for point, possible in points(program)]
    return [(point, possible) for point, possible in found if possible and not is_too_late(Fault(point, ""))]


def is_too_late(fault: Fault) -> bool:
    """Whether it strikes in a round of recovery of which a world makes only so many: as many more must follow it."""
    return fault.point.call.startswith(("mark of ", "scan of ")) and fault.point.delivery > RECOVERIES // 2


def _addressed(points: Sequence[tuple[Point, tuple[str, ...]]], max_faults: int) -> SearchStrategy[tuple[Fault, ...]]:
    if not points:
        return st.just(())
    fault = st.tuples(st.integers(0, len(points) - 1), st.integers(0, 11), st.sampled_from((0, 0, 0, 1, 1, 2)))
    plans = st.lists(fault, max_size=max_faults)
    return plans.map(
        lambda drawn: tuple([_fault(points, at, mode, later if i else 0) for i, (at, mode, later) in enumerate(drawn)])
    )


def _fault(points: Sequence[tuple[Point, tuple[str, ...]]], index: int, mode: int, later: int) -> Fault:
    """``later``: not in the delivery that a run without faults has, but in one of those that a fault brings about."""
    point, modes = points[index]
    if later:
        point = replace(point, delivery=point.delivery + later)
        if point.effect == "commit" and mode % 3 == 0:
            point = replace(point, effect="look")
    return Fault(point, modes[mode % len(modes)])
