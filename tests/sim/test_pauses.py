"""The whole system is down for a time: names of such faults, and what a world makes of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from pwf_runtime import UsageError, Workflow, call, emit, join, result
from pwf_runtime.core import keys as k
from pwsim import pauses, simulate
from pwsim import testing as t
from pwsim.checks import Played
from pwsim.coverage import points
from pwsim.faults import Fault, by_family, describe, families, names_of, parse
from pwsim.laws import Watch
from pwsim.program import RETENTION_MS, Program
from pwsim.runner import apply, finish, play
from pwsim.scenario import Scenario, StartEntry
from pwsim.schedule import Schedule
from pwsim.world.world import World

from .programs import chain, fan, program_of, rich_program, struck

HOUR_S, DAY_S = 3_600.0, 86_400.0
SHOP = Workflow("shop")


@SHOP.task
def order(data: Any) -> Any:
    return [
        call(pay, data, delay=HOUR_S),
        join(ship, data, on=["paid"], timeout=DAY_S, on_timeout=give_up),
    ]


@SHOP.task
def pay(data: Any) -> Any:
    return emit("paid", data)


@SHOP.task
def ship(data: Any) -> Any:
    return result("shipped")


@SHOP.task
def give_up(data: Any) -> Any:
    return result("given up")


# ── names ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("length", "mode", "words"),
    [
        (timedelta(days=3), "days-3", "3 days"),
        (timedelta(days=1), "days-1", "1 day"),
        (timedelta(hours=36), "hours-36", "36 hours"),
        (timedelta(minutes=90), "minutes-90", "90 minutes"),
        (timedelta(seconds=1), "seconds-1", "1 second"),
    ],
)
def test_a_pause_is_named_by_its_length_in_the_largest_unit_that_says_it(
    length: timedelta, mode: str, words: str
) -> None:
    assert pauses.mode_of(length) == mode
    assert pauses.length_ms(mode) == length.total_seconds() * 1000
    assert pauses.in_words(mode) == words


@pytest.mark.parametrize(
    "wrong",
    [
        timedelta(0),
        timedelta(days=-1),
        timedelta(milliseconds=1500),
        timedelta(days=10**6),
        timedelta(days=12, seconds=1),
        3,
    ],
)
def test_a_length_that_cannot_be_named_is_refused_and_shown(wrong: Any) -> None:
    with pytest.raises(UsageError, match=re.escape(f"pause={wrong!r}")):
        pauses.mode_of(wrong)


@pytest.mark.parametrize("none", ["days-0", "days-03", "weeks-1", "days", "rollback-3", "days-3 ", ""])
def test_nothing_else_is_a_pause(none: str) -> None:
    assert not pauses.is_pause(none)
    assert pauses.length_ms(none) == 0


def test_it_has_an_address_like_any_other_fault() -> None:
    fault = parse("order > pay #1 / commit / hours-5")
    assert parse(str(fault)) == fault
    assert describe([fault]) == "the system is down for 5 hours before 'commit' of order > pay (delivery 1)"


def test_a_family_names_three_days_and_a_mode_itself() -> None:
    assert families("pause") == {"days-3"}
    assert families("crash,hours-5") == families("crash") | {"hours-5"}
    assert families("pause") <= families("all")
    assert not families("pause") & families(None)


def test_pauses_are_a_family_however_long_they_are() -> None:
    modes = families("crash,hours-5,days-3")
    assert by_family(modes) == [families("crash"), {"hours-5", "days-3"}]
    assert families(names_of(modes)) == modes


# ── what it does ──────────────────────────────────────────────────────────────────────────────


def paused(program: Program, address: str) -> World:
    return struck(program, address).world


def pausing(program: Program, mode: str = "days-3") -> Iterator[Fault]:
    """A pause at each place where there can be one."""
    program.expects(frozenset([mode]))
    return (Fault(point, mode) for point, possible in points(program) if mode in possible)


def test_all_workers_begin_with_empty_hands_and_what_they_held_is_delivered_again() -> None:
    program = fan(2)
    program.expects(frozenset(["days-3"]))
    world = World(program, Watch(()))
    fault = parse("begin > part[1] #1 / run / days-3")
    while True:
        action = world.default()
        assert action is not None
        at = world.point(action)
        if at is not None and at[0] == fault.point:
            break
        assert apply(world, action) is None
    before = world.clock.time_ms
    assert sum(bool(process.slots) for process in world.processes) > 1
    assert apply(world, action, fault.mode) is None
    assert world.clock.time_ms == before + 3 * DAY_S * 1000
    assert not any(process.slots for process in world.processes)
    assert all(queued.redelivered for queued in world.broker.queues["fan"])
    assert not any(world.broker.unacked.values())
    assert finish(world) is None
    assert world.history.status["run"] == k.COMPLETED


@pytest.mark.parametrize(
    "make", [lambda: fan(2), rich_program, lambda: chain("poison"), lambda: program_of(SHOP, "order")]
)
def test_at_any_place_the_system_goes_on_and_no_law_is_broken(make: Any) -> None:
    program = make()
    faults = list(pausing(program))
    assert len(faults) > 10
    for fault in faults:
        played = play(program, Schedule((fault,)))
        assert not played.unmatched()
        assert played.violation is None, f"{fault}: {played.violation}"


def test_leases_end_and_a_call_is_taken_over_at_once() -> None:
    world = paused(program_of(SHOP, "order"), "order #1 / run / hours-5")
    claims = [step.time_ms for step in world.trace if (step.path, step.effect) == ("order", "claim")]
    assert claims == [0, 5 * HOUR_S * 1000]


def test_timers_become_due_and_the_time_of_joins_is_over() -> None:
    """Payment comes after an hour, and a join waits a day for it: only if the system is down will they race."""
    report = simulate(SHOP, start=("order", 1), faults="", runs=20)
    assert report.results == ["shipped"]
    report = simulate(SHOP, start=("order", 1), faults="", pause=timedelta(hours=5), strategy="faults", max_faults=1)
    report.assert_passed()
    assert report.results == ["shipped"]
    report = simulate(SHOP, start=("order", 1), faults="", pause=timedelta(days=3), max_faults=1, runs=200)
    report.assert_passed()
    assert set(report.results) == {"shipped", "given up"}


def test_retention_may_run_out_and_what_was_returned_is_remembered() -> None:
    """The last message of the run comes again, when nobody knows the run any more."""
    program = fan(2)
    world = paused(program, "begin > gather #1 / ack / days-3")
    assert 3 * DAY_S * 1000 > RETENTION_MS
    assert world.store.runs == {}
    assert world.broker.is_empty()
    assert Played(world).results == [3]


def test_who_begins_a_run_asks_no_more_for_one_whose_retention_is_over() -> None:
    """With its id it would begin another. Until then it asks again, and gets the one that is there."""
    for pause, begun in (("hours-5", 2), ("days-3", 1)):
        program = program_of(SHOP, "ship")
        program.expects(frozenset([pause]))
        world = World(program, Watch(()))
        assert finish(world) is None
        world.to_start = list(program.starts)  # its client died after the start
        worker = world.processes[0]
        slot = world.open(worker, program.sweep, program.sweep.begin(0, 1), "sweep", 9)
        assert apply(world, (0, 0, 0, slot.owner), pause) is None
        assert finish(world) is None
        assert sum(step.effect == "start" for step in world.trace) == begun
        assert sum(step.effect == "commit" for step in world.trace) == 1


def test_a_client_is_never_what_a_pause_strikes() -> None:
    """It is no part of the system; and between its effects workers have theirs."""
    assert not [fault for fault in pausing(fan(2)) if fault.point.call.startswith("start of")]


def test_pauses_and_crashes_go_together() -> None:
    report = simulate(SHOP, start=("order", 1), faults="crash", pause=timedelta(hours=5), runs=50)
    report.assert_passed()
    assert report.committed("pay") == 1


def test_an_exhaustive_search_leaves_pauses_out() -> None:
    """A step that no other can tell from its absence is taken at once there, and a pause strikes all together."""
    report = simulate(SHOP, start=("ship", 1), faults="crash,pause", strategy="exhaustive", max_faults=1)
    assert "pauses left out" in report.bound
    assert not [f for f in report.tally.examples() if any(pauses.is_pause(fault.mode) for fault in f.faults)]


def test_a_scenario_says_it_like_any_other_fault() -> None:
    scenario = Scenario(
        ("tests.sim.test_pauses:SHOP",), (StartEntry("order"),), faults=("order > pay #1 / commit / days-3",)
    )
    report = t.replay(scenario)
    report.assert_passed()
    assert report.tally.struck == 1
    assert report.results == ["shipped"]
