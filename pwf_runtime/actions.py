"""What a task can answer: the actions and their constructors.

What must live here: plain frozen values and their checks. What must never: anything that sends or stores. Nothing
happens while a task runs; what it returned is committed when it has ended, all of it or nothing.

A mistake raises where it is made, in the task's own line, and the error names value, place and remedy. Only what needs
to know the task (its queue, the bytes of its data) waits for ``outcome.outcome_of``.

Wherever a *task* is asked for, it may be given as a task (what ``@app.task`` returned), as a function that was
registered (``app.subscribe``), or by name: ``"task"`` in the own queue, ``"queue.task"`` in another. Durations are in
seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from msgspec import Struct

from .codec import brief
from .errors import UsageError

MAX_SECONDS = 100 * 366 * 86_400
"""The longest delay and timeout: a hundred years."""
MAX_NAME_BYTES = 100
"""The longest name of a queue and of a task."""
MAX_EVENT_NAME_BYTES = 200
"""The longest name of an event."""
RESERVED = "~"
"""Names that begin so are the library's own."""

TaskRef: TypeAlias = str | Callable[..., Any]
"""A task: itself, a registered function, or its name."""


# ── the actions ───────────────────────────────────────────────────────────────────────────────


class Call(Struct, frozen=True):
    """Run ``task`` with ``data``, at the earliest ``delay`` seconds after the commit. Made by ``call``."""

    task: str
    data: Any = None
    delay: float = 0.0

    def __str__(self) -> str:
        return f'call("{self.task}", data)'


class Emit(Struct, frozen=True):
    """Emit the event ``name`` with ``data``. Made by ``emit``."""

    name: str
    data: Any = None

    def __str__(self) -> str:
        return f'emit("{self.name}", data)'


class Signal(Struct, frozen=True):
    """A name to wait for whose ``count`` events come from outside of the run. Made by ``signal``."""

    name: str
    count: int = 1

    def __str__(self) -> str:
        return f'signal("{self.name}")'


class Join(Struct, frozen=True):
    """Make the call ``then`` once ``at_least`` of the names in ``on`` have their count of events. Made by ``join``.

    ``outside``: those of the names that are signals.
    """

    then: Call
    on: tuple[tuple[str, int], ...]
    at_least: int
    timeout: float | None = None
    on_timeout: Call | None = None
    outside: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f'join("{self.then.task}", data, on={[name for name, _ in self.on]})'


class Fork(Struct, frozen=True):
    """Make the ``calls``, and ``then`` once all have finished. Made by ``fork``."""

    calls: tuple[Call, ...]
    then: Call

    def __str__(self) -> str:
        return f'fork({len(self.calls)} calls, then="{self.then.task}")'


class Result(Struct, frozen=True):
    """The call's ``value``, for its fork or for whoever waits for the run. Made by ``result``."""

    value: Any

    def __str__(self) -> str:
        return "result(value)"


Awaited: TypeAlias = str | Mapping[str, int] | Signal
"""What a join may wait for: a name, names with their counts, a signal."""
Action: TypeAlias = Call | Emit | Join | Fork | Result
"""One thing that a task can answer."""


# ── the constructors ──────────────────────────────────────────────────────────────────────────


def call(task: TaskRef, data: Any = None, *, delay: float = 0.0) -> Call:
    """Run ``task`` with ``data`` once this call has committed, and ``delay`` seconds (0 or more) later than that.

    Raises UsageError for a task that does not exist by that name or is not registered, and for such a delay.
    """
    return Call(task_name(task, "call("), data, _delay(delay, "call"))


def emit(name: str, data: Any = None) -> Emit:
    """Emit the event ``name``: a fact of this run, which joins of the run wait for, before or after it happens.

    Raises UsageError for a name that is empty, too long or begins with "~".
    """
    return Emit(event_name(name, "emit("), data)


def join(
    task: TaskRef,
    data: Any = None,
    *,
    on: Awaited | Iterable[Awaited],
    at_least: int | None = None,
    timeout: float | None = None,
    on_timeout: TaskRef | Call | None = None,
) -> Join:
    """Run ``task`` with ``data`` and the events, once, when the events named in ``on`` are there, in whatever order.

    ``on``: names in the order in which the task wants their events. A name given twice, or ``{"name": 2}``, waits for
    two emissions. ``signal("name")``: its event comes from outside, and the run stays open until it does; without this
    a run in which nothing goes on any more ends as stranded. ``at_least``: fire on so many of the (different) names;
    all of them when left out; 1 is any-of. ``timeout``: seconds after this call's commit; a join that has not fired by
    then is over, and ``on_timeout`` runs: a ``call(...)``, or a task, which gets the join's own ``data``.

    Raises UsageError for what cannot be meant in any of these.
    """
    return _join(task, data, on, at_least, timeout, on_timeout, "join")


