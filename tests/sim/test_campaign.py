"""A campaign: its verdict says what was shown, and its bound says no more than was tried."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count
from types import SimpleNamespace
from typing import Any, Self

import pytest

from pwf_runtime import Action, Workflow, call, emit, join, result
from pwf_runtime.errors import UsageError
from pwsim.campaign import Campaign, Report
from pwsim.faults import core, families
from pwsim.laws import Violated
from pwsim.planted import PLANTED, protocol_of
from pwsim.program import Program
from pwsim.runner import STEPS_AT_LEAST, Result, play

from .programs import chain, fan, program_of


class Seen:
    """Keeps the schedules that were played."""

    def __init__(self) -> None:
        self.faults: list[tuple[Any, ...]] = []
        self.deviations = 0

    def note(self, result: Result) -> None:
        self.faults.append(result.schedule.faults)
        self.deviations += bool(result.schedule.deviations)

    def empty(self) -> Self:
        return type(self)()

    def add(self, other: Self) -> None:
        self.faults += other.faults
        self.deviations += other.deviations


def campaign(program: Program | None = None, **options: Any) -> tuple[Report, Seen]:
    seen = Seen()
    return Campaign(program or chain(), observer=seen, **options).run(), seen


# ── verdicts ──────────────────────────────────────────────────────────────────────────────────


def test_a_sound_program_passes_and_the_bound_says_what_was_tried() -> None:
    report, seen = campaign(strategy="faults", max_faults=1, faults="crash")
    assert report.verdict == "pass"
    assert report.violations == []
    assert report.bound == "2 workers per service: every single fault in the default order"
    assert report.runs == len(seen.faults) == report.defined + 1
    assert report.hit == report.defined > 30


def test_a_broken_law_is_a_violation_with_the_fewest_faults() -> None:
    bug = PLANTED["parked-call-forgotten"]
    report = Campaign(bug.program(), strategy="random", runs=400).run()
    assert report.verdict == "violation"
    (found,) = report.violations
    assert found.law == bug.law == "L4"
    assert len(found.faults) == bug.faults
    assert found.sentence
    again = play(report.program, found.result.schedule)
    assert again.violation is not None
    assert again.violation.sentence == found.sentence


@pytest.mark.parametrize("strategy", ["faults", "random", "exhaustive", "portfolio", "delays:2"])
def test_a_budget_that_runs_out_is_inconclusive(strategy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a pass nor a violation; what was not reached is named."""
    monkeypatch.setattr("pwsim.campaign.time", SimpleNamespace(monotonic=count().__next__))  # each look takes a second
    report, _ = campaign(fan(3), strategy=strategy, budget=6.5)
    assert report.verdict == "inconclusive"
    assert report.bound.startswith("6.5 s ran out before: 2 workers per service: ")
    assert report.runs == 7


def test_a_budget_that_is_enough_changes_nothing() -> None:
    with_budget, _ = campaign(strategy="faults", max_faults=1, faults="crash", budget=600)
    without, _ = campaign(strategy="faults", max_faults=1, faults="crash")
    assert (with_budget.verdict, with_budget.bound, with_budget.runs) == (without.verdict, without.bound, without.runs)


def test_a_budget_does_not_hide_a_violation() -> None:
    program = chain(protocol=protocol_of("ack-before-publish"))
    assert Campaign(program, strategy="faults", faults="crash", budget=600).run().verdict == "violation"


def test_a_campaign_stops_at_its_first_violation() -> None:
    report, seen = campaign(chain(protocol=protocol_of("ack-before-publish")), strategy="faults", faults="crash")
    assert len(report.violations) == 1
    assert report.runs == len(seen.faults) < 40


