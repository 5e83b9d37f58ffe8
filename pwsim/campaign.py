"""A campaign: many schedules of one program, by a strategy, within bounds; and what was found.

The verdict is *pass* only with its bound spelled out, *violation*, or *inconclusive* when a limit ended the campaign
before its bound was reached.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from typing import Protocol, Self

from msgspec import Struct

from pwf_runtime.errors import UsageError

from . import pauses
from .coverage import Coverage, Kind
from .explore import delays, exhaustive
from .explore import faults as every_fault
from .explore import random as at_random
from .explore.pct import pct
from .faults import CORE, Fault, core, families, returns
from .laws import Violated
from .numbers import counted
from .parallel import fan_out
from .program import Program
from .runner import Result, play, rehearse
from .schedule import Schedule
from .shrink import shrink

STRATEGIES = ("portfolio", "faults", "random", "pct:D", "delays:D", "exhaustive")
REPEAT = 50
"""One schedule in so many is played again, and must leave the same trace."""


class Violation(Struct, frozen=True):
    """A law that was broken: which, how, and by the fewest faults that were found to do it."""

    law: str
    sentence: str
    result: Result

    @property
    def faults(self) -> tuple[Fault, ...]:
        return self.result.schedule.faults


class Report(Struct):
    """What a campaign did and found.

    ``defined``, ``hit``: crash points of the run without faults, and how many of them were struck. ``kinds``: the same
    by role, effect and mode. ``states``: distinct states, where they are told apart. ``unseen``: the estimated chance
    that the next random schedule shows a new sequence of effects; ``None``: none was random. ``missed``: situations
    that no schedule has shown.
    """

    program: Program
    verdict: str
    bound: str
    runs: int = 0
    steps: int = 0
    states: int = 0
    seconds: float = 0.0
    defined: int = 0
    hit: int = 0
    kinds: dict[Kind, tuple[int, int]] = {}
    unseen: float | None = None
    missed: list[str] = []
    violations: list[Violation] = []


class _Part(Struct):
    """What one process of a campaign did."""

    runs: int = 0
    steps: int = 0
    is_over: bool = False


class Observer(Protocol):
    """Who wants to see every schedule that was played, in whichever process that was."""

    def note(self, result: Result) -> None:
        """A schedule was played. (An exhaustive search shows states on the way, too.)"""

    def empty(self) -> Self:
        """One of the same kind that has seen nothing, for another process."""

    def add(self, other: Self) -> None:
        """What another process has seen. It was pickled on the way."""


class Campaign:
    """Bounds and bookkeeping. ``strategy`` is one of ``STRATEGIES``; ``runs`` bounds the random part; ``budget`` is in
    seconds of real time, ``None``: no limit; ``faults`` names families (``None``: the default profile); with
    ``pause`` the whole system may be down for so long, too. Of sets of several faults about ``pairs`` of each size are
    played (``None``: all); ``max_faults`` bounds all schedules."""

    def __init__(
        self,
        program: Program,
        *,
        strategy: str = "portfolio",
        faults: str | None = None,
        max_faults: int = 2,
        runs: int = 1000,
        seed: int = 0,
        budget: float | None = None,
        jobs: int = 1,
        pause: timedelta | None = None,
        pairs: int | None = None,
        observer: Observer | None = None,
    ) -> None:
        self.program = program
        self.strategy = strategy
        paused = frozenset([pauses.mode_of(pause)]) if pause is not None else frozenset[str]()
        self.modes = families(faults) | paused
        program.returns = returns(faults) or program.returns
        self.many = core(self.modes) if faults is None else self.modes
        """The modes of which pairs and larger sets are tried."""
        self.max_faults = max_faults
        self.sets = every_fault.Sets(pairs)
        self.runs = runs
        self.seed = seed
        self.budget = budget
        self.jobs = jobs
        """Processes for the random schedules."""
        self.observer = observer
        self._kind, self._depth = _strategy(strategy)

    def run(self) -> Report:
        """Play schedules until the bound, the budget or a violation."""
        began = time.monotonic()
        report = Report(self.program, "pass", self._bound())
        self.program.expects(self.modes)
        rehearse(self.program)
        coverage = Coverage(self.program, self.modes)
        for result in self._schedules():
            report.runs += 1
            report.steps += result.steps
            self._take(result, report, coverage)
            if report.violations:
                break
            if self._is_over(began):
                self._stop(report)
                break
        if self.jobs > 1 and self._kind in ("portfolio", "random", "pct") and report.verdict == "pass":
            self._in_parallel(report, coverage, began)
        if report.verdict == "pass":
            report.bound = self._bound()
        if self._kind == "exhaustive":
            report.states, report.bound = report.runs, f"{report.bound}: {report.runs:,} states"
        report.seconds = time.monotonic() - began
        report.defined, report.hit, report.kinds = len(coverage.defined), coverage.hit(), coverage.kinds()
        report.unseen, report.missed = coverage.unseen(), coverage.unseen_situations()
        return report

    def _take(self, result: Result, report: Report, coverage: Coverage) -> None:
        if self._kind != "exhaustive" or result.violation is not None or report.runs % REPEAT == 0:
            coverage.note(result)
        if self.observer is not None:
            self.observer.note(result)
        if result.violation is None and self._kind != "exhaustive" and report.runs % REPEAT == 0:
            result = _repeated(self.program, result)
        if result.violation is not None:
            report.verdict = "violation"
            report.violations.append(_violation(self.program, result, self.modes))

    def _schedules(self) -> Iterator[Result]:
        program, modes, kind = self.program, self.modes, self._kind
        if kind in ("portfolio", "faults"):
            yield from every_fault.explore(program, modes, self.many, self.max_faults, self.sets)
        if kind in ("portfolio", "random", "pct") and self.jobs == 1:
            yield from self._random(0, 1)
        if kind == "delays":
            yield from delays.explore(program, self.many, self.max_faults, self._depth)
        if kind == "exhaustive":
            yield from exhaustive.explore(program, self.many - frozenset(pauses.among(self.many)), self.max_faults)

    def _random(self, first: int, stride: int) -> Iterator[Result]:
        """Every ``stride``-th of the random schedules, from number ``first``."""
        program, modes, many = self.program, self.modes, self.max_faults
        if self._kind != "pct":
            found = at_random.explore(program, modes, many, seed=self.seed, first=first, stride=stride)
            yield from islice(found, len(range(first, self.runs, stride)))
        if self._kind != "random":
            runs = self.runs if self._kind == "pct" else self.runs // 4
            ordering = pct(self._depth)
            found = at_random.explore(
                program, modes, many, seed=~self.seed, first=first, stride=stride, ordering=ordering
            )
            yield from islice(found, len(range(first, runs, stride)))

    def _in_parallel(self, report: Report, coverage: Coverage, began: float) -> None:
        """The random schedules, shared out over ``jobs`` processes."""

        def work(job: int) -> tuple[_Part, Coverage, Observer | None, Schedule | None]:
            part, met = _Part(), Coverage(self.program, self.modes)
            observer = self.observer.empty() if self.observer is not None else None
            for result in self._random(job, self.jobs):
                part.runs += 1
                part.steps += result.steps
                met.note(result)
                if observer is not None:
                    observer.note(result)
                if result.violation is not None:
                    return part, met, observer, result.schedule
                if self._is_over(began):
                    part.is_over = True
                    break
            return part, met, observer, None

        for part, met, observer, broken in fan_out(self.jobs, work):
            if self.observer is not None and observer is not None:
                self.observer.add(observer)
            report.runs += part.runs
            report.steps += part.steps
            coverage.add(met)
            if part.is_over and report.verdict == "pass":
                self._stop(report)
            if broken is not None and not report.violations:
                report.verdict = "violation"
                report.violations.append(_violation(self.program, play(self.program, broken), self.modes))

    def _bound_of_sets(self) -> str:
        """Which sets of faults are tried in turn. How many pairs there are is known when they have been played."""
        of = "" if self.many == self.modes else f" of {', '.join(CORE)}"
        if self.max_faults < 2:
            return "every single fault" if self.max_faults else "no faults"
        if not self.sets.are_all:
            more = [f", {self.sets.played[size]:,} sets of {size}" for size in range(3, self.max_faults + 1)]
            pairs = f"{self.sets.played[2]:,} of some {self.sets.pairs:,} pairs"
            return f"every single fault, {pairs}{''.join(more)}{of}"
        sets = "every pair" if self.max_faults == 2 else f"all sets of up to {self.max_faults}"
        return f"every single fault and {sets}{of}"

    def _is_over(self, began: float) -> bool:
        return self.budget is not None and time.monotonic() - began > self.budget

    def _stop(self, report: Report) -> None:
        report.verdict, report.bound = "inconclusive", f"{self.budget:g} s ran out before: {report.bound}"

    def _bound(self) -> str:
        workers = f"{counted(self.program.workers, 'worker')} per service"
        sets, faults = self._bound_of_sets(), f"up to {counted(self.max_faults, 'fault')}"
        drawn = counted(self.runs, "random schedule")
        left_out = ", pauses left out" if pauses.among(self.many) else ""
        words = {
            "portfolio": f"{sets} in the default order, and {drawn} (seed {self.seed}) of {faults}",
            "faults": f"{sets} in the default order",
            "random": f"{drawn} (seed {self.seed}) of {faults}",
            "pct": f"{counted(self.runs, 'schedule')} (seed {self.seed}) by priorities of depth {self._depth}, "
            f"of {faults}",
            "delays": f"all schedules of up to {counted(self._depth, 'deviation')} from the default order and {faults}",
            "exhaustive": f"all orders and {faults} of workers and servers{left_out}",
        }
        return f"{workers}: {words[self._kind]}"


def _strategy(text: str) -> tuple[str, int]:
    """A strategy's name and its number. Raises ``UsageError``."""
    kind, colon, number = text.partition(":")
    takes_number = kind in ("pct", "delays")
    known = [name.partition(":")[0] for name in STRATEGIES]
    if kind not in known or (colon and not (takes_number and number.isdigit() and int(number) > 0)):
        raise UsageError(f"there is no strategy {text!r}; there are {', '.join(STRATEGIES)} (D is a number from 1)")
    return kind, int(number) if number else 3


def _repeated(program: Program, result: Result) -> Result:
    """Play a schedule again: the same, or a violation."""
    again = play(program, result.schedule)
    if again.violation is None and again.fingerprint() != result.fingerprint():
        sentence = (
            "the same schedule left another trace when it was played again: something depends on more than its input"
        )
        again.violation = Violated("determinism", sentence)
    return again


def _violation(program: Program, result: Result, modes: frozenset[str]) -> Violation:
    small = shrink(program, result, modes)
    assert small.violation is not None
    return Violation(small.violation.law, small.violation.sentence, small)
