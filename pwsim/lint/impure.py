"""What makes a task something other than a function of its input: clocks, chance, sockets, threads, global state.

A retry or a takeover runs a task again, and only one answer is committed; a task that asks the world may have acted on
another. What stands inside ``ctx.step(...)`` is remembered over attempts, and may ask whatever it likes.
"""

from __future__ import annotations

import ast
import datetime
import os
import random
import secrets
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

from .names import UNKNOWN, Scope

_CLOCK, _CHANCE, _WORLD = "the clock", "chance", "the machine it runs on"
_SOURCES: dict[Any, str] = {
    **dict.fromkeys((time.time, time.time_ns, time.monotonic, time.monotonic_ns, time.perf_counter), _CLOCK),
    **dict.fromkeys((time.perf_counter_ns, time.localtime, time.gmtime, time.ctime, time.strftime), _CLOCK),
    **dict.fromkeys((uuid.uuid1, uuid.uuid4, os.urandom), _CHANCE),
    **dict.fromkeys([getattr(secrets, name) for name in secrets.__all__ if name != "compare_digest"], _CHANCE),
    **dict.fromkeys((os.getpid, os.getenv, socket.gethostname), _WORLD),
    **dict.fromkeys((socket.socket, socket.create_connection), "a socket"),
    **dict.fromkeys((threading.Thread, threading.Timer, threading.local), "threads"),
}
_CLASSES = {
    (datetime.datetime, "now"),
    (datetime.datetime, "utcnow"),
    (datetime.datetime, "today"),
    (datetime.date, "today"),
}
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
    if isinstance(node, ast.Attribute) and scope.value(node) is os.environ:
        return f"it reads {_WORLD} ({ast.unparse(node)})"
    if not isinstance(node, ast.Call):
        return ""
    function = scope.value(node.func)
    source = _source(node, function, scope)
    return f"it asks {source} ({ast.unparse(node.func)})" if source else ""


def _source(node: ast.Call, function: Any, scope: Scope) -> str:
    if isinstance(node.func, ast.Attribute):
        owner = scope.value(node.func.value)
        if any(owner is kind and node.func.attr == name for kind, name in _CLASSES):
            return _CLOCK
    if function is UNKNOWN or function.__hash__ is None:
        return ""
    if function is random.Random:
        return "" if node.args else _CHANCE  # with a seed of the task's own it repeats
    if function is random.SystemRandom or getattr(function, "__self__", None) is random._inst:
        return _CHANCE
    return _SOURCES.get(function, "")


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
