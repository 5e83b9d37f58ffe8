"""What can be known of a name or a number without running anything: exactly, as a pattern, or not at all."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Mapping
from types import FunctionType
from typing import Any

from msgspec import Struct

HOLE = "\0"
"""In a name, a part that only a run knows."""


class Name(Struct, frozen=True):
    """A name whose unknown parts are ``HOLE``; nothing but a hole: it can be any name."""

    text: str

    @property
    def is_known(self) -> bool:
        return HOLE not in self.text

    def may_be(self, other: Name) -> bool:
        """Whether both can be the same name. In doubt they can."""
        if self.is_known and other.is_known:
            return self.text == other.text
        mine, others = self.text.split(HOLE), other.text.split(HOLE)
        if self.is_known or other.is_known:
            exact, parts = (self.text, others) if self.is_known else (other.text, mine)
            return _matches(exact, parts)
        starts, ends = (mine[0], others[0]), (mine[-1], others[-1])
        return _one_begins(*starts) and _one_begins(ends[0][::-1], ends[1][::-1])

    def __str__(self) -> str:
        return self.text.replace(HOLE, "*")


ANY_NAME = Name(HOLE)


def _matches(text: str, parts: list[str]) -> bool:
    """Whether ``text`` is the parts with anything between them."""
    first, last = parts[0], parts[-1]
    if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
        return False
    at, end = len(first), len(text) - len(last)
    for part in parts[1:-1]:
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True


def _one_begins(a: str, b: str) -> bool:
    return a.startswith(b) or b.startswith(a)


class Count(Struct, frozen=True):
    """A number: ``base``, an expression in the user's words ("" for none), plus ``more``."""

    base: str
    more: int

    def times(self, other: Count) -> Count | None:
        """The product, if it can be said."""
        if not self.base and not other.base:
            return Count("", self.more * other.more)
        if self == ONE:
            return other
        return self if other == ONE else None

    def exceeds(self, other: Count) -> bool:
        """Whether it is more for certain."""
        return self.base == other.base and self.more > other.more

    def __str__(self) -> str:
        if not self.base:
            return str(self.more)
        return (
            f"{self.base} + {self.more}" if self.more > 0 else f"{self.base} - {-self.more}" if self.more else self.base
        )


ONE = Count("", 1)


class Scope:
    """What names mean within a function: globals and closure, and what it assigns itself."""

    def __init__(self, function: FunctionType, tree: ast.AST) -> None:
        self._around: dict[str, Any] = {**vars(builtins), **function.__globals__, **_closure(function)}
        self.assigned = _assigned(tree)
        """Each local name with all that it is assigned; ``None``: by a loop, a parameter or the like."""

    def value(self, node: ast.AST) -> Any:
        """The object that an expression stands for; ``UNKNOWN`` if only a run could tell."""
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            if node.id in self.assigned:
                values = self.assigned[node.id]
                only = values[0] if len(values) == 1 else None
                return self.value(only) if isinstance(only, ast.Constant) else UNKNOWN
            return self._around.get(node.id, UNKNOWN)
        if isinstance(node, ast.Attribute):
            owner = self.value(node.value)
            return UNKNOWN if owner is UNKNOWN else getattr(owner, node.attr, UNKNOWN)
        return UNKNOWN

    def name(self, node: ast.AST | None) -> Name:
        """The name that an expression stands for."""
        if isinstance(node, ast.JoinedStr):
            return Name("".join([self._part(part) for part in node.values]))
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return Name(self.name(node.left).text + self.name(node.right).text)
        value = UNKNOWN if node is None else self.value(node)
        return Name(value) if isinstance(value, str) else ANY_NAME

    def _part(self, part: ast.expr) -> str:
        if isinstance(part, ast.FormattedValue):
            value = self.value(part.value)
            plain = part.format_spec is None and part.conversion == -1
            return str(value) if plain and isinstance(value, str | int) else HOLE
        return self.name(part).text

    def count(self, node: ast.expr) -> Count:
        """The number that an expression stands for."""
        value = self.value(node)
        if isinstance(value, int):
            return Count("", int(value))
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
            left, right = self.count(node.left), self.count(node.right)
            if isinstance(node.op, ast.Sub):
                right = Count(right.base, -right.more) if not right.base else Count(ast.unparse(node), 0)
            if not (left.base and right.base):
                return Count(left.base or right.base, left.more + right.more)
        if isinstance(node, ast.Call) and self.value(node.func) is len and len(node.args) == 1:
            return self.length(node.args[0]) or Count(ast.unparse(node), 0)
        return Count(ast.unparse(node), 0)

    def length(self, node: ast.expr) -> Count | None:
        """How many items an iterable has."""
        if isinstance(node, ast.List | ast.Tuple) and not any(isinstance(item, ast.Starred) for item in node.elts):
            return Count("", len(node.elts))
        if isinstance(node, ast.Call):
            return self._length_of_call(node)
        value = self.value(node)
        if isinstance(value, list | tuple | str | Mapping):
            return Count("", len(value))
        return (
            Count(f"len({ast.unparse(node)})", 0)
            if isinstance(node, ast.Name | ast.Attribute | ast.Subscript)
            else None
        )

    def _length_of_call(self, node: ast.Call) -> Count | None:
        function = self.value(node.func)
        if function is range and 1 <= len(node.args) <= 2 and not node.keywords:
            end = self.count(node.args[-1])
            start = self.count(node.args[0]) if len(node.args) == 2 else Count("", 0)
            return None if start.base else Count(end.base, end.more - start.more)
        return self.length(node.args[0]) if function in (enumerate, list, tuple, sorted) and node.args else None


class _Unknown:
    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = _Unknown()


def _closure(function: FunctionType) -> dict[str, Any]:
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # it is not filled yet
            found[name] = UNKNOWN
    return found


def _assigned(tree: ast.AST) -> dict[str, list[ast.expr | None]]:
    found: dict[str, list[ast.expr | None]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            found.setdefault(node.targets[0].id, []).append(node.value)
        elif isinstance(node, ast.arg):
            found.setdefault(node.arg, []).append(None)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.setdefault(node.id, [])  # of a plain assignment it is there already, or will be
    for node in ast.walk(tree):
        if isinstance(node, ast.For | ast.comprehension | ast.AugAssign | ast.AnnAssign | ast.NamedExpr | ast.withitem):
            target = getattr(node, "target", None) or getattr(node, "optional_vars", None)
            for inner in ast.walk(target) if target is not None else ():
                if isinstance(inner, ast.Name):
                    found.setdefault(inner.id, []).append(None)
        elif isinstance(node, ast.Global | ast.Nonlocal):
            for name in node.names:
                found.setdefault(name, []).append(None)
    return found
