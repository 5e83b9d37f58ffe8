"""Shrinking: fewest faults first, then fewest deviations, the same law, and it can be played again."""

from __future__ import annotations

from itertools import combinations

import pytest

from pwsim.explore import random as at_random
from pwsim.faults import families
from pwsim.laws import Violated
from pwsim.planted import PLANTED
from pwsim.program import Program
from pwsim.runner import Result, play
from pwsim.schedule import Schedule
from pwsim.shrink import shrink
from pwsim.world.world import World

from .programs import chain, fan, random_results

BUGS = [
    "no-dedupe",
    "parked-call-forgotten",
    "lease-without-fence",
    "join-by-counter",
    "timer-after-ack",
    "settled-twice",
]


def broken(program: Program, law: str, *, faults: str | None = None, many: int = 6, least: int = 3) -> Result:
    """A random schedule with at least so many faults that breaks the law."""
    modes = families(faults)
    program.expects(modes)
    program.reference = play(program, Schedule()).world.committed_graph()
    for number, result in enumerate(at_random.explore(program, modes, many, seed=7)):
        assert number < 4_000, "no schedule broke it"
        if result.violation is not None and result.violation.law == law and len(result.schedule.faults) >= least:
            return result
    raise AssertionError("never ends")


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_shrinks_to_as_few_faults_as_it_needs(name: str) -> None:
    bug = PLANTED[name]
    program = bug.program()
    small = shrink(program, broken(program, bug.law, faults=bug.families))
    assert small.violation is not None
    assert small.violation.law == bug.law
    assert len(small.schedule.faults) == bug.faults
    again = play(program, small.schedule)
    assert again.violation is not None
    assert (again.violation.sentence, again.fingerprint()) == (small.violation.sentence, small.fingerprint())


@pytest.mark.parametrize("name", BUGS)
def test_nothing_of_what_is_left_can_go(name: str) -> None:
    """Neither a fault nor a deviation: each candidate with one less is sound, or breaks another law."""
    bug = PLANTED[name]
    program = bug.program()
    assert_nothing_can_go(program, shrink(program, broken(program, bug.law, faults=bug.families)))


def assert_nothing_can_go(program: Program, result: Result) -> None:
    assert result.violation is not None
    small = result.schedule
    less = [Schedule(small.faults[:i] + small.faults[i + 1 :], small.deviations) for i in range(len(small.faults))]
    fewer = len(small.deviations) - 1
    if fewer >= 0:
        less += [Schedule(small.faults, kept) for kept in combinations(small.deviations, fewer)]
    for schedule in less:
        violation = play(program, schedule).violation
        assert violation is None or violation.law != result.violation.law


def needs(*wanted: str, deviates: bool = False) -> Program:
    """A program with a check that fails exactly when all these modes have struck (and the order parts from the
    default)."""
    program = fan(3)

    def check(world: World) -> None:
        if all(world.struck(mode) for mode in wanted) and (not deviates or _first_part(world) != "begin > part[0]"):
            raise Violated("mine", "it happened")

    program.checks = (check,)
    return program


def _first_part(world: World) -> str:
    return next(step.path for step in world.trace if step.effect == "claim" and step.path.startswith("begin > part"))


@pytest.mark.parametrize("wanted", [("before",), ("stall", "duplicate"), ("reply-lost", "requeue", "after")])
def test_the_faults_that_matter_are_found_among_others(wanted: tuple[str, ...]) -> None:
    program = needs(*wanted)
    small = shrink(program, broken(program, "mine", many=8, least=len(wanted) + 1))
    assert {fault.mode for fault in small.schedule.faults} >= set(wanted)
    assert len(small.schedule.faults) <= len(wanted) + 1
    assert small.schedule.deviations == ()
    assert_nothing_can_go(program, small)


def test_an_order_that_matters_is_kept_and_one_that_does_not_is_dropped() -> None:
    program = needs(deviates=True)
    found = next(
        r for r in random_results(program, 200, faults="") if r.violation is not None and len(r.schedule.deviations) > 8
    )
    small = shrink(program, found)
    assert len(small.schedule.faults) <= len(found.schedule.faults)
    assert 1 <= len(small.schedule.deviations) <= 4
    assert_nothing_can_go(program, small)


def test_what_is_smallest_already_stays_as_it_is() -> None:
    bug = PLANTED["ack-before-publish"]
    program = bug.program()
    result = play(program, Schedule())
    assert result.violation is not None, "this bug shows without any fault"
    assert shrink(program, result).schedule == Schedule()


def test_a_sound_result_cannot_be_shrunk() -> None:
    program = chain()
    with pytest.raises(AssertionError):
        shrink(program, play(program, Schedule()))


def test_a_fault_of_another_kind_may_do_alone_what_several_did() -> None:
    """But only of a kind that was allowed."""
    program = needs()

    def check(world: World) -> None:
        if world.struck("stall") or (world.struck("before") and world.struck("duplicate")):
            raise Violated("mine", "it happened")

    program.checks = (check,)
    found = broken(program, "mine", faults="crash,duplicate", least=2)
    assert len(shrink(program, found).schedule.faults) == 2
    small = shrink(program, found, families("crash,duplicate,stall"))
    assert [fault.mode for fault in small.schedule.faults] == ["stall"]
