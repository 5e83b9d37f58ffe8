"""The reference says what the docstrings say."""

from __future__ import annotations

import re

import pwf_runtime
import pwsim
from scripts import reference


def test_the_reference_is_up_to_date() -> None:
    """If this fails after a change of a docstring or an option: ``make docs``."""
    stale = [name for name, text in reference.pages().items() if (reference.FOLDER / name).read_text("utf-8") != text]
    assert not stale, "out of date: run `make docs`"


def test_every_argument_of_the_commands_is_described() -> None:
    rows = [line for line in reference.pages()["commands.md"].splitlines() if line.startswith("| `")]
    assert rows
    assert [row for row in rows if row.endswith("|  |")] == []


def test_every_public_name_is_in_it() -> None:
    pages = "".join(reference.pages().values())
    told = set(re.findall(r"^## (\w+)$", pages, flags=re.MULTILINE))
    elsewhere = {"Action", "strategies"}  # a type, and a module whose names are there
    assert {*pwf_runtime.__all__, *pwsim.__all__, *pwsim.strategies.__all__} - told - elsewhere == set()
