"""A schedule is all that there is to an execution: in any process, by whichever strategy, played once or again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest

from pwf_runtime import Action, Workflow, call, emit, join, result
from pwsim.coverage import points
from pwsim.explore import delays
from pwsim.explore import faults as every_fault
from pwsim.explore import random as at_random
from pwsim.explore.pct import pct
from pwsim.explore.random import uniform
from pwsim.program import Program
from pwsim.runner import Result, play
from pwsim.schedule import Schedule, chance

from .programs import chain, fan, prepared, program_of, random_results, rich_program

ROOT = Path(__file__).resolve().parents[2]

PROGRAMS: dict[str, Callable[[], Program]] = {
    "fan": lambda: fan(3, workers=3, prefetch=2),
    "rich": rich_program,
    "retries": lambda: chain("poison"),
}

FINGERPRINTS = """
import sys
sys.path.insert(0, sys.argv[1])
from tests.sim.programs import example, random_results, rich_program
for program in (rich_program(), example("registration")):
    for result in random_results(program, 100, seed=11):
        print(result.fingerprint(), result.schedule)
"""


def test_two_processes_with_other_hash_seeds_leave_the_same_traces() -> None:
    """Habit 4: never iterate a set, never ask for an id. 200 schedules of two programs, all families of faults."""
    said = []
    for seed in ("1", "4242"):
        done = subprocess.run(
            [sys.executable, "-c", FINGERPRINTS, str(ROOT)],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        assert done.returncode == 0, done.stderr
        said.append(done.stdout.splitlines())
    assert len(said[0]) == 200
    assert len(set(said[0])) > 180
    assert said[0] == said[1]


SOUND = "default,loss,differs"
"""All families but rollback: what a store has forgotten has no address of its own, see below."""


def _random(program: Program) -> Iterator[Result]:
    return random_results(program, 80, faults=SOUND, seed=3)


def _pct(program: Program) -> Iterator[Result]:
    program, modes = prepared(program, SOUND)
    return islice(at_random.explore(program, modes, 3, seed=3, ordering=pct(3)), 80)


def _faults(program: Program) -> Iterator[Result]:
    program, modes = prepared(program, "all")
    return islice(every_fault.explore(program, modes, modes, 2), 0, 240, 4)


def _delays(program: Program) -> Iterator[Result]:
    program, modes = prepared(program, "crash,stall")
    return islice(delays.explore(program, modes, 1, 2), 0, 240, 4)


@pytest.mark.parametrize("strategy", [_random, _pct, _faults, _delays])
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_schedule_played_again_leaves_the_same_trace(
    name: str, strategy: Callable[[Program], Iterator[Result]]
) -> None:
    """However it was found: the schedule is a value with a text form, and says everything."""
    program = PROGRAMS[name]()
    played = 0
    for found in strategy(program):
        again = play(program, found.schedule)
        assert again.fingerprint() == found.fingerprint(), found.schedule
        assert str(again.violation) == str(found.violation)
        assert not again.unmatched()
        played += 1
    assert played >= 60


def test_a_schedule_with_a_rollback_played_again_leaves_the_same_trace() -> None:
    program = PROGRAMS["fan"]()
    for found in random_results(program, 150, faults="default,rollback", seed=3):
        assert play(program, found.schedule).fingerprint() == found.fingerprint(), found.schedule


def test_a_program_made_anew_plays_the_same() -> None:
    """Nothing is remembered in a program but what its tasks answered."""
    for made in random_results(rich_program(), 30, faults=SOUND, seed=8):
        fresh, _ = prepared(rich_program(), SOUND)
        assert play(fresh, made.schedule).fingerprint() == made.fingerprint()


def test_tasks_that_are_run_each_time_play_the_same() -> None:
    """Remembering answers is a matter of speed only."""
    for made in random_results(fan(3), 30, faults=SOUND, seed=8):
        anew, _ = prepared(fan(3, remember=False), SOUND)
        assert play(anew, made.schedule).fingerprint() == made.fingerprint()


def test_a_fingerprint_tells_traces_apart() -> None:
    prints = {made.fingerprint(): made.trace for made in random_results(fan(), 100)}
    assert len(prints) > 60
    traces = list(map(repr, prints.values()))
    assert len(set(traces)) == len(traces)


def test_chance_is_drawn_from_a_seed_and_a_number_only() -> None:
    assert chance(1, 2).random() == chance(1, 2).random()
    drawn = {chance(seed, number).random() for seed in range(10) for number in range(10)}
    assert len(drawn) == 100
    assert uniform(chance(1, 2), 0)([], 0) == 0


def _twins() -> Program:
    app = Workflow("twins")

    @app.task
    def a(data: int) -> list[Action]:
        return [call(tell, "x"), call(tell, "y"), join(last, 1, on=["x"]), join(last, 2, on=["y"])]

    @app.task
    def tell(data: str) -> Action:
        return emit(data, 1)

    @app.task
    def last(data: int) -> Action:
        return result(data)

    return program_of(app)


def _namesake() -> Program:
    app = Workflow("namesake")

    @app.task
    def a(data: int) -> list[Action]:
        return [call(last, 0), call(tell, "x"), join(last, 1, on=["x"])]

    @app.task
    def tell(data: str) -> Action:
        return emit(data, 1)

    @app.task
    def last(data: int) -> None:
        return None

    return program_of(app)


@pytest.mark.parametrize("make", [_twins, _namesake])
def test_two_calls_have_two_paths_whatever_brings_them_about(make: Callable[[], Program]) -> None:
    """A path is an address: with two calls of one name a fault strikes at whichever comes first."""
    world = play(make(), Schedule()).world
    paths = [view.path for view in world.history.calls.values()]
    assert len(set(paths)) == len(paths)
    found = [point for point, _ in points(make())]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("make", [_twins, _namesake])
def test_a_schedule_of_namesakes_played_again_leaves_the_same_trace(make: Callable[[], Program]) -> None:
    program = make()
    for found in random_results(program, 200, seed=1):
        assert play(program, found.schedule).fingerprint() == found.fingerprint()
