"""``pwsim explain``: why did this call run? What created it, what brought each delivery, which attempt committed."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from pwf_runtime.errors import UsageError

from ..report import paint, why
from ..report.recording import record
from .common import add_command, add_file, open_file


def add(commands: Any) -> None:
    parser = add_command(commands, "explain", "say why a call ran")
    add_file(parser)
    parser.add_argument("call", help="its path, such as 'register_user > finalize', or the end of it")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    loaded = open_file(options.file)
    recording = record(loaded.program, loaded.scenario.schedule())
    paint.show(why.explain(recording, _path(options.call, why.Story(recording).calls())))
    return 0


def _path(wanted: str, calls: Sequence[str]) -> str:
    """The one call that is meant."""
    if wanted in calls:
        return wanted
    meant = [path for path in calls if path.endswith(f" > {wanted}")]
    if len(meant) == 1:
        return meant[0]
    problem = "there is no such call" if not meant else "this may be several calls"
    raise UsageError(f"{wanted!r}: {problem}; there are {', '.join(repr(path) for path in meant or calls) or 'none'}")
