"""What makes a task something other than a function of its input: clocks, chance, sockets, threads, global state.

A retry or a takeover runs a task again, and only one answer is committed; a task that asks the world may have acted on
another. What stands inside ``ctx.step(...)`` is remembered over attempts, and may ask whatever it likes.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from .names import UNKNOWN, Scope

_CLOCK, _CHANCE, _WORLD = "the clock", "chance", "the machine it runs on"
_SOURCES = {
    **dict.fromkeys(("time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter"), _CLOCK),
    **dict.fromkeys(("time.perf_counter_ns", "time.localtime", "time.gmtime", "time.ctime", "time.strftime"), _CLOCK),
    **dict.fromkeys(("datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today"), _CLOCK),
    "datetime.date.today": _CLOCK,
    **dict.fromkeys(("uuid.uuid1", "uuid.uuid4", "posix.urandom", "nt.urandom", "random.SystemRandom"), _CHANCE),
    **dict.fromkeys(
        ("secrets.token_bytes", "secrets.token_hex", "secrets.token_urlsafe", "secrets.randbelow"), _CHANCE
    ),
    **dict.fromkeys(("posix.getpid", "nt.getpid", "os.getenv", "_socket.gethostname"), _WORLD),
    **dict.fromkeys(("socket.socket", "socket.create_connection"), "a socket"),
    **dict.fromkeys(("threading.Thread", "threading.Timer", "_thread._local"), "threads"),
}
"""What is not a function of anything, by where it is defined."""
_SEEDED = "random.Random"
_CHANGES = frozenset(
    ("append", "extend", "insert", "add", "update", "setdefault", "pop", "popitem", "clear", "remove", "discard")
)


def found(tree: ast.AST, scope: Scope) -> Iterator[tuple[str, int]]:
    """Each thing it asks for or changes, in words, with its line."""
    declared = {name for node in ast.walk(tree) if isinstance(node, ast.Global) for name in node.names}
    yield from _within(tree, scope, declared)


def _within(node: ast.AST, scope: Scope, declared: set[str]) -> Iterator[tuple[str, int]]:
    if isinstance(node, ast.Call) and _is_step(node):
        return
    what = _asks(node, scope) or _changes(node, scope, declared)
    if what:
        yield what, getattr(node, "lineno", 0)
    for child in ast.iter_child_nodes(node):
        if not (what and isinstance(node, ast.Call) and child is node.func):
            yield from _within(child, scope, declared)


def _is_step(node: ast.Call) -> bool:
    function = node.func
    return isinstance(function, ast.Attribute) and function.attr == "step" and isinstance(function.value, ast.Name)


def _asks(node: ast.AST, scope: Scope) -> str:
    """What it reads that is not its input."""
    if isinstance(node, ast.Attribute) and type(scope.value(node)).__qualname__ == "_Environ":
        return f"it reads {_WORLD} ({ast.unparse(node)})"
    if not isinstance(node, ast.Call):
        return ""
    source = _source(node, scope.value(node.func))
    return f"it asks {source} ({ast.unparse(node.func)})" if source else ""


def _source(node: ast.Call, function: Any) -> str:
    if function is UNKNOWN:
        return ""
    owner = getattr(function, "__self__", None)
    if type(owner).__module__ == "random":  # random.random() and the like: methods of a hidden generator
        return _CHANCE
    defined = _defined(owner) + "." + function.__name__ if isinstance(owner, type) else _defined(function)
    if defined == _SEEDED:
        return "" if node.args else _CHANCE  # with a seed of the task's own it repeats
    return _SOURCES.get(defined, "")


def _defined(thing: Any) -> str:
    return f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', '')}"


def _changes(node: ast.AST, scope: Scope, declared: set[str]) -> str:
    """What it changes that outlives it."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in declared:
        return f"it changes the global {node.id!r}"
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
        return _global(node.value, scope)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _CHANGES:
        return _global(node.func.value, scope)
    return ""


def _global(node: ast.expr, scope: Scope) -> str:
    is_global = isinstance(node, ast.Name) and node.id not in scope.assigned
    if is_global and isinstance(scope.value(node), list | dict | set):
        return f"it changes the global {ast.unparse(node)!r}"
    return ""
