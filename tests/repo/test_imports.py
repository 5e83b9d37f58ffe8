"""Imports go down only, the core is pure, and nothing is loaded before it is needed (see ARCHITECTURE.md)."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import ROOT, name_of, sources

WALL_CLOCK = {
    "pwf_runtime/clock.py": "the clock",
    "pwf_runtime/commands.py": "shows times to people",
    "pwf_runtime/export.py": "shows times to people",
}
CHANCE = {
    "pwsim/schedule.py": "the simulator's only source of chance: a seed and a number",
    "pwf_runtime/duties.py": "so that workers do not all come at once",
    "pwf_runtime/transport/amqp_link.py": "so that workers do not all reconnect at once",
}


def test_the_contracts_of_import_linter_hold() -> None:
    """Those of ``.importlinter``; the output names the import that is in the way."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:]


@pytest.mark.parametrize("package", ["pwf_runtime", "pwsim"])
@pytest.mark.parametrize("client", ["pika", "redis"])
def test_importing_a_package_loads_no_client_of_a_server(package: str, client: str) -> None:
    code = f"import {package}, sys; sys.exit({client!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_the_wall_clock_is_read_in_one_place() -> None:
    """Durations (``monotonic``) are a shell's business; the time of day reaches everything else as an argument."""
    readers = {name_of(path) for path in sources() if any(_reads_wall_clock(node) for node in _nodes(path))}
    assert readers <= set(WALL_CLOCK), "take a Clock, or now_ms, as an argument"


def test_chance_comes_from_few_places() -> None:
    """Whoever calls for chance is on the list, with the reason; naming ``Random`` as a type is free."""
    users = {name_of(path) for path in sources() if any(_draws(node) for node in _nodes(path))}
    assert users <= set(CHANCE), (
        "in the simulator chance comes from schedule.chance, else a schedule cannot be repeated"
    )


def _nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text("utf-8")))


def _reads_wall_clock(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        names = {alias.name for alias in node.names}
        if node.module == "datetime":
            return names != {"timedelta"}  # a length, which knows no day
        return node.module == "time" and bool(names & {"time", "time_ns", "localtime"})
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "time":
        return node.attr in ("time", "time_ns", "localtime", "gmtime")
    return isinstance(node, ast.Import) and any(alias.name == "datetime" for alias in node.names)


def _draws(node: ast.AST) -> bool:
    """Whether it makes a generator (``Random(...)``) or uses the module's own (``random.uniform(...)``)."""
    if isinstance(node, ast.ImportFrom):
        return node.module == "random" and not node.level and any(alias.name != "Random" for alias in node.names)
    if not isinstance(node, ast.Call):
        return False
    if isinstance(node.func, ast.Name):
        return node.func.id == "Random"
    return isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) == "random"
