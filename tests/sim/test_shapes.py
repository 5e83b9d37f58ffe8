"""Bug shapes of other systems: each model is convicted by the law that was named beforehand, and ours survives."""

from __future__ import annotations

import inspect

import pytest

from pwsim.runner import play
from pwsim.schedule import Schedule
from pwsim.shapes import SHAPES, Shape
from tests.repo import ROOT

shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


@shapes
def test_the_model_is_convicted_and_ours_survives_the_same_faults(shape: Shape) -> None:
    """By the law named beforehand, with as many faults as were named; and every one of them strikes ours as well."""
    violation = shape.convict()
    assert violation is not None
    assert violation.law == shape.law, violation.sentence
    assert len(violation.faults) == shape.faults
    ours = shape.survive(violation)
    assert ours.violation is None
    assert ours.unmatched() == ()


@shapes
def test_ours_survives_every_fault_that_the_model_was_tried_with(shape: Shape) -> None:
    assert shape.search().verdict == "pass"


@shapes
def test_without_its_faults_the_model_looks_right(shape: Shape) -> None:
    """Which is why nobody notices in a test that injects none. Those that need no fault are found by any run."""
    if shape.faults:
        assert play(shape.program(shape.model), Schedule()).violation is None


@shapes
def test_a_shape_says_where_it_was_seen(shape: Shape) -> None:
    assert shape.sources
    assert all(source.startswith("https://github.com/") for source in shape.sources)
    model = next(part for part in _parts(shape) if part.__module__.startswith("pwsim.shapes"))
    assert inspect.getdoc(model), "whose mistake it is, and what it is"


def _parts(shape: Shape) -> list[type]:
    return [getattr(shape.model, field) for field in shape.model.__struct_fields__]


def test_the_table_in_the_documentation_is_this_table() -> None:
    page = (ROOT / "docs" / "known-bug-shapes.md").read_text("utf-8")
    for shape in SHAPES.values():
        row = next(line for line in page.splitlines() if line.startswith(f"| {shape.name} |"))
        assert f"| {shape.symptom} |" in row
        assert f"| {shape.ours} |" in row
        assert f"| {shape.law} | {shape.faults} |" in row
        assert all(f"({source})" in row for source in shape.sources)
