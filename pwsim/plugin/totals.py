"""What all simulations of a session did, for the line in the terminal's summary; and of all workers of pytest-xdist."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ..verdict import Report


class Totals:
    """Sums, as plain numbers that can be sent to another process."""

    def __init__(self) -> None:
        self._sums = dict.fromkeys(("simulations", "schedules", "hit", "defined", "inconclusive", "replays"), 0)

    def count(self, report: Report) -> None:
        self.add(
            {
                "simulations": 1,
                "schedules": report.runs,
                "hit": report.crash_points.hit,
                "defined": report.crash_points.defined,
                "inconclusive": report.verdict == "inconclusive",
            }
        )

    def add(self, sums: Mapping[str, int]) -> None:
        for name, number in sums.items():
            self._sums[name] += int(number)

    def as_dict(self) -> dict[str, int]:
        return dict(self._sums)

    def lines(self, replayed: str | None = None) -> Iterator[str]:
        """What there is to say; nothing, if nothing was simulated."""
        sums = self._sums
        if sums["simulations"]:
            more = f"; {sums['inconclusive']} ended by the budget, before the bound" if sums["inconclusive"] else ""
            counted = f"{_many(sums['simulations'], 'simulation')}, {_many(sums['schedules'], 'schedule')}"
            yield f"pwsim: {counted}; crash points hit {sums['hit']:,} of {sums['defined']:,}{more}"
        if replayed and not sums["replays"]:
            yield f"pwsim: {replayed} was not replayed: no test that ran begins as it does"


def _many(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


KEY: pytest.StashKey[Totals] = pytest.StashKey()
