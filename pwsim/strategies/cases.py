"""Random cases, of which property tests of the protocol are made: a workflow, its workers, and schedules to play."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from msgspec import Struct

from ..explore import faults as every
from ..faults import ROLLBACK, families
from ..generated import APPS, TARGETS, Node, is_determined, payload, to_json
from ..program import Program, Protocol
from ..runner import Result, play
from ..scenario import Scenario, StartEntry
from ..schedule import Schedule
from .plans import MAX_FAULTS, fault_plans, is_too_late
from .workflows import workflows

SCHEDULES = 8
"""How many schedules of one workflow are drawn at most: drawing a workflow takes as long as playing some."""
MAX_CALLS = 4
MAX_DEVIATIONS = 4


class Case(Struct, frozen=True):
    """``workflow``, begun ``runs`` times with ``workers`` workers per service, under faults of some families.

    ``schedules``: what to play. None at all: every single fault there is.
    """

    workflow: Node
    workers: int = 2
    runs: int = 1
    faults: str | None = None
    schedules: tuple[Schedule, ...] = ()

    def program(self, protocol: Protocol | None = None) -> Program:
        """Ready to be played. It knows what a run without faults commits, for the law that compares with that, unless
        the workflow may rightly commit one thing or another."""
        start = [(self.workflow.task, payload(self.workflow))] * self.runs
        program = Program(APPS, start, workers=self.workers, protocol=protocol)
        program.expects(families(self.faults))
        if is_determined(self.workflow):
            clean = play(program, Schedule())
            program.reference = clean.world.committed_graph() if clean.violation is None else None
        return program

    def play(self, protocol: Protocol | None = None) -> Iterator[Result]:
        """Play the schedules, one after the other."""
        program = self.program(protocol)
        if not self.schedules:
            modes = families(self.faults)
            played = every.explore(program, modes, modes, 1)
            yield from (result for result in played if not any(map(is_too_late, result.schedule.faults)))
        for schedule in self.schedules:
            yield play(program, schedule)

    def scenario(self, result: Result) -> Scenario:
        """One of its results, as a file that replays."""
        broken = result.violation
        return Scenario(
            apps=TARGETS,
            start=(StartEntry(self.workflow.task, to_json(self.workflow)),) * self.runs,
            workers=self.workers,
            recovery=result.world.program.recovers,
            faults=tuple([str(fault) for fault in result.schedule.faults]),
            deviations=result.schedule.deviations,
            expect=broken.law if broken else "pass",
            trace=result.fingerprint(),
            about=broken.sentence if broken else "",
        )


def every_fault(faults: str | None = None, *, max_calls: int = MAX_CALLS) -> SearchStrategy[Case]:
    """Cases in which every single fault of some families (as ``--faults``) strikes, one per schedule."""
    return st.builds(Case, workflows(max_calls), _WORKERS, _runs(faults), st.just(faults))


def cases(
    faults: str | None = None, *, max_calls: int = MAX_CALLS, max_faults: int = MAX_FAULTS, schedules: int = SCHEDULES
) -> SearchStrategy[Case]:
    """Cases with up to ``max_faults`` faults of some families (as ``--faults``) in each of up to ``schedules``
    schedules, which also depart from the default order here and there."""
    return _cases(faults, max_calls, max_faults, schedules)


@st.composite
def _cases(draw: DrawFn, faults: str | None, max_calls: int, max_faults: int, schedules: int) -> Case:
    case = Case(draw(workflows(max_calls)), draw(_WORKERS), draw(_runs(faults)), faults)
    plans = fault_plans(case.program(), faults=faults, max_faults=max_faults)
    drawn = draw(st.lists(st.builds(Schedule, plans, _DEVIATIONS), min_size=1, max_size=schedules))
    return Case(case.workflow, case.workers, case.runs, faults, tuple(drawn))


_WORKERS = st.sampled_from((2, 1, 3))


def _runs(faults: str | None) -> SearchStrategy[int]:
    """One run or two. Only one where the store may fall back: what it does to two is known and not mended yet, see
    ``scenarios/regressions/a-run-that-no-scan-will-find.toml``."""
    return st.just(1) if families(faults) & set(ROLLBACK) else st.sampled_from((1, 1, 1, 2))


_DEVIATIONS = st.lists(
    st.tuples(st.integers(0, 80), st.integers(0, 4)), max_size=MAX_DEVIATIONS, unique_by=lambda deviation: deviation[0]
).map(lambda deviations: tuple(sorted(deviations)))
