"""The core is pure: a function of its arguments, in whatever process and with whatever hash seed.

import-linter forbids a list of modules; here only what is known to be harmless is allowed.
"""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import pwf_runtime.core

CORE = Path(pwf_runtime.core.__file__).parent
FILES = sorted(CORE.glob("*.py"))
ALLOWED = {"__future__", "collections.abc", "typing", "hashlib", "msgspec", "msgspec.structs"}
IMPURE = {"open", "print", "input", "exec", "eval", "id", "hash", "globals", "vars", "__import__", "breakpoint"}
"""Builtins that reach outside, or whose answer another process gives differently."""


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def test_there_is_something_to_look_at() -> None:
    assert {"delivery.py", "steps.py", "joins.py", "sweep.py", "recover.py", "start.py"} <= {f.name for f in FILES}


@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
def test_it_imports_nothing_but_values(path: Path) -> None:
    assert imports(tree(path)) <= ALLOWED


def test_every_value_is_frozen_and_kept_from_the_garbage_collector() -> None:
    modules = [importlib.import_module(f"{pwf_runtime.core.__name__}.{path.stem}") for path in FILES]
    values = {each for module in modules for each in vars(module).values() if _is_value(each)}
    assert len(values) > 50
    assert {value.__name__ for value in values if not value.__struct_config__.frozen} == set()
    assert {value.__name__ for value in values if value.__struct_config__.gc} == set()


def _is_value(thing: object) -> bool:
    return isinstance(thing, type) and issubclass(thing, msgspec.Struct) and thing.__module__.startswith("pwf_runtime")


@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
def test_it_calls_no_builtin_that_is_no_function_of_its_arguments(path: Path) -> None:
    calls = [node.func for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
    assert not {function.id for function in calls if isinstance(function, ast.Name)} & IMPURE


@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
def test_it_never_iterates_a_set(path: Path) -> None:
    """A set's order differs with the hash seed: asking whether something is in one is fine, going through it is not."""
    assert list(iterated_sets(tree(path))) == []


@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
def test_it_keeps_no_state_of_its_own(path: Path) -> None:
    """Nothing on module level is assigned from within, and no instance changes after it was made."""
    for node in ast.walk(tree(path)):
        assert not isinstance(node, ast.Global | ast.Nonlocal)
        if isinstance(node, ast.FunctionDef) and node.name != "__init__" and _class_of(path, node) != "_Build":
            for inner in ast.walk(node):
                targets = inner.targets if isinstance(inner, ast.Assign) else []
                changed = [t for t in targets if isinstance(t, ast.Attribute) and ast.unparse(t).startswith("self.")]
                assert not changed, f"{path.name}:{inner.lineno}"  # type: ignore[attr-defined]


def _class_of(path: Path, function: ast.FunctionDef) -> str:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ClassDef) and any(
            isinstance(each, ast.FunctionDef) and each.lineno == function.lineno for each in node.body
        ):
            return node.name
    return ""


# ── the looking itself ────────────────────────────────────────────────────────────────────────

ORDERLESS = {"len", "sorted", "min", "max", "sum", "any", "all", "bool", "set", "frozenset"}
"""What may be done with a set: its answer does not depend on an order."""


def imports(module: ast.Module) -> set[str]:
    """The modules that it imports; ``from .x import`` is of this floor."""
    found: set[str] = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level > 1:
                found.add("." * node.level + (node.module or ""))
            elif not node.level:
                found.add(node.module or "")
    return found


def iterated_sets(module: ast.Module) -> Iterator[str]:
    """Where a set is gone through, as far as that can be seen from the text."""
    sets = {name for node in ast.walk(module) for name in _names_of_sets(node)}
    for node in ast.walk(module):
        for iterated in _iterated(node):
            if _is_set(iterated, sets):
                yield f"{iterated.lineno}: {ast.unparse(iterated)}"


def _names_of_sets(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Assign) and _is_set(node.value, set()):
        yield from (target.id for target in node.targets if isinstance(target, ast.Name))
    annotated = node.annotation if isinstance(node, ast.AnnAssign | ast.arg) else None
    if annotated is not None and ast.unparse(annotated).partition("[")[0] in ("set", "frozenset", "Set"):
        name = node.arg if isinstance(node, ast.arg) else ast.unparse(node.target)  # type: ignore[attr-defined]
        yield name


def _is_set(node: ast.AST, names: set[str]) -> bool:
    if isinstance(node, ast.Set | ast.SetComp):
        return True
    if isinstance(node, ast.Call):
        called = ast.unparse(node.func)
        return called in ("set", "frozenset") or called.endswith((".keys() & ", ".union", ".difference"))
    if isinstance(node, ast.BinOp):
        return _is_set(node.left, names) or _is_set(node.right, names)
    if isinstance(node, ast.IfExp):
        return _is_set(node.body, names) or _is_set(node.orelse, names)
    return isinstance(node, ast.Name) and node.id in names


def _iterated(node: ast.AST) -> Iterator[ast.expr]:
    if isinstance(node, ast.For | ast.comprehension):
        yield node.iter
    elif isinstance(node, ast.Starred):
        yield node.value
    elif isinstance(node, ast.Call) and ast.unparse(node.func) not in ORDERLESS:
        yield from (argument for argument in node.args if not isinstance(argument, ast.Starred))


@pytest.mark.parametrize(
    "code",
    [
        "for x in {1, 2}: pass",
        "for x in set(y): pass",
        "names = {n for n in y}\nfor n in names: pass",
        "names: set[str] = y\n[n for n in names]",
        "def f(names: frozenset[str]): return tuple(names)",
        "a = [*{1, 2}]",
        "', '.join({'a'})",
        "a = list(frozenset(x) - y)",
    ],
)
def test_a_set_that_is_gone_through_is_found(code: str) -> None:
    """Positive control: a check that finds nothing proves nothing."""
    assert list(iterated_sets(ast.parse(code)))


@pytest.mark.parametrize("code", ["x in {1, 2}", "sorted({1, 2})", "for x in [1]: pass", "len(set(x)) == 1"])
def test_a_set_that_is_only_asked_is_fine(code: str) -> None:
    assert not list(iterated_sets(ast.parse(code)))


@pytest.mark.parametrize(
    "code", ["import time", "from random import Random", "from ..codec import encode", "import os"]
)
def test_an_impure_import_is_found(code: str) -> None:
    assert not imports(ast.parse(code)) <= ALLOWED


def test_importing_the_core_loads_no_floor_above_it() -> None:
    code = (
        "import sys, pwf_runtime.core.delivery, pwf_runtime.core.recover, pwf_runtime.core.sweep\n"
        "shells = ('driver', 'engine', 'clock', 'client', 'worker', 'store.memory', 'transport.memory')\n"
        "sys.exit(', '.join(shell for shell in shells if f'pwf_runtime.{shell}' in sys.modules) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=CORE.parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
