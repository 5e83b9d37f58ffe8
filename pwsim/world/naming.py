"""What a step of a world is called: the name of the effect that a slot waits for, and a step as it is kept in a trace.

Addresses of faults are made of these names, and scenario files hold them: they stay as they are.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pwf_runtime.core import effects as e
from pwf_runtime.core.model import Message
from pwf_runtime.core.steps import remember
from pwf_runtime.core.txn import Txn

from .. import faults as f
from ..probes import Inner, ProbedCall, StepResult
from .process import Slot


class TraceStep(NamedTuple):
    """A step as it happened: an effect in the ``nth`` delivery of ``path``, the fault that struck, and the answer."""

    time_ms: int
    process: str
    path: str
    nth: int
    effect: str
    occurrence: int
    fault: str
    answer: Any

    @property
    def point(self) -> f.Point:
        return f.Point(self.path, self.nth, self.effect, self.occurrence)


_NAMES: dict[type, str] = {e.RunTask: "run", e.Ack: "ack"}
_VERBS: dict[type, str] = {e.IndexAdd: "add to", e.IndexRead: "read", e.IndexRemove: "remove from"}


def effect_of(slot: Slot) -> tuple[e.Effect | ProbedCall, str]:
    """The effect to perform now and its name in addresses: of a publish of several messages, the next one; of a task
    that runs, what it does next."""
    if slot.inner:
        return _inner_effect(slot, slot.inner[0])
    effect = slot.effect
    if type(effect) is Txn:
        return effect, effect.label
    if type(effect) is e.Publish:
        messages = effect.messages
        message = messages[-1 - slot.part if slot.reordered else slot.part]
        task = message.task.partition(".")[2] if type(message) is Message else "marker"
        return (effect if len(messages) == 1 else e.Publish((message,))), f"publish {task}"
    assert effect is not None
    return effect, _NAMES.get(type(effect)) or f"{_VERBS[type(effect)]} {effect.index}"  # type: ignore[union-attr]


def _inner_effect(slot: Slot, inner: Inner) -> tuple[e.Effect | ProbedCall, str]:
    if type(inner) is ProbedCall:
        return inner, f"call {inner.name}"
    assert type(inner) is StepResult
    assert slot.message is not None
    return remember(slot.message, slot.attempt, inner.results), "remember"
