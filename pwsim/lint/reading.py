"""What a task does, read from its source: whom it calls, what it emits, what it joins, what else it asks.

Helper functions of the user's own modules are read as part of the tasks that call them. What cannot be read (no source,
a lambda, a name that only a run knows) is left open, and no rule may complain about it.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from types import FunctionType
from typing import Any

from msgspec import Struct

from pwf_runtime import actions
from pwf_runtime.workflow import AnyTask

from . import impure
from .names import ANY_NAME, ONE, UNKNOWN, Count, Name, Scope

Place = tuple[str, int]
"""File and line."""


class CallSite(Struct, frozen=True):
    """A call of ``task`` (its full name); ``times`` in one execution at most, ``None``: nobody knows."""

    task: Name
    place: Place
    times: Count | None


class EmitSite(Struct, frozen=True):
    """An emission of ``event``."""

    event: Name
    place: Place
    times: Count | None


class Awaited(Struct, frozen=True):
    """``count`` events of this name, or one each of so many names of this pattern; ``None``: nobody knows how many.

    ``outside``: it is a signal.
    """

    event: Name
    count: Count | None
    outside: bool = False


class JoinSite(Struct, frozen=True):
    """A join. ``is_whole``: it waits for all of ``needs``, and they are all that it waits for."""

    needs: tuple[Awaited, ...]
    is_whole: bool
    place: Place


class Reading:
    """All that was read of one task."""

    def __init__(self, task: AnyTask) -> None:
        self.task = task
        self.calls: list[CallSite] = []
        self.emits: list[EmitSite] = []
        self.joins: list[JoinSite] = []
        self.strangers: list[tuple[object, Place]] = []
        """Functions that are called as tasks and are none."""
        self.impure: list[tuple[str, Place]] = []
        self.is_complete = True
        """Whether there was source for all of it."""


def read(task: AnyTask) -> Reading:
    """Read a task and its helpers."""
    reading = Reading(task)
    function = inspect.unwrap(task.fn)
    if isinstance(function, FunctionType):
        _Reader(reading, function, ONE, ()).read()
    else:
        reading.is_complete = False
    return reading


_KINDS: dict[Any, str] = {
    actions.call: "call",
    actions.emit: "emit",
    actions.join: "join",
    actions.fork: "fork",
    actions.publish_next: "publish_next",
    actions.emit_events: "emit_events",
    actions.publish_on_events: "publish_on_events",
}


class _Reader(ast.NodeVisitor):
    """Reads one function, which is executed ``times``. ``within``: the functions that led here."""

    def __init__(
        self, reading: Reading, function: FunctionType, times: Count | None, within: tuple[FunctionType, ...]
    ) -> None:
        self.reading, self.function, self.times = reading, function, times
        self.within = (*within, function)
        self.file = inspect.getsourcefile(function) or "?"

    def read(self) -> None:
        tree = _tree(self.function)
        if tree is None:
            self.reading.is_complete = False
            return
        self.scope = Scope(self.function, tree)
        self.reading.impure += [(what, (self.file, line)) for what, line in impure.found(tree, self.scope)]
        for node in tree.body:
            self.visit(node)

    # ── loops ─────────────────────────────────────────────────────────────────────────────────

    def visit_For(self, node: ast.For) -> None:
        self.visit(node.iter)
        self._repeat(self.scope.length(node.iter), [*node.body, *node.orelse])

    def visit_While(self, node: ast.While) -> None:
        self._repeat(None, [node.test, *node.body, *node.orelse])

    def _comprehension(self, node: ast.ListComp | ast.GeneratorExp | ast.SetComp) -> None:
        self._repeat(self._rounds(node), [node.elt])

    visit_ListComp = visit_GeneratorExp = visit_SetComp = _comprehension

    def _rounds(self, node: ast.ListComp | ast.GeneratorExp | ast.SetComp) -> Count | None:
        times: Count | None = ONE
        for generator in node.generators:
            length = self.scope.length(generator.iter)
            times = None if times is None or length is None else times.times(length)
        return times

    def _repeat(self, rounds: Count | None, body: list[Any]) -> None:
        before = self.times
        self.times = None if before is None or rounds is None else before.times(rounds)
        for node in body:
            self.visit(node)
        self.times = before

    # ── calls ─────────────────────────────────────────────────────────────────────────────────

    def visit_Call(self, node: ast.Call) -> None:
        function = self.scope.value(node.func)
        kind = _KINDS.get(function) if function.__hash__ is not None else None
        if kind is not None:
            getattr(self, f"_{kind}")(node, {keyword.arg: keyword.value for keyword in node.keywords})
        elif isinstance(function, FunctionType) and _is_users(function) and function not in self.within:
            _Reader(self.reading, function, self.times, self.within).read()
        self.generic_visit(node)

    def _place(self, node: ast.expr) -> Place:
        return self.file, node.lineno

    def _call(self, node: ast.Call, named: dict[str | None, ast.expr]) -> None:
        self._calls(node.args[0] if node.args else named.get("task"), node)

    def _calls(self, task: ast.expr | None, node: ast.Call) -> None:
        """A task is called: given as a task, a function or a name."""
        value = UNKNOWN if task is None else self.scope.value(task)
        name = self.scope.name(task)
        names: tuple[str, ...] = getattr(value, "__pwf_tasks__", ())
        if len(names) == 1:
            name = Name(names[0])
        elif callable(value) and not names:
            self.reading.strangers.append((value, self._place(node)))
            return
        elif name.is_known and "." not in name.text:
            name = Name(f"{self.reading.task.queue}.{name.text}")
        self.reading.calls.append(CallSite(name, self._place(node), self.times))

    def _emit(self, node: ast.Call, named: dict[str | None, ast.expr]) -> None:
        event = self.scope.name(node.args[0] if node.args else named.get("name"))
        self.reading.emits.append(EmitSite(event, self._place(node), self.times))

    def _fork(self, node: ast.Call, named: dict[str | None, ast.expr]) -> None:
        self._maybe_task(named.get("then"), node)

    def _maybe_task(self, given: ast.expr | None, node: ast.Call) -> None:
        """Where either a task or a ``call(...)`` may stand; the latter is visited by itself."""
        if given is not None and not isinstance(given, ast.Call):
            self._calls(given, node)

    def _join(self, node: ast.Call, named: dict[str | None, ast.expr]) -> None:
        self._calls(node.args[0] if node.args else named.get("task"), node)
        self._maybe_task(named.get("on_timeout"), node)
        needs = tuple(self._needs(named.get("on")))
        whole = "at_least" not in named and None not in named
        self.reading.joins.append(JoinSite(needs, whole, self._place(node)))

    def _needs(self, on: ast.expr | None) -> Iterator[Awaited]:
        if isinstance(on, ast.List | ast.Tuple):
            for item in on.elts:
                yield from self._needs(item.value if isinstance(item, ast.Starred) else item)
        elif isinstance(on, ast.Dict):
            for key, value in zip(on.keys, on.values, strict=True):
                yield Awaited(self.scope.name(key), self.scope.count(value))
        elif isinstance(on, ast.Call) and self.scope.value(on.func) is actions.signal:
            yield self._signal(on)
        elif isinstance(on, ast.ListComp | ast.GeneratorExp):
            rounds = None if any(generator.ifs for generator in on.generators) else self._rounds(on)
            for need in self._needs(on.elt):
                yield Awaited(need.event, rounds if need.count == ONE else None, need.outside)
        else:
            listed = UNKNOWN if on is None else self.scope.value(on)
            if isinstance(listed, list | tuple) and all(isinstance(name, str) for name in listed):
                yield from [Awaited(Name(name), ONE) for name in listed]
            else:
                event = self.scope.name(on)
                yield Awaited(event, ONE if event != ANY_NAME else None)

    def _signal(self, node: ast.Call) -> Awaited:
        named = {keyword.arg: keyword.value for keyword in node.keywords}
        name = node.args[0] if node.args else named.get("name")
        count = node.args[1] if len(node.args) > 1 else named.get("count")
        return Awaited(self.scope.name(name), ONE if count is None else self.scope.count(count), outside=True)

    def _publish_next(self, node: ast.Call, _named: dict[str | None, ast.expr]) -> None:
        if not any(isinstance(argument, ast.Starred) for argument in node.args):
            for task in node.args[::2]:
                self._calls(task, node)
        else:
            self.reading.calls.append(CallSite(ANY_NAME, self._place(node), None))

    def _emit_events(self, node: ast.Call, _named: dict[str | None, ast.expr]) -> None:
        starred = any(isinstance(argument, ast.Starred) for argument in node.args)
        for event in [None] if starred else node.args[::2]:
            self.reading.emits.append(
                EmitSite(self.scope.name(event), self._place(node), None if starred else self.times)
            )

    def _publish_on_events(self, node: ast.Call, _named: dict[str | None, ast.expr]) -> None:
        self._calls(node.args[0] if node.args else None, node)
        needs = tuple(need for argument in node.args[2:] for need in self._needs(_bare(argument)))
        self.reading.joins.append(
            JoinSite(needs, not any(isinstance(a, ast.Starred) for a in node.args), self._place(node))
        )


def _bare(node: ast.expr) -> ast.expr:
    return node.value if isinstance(node, ast.Starred) else node


def _tree(function: FunctionType) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    """The function's source, with the line numbers of its file."""
    try:
        lines, first = inspect.getsourcelines(function)
        module = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError):
        return None
    ast.increment_lineno(module, first - 1)
    tree = module.body[0]
    return tree if isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef) else None


def _is_users(function: FunctionType) -> bool:
    """Whether it is code of the user's, not of a library or Python's own."""
    file = inspect.getsourcefile(function) or ""
    module = function.__module__ or ""
    return "site-packages" not in file and "lib/python" not in file and not module.startswith("pwf_runtime")
