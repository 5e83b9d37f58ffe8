"""Pages for users, followed word for word: their files are written, their commands run, their output compared.

What stands on the line in front of a block says what it is. The names of files are for readers, too; the rest is in
comments, which they do not see:

- a name in backquotes, and a colon: a file of this content.
- the same after ``In``: definitions of that file, each in the place of the one with its name, or new, at the end.
- ``<!-- run -->``: lines with ``$`` are commands, which must succeed (``<!-- run: 1 -->``: exit with code 1); the
  others are what is shown for them. Each must be shown so, in this order; a line ``...`` stands for whatever is
  between, and ``…`` for a part of a line. Times, and the steps of a diagram, may be others.
- ``<!-- run with servers -->``: the same, with the addresses of a RabbitMQ and a Redis in the environment. A page with
  such a block is followed where there are servers.
- ``<!-- install -->``: what is typed once, to set up. Followed in ``test_install.py`` only.
- ``<!-- no test: REASON -->``: for other programs than ours.

A block without any of them fails, so that no page can have one that nobody tries. (``<!-- runnable -->``, see
``tests/repo/test_docs.py``, will do, too.)
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
RUN = ("run", "run with servers")
COMMENTS = (*RUN, "install", "no test", "runnable")
KINDS = ("file", "change", *COMMENTS)
ELISION = "..."
REWRITE = "PWSIM_REWRITE"
"""If this variable is set, what pages show is written anew instead of compared. Read the difference."""
PATIENCE_S = 900
"""What takes so long hangs: a slow machine, or a slow package index, is none of a page's faults."""
WIDTH = "100"
"""Columns of the terminal in which the pages' output was made."""

