"""A failure in a terminal: one sentence, a diagram, where it parts from a passing run, and the line that replays it."""

from __future__ import annotations

from textwrap import wrap

from ..campaign import Report, Violation
from ..faults import when
from ..runner import Result
from ..tally import COMMITTED, EFFECTS
from . import divergence, sequence
from .paint import WIDEST
from .recording import unmade

_NO_LAWS = ("machine", "invariant", COMMITTED, EFFECTS)
"""What is not as it must be, without a law being broken: its sentence says it all."""


def sentence(violation: Violation) -> str:
    """What happened, in one sentence."""
    return f"{violation.law}: {violation.sentence}, {when(violation.faults)}."


def timeline(result: Result, *, width: int = WIDEST) -> list[str]:
    """What every process did, step by step; where that is too much, the steps around the faults and the end."""
    return sequence.diagram(result.trace, width=width)


def summary(report: Report) -> list[str]:
    """What a campaign did and found, for people."""
    rate = report.runs / report.seconds if report.seconds else 0
    what = "states" if report.states else "schedules"
    lines = [
        f"{report.verdict}: {report.bound}",
        f"{report.runs:,} {what}, {report.steps:,} steps in {report.seconds:.2f} s ({rate:,.0f} {what}/s); "
        f"crash points hit {report.hit:,} of {report.defined:,}",
    ]
    if report.unseen is not None and not report.violations:
        share = f"{100 * report.unseen:.0f} %"
        lines.append(f"about {share} of further random schedules would show a sequence of effects not yet seen")
    return lines


def failure(violation: Violation, replay: str, *, width: int = WIDEST) -> list[str]:
    """A failure in full."""
    result = violation.result
    parting = divergence.from_passing(result.world.program, result)
    end = wrap(ending(result), width, initial_indent=" " * 5, subsequent_indent=" " * 7)
    lines = [sentence(violation), "", *[f"  fault: {fault}" for fault in violation.faults]]
    lines += [""] if violation.faults else []
    lines += [*sequence.diagram(result.trace, limit=sequence.MAX_LINES - len(end), width=width), *end, ""]
    lines.append(str(parting) if parting else "it fails without any fault: there is no passing run to compare it with")
    return [*lines, f"replay: {replay}"]


def ending(result: Result) -> str:
    """How a run ended: which law it broke, and in what."""
    broken = result.violation
    if broken is None:
        return "▶ the end: no law is broken"
    forbidden = unmade(result.world.program, result)
    if forbidden is not None:
        return f"▶ {broken.law} forbids what follows: {forbidden.process}  {forbidden.point}: {broken.sentence}"
    return f"▶ {broken.law} is broken: {broken.sentence}" if broken.law not in _NO_LAWS else f"▶ {broken.sentence}"