def signal(name: str, count: int = 1) -> Signal:
    """For ``join(..., on=[...])``: wait for ``count`` events ``name`` from outside, sent by ``client.signal`` or
    ``pwf signal``. As long as the join waits, its run stays open.

    Raises UsageError for a name that no event can have and for a count that is not 1 or more.
    """
    if type(count) is not int or count < 1:
        raise UsageError(f"signal({brief(name)}, {brief(count)}): how many signals to wait for: 1 or more")
    return Signal(event_name(name, "signal("), count)


def fork(calls: Iterable[Call], *, then: TaskRef | Call) -> Fork:
    """Make the ``calls`` side by side, and run ``then`` once when all of them have finished.

    Its ``events`` are their results, in the order of ``calls``. Finished means they themselves, not what they call in
    turn. Without any calls, ``then`` runs at once.

    Raises UsageError where something other than a ``call(...)`` is among the calls.
    """
    if isinstance(calls, Call | str | set | frozenset) or not isinstance(calls, Iterable):
        raise UsageError(f"fork({brief(calls)}, ...): takes a list of calls: fork([call(...), call(...)], then=...)")
    members = tuple(calls)
    for index, member in enumerate(members):
        if not isinstance(member, Call):
            raise UsageError(
                f"fork(...): item {index} is {brief(member)}, which is no call: write call(task, data); "
                f"events, joins and results go beside the fork"
            )
    return Fork(members, _as_call(then, None, "fork(..., then="))


def result(value: Any) -> Result:
    """Say what this call returns: to the fork it is a member of or, from a run's last call, to ``run.wait()``."""
    return Result(value)


def publish_next(*tasks_and_data: Any) -> list[Action]:
    """``publish_next("task2", data2, "task3", data3)``: a ``call`` for each task, each followed by its data.

    Raises UsageError for an odd number of arguments, and as ``call`` does.
    """
    pairs = _pairs(tasks_and_data, "publish_next", "task")
    return [Call(task_name(task, "publish_next("), data) for task, data in pairs]


def emit_events(*names_and_data: Any) -> list[Action]:
    """``emit_events("event1", data1, "event2", data2)``: an ``emit`` for each event, each followed by its data.

    Raises UsageError for an odd number of arguments, and as ``emit`` does.
    """
    pairs = _pairs(names_and_data, "emit_events", "event")
    return [Emit(event_name(name, "emit_events("), data) for name, data in pairs]


def publish_on_events(task: TaskRef, data: Any, *names: Awaited) -> list[Action]:
    """``publish_on_events("task", data, "event1", "event2")``: one ``join``, in a list, so that lists concatenate.

    A name given twice waits for two emissions. Raises UsageError as ``join`` does.
    """
    return [_join(task, data, names, None, None, None, "publish_on_events")]


# ── checks ────────────────────────────────────────────────────────────────────────────────────


def task_name(task: object, where: str) -> str:
    """The name that ``task`` stands for: "task" or "queue.task". The error begins with ``where`` and the value."""
    if isinstance(task, str):
        return _written_name(task, where)
    names: tuple[str, ...] = getattr(task, "__pwf_tasks__", ())
    if len(names) == 1:
        return names[0]
    place = f"{where}{brief(task)})"
    if names:
        raise UsageError(f"{place}: registered as {' and '.join(names)}: give the name that you mean")
    if isinstance(task, Call):
        raise UsageError(f"{where}{task}): takes the task and its data apart: {where}task, data)")
    if callable(task):
        raise UsageError(f"{place}: not a task: put @app.task above the function, or give the task's name")
    raise UsageError(f"{place}: a task is a function with @app.task or a name, not a {type(task).__name__}")


def _written_name(name: str, where: str) -> str:
    parts = name.split(".")
    if len(parts) > 2:
        raise UsageError(
            f'{where}{name!r}): write "task" for a task of the own queue, "queue.task" for another queue\'s'
        )
    for part in parts:
        if problem := name_problem(part):
            raise UsageError(f"{where}{name!r}): {problem}")
    return name


