"""From the mark, the environment and the command line to what a simulation is asked for.

The nearer to the person who runs the tests, the stronger: an option beats its variable, which beats the arguments of
``explore``, which beat the mark.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytest

SEARCH = ("faults", "max_faults", "runs", "seed", "budget", "strategy", "jobs", "pause", "pairs")
DEMANDS = ("once", "at_most_once", "once_per_key", "committed", "counts", "invariant")
MARK = (*SEARCH, *DEMANDS, "workers", "planted", "setup", "network", "allow_unfinished")
"""What the mark may say: arguments of ``pwsim.simulate``."""

MARKER = (
    "pwsim(faults=None, max_faults=2, pairs=2000, runs=1000, seed=0, budget=None, workers=2, ...): how the fixture "
    "`pwsim` searches for a schedule that breaks a law; see pwsim.simulate"
)


class Option(NamedTuple):
    """An option of the command line, and of the environment under ``variable``."""

    name: str
    type: Callable[[str], Any]
    metavar: str
    help: str

    @property
    def flag(self) -> str:
        return f"--pwsim-{self.name}"

    @property
    def variable(self) -> str:
        return f"PWSIM_{self.name.upper()}"

    def value(self, config: pytest.Config) -> Any:
        """What was asked for; ``None``: nothing. Raises ``UsageError`` for a variable that cannot be read."""
        given = config.getoption(self.flag)
        text = os.environ.get(self.variable, "")
        if given is not None or not text:
            return given
        try:
            return self.type(text)
        except ValueError as error:
            raise pytest.UsageError(f"{self.variable}={text!r}: {self.help}: {error}") from error


SEED = Option("seed", int, "N", "draw random schedules from this seed (0)")
RUNS = Option("runs", int, "N", "random schedules per simulation (1000, or as the test says)")
PAIRS = Option("pairs", int, "N", "schedules of two faults per simulation, evenly taken (2000, or as the test says)")
BUDGET = Option("budget", float, "SECONDS", "end each simulation after this time")
EXHAUST = Option("exhaust", int, "K", "try all schedules of up to K faults, in every order of steps")
REPLAY = Option("replay", str, "FILE", "play this schedule only")
HTML = Option("html", str, "DIR", "write a page for each failure into this folder")
JOBS = Option("jobs", int, "N", "simulate in so many processes (1)")
OPTIONS = (SEED, RUNS, PAIRS, BUDGET, EXHAUST, REPLAY, HTML, JOBS)


def arguments(item: pytest.Item, given: Mapping[str, Any]) -> dict[str, Any]:
    """What to ask of ``pwsim.simulate``, for a test that calls ``explore`` with ``given``."""
    chosen = _marked(item) | dict(given)
    for option in (SEED, RUNS, PAIRS, BUDGET, JOBS):
        value = option.value(item.config)
        if value is not None:
            chosen[option.name] = value
    depth = EXHAUST.value(item.config)
    if depth is not None:
        chosen |= {"strategy": "exhaustive", "max_faults": depth} | ({} if depth else {"faults": ""})
    return chosen


def _marked(item: pytest.Item) -> dict[str, Any]:
    """What its marks say, the nearest first."""
    chosen: dict[str, Any] = {}
    for mark in item.iter_markers("pwsim"):
        unknown = sorted(set(mark.kwargs) - set(MARK))
        if unknown or mark.args:
            wrong = f"{', '.join(unknown)}: there is no such option" if unknown else "options are given by name"
            raise pytest.UsageError(f"@pytest.mark.pwsim of {item.nodeid}: {wrong}; there are {', '.join(MARK)}")
        chosen = {**mark.kwargs, **chosen}
    return chosen
