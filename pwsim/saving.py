"""Failures as scenario files, so that they can be replayed.

What a file cannot hold are workflows that no module has by name, and invariants that stand within a test. It is then
replayed by the test that found it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pwf_runtime.codec import decode
from pwf_runtime.workflow import Workflow

from .campaign import Violation
from .commands.common import as_found, replay_line
from .demands import Demands
from .program import Program, Sending
from .scenario import Scenario, SignalEntry, StartEntry, dump
from .schedule import Schedule

FAILURES = Path(".pwsim/failures")


class Folder:
    """Keeps each failure under a name made of its law and its trace, for ``pwsim replay``; tries none of them again."""

    def __init__(self, folder: Path = FAILURES) -> None:
        self.folder = folder

    def first(self) -> Sequence[Schedule]:
        return ()

    def keep(self, found: Violation, scenario: Scenario) -> str:
        path = self.folder / f"{found.law}-{scenario.trace[:8]}.toml"
        write(path, scenario)
        return replay_line(path)


def write(path: Path, scenario: Scenario) -> None:
    """Write a scenario's file at once or not at all: several test processes may be about it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = path.with_suffix(f".{os.getpid()}-{id(scenario):x}.tmp")
    whole.write_text(dump(scenario), encoding="utf-8")
    whole.replace(path)


def scenario_of(program: Program, found: Violation, planted: str, demands: Demands, setup: Sequence[str]) -> Scenario:
    """The scenario in which what was found happens again, and is judged by the same demands."""
    scenario = Scenario(
        apps=tuple([target for app in program.apps if (target := _target(app))]),
        start=tuple([StartEntry(start.task, _json(start.data)) for start in program.starts]),
        signals=tuple([_signal(program, sending) for sending in program.signals]),
        workers=program.workers,
        planted=planted,
        setup=tuple(setup),
        network=program.network,
    ).plus(demands)
    return as_found(scenario, found)


def _signal(program: Program, sending: Sending) -> SignalEntry:
    run = [start.run_id for start in program.starts].index(sending.run_id) + 1
    return SignalEntry(sending.event, _json(sending.data), sending.after_ms / 1000, run, sending.signal_id)


def _target(app: Workflow) -> str:
    """The workflow as MODULE:APP, if it stands in the module of one of its tasks."""
    for task in app.tasks.values():
        module = sys.modules.get(getattr(task.fn, "__module__", ""))
        for name, value in vars(module).items() if module is not None else ():
            if value is app and module is not None:
                return f"{module.__name__}:{name}"
    return ""


def _json(data: bytes) -> str:
    return json.dumps(decode(data), default=repr, ensure_ascii=False)
