"""Simulations in tests: search for a schedule that breaks a law, or a demand of the user's.

What the fixture ``pwsim`` of the pytest plugin does, for any test framework: nothing in here knows of pytest. What was
found is a ``Report`` (see ``verdict``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeAlias

from msgspec import Struct, structs

from pwf_runtime.errors import UsageError
from pwf_runtime.workflow import Task, Workflow

from . import checks, saving
from .campaign import Campaign, Observer
from .checks import Invariant
from .faults import names_of
from .planted import protocol_of
from .program import Program
from .runner import play
from .scenario import Scenario, load, load_apps, returns_of
from .schedule import Schedule
from .verdict import Failure, Keeper, Points, Report, smallest

__all__ = ["Failure", "Keeper", "Report", "Search", "replay", "simulate"]

Apps: TypeAlias = Workflow | Sequence[Workflow]
Start: TypeAlias = tuple[str | Task[Any, Any], Any]
Invariants: TypeAlias = Invariant | Sequence[Invariant]


class Search(Struct, frozen=True, kw_only=True):
    """How to search.

    ``faults``: families, such as "crash,requeue"; ``None``: those of the default profile; "": none. ``max_faults``: the
    most in one schedule. ``runs``: random schedules, drawn from ``seed``, by ``jobs`` processes. ``budget``: seconds at
    the most. ``strategy``: see ``campaign.STRATEGIES``. ``pause``: besides, the whole system may be down for so
    long, at each place ("what if three days pass here?").
    """

    faults: str | None = None
    max_faults: int = 2
    runs: int = 1000
    seed: int = 0
    budget: float | None = None
    strategy: str = "portfolio"
    jobs: int = 1
    pause: timedelta | None = None

    def campaign(self, program: Program, observer: Observer) -> Campaign:
        """The campaign that searches so. Raises UsageError."""
        return Campaign(program, observer=observer, **structs.asdict(self))


def simulate(
    apps: Apps,
    *,
    start: Start | Sequence[Start],
    workers: int = 2,
    invariant: Invariants = (),
    planted: str = "",
    profile: str = "",
    allow_unfinished: bool = False,
    only: Schedule | None = None,
    keeper: Keeper | None = None,
    **search: Any,
) -> Report:
    """Drive workflows through faults and orders of steps, and report what was found.

    ``apps``: one workflow or several. ``start``: a pair (task, data), or several, one run each. ``workers``: processes
    per service. ``invariant``: a function, or several, that is called with the end of every schedule, a
    ``checks.Played``; what it asserts must hold. ``planted``: simulate with this planted bug, to see a test fail.
    ``profile``: whose queues, see ``faults.RETURNS`` (``faults`` may name it, too).
    ``allow_unfinished``: the run without faults may leave dead calls, and joins that wait for ever. ``only``: play this
    schedule and no other. ``keeper``: where failures are kept. ``search``: see ``Search``.

    Raises UsageError for what cannot be meant, and nothing for what is found: see ``Report.assert_passed``.
    """
    _refuse_running_loop()
    how = _search_of(search)
    starts = [(task.full_name if isinstance(task, Task) else task, data) for task, data in _several(start, tuple)]
    program = Program(_several(apps, Workflow), starts, workers=workers, protocol=protocol_of(planted))
    program.returns = returns_of(profile)
    program.checks = tuple([checks.invariant(fn) for fn in ([invariant] if callable(invariant) else invariant)])
    report = Report(program, keeper or saving.Folder(), planted)
    try:
        _Simulation(report, how).run(only)
        if report.verdict != "violation" and not report.problem and not allow_unfinished:
            report.problem = _unfinished(program)
    finally:
        program.close()
    return report


def replay(scenario: Scenario | str | Path, apps: Apps = (), *, invariant: Invariants = ()) -> Report:
    """Play a scenario, or a scenario file, once. ``apps``: its workflows, if they cannot be imported by name."""
    if not isinstance(scenario, Scenario):
        scenario = load(scenario)
    schedule = scenario.schedule()
    return simulate(
        apps or load_apps(scenario.apps),
        start=scenario.starts(),
        workers=scenario.workers,
        planted=scenario.planted,
        profile=scenario.profile,
        invariant=invariant,
        allow_unfinished=True,
        only=schedule,
        faults=names_of(frozenset([fault.mode for fault in schedule.faults])),
    )


class _Simulation:
    """One search: what failed before is tried first."""

    def __init__(self, report: Report, search: Search) -> None:
        self.report = report
        self.tally = report.tally
        self.tally.ends_only = search.strategy == "exhaustive"
        self.campaign = search.campaign(report.program, self.tally)

    def run(self, only: Schedule | None) -> None:
        report = self.report
        self._try(report.keeper.first() if only is None else [only])
        if only is not None:
            report.bound = "one schedule, replayed"
            if only.faults and not self.tally.struck and not report.violations:
                report.problem = f"vacuous: none of its faults is met any more: {', '.join(map(str, only.faults))}"
        elif not report.violations:
            self._explore()
            if not self.tally.struck and self.campaign.modes and not report.violations:
                report.problem = (
                    f"vacuous: no fault struck in {_many(report.runs)}, so this shows nothing about faults; "
                    'search for longer, or say faults="" if only orders of steps are to be tried'
                )

    def _try(self, schedules: Sequence[Schedule]) -> None:
        report, program = self.report, self.report.program
        program.expects(self.campaign.modes)
        clean = play(program, Schedule())
        program.reference = clean.world.committed_graph() if clean.violation is None else None
        for schedule in schedules:
            result = play(program, schedule)
            hit = len(schedule.faults) - len(result.unmatched())
            report.runs, report.steps = report.runs + 1, report.steps + result.steps
            if hit or not schedule.faults:
                self.tally.note(result)
            report.crash_points = Points(hit, len(schedule.faults))
            if result.violation is not None:
                report.verdict = "violation"
                report.bound = "what failed before, tried first"
                report.violations = [smallest(program, result)]
                return

    def _explore(self) -> None:
        report, found = self.report, self.campaign.run()
        report.verdict, report.bound, report.violations = found.verdict, found.bound, found.violations
        report.runs, report.steps = report.runs + found.runs, report.steps + found.steps
        report.seconds = found.seconds
        report.crash_points = Points(found.hit, found.defined)


def _unfinished(program: Program) -> str:
    """Why the run without faults does not come to its end: a workflow that never works would else pass."""
    reasons = checks.unfinished(play(program, Schedule()).world)
    if not reasons:
        return ""
    return f"without any fault, {'; '.join(reasons)}. If that is meant, say allow_unfinished=True"


def _search_of(given: dict[str, Any]) -> Search:
    unknown = sorted(set(given) - set(Search.__struct_fields__))
    if unknown:
        raise UsageError(
            f"{', '.join(unknown)}: there is no such option; there are {', '.join(Search.__struct_fields__)}"
        )
    return Search(**given)


def _many(schedules: int) -> str:
    return "one schedule" if schedules == 1 else f"{schedules:,} schedules"


def _several(value: Any, kind: type) -> list[Any]:
    """A list, where one of ``kind`` may stand for a list of one."""
    return [value] if isinstance(value, kind) else list(value)


def _refuse_running_loop() -> None:
    """Async tasks are simulated in an event loop, and a thread cannot have two."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise UsageError("a simulation runs its own event loop: call it from a plain test (def, not async def)")
