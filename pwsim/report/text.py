"""A failure in a terminal: one sentence, a timeline of at most ``MAX_LINES`` lines, and the line that replays it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pwf_runtime.core.inputs import Entries, Published, TaskDone, TaskFailed
from pwf_runtime.core.txn import TxnReply

from ..campaign import Report, Violation
from ..faults import describe
from ..runner import Result
from ..world.world import TraceStep

MAX_LINES = 40
_FAULTS = {
    "before": "✗ dies before",
    "after": "✗ dies after",
    "reply-lost": "… answer lost, does it again:",
    "requeue": "↺ connection drops before",
    "stall": "⏸ stalls before",
    "duplicate": "⧉ a copy stays in the queue:",
}


def sentence(violation: Violation) -> str:
    """What happened, in one sentence."""
    return f"{violation.law}: {violation.sentence}, when {describe(violation.faults)}."


def timeline(result: Result) -> list[str]:
    """What every process did, step by step; where that is too much, the steps around the faults and the end."""
    steps = result.trace
    lanes = sorted({step.process for step in steps})
    width = max((len(lane) for lane in lanes), default=0)
    lines = [_line(step, width) for step in steps]
    keep = _worth(steps)
    shown: list[str] = []
    skipped = 0
    for i, line in enumerate(lines):
        if i in keep:
            if skipped:
                shown.append(f"          {'':{width}}  … {skipped} more steps")
                skipped = 0
            shown.append(line)
        else:
            skipped += 1
    return shown


def _worth(steps: Sequence[TraceStep]) -> set[int]:
    """The steps to show: all, or those nearest to the faults and to the end."""
    if len(steps) <= MAX_LINES:
        return set(range(len(steps)))
    anchors = [i for i, step in enumerate(steps) if step.fault] or [0]
    anchors.append(len(steps) - 1)
    calls = {steps[i].path for i in anchors}
    room = MAX_LINES - 2 * (len(anchors) + 1)

    def distance(i: int) -> tuple[int, int]:
        return (0 if steps[i].path in calls else 1, min(abs(i - anchor) for anchor in anchors))

    return set(sorted(range(len(steps)), key=distance)[:room]) | set(anchors)


def _line(step: TraceStep, width: int) -> str:
    mark = f"{_FAULTS[step.fault]} " if step.fault else ""
    nth = f"@{step.occurrence}" if step.occurrence > 1 else ""
    what = f"{mark}{step.effect}{nth}{_answer(step)}"
    return f"{step.time_ms / 1000:8.3f}s {step.process:{width}}  {step.path} #{step.nth}  {what}"


def _answer(step: TraceStep) -> str:
    """What came of it, where that is not what one would expect."""
    answer: Any = step.answer
    if isinstance(answer, TxnReply) and not answer.held:
        return "  (compare failed: looks at what is there)"
    if isinstance(answer, TaskFailed):
        return f"  (raised {answer.failure.kind}: {answer.failure.message})"
    if isinstance(answer, TaskDone) and answer.outcome.events:
        return f"  (emits {', '.join(event.name for event in answer.outcome.events)})"
    if isinstance(answer, Published) and answer.unroutable:
        return "  (no queue takes it)"
    if isinstance(answer, Entries):
        return f"  ({len(answer.entries)} due)"
    if step.effect == "receive" and answer:
        return "  (redelivered)"
    return ""


def summary(report: Report) -> list[str]:
    """What a campaign did and found, for people."""
    rate = report.runs / report.seconds if report.seconds else 0
    return [
        f"{report.verdict}: {report.bound}",
        f"{report.runs:,} schedules, {report.steps:,} steps in {report.seconds:.2f} s ({rate:,.0f} schedules/s); "
        f"crash points hit {report.hit:,} of {report.defined:,}",
    ]


def failure(violation: Violation, replay: str) -> list[str]:
    """A failure in full."""
    lines = [sentence(violation), ""]
    lines += [f"  fault: {fault}" for fault in violation.faults]
    lines += ["", *timeline(violation.result), "", f"replay: {replay}"]
    return lines
