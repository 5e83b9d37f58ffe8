"""``pwsim planted``: run the planted bugs; which law convicts each, after how many runs."""

from __future__ import annotations

import argparse
from typing import Any

from ..campaign import Campaign
from ..planted import PLANTED
from ..planted.base import Planted
from ..report import json, text


def add(commands: Any) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "planted", help="run the planted bugs: which law convicts each"
    )
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    rows = [_try(planted) for planted in PLANTED.values()]
    if options.json:
        print(json.dumps({"planted": rows}))
    else:
        for row in rows:
            print("\n".join(_lines(row)))
    return 0 if all(row["law"] == row["convicted_by"] for row in rows) else 1


def _try(planted: Planted) -> dict[str, Any]:
    report = Campaign(planted.program(), max_faults=2, runs=2000).run()
    found = report.violations[0] if report.violations else None
    return {
        "name": planted.name,
        "law": planted.law,
        "convicted_by": found.law if found else "",
        "faults": len(found.faults) if found else 0,
        "fewest": planted.faults,
        "runs": report.runs,
        "seconds": round(report.seconds, 3),
        "sentence": text.sentence(found) if found else "",
    }


def _lines(row: dict[str, Any]) -> list[str]:
    ok = "✓" if row["law"] == row["convicted_by"] else "✗"
    by = f"{row['convicted_by'] or '-':3} after {row['runs']:5} runs"
    return [f"{ok} {row['name']:28} {row['law']:3} convicted by {by}", f"    {row['sentence']}"]
