"""The documentation is true as far as a machine can tell: links lead somewhere, examples run, drawings are current."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pwf_runtime.config import Settings
from pwsim import faults, laws
from scripts import protocol_diagram

from . import ROOT, name_of, tracked

PAGES = tracked("*.md")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
RUNNABLE = re.compile(r"<!-- runnable -->\n```python\n(?P<code>.*?)```\n(?:```text\n(?P<output>.*?)```)?", re.DOTALL)
COMMAND = re.compile(r"^ {4}(?:\.venv/bin/)?(?P<program>pwf|pwsim) (?P<command>[a-z]+)|`(?P<p>pwf|pwsim) (?P<c>[a-z]+)")
MODULES = {"pwf": "pwf_runtime", "pwsim": "pwsim"}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    """Within the repository; to a heading, too."""
    text = page.read_text("utf-8")
    for link in LINK.findall(_without_code(text)):
        if link.startswith(("https://", "http://", "mailto:")):
            continue
        file, _, heading = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), f"{link}: there is no {file}"
        assert target.is_relative_to(ROOT), f"{link} leads out of the repository"
        assert not heading or heading in _anchors(target), f"{link}: {name_of(target)} has no such heading"


@pytest.mark.parametrize("page", [page for page in PAGES if RUNNABLE.search(page.read_text("utf-8"))], ids=name_of)
def test_examples_run_and_print_what_the_page_says(page: Path) -> None:
    """Blocks after ``<!-- runnable -->``, one after the other; a ``text`` block right behind one is what it prints."""
    names: dict[str, object] = {"__name__": "a_page"}
    for block in RUNNABLE.finditer(page.read_text("utf-8")):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(block["code"], str(page), "exec"), names)
        if block["output"] is not None:
            assert printed.getvalue() == block["output"]


def test_the_readme_has_an_example_that_runs() -> None:
    assert RUNNABLE.search((ROOT / "README.md").read_text("utf-8"))


def test_the_machines_are_drawn_as_they_are() -> None:
    """If this fails after a change of the protocol: ``make docs``, and read the difference."""
    page = protocol_diagram.PAGE.read_text("utf-8")
    assert protocol_diagram.rendered(page) == page, "out of date: run `make docs`, and read what changes"


@pytest.mark.parametrize(
    ("program", "command"),
    sorted(
        {
            (match["program"] or match["p"], match["command"] or match["c"])
            for page in PAGES
            for line in page.read_text("utf-8").splitlines()
            for match in COMMAND.finditer(line)
        }
    ),
)
def test_commands_that_pages_name_exist(program: str, command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", MODULES[program], command, "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_every_fault_family_and_profile_is_described() -> None:
    page = (ROOT / "docs" / "simulator.md").read_text("utf-8")
    assert [name for name in (*faults.FAMILIES, *faults.PROFILES) if f"`{name}`" not in page] == []


def test_every_law_is_described() -> None:
    page = protocol_diagram.PAGE.read_text("utf-8")
    assert [law.name for law in laws.ALL if f"| {law.name} |" not in page] == []


def test_every_setting_is_described() -> None:
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    assert [name for name in Settings.__struct_fields__ if f"| `{name}` |" not in page] == []


def _without_code(text: str) -> str:
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)


def _anchors(page: Path) -> set[str]:
    """The names by which a page's headings are linked to."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