# ── bounds ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("strategy", "options", "bound"),
    [
        ("faults", {"max_faults": 0}, "no faults in the default order"),
        (
            "faults",
            {"budget": 0.05},
            "every single fault and every pair of crash, reply-lost, requeue, stall, duplicate in",
        ),
        (
            "faults",
            {"faults": "crash", "max_faults": 3, "budget": 0.05},
            "every single fault and all sets of up to 3 in the default",
        ),
        ("random", {"runs": 10, "seed": 4}, "10 random schedules (seed 4) of up to 2 faults"),
        ("random", {"runs": 10, "max_faults": 5, "faults": ""}, "10 random schedules (seed 0) of up to 5 faults"),
        ("pct:2", {"runs": 10}, "10 schedules (seed 0) by priorities of depth 2, of up to 2 faults"),
        ("pct", {"runs": 10}, "by priorities of depth 3"),
        (
            "delays:1",
            {"faults": "", "max_faults": 0},
            "all schedules of up to 1 deviation from the default order and up",
        ),
        (
            "exhaustive",
            {"faults": "", "max_faults": 0},
            "all orders and up to 0 faults of workers and servers: ",
        ),
    ],
)
def test_the_bound_is_spelled_out(strategy: str, options: dict[str, Any], bound: str) -> None:
    report = Campaign(chain(workers=2), strategy=strategy, **options).run()
    assert bound in report.bound
    assert "2 workers per service" in report.bound


def test_the_bound_of_single_faults_and_pairs_is_what_was_tried() -> None:
    """Singles of the default profile, pairs of its core families; no more, no less."""
    report, seen = campaign(strategy="faults")
    assert report.verdict == "pass"
    singles = {faults[0].mode for faults in seen.faults if len(faults) == 1}
    pairs = {fault.mode for faults in seen.faults if len(faults) == 2 for fault in faults}
    assert max(map(len, seen.faults)) == 2
    assert singles <= families(None)
    assert pairs <= core(families(None))
    assert {"slow", "unrouted", "old-code", "lease-lost"} <= singles
    assert len(set(seen.faults)) == len(seen.faults)
    assert seen.deviations == 0


def test_of_many_pairs_about_so_many_are_tried_and_the_bound_says_of_how_many() -> None:
    every = Campaign(fan(2), faults="crash", strategy="faults").run()
    pairs = every.runs - Campaign(fan(2), faults="crash", max_faults=1, strategy="faults").run().runs
    found = Campaign(fan(2), faults="crash", strategy="faults", pairs=100).run()
    match = re.search(r"every single fault, (\d+) of some ([\d,]+) pairs in the default order", found.bound)
    assert match is not None
    assert int(match[1]) == found.runs - (every.runs - pairs)
    assert 90 <= int(match[1]) <= 110
    assert 0.9 * pairs < int(match[2].replace(",", "")) < 1.1 * pairs
    few = Campaign(fan(2), faults="crash", strategy="faults", pairs=10**6).run()
    assert (few.runs, few.bound) == (every.runs, every.bound)


def test_larger_sets_are_bounded_as_well() -> None:
    found = Campaign(fan(2), faults="crash", strategy="faults", pairs=50, max_faults=3).run()
    match = re.search(r"(\d+) of some [\d,]+ pairs, (\d+) sets of 3 in the default order", found.bound)
    assert match is not None
    assert 30 < int(match[1]) < 70
    assert 10 < int(match[2]) < 200


@pytest.mark.parametrize("most", [0, 1, 2])
def test_no_schedule_of_any_kind_has_more_faults_than_the_bound_says(most: int) -> None:
    class Most:
        def __init__(self) -> None:
            self.seen = 0

        def note(self, result: Result) -> None:
            self.seen = max(self.seen, len(result.schedule.faults))

    observer = Most()
    Campaign(fan(2), faults="crash,requeue", max_faults=most, runs=200, pairs=200, observer=observer).run()  # type: ignore[arg-type]
    assert observer.seen == most


def test_of_families_that_were_named_pairs_are_of_all() -> None:
    _, seen = campaign(strategy="faults", faults="slow,crash")
    assert {f.mode for faults in seen.faults if len(faults) == 2 for f in faults} == families("slow,crash")


@pytest.mark.parametrize(("strategy", "runs"), [("random", 40), ("pct:2", 40), ("portfolio", 40 + 10)])
def test_as_many_random_schedules_as_the_bound_says(strategy: str, runs: int) -> None:
    report, seen = campaign(strategy=strategy, runs=40, max_faults=0 if strategy == "portfolio" else 2)
    clean = 1 if strategy == "portfolio" else 0
    assert report.runs == len(seen.faults) == runs + clean
    assert max(map(len, seen.faults)) <= 3