_BLOCK = re.compile(
    rf"(?:<!-- (?P<kind>{'|'.join(COMMENTS)})(?:: (?P<argument>[^\n]*?))? -->\n"
    r"|^(?P<within>In )?`(?P<file>[^`\n]+)`:\n)?"
    r"^```(?P<language>\w*)\n(?P<body>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
_STEP = re.compile(r"^\s*\d+ +\d+\.\d{3}s  |^\s*step +time  |^\s*\.\.\. \d+ more steps?$|^parts from the passing run")
_LEFT_OUT = ("CI", "PYTHONPATH", "FORCE_COLOR")
_TIMES = re.compile(r"\d+\.\d+ ?s\b|\b[\d,]+(?= schedules)|(?<=of )[\d,]+|(?<=points hit )[\d,]+")


class Block(NamedTuple):
    """A block of a page. ``line``: of the page, for messages."""

    line: int
    kind: str
    argument: str
    language: str
    body: str


def blocks(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    return [
        Block(text.count("\n", 0, match.start()) + 1, *_said(match), match["language"], match["body"])
        for match in _BLOCK.finditer(text)
    ]


def _said(match: re.Match[str]) -> tuple[str, str]:
    """Kind and argument."""
    if match["file"]:
        return ("change" if match["within"] else "file"), match["file"]
    return match["kind"] or "", match["argument"] or ""


def wants_servers(page: Path) -> bool:
    return any(block.kind == "run with servers" for block in blocks(page))


def follow(page: Path, folder: Path, bin_folder: Path | None = None, servers: Mapping[str, str] | None = None) -> None:
    """Do what the page says, in an empty folder, with the programs of this environment or those in ``bin_folder``.
    ``servers``: their addresses, as variables of the environment."""
    for block in blocks(page):
        if block.kind == "file":
            path = folder / block.argument
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.body, encoding="utf-8")
        elif block.kind == "change":
            change(folder / block.argument, block.body)
        elif block.kind in RUN:
            more = (servers or {}) if block.kind != "run" else {}
            _run(block, folder, bin_folder or Path(sys.executable).parent, page, more)


# ── commands ──────────────────────────────────────────────────────────────────────────────────


def _run(block: Block, folder: Path, bin_folder: Path, page: Path, more: Mapping[str, str]) -> None:
    where = f"{page.name}:{block.line}"
    *before, last = commands(block.body)
    for command, shown in [*before, last]:
        code = int(block.argument or 0) if (command, shown) == last else 0
        done = shell(command, folder, bin_folder, more)
        if os.environ.get(REWRITE) and len(shown) > 1:
            old, new = ("\n".join(lines) for lines in (shown, renewed(shown, done.stdout)))
            page.write_text(page.read_text("utf-8").replace(old, new), encoding="utf-8")
            continue
        assert done.returncode == code, f"{where}: `{command}` ended with {done.returncode}, not {code}:\n{done.stdout}"
        missing = first_missing(shown, done.stdout)
        assert missing is None, f"{where}: `{command}` does not show\n    {missing}\nbut\n{done.stdout}"


def commands(body: str) -> list[tuple[str, list[str]]]:
    """Each command with the lines shown for it. Backslashes at the ends of lines go on."""
    found: list[tuple[str, list[str]]] = []
    for line in body.replace("\\\n", " ").splitlines():
        if line.startswith("$ "):
            found.append((line.removeprefix("$ "), []))
        elif found:
            found[-1][1].append(line)
    return found


def shell(command: str, folder: Path, bin_folder: Path, more: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run it, as in a terminal of the pages' width whose environment has been activated."""
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**_environment(bin_folder), **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_S,
    )


def _environment(bin_folder: Path) -> Mapping[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST_", "PWSIM_", "PWF_", "COV_")) and name not in _LEFT_OUT
    }
    path = f"{bin_folder}{os.pathsep}{os.environ['PATH']}"
    return {**kept, "PATH": path, "COLUMNS": WIDTH, "PY_COLORS": "0", "PYTHONDONTWRITEBYTECODE": "1"}


def first_missing(shown: Sequence[str], printed: str) -> str | None:
    """The first line of what is shown that was not printed, or not in this order."""
    lines = iter([_plain(line) for line in printed.splitlines()])
    for line in shown:
        if not line.strip() or line.strip() == ELISION or _STEP.match(line):
            continue
        parts = [re.escape(_plain(part)) for part in line.split("…")]
        if not any(re.search(".*".join(parts), one) for one in lines):  # the next is looked for behind it
            return line
    return None


def renewed(shown: Sequence[str], printed: str) -> list[str]:
    """What is shown, as it was printed now: from the first to the last line of each part between elisions."""
    lines, new, part = [line.rstrip() for line in printed.splitlines()], list[str](), list[str]()
    for line in [*shown, ELISION]:
        if line.strip() != ELISION:
            part.append(line)
            continue
        if len(part) > 1:
            first = next(i for i, one in enumerate(lines) if _plain(part[0]) in _plain(one))
            last = next(i for i, one in enumerate(lines) if i > first and _plain(part[-1]) == _plain(one))
            part = lines[first : last + 1]
        new += [*part, line]
        part = []
    return new[:-1]


def _plain(line: str) -> str:
    """A line without what may differ from one time to the next."""
    return re.sub(r"\s+", " ", _TIMES.sub("#", re.sub(r"[=_]{3,}", "==", line))).strip()


# ── changes ───────────────────────────────────────────────────────────────────────────────────


def change(path: Path, new: str) -> None:
    """Put definitions into a file: each where the one with its name is, else at the end; imports on top."""
    lines = path.read_text("utf-8").splitlines()
    old = {name: node for node in ast.parse("\n".join(lines)).body for name in _names(node)}
    edits: list[tuple[int, int, list[str]]] = []
    added: list[str] = []
    for node in ast.parse(new).body:
        text = new.splitlines()[_first(node) - 1 : node.end_lineno]
        there = next((old[name] for name in _names(node) if name in old), None)
        if there is not None:
            edits.append((_first(there) - 1, there.end_lineno or 0, text))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            edits.append((0, 0, text))
        else:
            added += ["", "", *text]
    lines += added
    for first, last, text in sorted(edits, key=lambda edit: edit[0], reverse=True):
        lines[first:last] = text
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _names(node: ast.stmt) -> Iterator[str]:
    """By what a definition is known. An import is known by its module."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Assign):
        yield from (ast.unparse(target) for target in node.targets)
    elif isinstance(node, ast.ImportFrom):
        yield f"from {node.module}"
    elif isinstance(node, ast.Import):
        yield from (f"import {alias.name}" for alias in node.names)


def _first(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *[decorator.lineno for decorator in decorators]])
