"""The fixture ``pwsim``: simulations of one test, shown and kept as a test's failures are."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest

from pwf_runtime.errors import UsageError
from pwf_runtime.workflow import Task

from ..probes import probe
from ..scenario import Scenario, load
from ..schedule import Schedule
from ..testing import Apps, Failure, Report, Start, simulate
from . import settings, totals
from .failures import Failures


class Simulator:
    """What a test calls. Each ``explore`` of a test keeps its failures under a name of its own."""

    Failure = Failure
    probe = staticmethod(probe)

    def __init__(self, item: pytest.Item) -> None:
        self._item = item
        self._numbers = itertools.count(1)
        self._reports: list[Report] = []
        self._kept = Failures(item)

    def explore(self, apps: Apps, start: Start | Sequence[Start], **options: Any) -> Report:
        """Simulate, and fail the test if a law or an invariant is broken, or if no fault struck.

        Arguments are those of ``pwsim.simulate``. What is left out is as the test's mark says.
        """
        report = self.simulate(apps, start, **options)
        report.assert_passed()
        return report

    def simulate(self, apps: Apps, start: Start | Sequence[Start], **options: Any) -> Report:
        """The same, and leave it to the test to look at the report."""
        try:
            return self._simulate(apps, start, settings.arguments(self._item, options))
        except (UsageError, pytest.UsageError) as error:
            raise Failure([str(error)]) from None

    def _simulate(self, apps: Apps, start: Start | Sequence[Start], chosen: dict[str, Any]) -> Report:
        keeper = self._kept.keeper(next(self._numbers))
        file = settings.REPLAY.value(self._item.config)
        if file is not None:
            scenario = load(file)
            if begins_so(scenario, start):
                chosen["only"] = scenario.schedule()
                self._item.config.stash[totals.KEY].add({"replays": 1})
            else:
                chosen |= {"only": Schedule(), "faults": ""}
        report = simulate(apps, start=start, keeper=keeper, **chosen)
        self._item.config.stash[totals.KEY].count(report)
        self._reports.append(report)
        return report

    def tested(self, report: pytest.TestReport, excinfo: pytest.ExceptionInfo[BaseException] | None) -> None:
        """The test has ended: show its failure as a simulation's, or forget what it failed with before."""
        if report.passed:
            self._kept.forget()
        elif excinfo is not None and isinstance(excinfo.value, Failure):
            report.longrepr = shown = pytest.Item.repr_failure(self._item, excinfo, style="value")
            if (crash := getattr(shown, "reprcrash", None)) is not None:
                crash.message = excinfo.value.sentence  # for the short summary, without the name of a class
        elif excinfo is not None and isinstance(excinfo.value, AssertionError):
            self._explain(report)

    def _explain(self, report: pytest.TestReport) -> None:
        """If a comparison of a count made the test fail, show the schedule in which it does not hold."""
        for simulated in reversed(self._reports):
            if simulated.doubt is not None:
                try:
                    shown = str(simulated.explain(*simulated.doubt))
                except Exception as error:  # in a hook of pytest's it would end the session
                    shown = f"the schedule in which it does not hold cannot be shown: {error!r}"
                report.sections.append(("pwsim", shown))
                return

    def close(self) -> None:
        for report in self._reports:
            report.program.close()


def begins_so(scenario: Scenario, start: Start | Sequence[Start]) -> bool:
    """Whether a scenario begins with the same tasks."""
    starts = [start] if isinstance(start, tuple) else start
    mine = [task.name if isinstance(task, Task) else task.rpartition(".")[2] for task, _ in starts]
    return mine == [entry.task.rpartition(".")[2] for entry in scenario.start]
