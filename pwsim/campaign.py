"""A campaign: many schedules of one program, by a strategy, within bounds; and what was found.

The verdict is *pass* only with its bound spelled out, *violation*, or *inconclusive* when a limit ended the campaign
before its bound was reached.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import islice

from msgspec import Struct

from .explore import faults as explore_faults
from .explore import random as explore_random
from .faults import Fault, Point, core, families
from .laws import Violated, Watch
from .program import Program
from .runner import Result, play
from .schedule import Schedule
from .shrink import shrink

STRATEGIES = ("portfolio", "faults", "random")


class Violation(Struct, frozen=True):
    """A law that was broken: which, how, and by the fewest faults that were found to do it."""

    law: str
    sentence: str
    result: Result

    @property
    def faults(self) -> tuple[Fault, ...]:
        return self.result.schedule.faults


class Report(Struct):
    """What a campaign did and found."""

    program: Program
    verdict: str
    bound: str
    runs: int = 0
    steps: int = 0
    seconds: float = 0.0
    defined: int = 0
    hit: int = 0
    violations: list[Violation] = []


class Campaign:
    """Bounds and bookkeeping. ``strategy`` is one of ``STRATEGIES``; ``runs`` bounds the random part; ``budget`` is in
    seconds of real time, ``None``: no limit; ``faults`` names families (``None``: all)."""

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
        on_result: Callable[[Result], None] | None = None,
    ) -> None:
        self.program = program
        self.strategy = strategy
        self.modes = families(faults)
        self.many = core(self.modes) if faults is None else self.modes
        """The modes of which pairs and larger sets are tried."""
        self.max_faults = max_faults
        self.runs = runs
        self.seed = seed
        self.budget = budget
        self.on_result = on_result
        """Called with every schedule that was played."""
        self._points: set[tuple[Point, str]] = set()
        self._struck: set[tuple[Point, str]] = set()

    def run(self) -> Report:
        """Play schedules until the bound, the budget or a violation."""
        began = time.monotonic()
        report = Report(self.program, "pass", self._bound())
        self.program.expects(self.modes)
        clean = play(self.program, Schedule())
        self.program.reference = clean.world.committed_graph() if clean.violation is None else None
        self._points = {(point, mode) for point, modes in _points(self.program) for mode in modes if mode in self.modes}
        for result in self._schedules():
            report.runs += 1
            report.steps += result.steps
            self._struck.update((fault.point, fault.mode) for fault in result.schedule.faults)
            if self.on_result is not None:
                self.on_result(result)
            if result.violation is not None:
                report.verdict = "violation"
                report.violations.append(_violation(self.program, result))
                break
            if self.budget is not None and time.monotonic() - began > self.budget:
                report.verdict, report.bound = "inconclusive", f"{self.budget:g} s ran out before: {report.bound}"
                break
        report.seconds = time.monotonic() - began
        report.defined, report.hit = len(self._points), len(self._points & self._struck)
        return report

    def _schedules(self) -> Iterator[Result]:
        if self.strategy in ("portfolio", "faults"):
            yield from explore_faults.explore(self.program, self.modes, self.many, self.max_faults)
        if self.strategy in ("portfolio", "random"):
            found = explore_random.explore(self.program, self.modes, max(self.max_faults, 3), seed=self.seed)
            yield from islice(found, self.runs)

    def _bound(self) -> str:
        workers = f"{self.program.workers} workers per service"
        parts = []
        if self.strategy in ("portfolio", "faults"):
            upto = {0: "no faults", 1: "every single fault", 2: "every single fault and every pair"}
            parts.append(
                upto.get(self.max_faults, f"all sets of up to {self.max_faults} faults") + " in the default order"
            )
        if self.strategy in ("portfolio", "random"):
            parts.append(f"{self.runs} random schedules (seed {self.seed}) of up to {max(self.max_faults, 3)} faults")
        return f"{workers}: {', and '.join(parts)}"


def _points(program: Program) -> Iterator[tuple[Point, tuple[str, ...]]]:
    """The crash points of a run without faults, with the modes that each has."""
    from .world.world import World

    world = World(program, Watch(()))
    while True:
        actions = world.enabled()
        if actions:
            at = world.point(min(actions))
            if at is not None:
                yield at
            world.apply(min(actions))
        elif not world.advance():
            return


def _violation(program: Program, result: Result) -> Violation:
    small = shrink(program, result)
    assert isinstance(small.violation, Violated)
    return Violation(small.violation.law, small.violation.sentence, small)