def test_a_portfolio_is_every_fault_then_chance() -> None:
    _, seen = campaign(faults="crash", max_faults=1, runs=20)
    assert seen.faults[0] == ()
    assert all(len(faults) == 1 for faults in seen.faults[1:31])
    assert seen.deviations > 10


def test_the_same_seed_is_the_same_campaign() -> None:
    (one, seen_one), (again, seen_again) = (campaign(strategy="random", runs=60, seed=9) for _ in range(2))
    assert seen_one.faults == seen_again.faults
    assert (one.steps, one.hit, one.kinds, one.unseen) == (again.steps, again.hit, again.kinds, again.unseen)


def test_several_processes_play_what_one_plays() -> None:
    one, seen_one = campaign(strategy="random", runs=60, seed=2)
    two, seen_two = campaign(strategy="random", runs=60, seed=2, jobs=2)
    assert (two.verdict, two.runs, two.steps, two.hit) == (one.verdict, one.runs, one.steps, one.hit)
    assert sorted(map(str, seen_two.faults)) == sorted(map(str, seen_one.faults))


def test_a_violation_found_by_another_process_is_reported() -> None:
    report = Campaign(chain(protocol=protocol_of("ack-before-publish")), strategy="random", runs=200, jobs=2).run()
    assert report.verdict == "violation"
    assert report.violations[0].law == "L8"


# ── repeating ─────────────────────────────────────────────────────────────────────────────────


def test_what_is_played_again_and_leaves_another_trace_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    """A simulator that is not deterministic must not say pass."""
    traces: Iterator[int] = count()
    monkeypatch.setattr(Result, "fingerprint", lambda self: str(next(traces)))
    report, _ = campaign(strategy="random", runs=60)
    assert report.verdict == "violation"
    assert report.violations[0].law == "determinism"


def test_a_task_that_answers_the_same_input_differently_is_named() -> None:
    answers = count()
    app = Workflow("clock")

    @app.task
    def a(data: int) -> Action:
        return result(next(answers))

    report = Campaign(program_of(app), strategy="random", runs=30).run()
    assert report.verdict == "violation"
    assert "task 'clock.a'" in report.violations[0].sentence
    assert "is no function of its input" in report.violations[0].sentence


def test_a_workflow_with_two_joins_for_one_task_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call has a path of its own, so a schedule is played again as it was."""
    app = Workflow("pairs")

    @app.task
    def a(data: int) -> list[Action]:
        return [call(tell, "x"), call(tell, "y"), join(last, 1, on=["x"]), join(last, 2, on=["y"])]

    @app.task
    def tell(data: str) -> Action:
        return emit(data, 1)

    @app.task
    def last(data: int) -> Action:
        return result(data)

    monkeypatch.setattr("pwsim.campaign.REPEAT", 1)
    report = Campaign(program_of(app), strategy="random", runs=200).run()
    assert report.verdict == "pass", report.violations[0].sentence


def test_how_many_steps_are_too_many_is_told_by_those_of_the_run_without_faults() -> None:
    plain = Campaign(chain(), strategy="faults", max_faults=0)
    assert plain.run().verdict == "pass"
    assert STEPS_AT_LEAST < plain.program.max_steps < 4 * STEPS_AT_LEAST


# ── what is refused ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("strategy", ["", "everything", "pct:", "pct:0", "pct:x", "random:3", "delays:-1", "faults:2"])
def test_a_strategy_that_does_not_exist_is_refused_with_those_that_do(strategy: str) -> None:
    with pytest.raises(UsageError, match=r"there is no strategy .*; there are portfolio, faults, random, pct:D"):
        Campaign(chain(), strategy=strategy)


def test_a_family_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError, match="there is no fault family 'crashes'"):
        Campaign(chain(), faults="crashes")


def test_a_check_of_the_user_s_is_a_law_too() -> None:
    program = chain()

    def check(world: Any) -> None:
        if world.struck("before"):
            raise Violated("mine", "a worker died")

    program.checks = (check,)
    report = Campaign(program, strategy="random", runs=200).run()
    assert report.verdict == "violation"
    assert report.violations[0].law == "mine"
    assert "before" in {fault.mode for fault in report.violations[0].faults}
