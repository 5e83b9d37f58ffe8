"""``pwsim run``: search for a schedule that breaks a law."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from pwf_runtime.errors import UsageError

from .. import checks
from .. import scenario as scenarios
from ..campaign import STRATEGIES, Campaign, Report, Violation
from ..report import json, paint, text
from ..runner import play
from ..schedule import Schedule
from . import replay
from .common import (
    REPLAYS,
    add_command,
    add_json,
    add_setup,
    as_found,
    is_folder,
    open_file,
    repeats,
    replay_line,
    write_page,
)

EXIT = {"pass": 0, "violation": 1, "inconclusive": 3}
FAILURES = Path(".pwsim/failures")


def add(commands: Any) -> None:
    parser = add_command(commands, "run", "search for a schedule that breaks a law")
    parser.add_argument("target", help="MODULE:APP[,MODULE:APP...], a scenario file, or a folder of them")
    parser.add_argument("--start", action="append", default=[], metavar="TASK=JSON", help="begin with this task")
    parser.add_argument(
        "--signal", action="append", default=[], metavar="EVENT=JSON", help="send this signal to the first run"
    )
    parser.add_argument("--runs", type=int, default=1000, help="random schedules (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the random schedules (default %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="workers per service (default %(default)s)")
    parser.add_argument("--faults", help="fault families or profiles, comma-separated (default: the profile default)")
    parser.add_argument("--max-faults", type=int, default=2, metavar="K", help="in one schedule (default %(default)s)")
    parser.add_argument(
        "--pairs", type=int, metavar="N", help="of schedules of two faults play about so many (default: all)"
    )
    parser.add_argument("--strategy", default="portfolio", help=f"{', '.join(STRATEGIES)} (default %(default)s)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes for the random schedules")
    parser.add_argument("--budget", type=float, metavar="SECONDS", help="end the search then, with exit code 3")
    parser.add_argument("--planted", default="", metavar="BUG", help="simulate a protocol with this planted bug")
    add_setup(parser)
    parser.add_argument("--network", action="store_true", help="let tasks open connections, which is refused else")
    parser.add_argument("--html", type=Path, metavar="OUT", help="write a page of a failure (a file, or a folder)")
    add_json(parser)
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    target = Path(options.target)
    if target.suffix == ".toml" or target.is_dir():
        return _replay_all(target, options)
    scenario = scenarios.Scenario(
        apps=tuple(options.target.split(",")),
        start=tuple([_start(entry) for entry in options.start]),
        signals=tuple([_signal(entry) for entry in options.signal]),
        workers=options.workers,
        planted=options.planted,
        setup=tuple(options.setup),
        network=options.network,
    )
    if not scenario.start:
        raise UsageError('nothing to begin: say --start TASK=JSON, such as --start \'register_user={"name": "Ada"}\'')
    scenario.set_up()
    report = _campaign(scenario, options)
    _show(report, scenario, options)
    return EXIT[report.verdict]


def _replay_all(target: Path, options: argparse.Namespace) -> int:
    files = sorted(target.rglob("*.toml")) if target.is_dir() else [target]
    if not files:
        raise UsageError(f"{target}: no scenario files (*.toml) in it")
    page = options.html
    if page is not None and len(files) > 1 and not is_folder(page):
        raise UsageError(f"--html {page}: for {len(files)} scenarios name a folder")
    return max([replay.show(open_file(path, setup=options.setup), as_json=options.json, page=page) for path in files])


def _start(entry: str) -> scenarios.StartEntry:
    task, equals, data = entry.partition("=")
    return scenarios.StartEntry(task, data if equals else "null")


def _signal(entry: str) -> scenarios.SignalEntry:
    event, equals, data = entry.partition("=")
    return scenarios.SignalEntry(event, data if equals else "null")


def _campaign(scenario: scenarios.Scenario, options: argparse.Namespace) -> Report:
    campaign = Campaign(
        scenario.program(),
        strategy=options.strategy,
        faults=options.faults,
        max_faults=options.max_faults,
        pairs=options.pairs,
        runs=options.runs,
        seed=options.seed,
        budget=options.budget,
        jobs=options.jobs,
    )
    return campaign.run()


def _show(report: Report, scenario: scenarios.Scenario, options: argparse.Namespace) -> None:
    saved = [_save(violation, scenario) for violation in report.violations]
    replays = [replay_line(path) for path in saved]
    if options.html is not None:
        for violation, path, line in zip(report.violations, saved, replays, strict=True):
            write_page(options.html, path.stem, violation.result, line)
    if options.json:
        print(json.dumps(json.campaign(report, replays)))
        return
    for violation, line in zip(report.violations, replays, strict=True):
        paint.show([*text.failure(violation, line, width=paint.width()), ""])
    print("\n".join(text.summary(report)))
    if reasons := checks.unfinished(play(report.program, Schedule()).world):
        print(f"note that without any fault, {'; '.join(reasons)}")


def _save(violation: Violation, scenario: scenarios.Scenario) -> Path:
    """Write the failure to a file, and return its path."""
    saved = as_found(scenario, violation)
    FAILURES.mkdir(parents=True, exist_ok=True)
    path = FAILURES / f"{violation.law}-{saved.trace[:8]}.toml"
    path.write_text(scenarios.dump(saved), encoding="utf-8")
    if not repeats(saved):
        print(f"pwsim: {path}: not the same in {REPLAYS} replays: a task is no function of its input", file=sys.stderr)
    return path
