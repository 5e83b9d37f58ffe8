"""What is remembered makes a simulation faster and nothing else; it is bounded; what worlds share stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from itertools import zip_longest

import pytest

from pwsim import memo
from pwsim.memo import Memo
from pwsim.program import Program
from pwsim.runner import play
from pwsim.schedule import Schedule
from pwsim.world.world import World

from .programs import fan, random_results, rich_program, wander, whole

PROGRAMS = [rich_program, lambda: fan(3, workers=3, prefetch=2)]


def test_a_memo_that_is_full_forgets_all_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memo, "LIMIT", 10)
    kept, table, other = Memo(), {}, {}  # type: ignore[var-annotated]
    kept.transactions, kept.observations = table, other
    assert kept.keep(table, 1, "one", weight=5) == "one"
    kept.keep(other, 2, "two", weight=5)
    assert (table, other) == ({1: "one"}, {2: "two"})
    kept.keep(other, 3, "three")
    assert (table, other) == ({}, {3: "three"})


@pytest.mark.parametrize("make", PROGRAMS)
def test_worlds_go_the_same_way_whatever_is_remembered(
    make: Callable[[], Program], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every step of them. Nothing is remembered but the latest; now and then all is forgotten; what is more than tiny
    is not shared at all, or becomes so and ceases to be, over and over."""
    remembering = make()
    others = [(make(), {"LIMIT": 1}), (make(), {"LIMIT": 400}), (make(), {"SMALL": 0}), (make(), {"SMALL": 25})]
    for seed in range(10):
        seen = [whole(world) for world in wander(remembering, seed)]
        assert len(seen) > 20
        for program, limits in others:
            with monkeypatch.context() as patch:
                for name, value in limits.items():
                    patch.setattr(memo, name, value)
                for again, first in zip_longest((whole(world) for world in wander(program, seed)), seen):
                    assert again == first


@pytest.mark.parametrize("small", [0, 25, memo.SMALL])
def test_worlds_that_were_copies_go_their_own_ways(small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memo, "SMALL", small)
    for world in wander(rich_program(), 3):
        branch, before = world.copy(), whole(world)
        for _ in range(3):
            action = branch.default()
            if action is not None:
                branch.apply(action)
        assert whole(world) == before


def test_most_of_what_schedules_ask_was_asked_before() -> None:
    """Else the memory costs more than it saves."""
    program = fan()
    questions = sum(result.steps for result in random_results(program, 1000, faults="default"))
    assert len(program.memo.transactions) < questions / 10


def test_a_large_run_is_not_kept_at_every_step() -> None:
    program = fan(150)
    world = play(program, Schedule()).world
    assert world.step > 1000
    assert len(world.history.calls) == 152
    assert len(program.memo.histories) < 20
    assert sum(len(run.fields) for run in program.memo.runs.values()) < 20 * memo.SMALL


@pytest.mark.parametrize("make", PROGRAMS)
def test_what_worlds_share_is_never_changed(make: Callable[[], Program]) -> None:
    program = make()
    list(random_results(program, 40))
    kept = {content: deepcopy(run.fields) for content, run in program.memo.runs.items()}
    list(random_results(program, 200, seed=1))
    assert len(program.memo.runs) > len(kept) > 50
    for content, run in program.memo.runs.items():
        assert content == (frozenset(run.fields.items()), frozenset(run.leases.items()), run.expires_ms)
        assert run.fields == kept.get(content, run.fields)
    for past, history in program.memo.histories.items():
        assert past == history.content()


def test_a_run_changed_by_hand_is_another_run() -> None:
    program = fan()
    first, other = (_world_at(program, 9) for _ in range(2))
    assert first.store.runs["run"] is other.store.runs["run"]
    with first.store.changing("run") as run:
        run.fields["x"] = b"1"
    assert _fields(first) == {**_fields(other), "x": b"1"}
    with other.store.changing("run") as run:
        run.fields["x"] = b"1"
    assert first.store.runs["run"] is other.store.runs["run"]


def _world_at(program: Program, step: int) -> World:
    return next(world for world in wander(program, 0, faults="crash", chance_of_fault=0.0) if world.step == step)


def _fields(world: World) -> dict[str, bytes]:
    return world.store.runs["run"].fields
