"""Tasks that are no functions of their input, named: which task, where it stands, and what it did differently.

A simulated task is run again now and then with all that it was given before, and must do the same. What a task does to
the outside world (its probed calls) is compared by name only: a time in a mail makes no other workflow.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import TYPE_CHECKING

from pwf_runtime.codec import brief, decode
from pwf_runtime.core.inputs import TaskDone, TaskFailed
from pwf_runtime.core.model import NewCall, NewJoin, Outcome
from pwf_runtime.signature import place_of
from pwf_runtime.workflow import AnyTask

from .probes import Inner

if TYPE_CHECKING:
    from .program import Ran


class NotAFunction(Exception):
    """A task answered the same input differently."""

    def __init__(self, task: AnyTask, first: str, again: str) -> None:
        super().__init__(
            f"task {task.full_name!r} ({place_of(task.fn)}) is no function of its input: at first it {first}, given "
            f"the same again it {again}; it depends on something else (a clock, chance, a uuid, global state), so a "
            f"fault may change what it does: put that into its data, or remember it with ctx.step(...)"
        )


def compare(task: AnyTask, first: Ran, again: Ran) -> None:
    """Raises ``NotAFunction`` if the two executions of a task with the same input differ."""
    if first.answer == again.answer and [inner.name for inner in first.inner] == [i.name for i in again.inner]:
        return
    for one, other in zip_longest(_deeds(first), _deeds(again), fillvalue="did nothing more"):
        if one != other:
            raise NotAFunction(task, one, other)


def _deeds(ran: Ran) -> Iterator[str]:
    """What an execution did, one thing after the other, in words."""
    yield from map(_inner, ran.inner)
    if isinstance(ran.answer, TaskFailed):
        yield f"raised {ran.answer.failure.kind}"
    elif isinstance(ran.answer, TaskDone):
        yield from _outcome(ran.answer.outcome)


def _inner(inner: Inner) -> str:
    return f"{'remembered step' if hasattr(inner, 'results') else 'used'} {inner.name}"


def _outcome(outcome: Outcome) -> Iterator[str]:
    yield from [f"returned {_call(call)}" for call in outcome.calls]
    yield from [f"returned emit({event.name!r}, {_payload(event.data)})" for event in outcome.events]
    yield from [f"returned {_join(join)}" for join in outcome.joins]
    for fork in outcome.forks:
        then = _call(fork.then) if fork.then is not None else "nothing"
        yield f"returned fork([{', '.join(map(_call, fork.calls))}], then={then})"
    if outcome.result is not None:
        yield f"returned result({_payload(outcome.result)})"


def _call(call: NewCall) -> str:
    delay = f", delay={call.delay_ms / 1000:g}" if call.delay_ms else ""
    return f"call({call.task}, {_payload(call.data)}{delay})"


def _join(join: NewJoin) -> str:
    names = [repr(need.name) if need.count == 1 else f"{need.name!r} x{need.count}" for need in join.needs]
    more = f", at_least={join.at_least}" if join.at_least < len(names) else ""
    more += f", timeout={join.timeout_ms / 1000:g}" if join.timeout_ms is not None else ""
    return f"join({join.then.task}, {_payload(join.then.data)}, on=[{', '.join(names)}]{more})"


def _payload(body: bytes) -> str:
    return brief(decode(body), 80)
