"""Simulations in tests: search for a schedule that breaks a law, or a demand of the user's.

What the fixture ``pwsim`` of the pytest plugin does, for any test framework: nothing in here knows of pytest. What was
found is a ``Report`` (see ``verdict``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeAlias

from msgspec import Struct, structs

from pwf_runtime.errors import UsageError
from pwf_runtime.workflow import Task, Workflow

from . import checks, saving
from .campaign import Campaign, Observer
from .demands import Demands, of_functions
from .faults import names_of
from .invariants import Invariant
from .invariants import invariant as check_of
from .numbers import counted
from .planted import protocol_of
from .program import Program, Signal
from .runner import Result, play, rehearse
from .scenario import Scenario, load, returns_of
from .schedule import Schedule
from .tally import EFFECTS, NoSuchEffect
from .targets import name_of, set_up
from .verdict import Failure, Keeper, Points, Report, smallest

__all__ = ["Failure", "Keeper", "Report", "Search", "replay", "simulate"]

Apps: TypeAlias = Workflow | Sequence[Workflow]
Start: TypeAlias = tuple[str | Task[Any, Any], Any]
Invariants: TypeAlias = Invariant | Sequence[Invariant]
Only: TypeAlias = Schedule | Callable[[Program], Schedule]
Setup: TypeAlias = str | Callable[[], Any]


class Search(Struct, frozen=True, kw_only=True):
    """How to search.

    ``faults``: families, such as "crash,requeue"; ``None``: those of the default profile; "": none. ``max_faults``: the
    most in one schedule. ``pairs``: of schedules with two faults (and of those with three, and so on) about so many are
    played, evenly taken from all; ``None``: all. ``runs``: random schedules, from ``seed``, by ``jobs`` processes.
    ``budget``: seconds at the most. ``strategy``: see ``campaign.STRATEGIES``. ``pause``: the whole system may be down
    for so long, too, at each place ("what if three days pass here?").
    """

    faults: str | None = None
    max_faults: int = 2
    runs: int = 1000
    seed: int = 0
    budget: float | None = None
    strategy: str = "portfolio"
    jobs: int = 1
    pause: timedelta | None = None
    pairs: int | None = 2000

    def campaign(self, program: Program, observer: Observer) -> Campaign:
        """The campaign that searches so. Raises UsageError."""
        return Campaign(program, observer=observer, **structs.asdict(self))


def simulate(
    apps: Apps,
    *,
    start: Start | Sequence[Start],
    signals: Sequence[Signal | tuple[str, Any]] = (),
    workers: int = 2,
    invariant: Invariants = (),
    planted: str = "",
    profile: str = "",
    setup: Setup | Sequence[Setup] = (),
    network: bool = False,
    allow_unfinished: bool = False,
    only: Only | None = None,
    keeper: Keeper | None = None,
    **how: Any,
) -> Report:
    """Drive workflows through faults and orders of steps, and report what was found.

    ``apps``: one workflow or several. ``start``: a pair (task, data), or several, one run each. ``signals``: what comes
    from outside, pairs (event, data) for the first run, or ``Signal``s; they come at any time. ``workers``: processes
    per service. ``invariant``: a function, or several, that is called with the end of every schedule, a
    ``checks.Played``; what it asserts must hold. ``planted``: simulate with this planted bug, to see a test fail.
    ``profile``: whose queues, see ``faults.RETURNS`` (``faults`` may name it, too). ``setup``: a function, or its
    ``MODULE:NAME``, that puts stand-ins in the place of clients: called first, and where a failure's file is played.
    ``network``: tasks may open connections; else one that does is named, and nothing is sent.
    ``allow_unfinished``: the run without faults may leave dead calls, and joins that wait for ever. ``only``: play this
    schedule, or the one that a function makes for the program, and no other. ``keeper``: where failures are kept.
    ``how``: what is searched, see ``Search``, and what else must be so in every schedule, such as ``once=["charge"]``,
    see ``Demands``.

    Raises UsageError for what cannot be meant, and nothing for what is found: see ``Report.assert_passed``.
    """
    _refuse_running_loop()
    search, demands = _taken(how)
    functions = [invariant] if callable(invariant) else list(invariant)
    set_up = [_set_up(each) for each in ([setup] if callable(setup) or isinstance(setup, str) else setup)]
    starts = [(task.full_name if isinstance(task, Task) else task, data) for task, data in _several(start, tuple)]
    protocol = protocol_of(planted)
    program = Program(_several(apps, Workflow), starts, workers=workers, protocol=protocol, signals=signals)
    program.returns, program.network = returns_of(profile), network
    program.checks = (*demands.checks(program), *map(check_of, functions))
    demands = demands.plus(of_functions(functions))
    report = Report(program, keeper or saving.Folder(), planted, demands, tuple(filter(None, set_up)))
    return _searched(report, search, only, allow_unfinished)


def replay(scenario: Scenario | str | Path, apps: Apps = (), *, invariant: Invariants = ()) -> Report:
    """Play a scenario, or a scenario file, once. ``apps``: its workflows, if they cannot be imported by name."""
    _refuse_running_loop()
    if not isinstance(scenario, Scenario):
        scenario = load(scenario)
    scenario.set_up()
    program = scenario.program(_several(apps, Workflow))
    program.checks += tuple(map(check_of, [invariant] if callable(invariant) else invariant))
    schedule = scenario.schedule()
    report = Report(program, saving.Folder(), scenario.planted, scenario, scenario.setup)
    search = Search(faults=names_of(frozenset([fault.mode for fault in schedule.faults])))
    return _searched(report, search, schedule, allow_unfinished=True)


def _searched(report: Report, search: Search, only: Only | None, allow_unfinished: bool) -> Report:
    try:
        _Simulation(report, search, allow_unfinished).run(only)
    finally:
        report.program.close()
    return report


class _Simulation:
    """One search: first the run without faults, then what failed before, then all the rest."""

    def __init__(self, report: Report, search: Search, allow_unfinished: bool) -> None:
        self.report = report
        self.tally = report.tally
        self.tally.ends_only = search.strategy == "exhaustive"
        self.allow_unfinished = allow_unfinished
        self.effects: set[str] = set()
        """The probed functions that the run without faults calls."""
        self.campaign = search.campaign(report.program, self.tally)

    def run(self, wanted: Only | None) -> None:
        report = self.report
        clean = self._play_clean()
        only = wanted(report.program) if callable(wanted) else wanted
        reasons = [] if self.allow_unfinished or clean.violation else checks.unfinished(clean.world)
        if only is not None:
            self._try([only])
            report.bound = "one schedule, replayed"
            report.problem = _never_ends(reasons) if reasons and not report.violations else ""
        elif clean.violation is not None:
            self._found(clean, "the run without faults, played first")
        elif reasons:
            report.bound, report.runs, report.steps = "the run without faults, played first", 1, clean.steps
            report.problem = _never_ends(reasons)
        else:
            self._search()
        if not report.violations and not report.problem:
            report.problem = self._vacuous(only)

    def _play_clean(self) -> Result:
        program = self.report.program
        program.expects(self.campaign.modes)
        clean = rehearse(program)
        self.effects = {entry.name for entry in clean.world.ledger}
        return clean

    def _search(self) -> None:
        self._try(self.report.keeper.first())
        if not self.report.violations:
            self._explore()

    def _try(self, schedules: Sequence[Schedule]) -> None:
        report, program = self.report, self.report.program
        for schedule in schedules:
            result = play(program, schedule)
            hit = len(schedule.faults) - len(result.unmatched())
            report.runs, report.steps = report.runs + 1, report.steps + result.steps
            if hit or not schedule.faults:
                self.tally.note(result)
            report.crash_points = Points(hit, len(schedule.faults))
            if result.violation is not None:
                return self._found(result, "what failed before, tried first")
        return None

    def _found(self, result: Result, bound: str) -> None:
        report = self.report
        report.runs = report.runs or 1
        report.verdict, report.bound = "violation", bound
        report.violations = [smallest(report.program, result)]

    def _explore(self) -> None:
        report, found = self.report, self.campaign.run()
        report.verdict, report.bound, report.violations = found.verdict, found.bound, found.violations
        report.runs, report.steps = report.runs + found.runs, report.steps + found.steps
        report.seconds = found.seconds
        report.crash_points = Points(found.hit, found.defined)

    def _vacuous(self, only: Schedule | None) -> str:
        """Why a pass shows nothing; "": it does."""
        report = self.report
        called = sorted({*self.tally.names(EFFECTS), *self.effects})
        if missing := sorted(report.demands.effects() - set(called)):
            return str(NoSuchEffect(missing[0], called))
        if self.tally.struck:
            return ""
        if only is not None and only.faults:
            return f"vacuous: none of its faults is met any more: {', '.join(map(str, only.faults))}"
        if only is None and self.campaign.modes:
            return (
                f"vacuous: no fault struck in {counted(report.runs, 'schedule')}, so this shows nothing about faults; "
                'search for longer, or say faults="" if only orders of steps are to be tried'
            )
        return ""


def _never_ends(reasons: Sequence[str]) -> str:
    """The run without faults does not come to its end: a workflow that never works would else pass."""
    return f"without any fault, {'; '.join(reasons)}. If that is meant, say allow_unfinished=True"


def _taken(given: dict[str, Any]) -> tuple[Search, Demands]:
    """What is asked for by name. Raises UsageError for a name that is none."""
    known = {kind: set(kind.__struct_fields__) - {"invariants"} for kind in (Search, Demands)}
    if unknown := sorted(set(given) - known[Search] - known[Demands]):
        there = [*Search.__struct_fields__, *sorted(known[Demands])]
        raise UsageError(f"{', '.join(unknown)}: there is no such option; there are {', '.join(there)}")
    demanded = {name: value for name, value in given.items() if name in known[Demands]}
    for name, value in demanded.items():
        demanded[name] = dict(value) if name == "committed" else tuple(_several(value, str))
    return Search(**{name: value for name, value in given.items() if name in known[Search]}), Demands(**demanded)


def _set_up(setup: Setup) -> str:
    """Call it; returns the name by which a file can have it called again, "" if there is none."""
    if isinstance(setup, str):
        set_up(setup)
        return setup
    setup()
    return name_of(setup)


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
