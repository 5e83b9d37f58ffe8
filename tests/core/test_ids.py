"""Identities are derived, never drawn: a parent that is processed again names the same children."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pwf_runtime.core.ids import ROOT_CALL, derive, fraction

positions = st.from_regex(r"(c|j|f)[0-9]{1,5}(\.(t|[0-9]{1,5}))?", fullmatch=True)


def test_ids_are_what_they_were() -> None:
    """Ids stand in stores and queues. If they were derived otherwise, open runs would lose their calls."""
    assert ROOT_CALL == derive("", "root") == "f9e8f92647e5e542"
    assert derive(ROOT_CALL, "c0") == "2024f43be634ab4b"
    assert fraction("call", 1) == 0.19897381006740034


def test_ids_have_one_length_however_deep() -> None:
    call, lengths = ROOT_CALL, set()
    for depth in range(1_000):
        call = derive(call, f"c{depth}")
        lengths.add(len(call))
    assert lengths == {16}


@given(st.lists(st.tuples(st.sampled_from([ROOT_CALL, derive(ROOT_CALL, "c0"), "j"]), positions), unique=True))
def test_other_places_have_other_ids(places: list[tuple[str, str]]) -> None:
    """Identity, never bare counters: it must tell every two places of a run apart."""
    assert len({derive(parent, position) for parent, position in places}) == len(places)


@given(st.text(), st.integers(1, 1_000))
def test_jitter_is_a_fraction_fixed_by_its_parts(call_id: str, attempt: int) -> None:
    value = fraction(call_id, attempt)
    assert 0 <= value < 1
    assert value == fraction(call_id, attempt)


def test_jitter_spreads_over_the_whole_range() -> None:
    """Calls that failed together must not come back together."""
    values = sorted(fraction(f"call {i}", 1) for i in range(2_000))
    assert values[0] < 0.01
    assert values[-1] > 0.99
    assert 0.45 < sum(values) / len(values) < 0.55
