"""The state of the world after a step, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping

from . import words
from .recording import Moment, Recording
from .view import SECTIONS, Row, View, key_of


def after(recording: Recording, number: int) -> list[str]:
    """The state after step ``number``; 0: before the first. ``+`` marks rows that are new, ``*`` rows that changed."""
    moment = recording.moment(number)
    view = recording.view(number)
    marks = _marks(recording, moment) if moment is not None else {}
    lines = _heading(moment)
    for section, heading in SECTIONS.items():
        lines += _section(heading, {key: row for key, row in view.items() if key_of(key).section == section}, marks)
    return lines + _gone(recording, moment)


def _gone(recording: Recording, moment: Moment | None) -> list[str]:
    if moment is None or not moment.gone:
        return []
    before = recording.view(moment.number - 1)
    rows = [f"  - {key_of(key).section} {key_of(key).name}  {_cells(before[key])}" for key in moment.gone]
    return ["", "gone with this step", *rows]


def _heading(moment: Moment | None) -> list[str]:
    if moment is None:
        return ["before the first step"]
    return [f"after step {moment.number}, at {words.seconds(moment.step.time_ms)}", f"  {words.line(moment.step)}"]


def _marks(recording: Recording, moment: Moment) -> Mapping[str, str]:
    before = recording.view(moment.number - 1)
    return {key: "*" if key in before else "+" for key in moment.set}


def _section(heading: str, rows: View, marks: Mapping[str, str]) -> list[str]:
    if not rows:
        return []
    width = max(len(key_of(key).name) for key in rows)
    return ["", heading, *[_line(key, rows[key], width, marks) for key in sorted(rows)]]


def _line(key: str, row: Row, width: int, marks: Mapping[str, str]) -> str:
    return f"  {marks.get(key, ' ')} {key_of(key).name:{width}}  {_cells(row)}"


def _cells(row: Row) -> str:
    return ", ".join(f"{name} {value}" if name not in _PLAIN else value for name, value in row.items())


_PLAIN = frozenset({"does", "message", "is", "state"})
"""Cells whose value says what it is."""