def name_problem(name: object) -> str:
    """What keeps ``name`` from being the name of a queue or a task; "" when nothing does."""
    if not isinstance(name, str):
        return f"a name is a str, not a {type(name).__name__}"
    if not name:
        return "a name cannot be empty"
    if name.startswith(RESERVED):
        return f'names that begin with "{RESERVED}" are reserved: choose another'
    if any(sign in name for sign in ". @") or not name.isprintable():
        return "a name has no dot, no blank, no @ and no control character: use _ or - instead"
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"a name has at most {MAX_NAME_BYTES} bytes, this one has {len(name.encode())}: shorten it"
    return ""


def event_name(name: object, where: str) -> str:
    """``name``, when an event can have it. The error begins with ``where`` and the name."""
    if not isinstance(name, str):
        problem = f"an event's name is a str, not a {type(name).__name__}"
    elif not name:
        problem = "an event needs a name"
    elif name.startswith(RESERVED):
        problem = f'names that begin with "{RESERVED}" are reserved: choose another'
    elif not name.isprintable():
        problem = "an event's name has no control characters: use letters, digits and signs"
    elif len(name.encode()) > MAX_EVENT_NAME_BYTES:
        problem = f"an event's name has at most {MAX_EVENT_NAME_BYTES} bytes: put what varies into its data"
    else:
        return name
    raise UsageError(f"{where}{brief(name)}): {problem}")


def seconds(value: object, where: str, name: str) -> float:
    """``value``, when it is a duration in seconds. The error shows it as ``where(name=value)``."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_SECONDS:
        return value
    raise UsageError(
        f"{where}({name}={brief(value)}): {name} is in seconds, a number from 0 to {MAX_SECONDS} (a hundred years)"
    )


def _delay(value: float, where: str) -> float:
    return value if value == 0.0 and type(value) is float else seconds(value, where, "delay")


def _timeout(value: float | None, where: str) -> float | None:
    if value is not None and seconds(value, where, "timeout") == 0:
        raise UsageError(f"{where}(timeout={value!r}): must be more than 0; leave it out to wait without end")
    return value


def _pairs(items: tuple[Any, ...], where: str, kind: str) -> Iterable[tuple[Any, Any]]:
    if len(items) % 2:
        raise UsageError(
            f"{where}(...): got {len(items)} arguments, the last of them {brief(items[-1])}: each {kind} needs its "
            f'data beside it, None where it has none: {where}("{kind}1", data1, "{kind}2", None)'
        )
    return zip(items[::2], items[1::2], strict=True)


# ── joins ─────────────────────────────────────────────────────────────────────────────────────


def _join(
    task: TaskRef,
    data: Any,
    on: object,
    at_least: int | None,
    timeout: float | None,
    on_timeout: TaskRef | Call | None,
    where: str,
) -> Join:
    then = Call(task_name(task, f"{where}("), data)
    needs, outside = _needs(on, where)
    if on_timeout is not None and timeout is None:
        raise UsageError(f"{where}(on_timeout={brief(on_timeout)}): needs a timeout as well: timeout=seconds")
    late = None if on_timeout is None else _as_call(on_timeout, data, f"{where}(on_timeout=")
    least = _at_least(at_least, len(needs), where)
    return Join(then, tuple(needs.items()), least, _timeout(timeout, where), late, outside)


def _as_call(task: TaskRef | Call, data: Any, where: str) -> Call:
    return task if isinstance(task, Call) else Call(task_name(task, where), data)


def _at_least(value: int | None, names: int, where: str) -> int:
    if value is None:
        return names
    if type(value) is not int or not 1 <= value <= names:
        raise UsageError(
            f"{where}(at_least={brief(value)}): counts names, of which `on` has {names} different: "
            f"a whole number from 1 to {names}"
        )
    return value


def _needs(on: object, where: str) -> tuple[dict[str, int], tuple[str, ...]]:
    """How many emissions of each name, in the order of first mention; and which names are signals."""
    if isinstance(on, str | Mapping | Signal):
        on = [on]
    if isinstance(on, set | frozenset) or not isinstance(on, Iterable):
        raise UsageError(f"{where}(on={brief(on)}): takes a list of event names, which gives the order of the events")
    needs: dict[str, int] = {}
    outside: dict[str, None] = {}
    for item in on:
        if isinstance(item, Signal):
            outside[item.name], item = None, {item.name: item.count}
        for name, count in item.items() if isinstance(item, Mapping) else ((item, 1),):
            if type(count) is not int or count < 1:
                raise UsageError(
                    f"{where}(on={{{brief(name)}: {brief(count)}}}): how many emissions to wait for: 1 or more"
                )
            needs[event_name(name, f"{where}(on=")] = needs.get(name, 0) + count
    if not needs:
        raise UsageError(f"{where}(on=[]): waits for nothing: name the events, or use call(task, data)")
    return needs, tuple(outside)
