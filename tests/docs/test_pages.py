"""Every block of the pages for users is tried, in the order of the page, in an empty folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import DOCS, KINDS, blocks, change, commands, first_missing, follow, renewed, wants_servers

PAGES = [DOCS / "tutorial.md", DOCS / "testing-explained.md", DOCS / "index.md", *sorted((DOCS / "howto").glob("*.md"))]
"""In the reference no block is written by hand."""


@pytest.mark.parametrize("page", [page for page in PAGES if not wants_servers(page)], ids=lambda page: page.stem)
def test_what_the_page_says_happens(page: Path, tmp_path: Path) -> None:
    follow(page, tmp_path)


@pytest.mark.parametrize("page", [page for page in PAGES if wants_servers(page)], ids=lambda page: page.stem)
def test_what_the_page_says_happens_on_servers(page: Path, tmp_path: Path, amqp_url: str, redis_url: str) -> None:
    follow(page, tmp_path, servers={"PWF_AMQP_URL": amqp_url, "PWF_REDIS_URL": redis_url})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_says_how_it_is_tried(page: Path) -> None:
    untried = [f"{page.name}:{block.line}" for block in blocks(page) if block.kind not in KINDS]
    assert not untried, "what stands before a block says how it is tried, see tests/docs/__init__.py"


# ── the tools of these tests ──────────────────────────────────────────────────────────────────


def test_a_file_is_named_where_readers_see_it(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    heads = ["`a.py`:", "In `b/c.py`:", "<!-- run: 1 -->", "<!-- file: d.py -->", "As in `e.py`:"]
    page.write_text("".join(f"{head}\n```python\npass\n```\n" for head in heads))
    assert [(block.kind, block.argument) for block in blocks(page)] == [
        ("file", "a.py"),
        ("change", "b/c.py"),
        ("run", "1"),
        ("", ""),
        ("", ""),
    ]


def test_commands_have_what_is_shown_for_them() -> None:
    assert commands("$ one \\\n  two\n$ three\na\nb\n") == [("one    two", []), ("three", ["a", "b"])]


def test_a_change_puts_a_definition_in_the_place_of_its_name(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("import os\n\n\n@deco\ndef one():\n    return 1\n\n\nTWO = 2\n")
    change(file, "import re\n\n\ndef one():\n    return 3\n\n\ndef new():\n    pass\n\n\ndef last():\n    pass\n")
    assert file.read_text() == (
        "import re\nimport os\n\n\ndef one():\n    return 3\n\n\nTWO = 2\n\n\ndef new():\n    pass\n\n\n"
        "def last():\n    pass\n"
    )


PRINTED = "one\n== 2 failed in 3.14s ==\n   3    0.000s  orders/1  claim\nlast of 3 schedules\n"


@pytest.mark.parametrize(
    ("shown", "missing"),
    [
        (["one", "...", "last of 99 schedules"], None),
        (["==== 2 failed in 1.00s ===="], None),
        (["   9   10.000s  orders/2  ack"], None),
        (["last", "one"], "one"),
        (["la…schedules"], None),
        (["la…shadows"], "la…shadows"),
        (["two"], "two"),
    ],
)
def test_what_is_shown_must_be_printed_in_this_order(shown: list[str], missing: str | None) -> None:
    assert first_missing(shown, PRINTED) == missing


def test_what_is_shown_can_be_written_anew() -> None:
    assert renewed(["...", "one", "two", "last of 9 schedules", "..."], PRINTED) == [
        "...",
        *PRINTED.splitlines(),
        "...",
    ]
