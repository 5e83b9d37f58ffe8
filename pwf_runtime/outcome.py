"""From what a task did to what the core is told: an ``Outcome`` for what it returned, a ``Failure`` for what it raised.

What must live here: the last step of a task's attempt, on which worker, simulator and tests agree. What must never: a
decision. Whether a failure is followed by another attempt is the core's business.
"""

from __future__ import annotations

import inspect
import math
import os
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .actions import Call, Emit, Fork, Join, Result, Signal
from .codec import brief, encode
from .core.model import Event, Failure, Need, NewCall, NewFork, NewJoin, Outcome
from .errors import DataError, DecodeError, PwfError, UsageError

MAX_MESSAGE_CHARS = 1000
MAX_TRACEBACK_CHARS = 8000

_PACKAGE = f"{Path(__file__).parent}{os.sep}"
_NOTHING = Outcome()

# ── what was returned ─────────────────────────────────────────────────────────────────────────


def outcome_of(returned: object, queue: str, task: str) -> Outcome:
    """What the core is to commit, from what ``task`` (full name) of ``queue`` returned.

    That is None, an action, or a list or tuple of actions, which may be nested. Names without a queue get this one.
    Raises UsageError for anything else, and DataError for data that no payload can hold, with the path to it.
    """
    if returned is None:
        return _NOTHING
    reading = _Reading(queue, task)
    for place, action in _flat(returned, ""):
        reading.add(action, place)
    return reading.outcome()


def _flat(returned: object, place: str) -> Iterator[tuple[str, object]]:
    """Each action with its place in what was returned: "", "[2]", "[2][0]"."""
    if isinstance(returned, list | tuple):
        for index, item in enumerate(returned):
            yield from _flat(item, f"{place}[{index}]")
    else:
        yield place, returned


class _Reading:
    """Collects the actions of one answer, by kind, in order."""

    def __init__(self, queue: str, task: str) -> None:
        self.queue = queue
        self.task = task
        self.calls: list[NewCall] = []
        self.events: list[Event] = []
        self.joins: list[NewJoin] = []
        self.forks: list[NewFork] = []
        self.result: bytes | None = None

    def outcome(self) -> Outcome:
        return Outcome(tuple(self.calls), tuple(self.events), tuple(self.joins), tuple(self.forks), self.result)

    def add(self, action: object, place: str) -> None:
        if isinstance(action, Call):
            self.calls.append(self.new_call(action, action))
        elif isinstance(action, Emit):
            self.events.append(Event(action.name, self.payload(action.data, "data", action)))
        elif isinstance(action, Join):
            self.joins.append(self.new_join(action))
        elif isinstance(action, Fork):
            self.add_fork(action)
        elif isinstance(action, Result):
            self.add_result(action)
        else:
            raise UsageError(f"{self.task} returned {_no_action(action, place)}")

    def new_call(self, call: Call, action: object) -> NewCall:
        name = call.task if "." in call.task else f"{self.queue}.{call.task}"
        return NewCall(name, self.payload(call.data, "data", action), milliseconds(call.delay))

    def new_join(self, join: Join) -> NewJoin:
        return NewJoin(
            then=self.new_call(join.then, join),
            needs=tuple(Need(name, count, name in join.outside) for name, count in join.on),
            at_least=join.at_least,
            timeout_ms=None if join.timeout is None else milliseconds(join.timeout),
            on_timeout=None if join.on_timeout is None else self.new_call(join.on_timeout, join.on_timeout),
        )

    def add_fork(self, fork: Fork) -> None:
        then = self.new_call(fork.then, fork.then)
        if fork.calls:
            self.forks.append(NewFork(tuple(self.new_call(call, call) for call in fork.calls), then))
        else:
            self.calls.append(then)  # all of no calls have finished already

    def add_result(self, action: Result) -> None:
        if self.result is not None:
            raise UsageError(f"{self.task} returned more than one result(...): return one, a list if need be")
        self.result = self.payload(action.value, "value", action)

    def payload(self, value: Any, name: str, action: object) -> bytes:
        try:
            return encode(value, name)
        except DataError as error:
            raise DataError(f"{self.task} returned {action}: {error}") from error.__cause__


def _no_action(value: object, place: str) -> str:
    shown = f"{brief(value)}{f' at {place}' if place else ''}"
    if inspect.iscoroutine(value):
        value.close()  # else Python warns that it was never awaited, far from here
        return f"{shown}, a coroutine: await it, in an `async def` task"
    if isinstance(value, Signal):
        return f"{shown}, which comes from outside: wait for it with join(task, data, on=[{value}])"
    if hasattr(value, "__pwf_tasks__"):
        return f"{shown}, a task and not an action: write call(task, data)"
    return (
        f"{shown} ({type(value).__name__}), which is no action: return None, call(...), emit(...), join(...), "
        f"fork(...), result(value) or a list of these"
    )


def milliseconds(seconds: float) -> int:
    """Seconds as whole milliseconds, rounded up: never earlier than was asked for."""
    return math.ceil(round(seconds * 1000, 6)) if seconds else 0


# ── what was raised ───────────────────────────────────────────────────────────────────────────


def failure_of(error: BaseException) -> Failure:
    """What the core is told about an attempt that raised ``error``.

    ``final`` is set where another attempt cannot help: for UsageError, DataError and DecodeError. The traceback has the
    task's own frames, not the library's, and is cut in its middle where it is long.
    """
    return Failure(
        kind=type(error).__name__,
        message=_bounded(_text(error), MAX_MESSAGE_CHARS),
        traceback=_bounded(_traceback(error), MAX_TRACEBACK_CHARS),
        final=isinstance(error, UsageError | DecodeError),
    )


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return f"<{type(error).__name__} whose str() fails>"


def _traceback(error: BaseException) -> str:
    shown = traceback.TracebackException.from_exception(error, compact=True)
    _drop_ours(shown, said=isinstance(error, PwfError))
    return "".join(shown.format())


def _drop_ours(shown: traceback.TracebackException | None, said: bool) -> None:
    """Leave out this library's frames, which are the same for every task.

    Where there are no others they stay, for then the mistake is ours; unless the library ``said`` itself what is wrong.
    """
    while shown is not None:
        rest = [frame for frame in shown.stack if not frame.filename.startswith(_PACKAGE)]
        if rest or said:
            shown.stack[:] = rest
        for member in shown.exceptions or ():
            _drop_ours(member, said)
        shown = shown.__cause__ or shown.__context__


def _bounded(text: str, limit: int) -> str:
    """At most ``limit`` characters, from both ends, that UTF-8 can hold."""
    text = text.encode(errors="backslashreplace").decode() if not text.isascii() else text
    if len(text) <= limit:
        return text
    cut = f"\n... {len(text) - limit} characters left out ...\n"
    half = (limit - len(cut)) // 2
    return text[:half] + cut + text[-half:]
