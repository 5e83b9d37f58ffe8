"""Failures of a test, kept in files from one execution to the next: tried first, gone when the test passes.

A test's file is named after the test, so no two processes of pytest-xdist write the same one.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import pytest
from msgspec.structs import replace

from pwf_runtime.errors import UsageError

from ..campaign import Violation
from ..report import html
from ..saving import FAILURES, write
from ..scenario import Scenario, load
from ..schedule import Schedule
from . import settings

LONGEST_NAME = 100


class Failures:
    """Those of one test, in the project's root."""

    def __init__(self, item: pytest.Item) -> None:
        self._item = item
        self._handed_out: list[Kept] = []
        digest = blake2b(item.nodeid.encode(), digest_size=4).hexdigest()
        name = re.sub(r"[^\w.]+", "-", item.nodeid.rpartition("/")[2]).strip("-")
        self._stem = item.config.rootpath / FAILURES / f"{name[:LONGEST_NAME]}-{digest}"

    def keeper(self, number: int) -> Kept:
        """For the how-manieth simulation of the test."""
        path = Path(f"{self._stem}-{number}.toml" if number > 1 else f"{self._stem}.toml")
        self._handed_out.append(Kept(self._item, path))
        return self._handed_out[-1]

    def forget(self) -> None:
        """The test has passed. (If it played one schedule only, that says nothing about the others.)"""
        if settings.REPLAY.value(self._item.config) is None:
            for kept in self._handed_out:
                kept.path.unlink(missing_ok=True)


class Kept:
    """The failure of one simulation in a test."""

    def __init__(self, item: pytest.Item, path: Path) -> None:
        self._item = item
        self.path = path

    def first(self) -> Sequence[Schedule]:
        """What failed before, if anything did. A file of an older version is as good as none."""
        try:
            return (load(self.path).schedule(),)
        except UsageError:
            return ()

    def keep(self, found: Violation, scenario: Scenario) -> str:
        """Save it, write its page if pages are wanted, and return the line that replays it."""
        write(self.path, replace(scenario, setup=(*self._conftests(), *scenario.setup)))
        line = self._line()
        folder = settings.HTML.value(self._item.config)
        if folder is not None:
            page = Path(folder) / f"{self.path.stem}.html"
            html.write(page, found.result, line)
            line += f"\npage: {shown(page)}"
        return line

    def _conftests(self) -> list[str]:
        """Those that pytest has loaded for the test, the outermost first: they may put stand-ins in clients' places."""
        loaded = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
        folders = [folder for folder in self._item.path.parents if folder.is_relative_to(self._item.config.rootpath)]
        files = [str(folder / "conftest.py") for folder in reversed(folders)]
        return [shown(Path(file)) for file in files if file in loaded]

    def _line(self) -> str:
        file, colons, name = self._item.nodeid.partition("::")
        test = f"{shown(self._item.config.rootpath / file)}{colons}{name}"
        return f"pytest {shlex.quote(test)} {settings.REPLAY.flag} {shlex.quote(shown(self.path))}"


def shown(path: Path) -> str:
    """As one would type it here."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
