"""The search behind ``exhaustive``, on models whose number of states others have published or anybody can count."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pwsim.explore.search import search
from pwsim.models.two_phase_commit import PUBLISHED, TwoPhaseCommit


@pytest.mark.parametrize("managers", PUBLISHED)
def test_two_phase_commit_has_as_many_states_as_others_counted(managers: int) -> None:
    """288, 8,832 and 296,448: a search that misses or repeats states counts others."""
    model = TwoPhaseCommit(managers)
    assert sum(1 for _ in search(model.initial, model.successors, lambda state: state)) == PUBLISHED[managers]


def test_in_no_state_has_one_manager_committed_and_another_aborted() -> None:
    model = TwoPhaseCommit(5)
    assert all(map(model.is_consistent, search(model.initial, model.successors, lambda state: state)))


def test_a_broken_two_phase_commit_is_found_out() -> None:
    """Positive control: a manager that commits without being told."""

    class Hasty(TwoPhaseCommit):
        def successors(self, state: int) -> Iterator[int]:
            yield from super().successors(state)
            yield state | 0b0100

    model = Hasty(3)
    assert not all(map(model.is_consistent, search(model.initial, model.successors, lambda state: state)))


def test_each_state_comes_once_and_the_first_comes_first() -> None:
    """A grid has many ways to each place."""
    found = list(search((0, 0), lambda at: [(at[0] + 1, at[1]), (at[0], at[1] + 1)] if sum(at) < 9 else [], hash))
    assert found[0] == (0, 0)
    assert len(found) == len(set(found)) == 55


def test_states_with_the_same_key_are_the_same() -> None:
    found = list(search(0, lambda n: [n + 1, n + 7] if n < 100 else [], lambda n: n % 10))
    assert len(found) == 10


def test_a_loop_ends() -> None:
    assert sorted(search(0, lambda n: [(n + 1) % 5, (n * 2) % 5], lambda n: n)) == [0, 1, 2, 3, 4]


def test_the_search_is_lazy_and_keeps_the_order() -> None:
    """Who stops at a violation has not searched the rest; two searches go the same way."""
    expanded: list[int] = []

    def successors(n: int) -> list[int]:
        expanded.append(n)
        return [2 * n + 1, 2 * n + 2]

    found = search(0, successors, lambda n: n)
    first = [next(found) for _ in range(4)]
    assert expanded == first[:3]
    again = search(0, successors, lambda n: n)
    assert [next(again) for _ in range(4)] == first
