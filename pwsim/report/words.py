"""One step in words, the same in every view: which fault struck, what was done, and what came of it.

The names of effects are left as they are, because the addresses of faults are made of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pwf_runtime.core import states
from pwf_runtime.core.inputs import Entries, Published, TaskDone, TaskFailed
from pwf_runtime.core.txn import TxnReply

from .. import pauses
from ..world.naming import TraceStep

FAULTS: Mapping[str, str] = {
    "before": "✗ dies before",
    "after": "✗ dies after",
    "reply-lost": "✗ answer lost:",
    "requeue": "✗ reconnects before",
    "stall": "✗ stalls before",
    "duplicate": "✗ a copy stays:",
    "shutdown": "✗ is shut down before",
    "slow": "✗ takes long:",
    "blocked": "✗ broker blocked at",
    "reordered": "✗ in another order:",
    "unrouted": "✗ no queue for",
    "lease-lost": "✗ lease ends early at",
    "lease-late": "✗ lease lasts long at",
    "old-code": "✗ old code:",
    "differs": "✗ answers differently:",
    "lost": "✗ message lost:",
    "queue-lost": "✗ queue lost at",
    "nacked": "✗ not taken:",
    "unconfirmed": "✗ confirm lost:",
    "partly-nacked": "✗ only the last is taken:",
    "consumer-timeout": "✗ channel closed during",
    "delivery-limit": "✗ dropped, delivered too often:",
    "evicted": "✗ run evicted before",
    "timers-evicted": "✗ timers evicted before",
    "open-evicted": "✗ list of open runs evicted before",
}
"""What is put before the effect at which a fault struck. Modes that are not here are shown by their name."""

STATES: Mapping[type, str] = {
    states.Recalling: "Reading the join of the first of work.todo.",
    states.Relisting: "Adding the run to the open ones again.",
}
"""What is said about a machine's state where the first thing in its docstring does not say what is done."""


def label(step: TraceStep) -> str:
    """The effect, and which fault struck at it."""
    nth = f"@{step.occurrence}" if step.occurrence > 1 else ""
    return f"{_struck(step.fault)}{step.effect}{nth}"


def _struck(mode: str) -> str:
    """What a fault of this mode is, in front of the effect's name; "": none struck."""
    if pauses.is_pause(mode):
        return f"✗ all down for {pauses.in_words(mode)} before "
    return f"{FAULTS.get(mode, f'✗ {mode}:')} " if mode else ""


def answer(step: TraceStep) -> str:
    """What came of it, where that is not what one would expect anyway; else ""."""
    if step.effect == "receive":
        return "redelivered" if step.answer is True else ""
    say = _ANSWERS.get(type(step.answer))
    return say(step, step.answer) if say is not None else ""


def what(step: TraceStep) -> str:
    """The effect and what came of it."""
    came = answer(step)
    return f"{label(step)} ({came})" if came else label(step)


def delivery(step: TraceStep) -> str:
    """The delivery (or sweep, or start) that the step belongs to."""
    return f"{step.path} #{step.nth}"


def line(step: TraceStep) -> str:
    """The whole step: who, in which delivery, what."""
    return f"{step.process}  {delivery(step)}  {what(step)}"


def seconds(time_ms: int) -> str:
    return f"{time_ms / 1000:.3f}s"


def _transaction(step: TraceStep, reply: TxnReply) -> str:
    if not reply.held:
        return "refused"
    return f"attempt {reply.replies[1]}" if step.effect == "claim" else ""


def _done(_step: TraceStep, done: TaskDone) -> str:
    outcome = done.outcome
    parts = [f"calls {len(outcome.calls)}"] if outcome.calls else []
    parts += [f"forks {sum(len(fork.calls) for fork in outcome.forks)}"] if outcome.forks else []
    parts += [f"emits {', '.join(event.name for event in outcome.events)}"] if outcome.events else []
    parts += [f"joins {len(outcome.joins)}"] if outcome.joins else []
    return "; ".join(parts)


def _failed(_step: TraceStep, failed: TaskFailed) -> str:
    return f"raised {failed.failure.kind}: {failed.failure.message}"


def _published(_step: TraceStep, published: Published) -> str:
    return "no queue takes it" if published.unroutable else ""


def _entries(_step: TraceStep, entries: Entries) -> str:
    return f"{len(entries.entries)} due"


_ANSWERS: Mapping[type, Callable[[TraceStep, Any], str]] = {
    TxnReply: _transaction,
    TaskDone: _done,
    TaskFailed: _failed,
    Published: _published,
    Entries: _entries,
}
