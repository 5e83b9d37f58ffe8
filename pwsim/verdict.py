"""What came of a simulation: a report that counts, and the failure that a test shows.

A demand that is made of a report afterwards (``assert_once``, or a comparison of a count) fails as a broken law does:
the first schedule in which it does not hold is played again, shrunk, told in a sentence and saved.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

from pwf_runtime.codec import decode

from . import checks, saving
from .campaign import Violation
from .checks import Check
from .demands import Demands, demand_of, once_per_key
from .program import Program
from .report import paint, text
from .runner import Result, play
from .scenario import Scenario
from .schedule import Schedule
from .shrink import shrink
from .tally import COMMITTED, Claim, Count, Effects, Subject, Tally

NONE = Demands()


class Failure(AssertionError):
    """What a test fails with. Its text says all there is to say; ``violation``: what was found, if it is a schedule."""

    def __init__(self, lines: Sequence[str], violation: Violation | None = None) -> None:
        super().__init__("\n".join(lines))
        self.violation = violation

    @property
    def sentence(self) -> str:
        """The first line: what happened."""
        return str(self).partition("\n")[0]


class Keeper(Protocol):
    """Where failures are kept, from one execution of a test to the next."""

    def first(self) -> Sequence[Schedule]:
        """The schedules to be tried first, because they failed before."""

    def keep(self, found: Violation, scenario: Scenario) -> str:
        """Save what was found; returns the line that replays it."""


class Points(NamedTuple):
    """The crash points of the run without faults, each counted once per mode of fault; and how many were hit."""

    hit: int
    defined: int


class Report:
    """What a simulation found.

    ``verdict`` is "pass", "violation" or "inconclusive", and ``bound`` says what was searched; ``runs`` are the
    schedules played. Numbers of times (``committed``, ``effects``) are those of all schedules, see ``tally.Count``.
    """

    def __init__(
        self,
        program: Program,
        keeper: Keeper,
        planted: str = "",
        demands: Demands = NONE,
        setup: Sequence[str] = (),
    ) -> None:
        self.program = program
        self.verdict = "pass"
        self.bound = ""
        self.runs = 0
        self.steps = 0
        self.seconds = 0.0
        self.crash_points = Points(0, 0)
        self.violations: list[Violation] = []
        self.problem = ""
        """Why a simulation that found no violation is no pass all the same."""
        self.doubt: tuple[Claim, Schedule] | None = None
        """The latest comparison of a count, if it did not hold, and a schedule in which it did not."""
        self.tally = Tally()
        self.keeper = keeper
        self.demands = demands
        """What was demanded of every schedule from the start, and stands in the file of each failure."""
        self._planted = planted
        self._setup = setup

    def __repr__(self) -> str:
        verdict = "no pass" if self.problem else self.verdict
        return f"<Report: {verdict}: {self.bound}; {self.runs:,} schedules>"

    # ── what happened ─────────────────────────────────────────────────────────────────────────

    def committed(self, task: str) -> Count:
        """How many calls of a task committed; ``== 1`` means: exactly one in every schedule."""
        return self.tally.count(Subject(COMMITTED, checks.task_name(self.program, task)), self._compared)

    @property
    def effects(self) -> Effects:
        """How often each probed function was called, by name; ``.by_key``: with one idempotency key counted once."""
        return Effects(self.tally, self._compared)

    @property
    def results(self) -> list[Any]:
        """What the runs returned: each result once, however many schedules returned it."""
        return [decode(value) for _, value in self.tally.results]

    def _compared(self, claim: Claim, example: Schedule | None) -> None:
        self.doubt = (claim, example) if example is not None else None

    # ── what must be so ───────────────────────────────────────────────────────────────────────

    def assert_passed(self) -> None:
        """No law and no invariant is broken, and the simulation was worth something. Raises ``Failure``."""
        if self.violations:
            raise self._failure(self.violations[0])
        if self.problem:
            raise Failure([self.problem])

    def assert_once(self, effect: str) -> None:
        """In every schedule the probed function was called exactly once. Raises ``Failure``."""
        self._assert(effect, "==")

    def assert_at_most_once(self, effect: str) -> None:
        """In no schedule was the probed function called twice. Raises ``Failure``."""
        self._assert(effect, "<=")

    def assert_at_most_once_per_key(self, effect: str) -> None:
        """No call of the workflow does it again under another idempotency key, or without one. Raises ``Failure``.

        A repetition with the same key is none, for the service that is called knows it. A call may do it as often as it
        does in the run without faults, each time with a key of its own.
        """
        _ = self.effects[effect]  # there is such an effect
        check, demand = once_per_key(effect, self.program), Demands(once_per_key=(effect,))
        for example in self.tally.examples():
            with self._demanding(check):
                broken = play(self.program, example).violation is not None
            if broken:
                raise self._explained(check, demand, example)

    def _assert(self, effect: str, sign: str) -> None:
        self.effects[effect].compare(sign, 1)
        if self.doubt is not None:
            raise self.explain(*self.doubt)

    # ── telling ───────────────────────────────────────────────────────────────────────────────

    def explain(self, claim: Claim, example: Schedule) -> Failure:
        """The failure of a claim, shown in the smallest schedule that was found for it."""
        return self._explained(checks.claimed(claim), demand_of(claim), example)

    def _explained(self, check: Check, demand: Demands, example: Schedule) -> Failure:
        with self._demanding(check):
            result = play(self.program, example)
            if result.violation is None:
                return Failure(["played again, the schedule did something else: a task is no function of its input"])
            return self._failure(smallest(self.program, result), demand)

    @contextmanager
    def _demanding(self, check: Check) -> Iterator[None]:
        before, self.program.checks = self.program.checks, (check,)
        try:
            yield
        finally:
            self.program.checks = before
            self.program.close()

    def _failure(self, found: Violation, demand: Demands = NONE) -> Failure:
        """Save it, and say all about it."""
        demands = self.demands.plus(demand)
        scenario = saving.scenario_of(self.program, found, self._planted, demands, self._setup)
        line = self.keeper.keep(found, scenario)
        return Failure(text.failure(found, line, width=paint.width()), found)


def smallest(program: Program, result: Result) -> Violation:
    """The violation of a result, in the smallest schedule that was found for it."""
    small = shrink(program, result)
    assert small.violation is not None, "shrinking keeps the violation"
    return Violation(small.violation.law, small.violation.sentence, small)
