"""A failure in a terminal: one sentence, a diagram, where it parts from a passing run, and the line that replays it."""

from __future__ import annotations

from ..campaign import Report, Violation
from ..faults import describe
from ..runner import Result
from . import divergence, sequence
from .paint import WIDEST
from .recording import Recording, record


def sentence(violation: Violation) -> str:
    """What happened, in one sentence."""
    when = f"when {describe(violation.faults)}" if violation.faults else "without any fault"
    return f"{violation.law}: {violation.sentence}, {when}."


def timeline(result: Result, *, width: int = WIDEST) -> list[str]:
    """What every process did, step by step; where that is too much, the steps around the faults and the end."""
    return sequence.diagram(result.trace, width=width)


def summary(report: Report) -> list[str]:
    """What a campaign did and found, for people."""
    rate = report.runs / report.seconds if report.seconds else 0
    return [
        f"{report.verdict}: {report.bound}",
        f"{report.runs:,} schedules, {report.steps:,} steps in {report.seconds:.2f} s ({rate:,.0f} schedules/s); "
        f"crash points hit {report.hit:,} of {report.defined:,}",
    ]


def failure(violation: Violation, replay: str, *, width: int = WIDEST) -> list[str]:
    """A failure in full."""
    result = violation.result
    program = result.world.program
    parting = divergence.from_passing(program, result)
    lines = [sentence(violation), "", *[f"  fault: {fault}" for fault in violation.faults]]
    lines += [""] if violation.faults else []
    lines += sequence.diagram(result.trace, limit=sequence.MAX_LINES - 1, width=width)
    lines += [ending(record(program, result.schedule)), ""]
    lines.append(str(parting) if parting else "it fails without any fault: there is no passing run to compare it with")
    return [*lines, f"replay: {replay}"]


def ending(recording: Recording) -> str:
    """How a run ended: which law it broke, and in what."""
    broken, unmade = recording.violation, recording.unmade
    if broken is None:
        return "     ▶ the end: no law is broken"
    if unmade is not None:
        return f"     ▶ {broken.law} forbids what follows: {unmade.process}  {unmade.point}: {broken.sentence}"
    return (
        f"     ▶ {broken.law} is broken: {broken.sentence}" if broken.law != "machine" else f"     ▶ {broken.sentence}"
    )
