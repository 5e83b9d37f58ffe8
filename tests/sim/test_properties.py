"""The laws L1 to L8 hold for random workflows under random faults, whatever family the faults are of.

A failure is the smallest workflow and the fewest faults that hypothesis and ``pwsim.shrink`` found, printed as a
scenario file: save it under ``scenarios/regressions/`` and play it with ``pwsim replay``.

Without more, a bounded and repeatable portion. ``PWSIM_DEPTH=20`` tries twenty times as much, with fresh chance.
``pytest -s tests/sim/test_properties.py`` also prints how many schedules were played per second.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy

from pwsim.faults import FAMILIES, PROFILES
from pwsim.program import Protocol
from pwsim.runner import Result
from pwsim.scenario import dump
from pwsim.shrink import shrink
from pwsim.strategies import Case, cases, every_fault

DEPTH = int(os.environ.get("PWSIM_DEPTH", "1"))
SINGLES = 25 * DEPTH
"""So many workflows of each family. A bound on time in its place would show a rare failure on fast machines only."""
SEVERAL = 60 * DEPTH

Check = Callable[..., None]


class Broken(AssertionError):
    """A law was broken; the text is the scenario."""


class Tally:
    """What was played, for the last line."""

    def __init__(self) -> None:
        self.schedules = self.steps = 0
        self.seconds = 0.0
        self.ends: Counter[str] = Counter()


@pytest.fixture(scope="module")
def tally() -> Iterator[Tally]:
    tally = Tally()
    yield tally
    rate = tally.schedules / tally.seconds if tally.seconds else 0
    print(f"\n{tally.schedules:,} schedules, {tally.steps:,} steps, {rate:,.0f} schedules/s of CPU; {dict(tally.ends)}")


@pytest.fixture
def check(tally: Tally) -> Check:
    """Play cases, and raise the first that breaks a law."""

    def check(strategy: SearchStrategy[Case], examples: int, protocol: Protocol | None = None) -> None:
        began = time.process_time()

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=DEPTH == 1,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def play(case: Case) -> None:
            _play(case, protocol, tally)

        try:
            play()
        finally:
            tally.seconds += time.process_time() - began

    return check


def _play(case: Case, protocol: Protocol | None, tally: Tally) -> None:
    for result in case.play(protocol):
        tally.schedules += 1
        tally.steps += result.steps
        tally.ends.update(status.decode() for status in result.world.history.status.values())
        if result.violation is not None:
            raise Broken(told(case, result))


def told(case: Case, result: Result) -> str:
    """A failure, as small as can be had, and how to play it again."""
    small = shrink(result.world.program, result)
    return f"{small.violation}\n\nsave this as scenarios/regressions/SYMPTOM.toml:\n\n{dump(case.scenario(small))}"


@pytest.mark.parametrize("family", FAMILIES)
def test_no_single_fault_of_a_family_breaks_a_law(family: str, check: Check) -> None:
    """L1 to L8, at every crash point of random workflows."""
    check(every_fault(family), SINGLES)


@pytest.mark.parametrize("families", PROFILES)
def test_several_faults_break_no_law(families: str, check: Check) -> None:
    """L1 to L8, with up to three faults that the servers of a profile have, and other orders than the default one."""
    check(cases(families), SEVERAL)
