"""What can be seen of a habit by a machine (see CONTRIBUTING.md)."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import name_of, sources, tracked

MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 70
LONG_MODULES: dict[str, str] = {
    "pwf_runtime/core/delivery.py": "one machine with its whole table: to be read from top to bottom",
    "pwf_runtime/core/steps.py": "every transaction of the protocol, one after the other, over one list of keys",
    "pwf_runtime/engine.py": "one thread and what belongs to it; what can be told apart is in tasks, duties, chores",
    "pwsim/world/world.py": "all that may happen in a world and how it happens, one class",
}

PYTHON = sources("pwf_runtime", "pwsim", "examples", "scripts", "benchmarks")
EVERYTHING = [path for path in tracked() if path.suffix not in (".png", ".ico")]


def test_modules_are_short() -> None:
    long = {name_of(path): lines for path in sources() if (lines := _lines(path)) > MAX_MODULE_LINES}
    assert set(long) <= set(LONG_MODULES), f"over {MAX_MODULE_LINES} lines: split, or say why it is one: {long}"


def test_functions_are_short() -> None:
    long = [
        f"{name_of(path)}:{node.lineno} {node.name}"
        for path in PYTHON
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= MAX_FUNCTION_LINES
    ]
    assert not long, f"{MAX_FUNCTION_LINES} lines and more: {long}"


def test_nothing_is_swallowed_whole() -> None:
    silent = [
        f"{name_of(path)}:{node.lineno}"
        for path in PYTHON
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.ExceptHandler) and _catches_all(node) and _does_nothing(node)
    ]
    assert not silent, f"say what may go wrong, or log it: {silent}"


def test_every_module_says_what_it_is() -> None:
    said = ("__main__.py",)  # its name says it
    silent = [name_of(path) for path in PYTHON if path.name not in said and _lines(path) and not _docstring(path)]
    assert not silent, f"a docstring on top: {silent}"


@pytest.mark.parametrize("package", ["pwf_runtime", "pwsim"])
def test_every_public_name_is_described(package: str) -> None:
    module = importlib.import_module(package)
    public = [getattr(module, name) for name in getattr(module, "__all__", ())]
    missing = [name for thing in public for name, documented in _members(thing) if not inspect.getdoc(documented)]
    assert not missing, f"public, so it needs a docstring: {missing}"


def test_no_path_of_somebodys_machine() -> None:
    somewhere = re.compile(
        r"(?<![\w.])/(?:" + "|".join(["work", "root", "farm", r"home/\w+", "Users", "tmp"]) + r")/\w"
    )
    found = [
        f"{name_of(path)}:{number}: {line.strip()[:100]}"
        for path in EVERYTHING
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if somewhere.search(line)
    ]
    assert not found, "\n".join(found)


def test_scripts_can_be_run() -> None:
    scripts = tracked(".ci/run", "scripts/*.sh")
    assert scripts
    assert all(path.stat().st_mode & 0o100 for path in scripts)


def _lines(path: Path) -> int:
    return len(path.read_text("utf-8").splitlines())


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def _docstring(path: Path) -> str | None:
    return ast.get_docstring(_tree(path))


def _catches_all(handler: ast.ExceptHandler) -> bool:
    return handler.type is None or ast.unparse(handler.type) in ("Exception", "BaseException")


def _does_nothing(handler: ast.ExceptHandler) -> bool:
    return all(isinstance(step, ast.Pass | ast.Continue) or _is_ellipsis(step) for step in handler.body)


def _is_ellipsis(step: ast.stmt) -> bool:
    return isinstance(step, ast.Expr) and isinstance(step.value, ast.Constant) and step.value.value is ...


def _members(thing: Any) -> Iterator[tuple[str, Any]]:
    """A public thing and, of a class of ours, what is public in it."""
    if not callable(thing) or not str(getattr(thing, "__module__", "")).startswith(("pwf_runtime", "pwsim")):
        return
    yield thing.__qualname__, thing
    if inspect.isclass(thing):
        for name, member in vars(thing).items():
            if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
                yield f"{thing.__qualname__}.{name}", member
