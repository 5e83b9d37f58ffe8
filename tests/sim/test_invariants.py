"""What a user's own check says of the schedule that it does not hold for."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from pwf_runtime import UsageError
from pwsim.checks import Played
from pwsim.invariants import LONGEST, invariant
from pwsim.laws import Violated, Watch
from pwsim.runner import finish
from pwsim.world.world import World

from .programs import fan


def said(fn: Any) -> str:
    world = World(fan(1), Watch(()))
    assert finish(world) is None
    with pytest.raises(Violated) as caught:
        invariant(fn)(world)
    assert caught.value.law == "invariant"
    return caught.value.sentence


def bare(end: Played) -> None:
    assert end.committed("begin") == 2


def with_docstring(end: Played) -> None:
    """It begins twice.

    More about that.
    """
    assert end.committed("begin") == 2


def with_message(end: Played) -> None:
    """It begins twice."""
    assert end.committed("begin") == 2, f"began {end.committed('begin')} times\nwhich is wrong"


def over_lines(end: Played) -> None:
    assert end.committed("begin") == 2


def very_long(end: Played) -> None:
    assert end.committed("begin") == 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1


def by_a_helper(end: Played) -> None:
    bare(end)


def raised(end: Played) -> None:
    raise AssertionError("nothing is right")


def raised_bare(end: Played) -> None:
    raise AssertionError


def false(end: Played) -> bool:
    return False


def false_with_docstring(end: Played) -> bool:
    """Something is so."""
    return False


class Checks:
    def __call__(self, end: Played) -> None:
        bare(end)


@pytest.mark.parametrize(
    ("fn", "sentence"),
    [
        (bare, 'bare: assert end.committed("begin") == 2'),
        (with_docstring, 'with_docstring: It begins twice (assert end.committed("begin") == 2)'),
        (with_message, "with_message: began 1 times"),
        (over_lines, 'over_lines: assert end.committed("begin") == 2'),
        (by_a_helper, 'by_a_helper: assert end.committed("begin") == 2'),
        (raised, "raised: nothing is right"),
        (raised_bare, "raised_bare: an assertion failed"),
        (false, "false: it returned False"),
        (false_with_docstring, "false_with_docstring: Something is so"),
        (Checks(), 'Checks: assert end.committed("begin") == 2'),
        (partial(bare), 'partial: assert end.committed("begin") == 2'),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_it_is_named_by_what_it_says(fn: Any, sentence: str) -> None:
    assert said(fn) == sentence


def test_a_function_without_a_name_is_named_by_its_place() -> None:
    assert "test_invariants.py:" in said(lambda end: False)


def test_a_long_assertion_is_cut() -> None:
    name, _, shown = said(very_long).partition(": ")
    assert (name, len(shown), shown[-3:]) == ("very_long", LONGEST, "...")


def test_without_its_source_the_message_is_all_there_is() -> None:
    space: dict[str, Any] = {}
    exec("def made(end):\n    assert 1 == 2\ndef told(end):\n    assert 1 == 2, 'one is not two'", space)
    assert said(space["made"]) == "made: an assertion failed"
    assert said(space["told"]) == "told: one is not two"


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(UsageError, match="invariant=3: give a function"):
        invariant(3)  # type: ignore[arg-type]
