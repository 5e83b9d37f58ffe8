"""Scenario files as tests: a file passes if what it expects comes of it, no broken law or the one that it names."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from . import totals

if TYPE_CHECKING:
    from .. import scenario as scenarios
    from ..campaign import Violation
    from ..schedule import Schedule

_KEYS = (re.compile(r"^\s*apps\s*=", re.MULTILINE), re.compile(r"^\s*start\s*=", re.MULTILINE))


def is_scenario(path: Path) -> bool:
    """Whether a file says what a scenario must say. Others may have TOML files in a folder of this name."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return all(key.search(text) for key in _KEYS)


class ScenarioFile(pytest.File):
    """A file with one scenario."""

    def collect(self) -> Iterator[Scenario]:
        yield Scenario.from_parent(self, name=self.path.stem)


class Scenario(pytest.Item):
    """One scenario, as a test."""

    def runtest(self) -> None:
        from .. import scenario as scenarios
        from ..testing import Failure, replay

        scenario = scenarios.load(self.path)
        with self._importable():
            report = replay(scenario)
        self.config.stash[totals.KEY].count(report)
        report.keeper = Unsaved(self.path)
        found = report.violations[0].law if report.violations else "pass"
        if scenario.expect == "pass" or found not in ("pass", scenario.expect):
            report.assert_passed()
        elif found == "pass":
            came = report.problem or 'no law is; if that is mended, say expect = "pass"'
            raise Failure([f"{self.name}: it expects that {scenario.expect} is broken, and {came}"])

    @contextmanager
    def _importable(self) -> Iterator[None]:
        """Its workflows are imported from the project's root, or from the folder that holds ``scenarios``."""
        parts = self.path.parts
        places = [self.config.rootpath, self.path.parent]
        if "scenarios" in parts:
            places.insert(0, Path(*parts[: len(parts) - parts[::-1].index("scenarios") - 1]))
        before = list(sys.path)
        sys.path[:0] = [str(place) for place in places]
        try:
            yield
        finally:
            sys.path[:] = before

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        from pwf_runtime.errors import UsageError

        if isinstance(excinfo.value, AssertionError | UsageError):
            return str(excinfo.value)
        return super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, f"scenario {self.name}"


class Unsaved:
    """The scenario's own file is what replays it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def first(self) -> Sequence[Schedule]:
        return ()

    def keep(self, found: Violation, scenario: scenarios.Scenario) -> str:
        from ..commands.common import replay_line
        from .failures import shown

        return replay_line(Path(shown(self._path)))
