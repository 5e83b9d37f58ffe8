"""Random cases, of which property tests of the protocol are made: a workflow, its workers, and schedules to play."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from msgspec import Struct
from msgspec.structs import replace

from ..explore import faults as every
from ..faults import Fault, families
from ..generated import APPS, TARGETS, Node, is_determined, payload, to_json
from ..program import Program, Protocol
from ..runner import Result, play, rehearse
from ..scenario import Scenario, StartEntry
from ..schedule import Schedule
from .plans import MAX_FAULTS, fault_plans, is_too_late
from .workflows import workflows

PLANS, ORDERS = 8, 4
"""How many fault plans and how many orders of one workflow are drawn at most. Each plan is played in each order, since
drawing takes longer than playing."""
MAX_CALLS, FEW_CALLS = 4, 3
MAX_DEVIATIONS = 4


class Case(Struct, frozen=True):
    """``workflow``, begun ``runs`` times with ``workers`` workers per service, under faults of some families.

    ``plans`` are played in each of ``orders`` (deviations from the default one). No plans at all: every single fault
    there is, in the default order.
    """

    workflow: Node
    workers: int = 2
    runs: int = 1
    faults: str | None = None
    plans: tuple[tuple[Fault, ...], ...] = ()
    orders: tuple[tuple[tuple[int, int], ...], ...] = ((),)

    def program(self, protocol: Protocol | None = None) -> Program:
        """Ready to be played. It knows what a run without faults commits, for the law that compares with that, unless
        the workflow may rightly commit one thing or another."""
        start = [(self.workflow.task, payload(self.workflow))] * self.runs
        program = Program(APPS, start, workers=self.workers, protocol=protocol)
        program.expects(families(self.faults))
        rehearse(program)
        if not is_determined(self.workflow):
            program.reference = None
        return program

    def play(self, protocol: Protocol | None = None) -> Iterator[Result]:
        """Play all of it, one schedule after the other."""
        program = self.program(protocol)
        if not self.plans:
            modes = families(self.faults)
            played = every.explore(program, modes, modes, 1)
            yield from (result for result in played if not any(map(is_too_late, result.schedule.faults)))
        for faults, deviations in product(self.plans, self.orders):
            yield play(program, Schedule(faults, deviations))

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
    return st.builds(Case, workflows(max_calls), _WORKERS, _RUNS, st.just(faults))


def cases(
    faults: str | None = None, *, max_calls: int = FEW_CALLS, max_faults: int = MAX_FAULTS
) -> SearchStrategy[Case]:
    """Cases with up to ``max_faults`` faults of some families (as ``--faults``) in each schedule, in several orders."""
    return _cases(faults, max_calls, max_faults)


@st.composite
def _cases(draw: DrawFn, faults: str | None, max_calls: int, max_faults: int) -> Case:
    case = Case(draw(workflows(max_calls)), draw(_WORKERS), draw(_RUNS), faults)
    plans = draw(
        st.lists(fault_plans(case.program(), faults=faults, max_faults=max_faults), min_size=1, max_size=PLANS)
    )
    return replace(case, plans=tuple(plans), orders=tuple(draw(_ORDERS)))


_WORKERS = st.sampled_from((2, 1, 3))
_RUNS = st.sampled_from((1, 1, 1, 2))
_DEVIATIONS = st.lists(
    st.tuples(st.integers(0, 80), st.integers(0, 4)), max_size=MAX_DEVIATIONS, unique_by=lambda deviation: deviation[0]
).map(lambda deviations: tuple(sorted(deviations)))
_ORDERS = st.lists(_DEVIATIONS, min_size=1, max_size=ORDERS, unique=True)
