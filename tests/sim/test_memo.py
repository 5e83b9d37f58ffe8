"""What is remembered makes a simulation faster and nothing else; it is bounded; what worlds share stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from itertools import zip_longest

import pytest

from pwsim import memo
from pwsim.memo import Bounded
from pwsim.program import Program
from pwsim.world.world import World

from .programs import fan, random_results, rich_program, wander, whole

PROGRAMS = [rich_program, lambda: fan(3, workers=3, prefetch=2)]


def test_a_full_dict_forgets_all_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memo, "LIMIT", 2)
    kept: Bounded[int, str] = Bounded()
    assert [kept.keep(number, str(number)) for number in range(3)] == ["0", "1", "2"]
    assert kept == {2: "2"}


@pytest.mark.parametrize("make", PROGRAMS)
def test_worlds_go_the_same_way_with_a_memory_and_without(
    make: Callable[[], Program], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every step of them: the first program remembers, the second forgets at once, the third now and then."""
    remembering, forgetting, forgetful = make(), make(), make()
    for seed in range(25):
        seen = [whole(world) for world in wander(remembering, seed)]
        assert len(seen) > 20
        for limit, program in ((0, forgetting), (40, forgetful)):
            with monkeypatch.context() as patch:
                patch.setattr(memo, "LIMIT", limit)
                for again, first in zip_longest((whole(world) for world in wander(program, seed)), seen):
                    assert again == first
    assert len(forgetting.memo.transactions) <= 1 < len(remembering.memo.transactions)


def test_most_of_what_schedules_ask_was_asked_before() -> None:
    """Else the memory costs more than it saves."""
    program = fan()
    questions = sum(result.steps for result in random_results(program, 1000, faults="default"))
    assert len(program.memo.transactions) < questions / 10


@pytest.mark.parametrize("make", PROGRAMS)
def test_what_worlds_share_is_never_changed(make: Callable[[], Program]) -> None:
    program = make()
    list(random_results(program, 40))
    kept = {content: deepcopy(run.fields) for content, run in program.memo.runs.items()}
    list(random_results(program, 200, seed=1))
    for content, run in program.memo.runs.items():
        assert content == (frozenset(run.fields.items()), frozenset(run.leases.items()), run.expires_ms)
        assert run.fields == kept.get(content, run.fields)
    for content, history in program.memo.histories.items():
        assert content == history.content()


def test_a_run_changed_by_hand_is_another_run() -> None:
    program = fan()
    first, other = (list(wander(program, 0, faults="crash", chance_of_fault=0.0))[9] for _ in range(2))
    assert first.store.runs["run"] is other.store.runs["run"]
    with first.store.changing("run") as run:
        run.fields["x"] = b"1"
    assert _fields(first) == {**_fields(other), "x": b"1"}
    with other.store.changing("run") as run:
        run.fields["x"] = b"1"
    assert first.store.runs["run"] is other.store.runs["run"]


def _fields(world: World) -> dict[str, bytes]:
    return world.store.runs["run"].fields
