"""From the number of an attempt to a delay or to the end, without chance."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pwf_runtime.core.retry import UNKNOWN_TASK, Retry

policies = st.builds(
    Retry,
    max_attempts=st.integers(1, 100),
    first_delay=st.floats(0, 100),
    factor=st.floats(1, 10),
    max_delay=st.floats(0, 1_000),
    jitter=st.floats(0, 1),
)


def test_delays_grow_by_the_factor_up_to_the_most() -> None:
    policy = Retry(first_delay=1.0, factor=2.0, max_delay=5.0, jitter=0.0)
    assert [policy.delay_ms(attempt, "call") for attempt in range(1, 6)] == [1_000, 2_000, 4_000, 5_000, 5_000]


@given(policies, st.integers(1, 10_000), st.text())
def test_a_delay_is_never_negative_nor_far_beyond_the_most(policy: Retry, attempt: int, call_id: str) -> None:
    """However many attempts, and however fast they grow: no overflow, no delay beyond the most and its jitter."""
    assert 0 <= policy.delay_ms(attempt, call_id) <= round(policy.max_delay * (1 + policy.jitter) * 1_000) + 1


@given(policies, st.integers(1, 50), st.text())
def test_jitter_is_fixed_by_the_call_and_the_attempt(policy: Retry, attempt: int, call_id: str) -> None:
    """A simulation repeats it; nothing is drawn."""
    assert policy.delay_ms(attempt, call_id) == policy.delay_ms(attempt, call_id)


def test_jitter_tells_calls_and_attempts_apart_and_stays_in_its_share() -> None:
    policy = Retry(first_delay=10.0, factor=1.0, jitter=0.1)
    by_call = [policy.delay_ms(1, f"call {i}") for i in range(500)]
    by_attempt = [policy.delay_ms(attempt, "call") for attempt in range(1, 500)]
    for delays in (by_call, by_attempt):
        assert len(set(delays)) > 300
        assert all(9_000 <= delay <= 11_000 for delay in delays)
        assert min(delays) < 9_100
        assert max(delays) > 10_900


def test_the_last_attempt_is_the_one_of_that_number() -> None:
    policy = Retry(max_attempts=3)
    assert [policy.exhausted(attempt) for attempt in (1, 2, 3, 4)] == [False, False, True, True]


def test_an_unknown_task_is_waited_for_as_long_as_a_rolling_deploy() -> None:
    """Deploy order must not kill calls, and a name that nobody has must not circle for ever."""
    delays = [UNKNOWN_TASK.delay_ms(attempt, "call") for attempt in range(1, UNKNOWN_TASK.max_attempts)]
    assert sum(delays) > 120_000
    assert UNKNOWN_TASK.exhausted(UNKNOWN_TASK.max_attempts)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"max_attempts": 0}, "max_attempts=0.*1 or more"),
        ({"first_delay": -1}, "first_delay=-1.*0 or more"),
        ({"factor": 0.5}, "factor=0.5.*1 or more"),
        ({"max_delay": -0.1}, "max_delay=-0.1"),
        ({"first_delay": float("nan")}, "first_delay=nan"),
        ({"jitter": 1.5}, "jitter=1.5.*from 0 to 1"),
        ({"jitter": -0.1}, "jitter=-0.1"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Retry(**wrong)
