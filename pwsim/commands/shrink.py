"""``pwsim shrink``: the smallest schedule found that breaks the same law, as a scenario that was replayed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from pwf_runtime.errors import UsageError

from .. import shrink as shrinking
from ..runner import Result
from ..scenario import dump
from .common import REPLAYS, add_command, add_file, as_found, open_file, repeats, violation_of


def add(commands: Any) -> None:
    parser = add_command(commands, "shrink", "make a scenario that breaks a law smaller")
    add_file(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="where to write it (default: standard output)")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    loaded = open_file(options.file)
    result = loaded.play()
    if result.violation is None:
        raise UsageError(f"{loaded.path}: no law is broken, so there is nothing to shrink")
    small = shrinking.shrink(loaded.program, result)
    found = violation_of(small)
    assert found is not None, "shrinking keeps the violation"
    scenario = as_found(loaded.scenario, found)
    if not repeats(scenario):
        print(f"pwsim: {loaded.path}: not the same in {REPLAYS} replays: a task is no function", file=sys.stderr)
        return 3
    print(f"{_change(result, small)}; the same in {REPLAYS} replays", file=sys.stderr)
    if options.output is None:
        sys.stdout.write(dump(scenario))
    else:
        Path(options.output).write_text(dump(scenario), encoding="utf-8")
    return 0


def _change(before: Result, after: Result) -> str:
    sizes = [(len(r.schedule.faults), len(r.schedule.deviations), len(r.trace)) for r in (before, after)]
    names = ("faults", "deviations", "steps")
    return ", ".join(f"{name} {old} -> {new}" for name, old, new in zip(names, *sizes, strict=True))
