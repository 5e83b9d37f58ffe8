"""``pwsim check``: are the traces that real workers recorded a behaviour of the machines?"""

from __future__ import annotations

import argparse
import time
from typing import Any

import msgspec

from ..check import Checked, check
from .common import add_command, add_json


def add(commands: Any) -> None:
    text = "say whether recorded traces of real workers are a behaviour of the machines, and at which line not"
    parser = add_command(commands, "check", text)
    parser.add_argument("traces", nargs="+", metavar="TRACE.jsonl", help="all files of one system")
    add_json(parser)
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    began = time.monotonic()
    checked = check(options.traces)
    seconds = time.monotonic() - began
    print(_json(checked, seconds) if options.json else _text(checked, seconds))
    return 1 if checked.findings else 0


def _json(checked: Checked, seconds: float) -> str:
    fields = {name: getattr(checked, name) for name in ("verdict", "lines", "steps", "processes", "cut", "under_way")}
    return msgspec.json.encode({**fields, "seconds": round(seconds, 3), "violations": checked.findings}).decode()


def _text(checked: Checked, seconds: float) -> str:
    lines = []
    for found in checked.findings:
        lines.append(f"{found.line}: {found.law}: {found.sentence}")
        lines += [f"    expected  {found.expected}"] if found.expected else []
        lines += [f"    found     {found.found}"] if found.found else []
    verdict = "not accepted" if checked.findings else "accepted"
    lines.append(
        f"{verdict}: {checked.steps:,} steps of {checked.processes} processes in {seconds:.1f} s; "
        f"{checked.under_way} under way when their process ended, {checked.cut} cut lines"
    )
    return "\n".join(lines)
