"""``pwsim show``: the whole timeline of a scenario, or the state of the world after one of its steps."""

from __future__ import annotations

import argparse
from typing import Any

from pwf_runtime.errors import UsageError

from ..report import paint, sequence, state, text
from ..report.recording import Recording, record
from .common import add_command, add_file, open_file


def add(commands: Any) -> None:
    parser = add_command(commands, "show", "every step of a scenario, or the state after one")
    add_file(parser)
    parser.add_argument("--step", type=int, metavar="N", help="the state of the world after this step")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    loaded = open_file(options.file)
    if options.step is None:
        result = loaded.play()
        paint.show([*sequence.diagram(result.trace, limit=None, width=paint.width()), f"     {text.ending(result)}"])
    else:
        recording = record(loaded.program, loaded.scenario.schedule())
        paint.show(state.after(recording, _number(recording, options.step)))
    return 0


def _number(recording: Recording, number: int) -> int:
    last = len(recording.result.trace)
    if not 0 <= number <= last:
        raise UsageError(f"--step {number}: there are steps 1 to {last}; 0 is the state before the first")
    earliest = recording.moments[0].number - 1 if recording.moments else 0
    if number < earliest:
        raise UsageError(f"--step {number}: of a run as long as this, states are kept from step {earliest} on")
    return number
