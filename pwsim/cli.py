"""The command ``pwsim``.

Exit code 0: nothing found within the bound that it prints; 1: violation; 2: usage; 3: inconclusive.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pwf_runtime.errors import UsageError

from . import scenario as scenarios
from .campaign import STRATEGIES, Campaign, Report, Violation
from .planted import PLANTED
from .report import text
from .runner import Result, play

EXIT = {"pass": 0, "violation": 1, "inconclusive": 3}
FAILURES = Path(".pwsim/failures")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(argv)
    try:
        code: int = options.command(options)
        return code
    except UsageError as error:
        print(f"pwsim: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("pwsim", description="Simulate workflows through every crash that matters.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="search for a schedule that breaks a law")
    run.add_argument("target", help="MODULE:APP[,MODULE:APP...], a scenario file, or a folder of them")
    run.add_argument("--start", action="append", default=[], metavar="TASK=JSON", help="begin with this task and data")
    run.add_argument("--runs", type=int, default=1000, help="random schedules (default %(default)s)")
    run.add_argument("--seed", type=int, default=0)
    run.add_argument("--workers", type=int, default=2, help="workers per service (default %(default)s)")
    run.add_argument("--faults", help="fault families, comma-separated (default: all)")
    run.add_argument("--max-faults", type=int, default=2, metavar="K")
    run.add_argument("--strategy", choices=STRATEGIES, default="portfolio")
    run.add_argument("--budget", type=float, metavar="SECONDS")
    run.add_argument("--planted", default="", metavar="BUG", help="simulate a protocol with this planted bug")
    run.add_argument("--json", action="store_true")
    run.set_defaults(command=_run)
    replay = commands.add_parser("replay", help="play a scenario file")
    replay.add_argument("file")
    replay.add_argument("--strict", action="store_true", help="the trace must be the same, too")
    replay.add_argument("--json", action="store_true")
    replay.set_defaults(command=_replay)
    planted = commands.add_parser("planted", help="run the planted bugs: which law convicts each, after how many runs")
    planted.add_argument("--json", action="store_true")
    planted.set_defaults(command=_planted)
    return parser


# ── run ───────────────────────────────────────────────────────────────────────────────────────


def _run(options: argparse.Namespace) -> int:
    target = Path(options.target)
    if target.suffix == ".toml" or target.is_dir():
        return _replay_all(target, options)
    scenario = scenarios.Scenario(
        apps=tuple(options.target.split(",")),
        start=tuple([_start(entry) for entry in options.start]),
        workers=options.workers,
        planted=options.planted,
    )
    if not scenario.start:
        raise UsageError('nothing to begin: say --start TASK=JSON, such as --start \'register_user={"name": "Ada"}\'')
    report = _campaign(scenario, options)
    _show(report, scenario, options.json)
    return EXIT[report.verdict]


def _start(entry: str) -> scenarios.StartEntry:
    task, equals, data = entry.partition("=")
    return scenarios.StartEntry(task, data if equals else "null")


def _campaign(scenario: scenarios.Scenario, options: argparse.Namespace) -> Report:
    campaign = Campaign(
        scenario.program(),
        strategy=options.strategy,
        faults=options.faults,
        max_faults=options.max_faults,
        runs=options.runs,
        seed=options.seed,
        budget=options.budget,
    )
    return campaign.run()


def _show(report: Report, scenario: scenarios.Scenario, as_json: bool) -> None:
    replays = [_save(violation, scenario) for violation in report.violations]
    if as_json:
        print(json.dumps(_object(report, replays)))
        return
    for violation, replay in zip(report.violations, replays, strict=True):
        print("\n".join(text.failure(violation, replay)), end="\n\n")
    print("\n".join(text.summary(report)))


def _object(report: Report, replays: Sequence[str]) -> dict[str, Any]:
    return {
        "verdict": report.verdict,
        "bound": report.bound,
        "runs": report.runs,
        "steps": report.steps,
        "states": 0,
        "seconds": round(report.seconds, 3),
        "crash_points": {"hit": report.hit, "defined": report.defined},
        "violations": [
            {
                "law": violation.law,
                "sentence": text.sentence(violation),
                "faults": [str(fault) for fault in violation.faults],
                "replay": replay,
            }
            for violation, replay in zip(report.violations, replays, strict=True)
        ],
    }


def _save(violation: Violation, scenario: scenarios.Scenario) -> str:
    """Write the failure to a file, and return the line that replays it."""
    result = violation.result
    saved = scenarios.Scenario(
        apps=scenario.apps,
        start=scenario.start,
        workers=scenario.workers,
        faults=tuple([str(fault) for fault in result.schedule.faults]),
        deviations=result.schedule.deviations,
        planted=scenario.planted,
        expect=violation.law,
        trace=result.fingerprint(),
        about=text.sentence(violation),
    )
    FAILURES.mkdir(parents=True, exist_ok=True)
    path = FAILURES / f"{violation.law}-{result.fingerprint()[:8]}.toml"
    path.write_text(scenarios.dump(saved), encoding="utf-8")
    return f"pwsim replay {path}"


# ── replay ────────────────────────────────────────────────────────────────────────────────────


def _replay_all(target: Path, options: argparse.Namespace) -> int:
    files = sorted(target.rglob("*.toml")) if target.is_dir() else [target]
    if not files:
        raise UsageError(f"{target}: no scenario files (*.toml) in it")
    codes = [_replay_file(path, strict=False, as_json=options.json) for path in files]
    return max(codes)


def _replay(options: argparse.Namespace) -> int:
    return _replay_file(Path(options.file), strict=options.strict, as_json=options.json)


def _replay_file(path: Path, *, strict: bool, as_json: bool) -> int:
    scenario = scenarios.load(path)
    result = play(scenario.program(), scenario.schedule())
    found = result.violation.law if result.violation is not None else "pass"
    same = not scenario.trace or scenario.trace == result.fingerprint()
    as_expected = found == scenario.expect and (same or not strict)
    if as_json:
        print(json.dumps(_replayed(path, scenario, result, same)))
    else:
        _tell(path, scenario, result, same)
    if found != "pass":
        return 1
    return 0 if as_expected else 1


def _replayed(path: Path, scenario: scenarios.Scenario, result: Result, same: bool) -> dict[str, Any]:
    violations = []
    if result.violation is not None:
        violation = Violation(result.violation.law, result.violation.sentence, result)
        violations.append(
            {
                "law": violation.law,
                "sentence": text.sentence(violation),
                "faults": [str(fault) for fault in violation.faults],
                "replay": f"pwsim replay {path}",
            }
        )
    return {
        "verdict": "violation" if violations else "pass",
        "runs": 1,
        "steps": result.steps,
        "states": 0,
        "seconds": 0,
        "crash_points": {"hit": len(scenario.faults) - len(result.unmatched()), "defined": len(scenario.faults)},
        "violations": violations,
        "expected": scenario.expect,
        "same_trace": same,
        "unmatched": [str(fault) for fault in result.unmatched()],
    }


def _tell(path: Path, scenario: scenarios.Scenario, result: Result, same: bool) -> None:
    if result.violation is not None:
        violation = Violation(result.violation.law, result.violation.sentence, result)
        print("\n".join(text.failure(violation, f"pwsim replay {path}")))
    else:
        print("\n".join([f"{path}: no law is broken", "", *text.timeline(result)]))
    for fault in result.unmatched():
        print(f"no longer matched: {fault}")
    if not same:
        print("the trace differs from the one recorded: the code or its schedule has changed")
    if (result.violation.law if result.violation is not None else "pass") != scenario.expect:
        print(f"expected: {scenario.expect}")


# ── planted ───────────────────────────────────────────────────────────────────────────────────


def _planted(options: argparse.Namespace) -> int:
    rows = []
    for planted in PLANTED.values():
        report = Campaign(planted.program(), max_faults=2, runs=2000).run()
        found = report.violations[0] if report.violations else None
        rows.append(
            {
                "name": planted.name,
                "law": planted.law,
                "convicted_by": found.law if found else "",
                "faults": len(found.faults) if found else 0,
                "fewest": planted.faults,
                "runs": report.runs,
                "seconds": round(report.seconds, 3),
                "sentence": text.sentence(found) if found else "",
            }
        )
    if options.json:
        print(json.dumps({"planted": rows}))
    else:
        for row in rows:
            ok = "✓" if row["law"] == row["convicted_by"] else "✗"
            by = f"{row['convicted_by'] or '-':3} after {row['runs']:5} runs"
            print(f"{ok} {row['name']:28} {row['law']:3} convicted by {by}")
            print(f"    {row['sentence']}")
    return 0 if all(row["law"] == row["convicted_by"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
