"""The strategies: each plays the schedules that it says it plays, all of them, and each once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice, pairwise
from typing import Any, TypeAlias

import pytest

from pwsim.coverage import points
from pwsim.explore import delays
from pwsim.explore import faults as every_fault
from pwsim.explore import random as at_random
from pwsim.explore.pct import pct
from pwsim.explore.random import Ordering, uniform
from pwsim.faults import FAMILIES, Fault, families
from pwsim.laws import Watch
from pwsim.planted import protocol_of, workflows
from pwsim.program import Program
from pwsim.runner import Result, apply, play
from pwsim.schedule import Schedule, chance
from pwsim.world.world import PERFORM, World

from .programs import chain, fan, prepared, random_results, rich_program

NONE: frozenset[str] = frozenset()
Deviations: TypeAlias = tuple[tuple[int, int], ...]


def late() -> Program:
    return Program([workflows.late], [("hurry", 1)])


def schedules(results: Iterator[Result]) -> list[Schedule]:
    return [result.schedule for result in results]


def end_of(world: World) -> Any:
    """What can be told of a world that has ended, names and order of steps left out."""
    runs = {run_id: sorted(run.fields.items()) for run_id, run in world.store.runs.items()}
    indexes = {name: sorted(entries.items()) for name, entries in world.store.indexes.items() if entries}
    calls = {
        key: (call.path, call.attempt, call.commits, call.settled, call.dead, call.outcome)
        for key, call in world.history.calls.items()
    }
    return repr((world.clock.time_ms, sorted(runs.items()), sorted(indexes.items()), sorted(calls.items())))


# ── faults ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("make", [chain, fan, late, rich_program])
def test_every_mode_at_every_point_of_the_run_without_faults_is_tried_once(make: Any) -> None:
    program, modes = prepared(make(), "default")
    found = schedules(every_fault.explore(program, modes, modes, 1))
    assert found[0] == Schedule()
    wanted = Counter(Fault(point, mode) for point, possible in points(program) for mode in possible if mode in modes)
    assert set(wanted.values()) == {1}
    assert Counter(schedule.faults for schedule in found[1:]) == Counter((fault,) for fault in wanted)
    assert not any(schedule.deviations for schedule in found)


def _points_after(program: Program, faults: tuple[Fault, ...], modes: frozenset[str]) -> Iterator[Fault]:
    """Where one more fault could strike in the run with these, told by playing it from its beginning."""
    world, left = World(program, Watch(())), {fault.point: fault.mode for fault in faults}
    while (action := world.default()) is not None or world.advance():
        if action is None:
            continue
        at = world.point(action)
        mode = left.pop(at[0], None) if at is not None else None
        if at is not None and mode is None and not left:
            yield from (Fault(at[0], each) for each in at[1] if each in modes)
        assert apply(world, action, mode) is None


def test_every_pair_is_tried_once_also_where_the_second_strikes_in_the_recovery_from_the_first() -> None:
    program, modes = prepared(chain(), "crash,stall")
    found = [s.faults for s in schedules(every_fault.explore(program, modes, modes, 2)) if len(s.faults) == 2]
    firsts = list(_points_after(program, (), modes))
    wanted = [(first, second) for first in firsts for second in _points_after(program, (first,), modes)]
    assert Counter(found) == Counter(wanted)
    assert len(set(wanted)) == len(wanted)
    clean = {fault.point for fault in firsts}
    assert any(second.point not in clean for _, second in found)


@pytest.mark.parametrize(("modes", "counts"), [("crash", [1, 36, 944]), ("reply-lost", [1, 14, 123])])
def test_the_number_of_schedules_is_what_it_was(modes: str, counts: list[int]) -> None:
    """If the protocol has another step, or the simulator another point, somebody should know."""
    program, allowed = prepared(chain(), modes)
    found = Counter(len(s.faults) for s in schedules(every_fault.explore(program, allowed, allowed, 2)))
    assert [found[n] for n in range(3)] == counts


def test_sets_of_several_are_of_the_modes_named_for_them() -> None:
    program, modes = prepared(chain(), "crash,requeue")
    few = families("requeue")
    found = schedules(every_fault.explore(program, modes, few, 2))
    assert {fault.mode for s in found if len(s.faults) == 1 for fault in s.faults} == modes
    assert {fault.mode for s in found if len(s.faults) == 2 for fault in s.faults} == few


def test_a_part_of_all_pairs_is_taken_evenly_and_the_same_each_time() -> None:
    """From all first faults, and no mode is left out."""

    def pairs(most: int | None) -> list[tuple[Fault, ...]]:
        modes = families("crash,requeue")
        played = every_fault.explore(prepared(fan(2))[0], modes, modes, 2, every_fault.Sets(most))
        return [result.schedule.faults for result in played if len(result.schedule.faults) == 2]

    every, some = pairs(None), pairs(400)
    assert some == pairs(400)
    assert set(some) < set(every)
    assert 380 < len(some) < 420
    assert {first for first, _ in some} >= {first for first, _ in every[: -len(every) // 10]}
    share = len(some) / len(every)
    for mode in families("crash,requeue"):
        of_mode = [sum(second.mode == mode for _, second in each) for each in (some, every)]
        assert 0.7 * share < of_mode[0] / of_mode[1] < 1.3 * share


@pytest.mark.parametrize("make", [chain, fan, rich_program])
def test_a_schedule_played_from_its_beginning_is_the_one_that_branched_off(make: Any) -> None:
    program, modes = prepared(make(), "all")
    for result in islice(every_fault.explore(program, modes, modes, 2), 0, 400, 9):
        assert play(program, result.schedule).fingerprint() == result.fingerprint()


def test_what_breaks_a_law_is_reported_with_the_fewest_faults() -> None:
    """And is not gone on with: with one fault more it would be reported again and again."""
    program, modes = prepared(fan(2, protocol=protocol_of("ack-before-publish")), "crash")
    found = [result for result in every_fault.explore(program, modes, modes, 2) if result.violation is not None]
    assert min(len(result.schedule.faults) for result in found) == len(found[0].schedule.faults)
    for result in found:
        assert play(program, result.schedule).violation is not None


# ── random ────────────────────────────────────────────────────────────────────────────────────


def test_a_schedule_is_fixed_by_its_seed_and_number() -> None:
    program, modes = prepared(fan(), "all")
    one, again = (schedules(islice(at_random.explore(program, modes, 3, seed=5), 30)) for _ in range(2))
    assert one == again
    other = schedules(islice(at_random.explore(program, modes, 3, seed=6), 30))
    assert one != other
    assert len(set(one)) > 25


def test_schedules_can_be_shared_out_by_number() -> None:
    program, modes = prepared(fan(), "all")
    whole = schedules(islice(at_random.explore(program, modes, 3, seed=5), 12))
    for first in range(3):
        part = schedules(islice(at_random.explore(program, modes, 3, seed=5, first=first, stride=3), 4))
        assert part == whole[first::3]


def test_no_schedule_has_more_faults_than_allowed_and_some_have_as_many() -> None:
    program, modes = prepared(fan(), "all")
    counts = Counter(len(s.faults) for s in schedules(islice(at_random.explore(program, modes, 3, seed=1), 300)))
    assert set(counts) == {0, 1, 2, 3}


def test_every_family_strikes_sometimes_and_some_schedules_are_of_few() -> None:
    """Swarm: what a mixture hides is found by switching families off."""
    found = [result.schedule for result in random_results(rich_program(), 600)]
    met = {fault.mode for schedule in found for fault in schedule.faults}
    assert all(met & set(modes) for modes in FAMILIES.values())
    assert len(met) > 26
    plain = schedules(islice(at_random.explore(*prepared(rich_program(), "all"), 0, seed=1), 10))
    assert not any(schedule.faults for schedule in plain)
    assert any(schedule.deviations for schedule in plain)


def test_without_families_only_orders_are_drawn() -> None:
    found = schedules(islice(at_random.explore(fan(), NONE, 3, seed=1), 20))
    assert not any(schedule.faults for schedule in found)
    assert sum(bool(schedule.deviations) for schedule in found) > 10


# ── orderings, on toys ────────────────────────────────────────────────────────────────────────


def toy(ordering: Ordering, lengths: list[int], seed: int) -> list[int]:
    """Processes of so many steps each, scheduled by an ordering: which process took each step."""
    order, left, taken = ordering(chance(seed, 0), sum(lengths)), list(lengths), []
    for step in range(sum(lengths)):
        able = [process for process, steps in enumerate(left) if steps]
        number = order([(0, PERFORM, process, None) for process in able], step)
        taken.append(able[number])
        left[able[number]] -= 1
    return taken


def position(taken: list[int], process: int, nth: int) -> int:
    """When a process took its ``nth`` step, from 0."""
    return [step for step, by in enumerate(taken) if by == process][nth]


def test_at_depth_one_the_highest_goes_on_to_its_end() -> None:
    for seed in range(50):
        taken = toy(pct(1), [4, 4, 4], seed)
        assert sum(one != other for one, other in pairwise(taken)) == 2


def test_at_depth_d_a_process_is_passed_over_at_most_d_minus_one_times_more() -> None:
    for seed in range(100):
        taken = toy(pct(3), [5, 5, 5], seed)
        assert sum(one != other for one, other in pairwise(taken)) <= 2 + 2 * 2


def test_orders_that_need_one_constraint_are_found_as_often_as_promised() -> None:
    """Depth 1 among n processes: one particular one goes first in at least one of n schedules."""
    trials, processes = 3_000, 4
    hits = sum(toy(pct(1), [3] * processes, seed)[0] == 2 for seed in range(trials))
    assert hits >= trials / processes * 0.85


def test_a_bug_of_depth_two_is_found_as_often_as_promised() -> None:
    """One process must be stopped between two of its steps, and another get all the way through there.

    At least 1 / (n k) of the schedules, for n processes and k steps. Coin tosses find it in some 1 of 2^10.
    """

    def is_bug(taken: list[int]) -> bool:
        return position(taken, 0, 4) < position(taken, 1, 0) and position(taken, 1, 9) < position(taken, 0, 5)

    trials, n, steps = 6_000, 2, 20
    found = sum(is_bug(toy(pct(2), [10, 10], seed)) for seed in range(trials))
    expected = trials / (n * steps)
    assert found >= expected - 4 * expected**0.5
    assert found > 10 * max(1, sum(is_bug(toy(uniform, [10, 10], seed)) for seed in range(trials)))


def test_a_bug_of_depth_three_is_found_as_often_as_promised() -> None:
    """Two stops at the right places: at least 1 / (n k^2)."""

    def is_bug(taken: list[int]) -> bool:
        return (
            position(taken, 0, 1)
            < position(taken, 1, 0)
            < position(taken, 1, 1)
            < position(taken, 0, 2)
            < position(taken, 0, 3)
            < position(taken, 1, 2)
        )

    trials, n, steps = 6_000, 2, 8
    found = sum(is_bug(toy(pct(3), [4, 4], seed)) for seed in range(trials))
    expected = trials / (n * steps**2)
    assert found >= expected - 4 * expected**0.5


def test_coin_tosses_are_fair() -> None:
    first = Counter(toy(uniform, [1, 1, 1], seed)[0] for seed in range(3_000))
    assert all(900 < first[process] < 1_100 for process in range(3))


# ── delays ────────────────────────────────────────────────────────────────────────────────────


def _all_orders(
    program: Program, made: tuple[tuple[int, int], ...], left: int
) -> Iterator[tuple[tuple[int, int], ...]]:
    """All ways to part from the default order up to so many times, told by playing each from its beginning."""
    yield made
    if not left:
        return
    world, deviations = World(program, Watch(())), dict(made)
    after = made[-1][0] if made else -1
    while True:
        actions = world.enabled()
        if not actions:
            if world.advance():
                continue
            return
        default = actions.index(min(actions))
        if world.step > after:
            for number in range(len(actions)):
                if number != default:
                    yield from _all_orders(program, (*made, (world.step, number)), left - 1)
        apply(world, actions[deviations.get(world.step, default)])


@pytest.mark.parametrize("make", [chain, fan, late, lambda: fan(2, workers=3)])
def test_all_orders_of_up_to_two_deviations_are_tried_once(make: Any) -> None:
    program = make()
    found = [s.deviations for s in schedules(delays.explore(program, NONE, 0, 2))]
    wanted = list(_all_orders(program, (), 2))
    assert Counter(found) == Counter(wanted)
    assert len(set(found)) == len(found) > 10
    assert [len(deviations) for deviations in found] == sorted(len(deviations) for deviations in found)


def test_faults_and_deviations_go_together() -> None:
    program, modes = prepared(chain(), "crash")
    found = list(delays.explore(program, modes, 1, 1))
    kinds = Counter((len(r.schedule.faults), len(r.schedule.deviations)) for r in found)
    assert set(kinds) == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert len({result.schedule for result in found}) == len(found)
    singles = schedules(every_fault.explore(program, modes, modes, 1))
    assert {r.schedule for r in found if not r.schedule.deviations} == set(singles)
    for result in found[::9]:
        assert play(program, result.schedule).fingerprint() == result.fingerprint()


# ── what a search knows a machine by ──────────────────────────────────────────────────────────


def test_a_state_says_which_effect_it_waits_for() -> None:
    """A search tells worlds apart by the states of their machines, so a state must determine its effect."""
    for make in (rich_program, lambda: chain("poison"), lambda: Program([workflows.many], [("choose", 1)])):
        program = make()
        for seed in range(60):
            known: dict[Any, Any] = {}
            world, rng, time = World(program, Watch(())), chance(seed, 9), 0
            while world.step < 400 and (world.enabled() or world.advance()):
                if time != world.clock.time_ms:  # an effect may have the time in it at which it was asked for
                    known, time = {}, world.clock.time_ms
                if not (actions := world.enabled()):
                    continue
                apply(world, rng.choice(actions))
                for slot in (slot for process in world.processes for slot in process.slots.values()):
                    if slot.since == world.step and slot.call_id:
                        key = (slot.run_id, slot.state)
                        assert known.setdefault(key, slot.effect) == slot.effect, type(slot.state).__name__
