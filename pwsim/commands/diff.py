"""``pwsim diff``: the first step at which two scenarios part. The exit code is 0 if there is none, else 1."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from ..report import divergence, paint, words
from ..world.naming import TraceStep
from .common import add_command, open_file

BEFORE, AFTER = 3, 5
"""How many steps are shown before they part, and of each from there on."""


def add(commands: Any) -> None:
    parser = add_command(commands, "diff", "the first step at which two scenarios part")
    parser.add_argument("a", metavar="A", help="a scenario file")
    parser.add_argument("b", metavar="B", help="another")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    a, b = open_file(options.a).play().trace, open_file(options.b).play().trace
    index = divergence.first(a, b)
    if index is None:
        paint.show([f"the same in all {len(a)} steps"])
        return 0
    lines = [f"the same up to step {index}, of {len(a)} and {len(b)}", "", *_steps(a, max(0, index - BEFORE), index)]
    lines += ["", f"from step {index + 1} in {options.a}", *_steps(a, index, index + AFTER)]
    lines += ["", f"from step {index + 1} in {options.b}", *_steps(b, index, index + AFTER)]
    paint.show(lines)
    return 1


def _steps(trace: Sequence[TraceStep], start: int, stop: int) -> list[str]:
    steps = enumerate(trace[start:stop], start + 1)
    lines = [f"{number:5} {words.seconds(step.time_ms):>9}  {words.line(step)}" for number, step in steps]
    return [*lines, f"      {divergence.NOTHING}"] if stop > len(trace) else lines
