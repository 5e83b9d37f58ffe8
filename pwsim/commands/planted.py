"""``pwsim planted``: run the planted bugs; which law convicts each, after how many runs."""

from __future__ import annotations

import argparse
from typing import Any

from msgspec import to_builtins

from ..planted import PLANTED, convict
from ..report import json
from .common import add_command, add_json


def add(commands: Any) -> None:
    parser = add_command(commands, "planted", "run the planted bugs: which law convicts each")
    add_json(parser)
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    rows = [to_builtins(convict(planted)) for planted in PLANTED.values()]
    if options.json:
        print(json.dumps({"planted": rows}))
    else:
        for row in rows:
            print("\n".join(_lines(row)))
    return 0 if all(row["law"] == row["convicted_by"] for row in rows) else 1


def _lines(row: dict[str, Any]) -> list[str]:
    ok = "✓" if row["law"] == row["convicted_by"] else "✗"
    by = f"{row['convicted_by'] or '-':3} after {row['runs']:5} runs"
    return [f"{ok} {row['name']:34} {row['law']:3} convicted by {by}", f"    {row['sentence']}"]
