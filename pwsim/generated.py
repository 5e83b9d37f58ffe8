"""Workflows as data: two services whose tasks do what their payload says.

A random workflow needs no code of its own. What a task does (call, emit, join, fork, decide, fail, loop) is its data, a
``Node``, so a whole workflow is the payload of its first task: hypothesis draws and shrinks it like any value, and a
scenario file that begins ``a`` with it replays anywhere. ``pwsim.strategies.workflows`` draws them.

Every task of both services is the same function; there are several so that paths are readable and names repeat. What
a task emits, returns and decides by is a number: its own ``n`` plus those of the events it received.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from pwf_runtime import Action, Context, Event, Retry, UsageError, Workflow, call, emit, fork, join, result
from pwf_runtime.actions import Call as CallAction

FOR_GOOD = -1
"""As ``Node.fails``: no attempt will ever succeed."""
TASKS = ("a", "b", "c", "d")
SERVICES = ("red", "blue")


class Emit(Struct, frozen=True, tag="emit", tag_field="do", omit_defaults=True):
    """Emit the event ``name``."""

    name: str


class Call(Struct, frozen=True, tag="call", tag_field="do", omit_defaults=True):
    """Call a task, ``delay`` seconds later."""

    node: Node
    delay: float = 0.0


class Join(Struct, frozen=True, tag="join", tag_field="do", omit_defaults=True):
    """Wait for ``on`` (how many of each name), or for ``at_least`` of the names; ``late`` runs at the ``timeout``."""

    then: Node
    on: dict[str, int]
    at_least: int | None = None
    timeout: float | None = None
    late: Node | None = None


class Fork(Struct, frozen=True, tag="fork", tag_field="do", omit_defaults=True):
    """Call ``nodes`` side by side, and ``then`` with their results."""

    nodes: tuple[Node, ...]
    then: Node


class If(Struct, frozen=True, tag="if", tag_field="do", omit_defaults=True):
    """Do ``then`` when the task's number is even, else ``other``."""

    then: tuple[Deed, ...] = ()
    other: tuple[Deed, ...] = ()


class Result(Struct, frozen=True, tag="result", tag_field="do", omit_defaults=True):
    """Return the task's number."""


Deed: TypeAlias = Emit | Call | Join | Fork | If | Result


class Node(Struct, frozen=True, omit_defaults=True):
    """A call to be made: which ``task``, and all that it does.

    ``n``: its number; ``fails``: so many attempts fail first (``FOR_GOOD``: the call is dead at once); ``again``: so
    many times more it calls itself.
    """

    task: str = "a"
    deeds: tuple[Deed, ...] = ()
    n: int = 0
    fails: int = 0
    again: int = 0


def work(data: Node, events: list[Event], ctx: Context) -> list[Action]:
    """Every task of both services."""
    if data.fails == FOR_GOOD:
        raise UsageError(f"{data.task} fails for good")
    if ctx.attempt <= data.fails:
        raise RuntimeError(f"{data.task} fails at attempt {ctx.attempt} of {data.fails}")
    number = data.n + sum(map(_number, events))
    actions = [_action(deed, number) for deed in _done(data.deeds, number)]
    if data.again > 0:
        actions.append(call(data.task, msgspec.structs.replace(data, again=data.again - 1)))
    return actions


def _number(event: Event) -> int:
    """An event's data is its name with a number; a fork's member has a number, or nothing, as its result."""
    found = event.data.get(event.name) if isinstance(event.data, dict) else event.data
    return found if isinstance(found, int) else 0


red, blue = Workflow("red"), Workflow("blue")
APPS = (red, blue)
TARGETS = ("pwsim.generated:red", "pwsim.generated:blue")
"""As a scenario names them."""

for _app in APPS:
    for _task in TASKS:
        _app.subscribe(_task, work, retry=Retry(first_delay=1.0))


def _done(deeds: Iterable[Deed], number: int) -> Iterator[Deed]:
    """The deeds that the task does, its decisions taken; of several results only the first."""
    returned = False
    for deed in _decided(deeds, number):
        if not (isinstance(deed, Result) and returned):
            yield deed
        returned = returned or isinstance(deed, Result)


def _decided(deeds: Iterable[Deed], number: int) -> Iterator[Deed]:
    for deed in deeds:
        if isinstance(deed, If):
            yield from _decided(deed.other if number % 2 else deed.then, number)
        else:
            yield deed


def _action(deed: Deed, number: int) -> Action:
    if isinstance(deed, Emit):
        return emit(deed.name, {deed.name: number})
    if isinstance(deed, Call):
        return _call(deed.node, deed.delay)
    if isinstance(deed, Fork):
        return fork([_call(node) for node in deed.nodes], then=_call(deed.then))
    if isinstance(deed, Join):
        late = None if deed.late is None else _call(deed.late)
        return join(
            deed.then.task, deed.then, on=deed.on, at_least=deed.at_least, timeout=deed.timeout, on_timeout=late
        )
    return result(number)


def _call(node: Node, delay: float = 0.0) -> CallAction:
    return call(node.task, node, delay=delay)


# ── looking at a workflow ─────────────────────────────────────────────────────────────────────


def nodes(node: Node) -> Iterator[Node]:
    """The node and all that it brings about."""
    yield node
    for deed in _all(node.deeds):
        for below in _below(deed):
            yield from nodes(below)


def deeds(node: Node) -> Iterator[Deed]:
    """Every deed of a workflow, those in branches that are not taken too."""
    for each in nodes(node):
        yield from _all(each.deeds)


def _all(deeds: Iterable[Deed]) -> Iterator[Deed]:
    for deed in deeds:
        yield deed
        if isinstance(deed, If):
            yield from _all(deed.then)
            yield from _all(deed.other)


def _below(deed: Deed) -> tuple[Node, ...]:
    if isinstance(deed, Call):
        return (deed.node,)
    if isinstance(deed, Fork):
        return (*deed.nodes, deed.then)
    if isinstance(deed, Join):
        return (deed.then,) if deed.late is None else (deed.then, deed.late)
    return ()


def to_json(node: Node) -> str:
    """As a scenario's ``data``."""
    return msgspec.json.encode(node).decode()


def of_json(text: str) -> Node:
    """Back from a scenario."""
    return msgspec.json.decode(text, type=Node)


def payload(node: Node) -> Any:
    """As plain data, which is what the first task is begun with."""
    return msgspec.to_builtins(node)


def is_determined(node: Node) -> bool:
    """Whether it commits the same however its steps are ordered, as far as can be told from outside.

    A join has a choice if its time can be over, if some of its names are enough, or if more events of a name come than
    it needs: then who is first decides, and there is nothing to compare a faulty run with.
    """
    emitted = [
        deed.name for each in nodes(node) for deed in (*_all(each.deeds),) * (each.again + 1) if isinstance(deed, Emit)
    ]
    joins = [deed for deed in deeds(node) if isinstance(deed, Join)]
    if any(deed.at_least is not None or deed.timeout is not None for deed in joins):
        return False
    return all(emitted.count(name) <= 1 for deed in joins for name in deed.on)
