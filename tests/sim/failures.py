"""Failures to report on: planted bugs on the small workflow ``fan``, by schedules that are known to show them."""

from __future__ import annotations

from pathlib import Path

from pwsim.campaign import Violation
from pwsim.commands.common import prepare, violation_of
from pwsim.faults import parse
from pwsim.planted import protocol_of
from pwsim.planted.workflows import fan
from pwsim.program import Program
from pwsim.runner import Result, play
from pwsim.scenario import Scenario, StartEntry, dump
from pwsim.schedule import Schedule

TWICE = ("no-dedupe", "begin #1 / run / stall")
"""``begin`` commits twice: L1."""
EARLY = ("join-by-counter", "begin > part[0] #1 / satisfy / after")
"""An event is counted twice, and the join fires without its last event: L3."""
AT_ONCE = ("ack-before-publish",)
"""Breaks L8 without any fault, in a step that the law forbids."""


def played(planted: str = "", *faults: str, start: int = 3) -> Result:
    """The schedule of these faults, with a planted bug or none."""
    program = Program([fan], [("begin", start)], protocol=protocol_of(planted))
    return play(program, Schedule(tuple(map(parse, faults))))


def step_of(result: Result, path: str, effect: str, nth: int = 1) -> int:
    """The number of the first step that is this effect, in the ``nth`` delivery of ``path``."""
    wanted = (path, nth, effect)
    return next(i for i, step in enumerate(result.trace, 1) if (step.path, step.nth, step.effect) == wanted)


def fault_of(result: Result) -> int:
    """The number of the first step at which a fault struck."""
    return next(i for i, step in enumerate(result.trace, 1) if step.fault)


def found(planted: str, *faults: str) -> Violation:
    violation = violation_of(played(planted, *faults))
    assert violation is not None
    return violation


def scenario(folder: Path, planted: str = "", *faults: str, name: str = "scenario", expect: str = "") -> Path:
    """A scenario file of these faults, with the trace that it has now."""
    entry = StartEntry("begin", "3")
    written = Scenario(("pwsim.planted.workflows:fan",), (entry,), faults=faults, planted=planted)
    result = play(prepare(written), written.schedule())
    law = result.violation.law if result.violation is not None else "pass"
    path = folder / f"{name}.toml"
    text = dump(written).replace('expect = "pass"', f'expect = "{expect or law}"')
    path.write_text(f'{text}trace = "{result.fingerprint()}"\n', encoding="utf-8")
    return path
