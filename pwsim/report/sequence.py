"""The space-time diagram of a run in a terminal: time runs down, and every process has a lane.

A lane shows ``│`` while its process is busy with a delivery, ``┊`` while it is frozen, and the steps that it makes.
Where the lanes do not fit beside each other, the same steps are a list. What is skipped is counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from ..faults import AFTER, BEFORE, STALL
from ..world.naming import TraceStep
from . import words

MAX_LINES = 40
LONGEST_ANSWER = 24
"""What came of a step is cut to this: a task's error may be of any length."""
GAP = 2
_ENDING = (BEFORE, AFTER, "shutdown", "lost", "queue-lost")
"""Modes after which a process has nothing more to do with what it did."""


class Activity(NamedTuple):
    """A delivery (sweep, start) in a process: from its first step to its last, and where it was frozen."""

    first: int
    last: int
    frozen: tuple[tuple[int, int], ...]


class _Lane(NamedTuple):
    name: str
    cells: Mapping[int, str]
    activities: Sequence[Activity]

    @property
    def width(self) -> int:
        return max(len(self.name), *map(len, self.cells.values()))


def diagram(steps: Sequence[TraceStep], *, limit: int | None = MAX_LINES, width: int = 120) -> list[str]:
    """The run in at most ``limit`` lines (``None``: in full), none wider than ``width`` if lanes fit in that."""
    shown = list(range(len(steps))) if limit is None else _worth(steps, limit - 1)
    return _lanes(steps, shown, width) or _list(steps, shown)


# ── which steps to show ───────────────────────────────────────────────────────────────────────


def _worth(steps: Sequence[TraceStep], room: int) -> list[int]:
    """The steps to show in ``room`` lines: all, or the ones around the faults, the user's effects and the end."""
    if len(steps) <= room:
        return list(range(len(steps)))
    anchors = [i for i, step in enumerate(steps) if step.fault][: room // 4] or [0]
    anchors.append(len(steps) - 1)
    done = [i for i, step in enumerate(steps) if step.effect.startswith("call ")][: room // 4]  # on the user's clients
    anchors += [i for i in done if i not in anchors]
    calls = {steps[i].path for i in anchors}

    def distance(i: int) -> tuple[int, bool]:
        return min(abs(i - anchor) for anchor in anchors) * (1 if steps[i].path in calls else 2), i not in anchors

    best = sorted(range(len(steps)), key=distance)
    count = room
    while count + _gaps(best[:count], len(steps)) > room:
        count -= 1
    return sorted(best[:count])


def _gaps(chosen: Sequence[int], total: int) -> int:
    """How many lines it takes to say what is skipped between the chosen steps."""
    bounds = [-1, *sorted(chosen), total]
    return sum(after - before > 1 for before, after in pairwise(bounds))


# ── as lanes ──────────────────────────────────────────────────────────────────────────────────


def _lanes(steps: Sequence[TraceStep], shown: Sequence[int], width: int) -> list[str]:
    """Empty: they do not fit."""
    paths = short_paths(steps)
    lanes = [_lane(name, steps, shown, paths) for name in _processes(steps, shown)]
    prefix = len(_prefix(0, 0))
    if prefix + sum(lane.width + GAP for lane in lanes) - GAP > width:
        return []
    lines = [f"{'step':>4} {'time':>9}  " + (" " * GAP).join(lane.name.ljust(lane.width) for lane in lanes)]
    for before, i in zip([-1, *shown], [*shown, len(steps)], strict=True):
        if i - before > 1:
            lines.append(f"{'':{prefix}}{_skipped(i - before - 1)}")
        if i < len(steps):
            cells = [(lane.cells.get(i) or _bar(lane.activities, i)).ljust(lane.width) for lane in lanes]
            lines.append(_prefix(i + 1, steps[i].time_ms) + (" " * GAP).join(cells))
    return [line.rstrip() for line in lines]


def _prefix(number: int, time_ms: int) -> str:
    return f"{number:4} {words.seconds(time_ms):>9}  "


def _skipped(count: int) -> str:
    return f"... {count} more step{'s' if count > 1 else ''}"


def _processes(steps: Sequence[TraceStep], shown: Sequence[int]) -> list[str]:
    names = {steps[i].process for i in shown}
    return sorted(names, key=lambda name: (name != "client", name))


def _lane(name: str, steps: Sequence[TraceStep], shown: Sequence[int], paths: Mapping[str, str]) -> _Lane:
    found = activities(steps, name)
    firsts = {activity.first for activity in found}
    cells: dict[int, str] = {}
    before: TraceStep | None = None
    for i in shown:
        if steps[i].process == name:
            cells[i] = _cell(steps[i], before, i in firsts, paths)
            before = steps[i]
    return _Lane(name, cells, found)


def activities(steps: Sequence[TraceStep], process: str) -> list[Activity]:
    """What a process was busy with, and from when until when. It is frozen as a whole, until its next step."""
    all_of_it = [i for i, step in enumerate(steps) if step.process == process]
    frozen = tuple([(i, after) for i, after in pairwise([*all_of_it, len(steps)]) if steps[i].fault == STALL])
    mine: dict[tuple[str, int], list[int]] = {}
    for i in all_of_it:
        mine.setdefault((steps[i].path, steps[i].nth), []).append(i)
    lasts = [i[-1] if _is_last(steps[i[-1]]) else len(steps) for i in mine.values()]
    return [Activity(indexes[0], last, frozen) for indexes, last in zip(mine.values(), lasts, strict=True)]


def _is_last(step: TraceStep) -> bool:
    """Whether a delivery (sweep, start) is over with this step, as far as a trace can tell."""
    if step.fault:
        return step.fault in _ENDING
    return step.effect == "ack" or step.path.startswith(("sweep", "start of ", "sending of "))


def _cell(step: TraceStep, before: TraceStep | None, is_first: bool, paths: Mapping[str, str]) -> str:
    """A step in its lane. Where another delivery was ``before`` it, it says which it is."""
    text = _what(step)
    if before is not None and (before.path, before.nth) == (step.path, step.nth):
        return f"│ {text}"
    return f"{'┌' if is_first else '├'} {paths[step.path]} #{step.nth}: {text}"


def _what(step: TraceStep) -> str:
    came = words.answer(step)
    if len(came) > LONGEST_ANSWER:
        came = came[: LONGEST_ANSWER - 3] + "..."
    return f"{words.label(step)} ({came})" if came else words.label(step)


def _bar(found: Sequence[Activity], i: int) -> str:
    for activity in found:
        if activity.first < i < activity.last:
            return "┊" if any(begin < i < end for begin, end in activity.frozen) else "│"
    return ""


def short_paths(steps: Sequence[TraceStep]) -> Mapping[str, str]:
    """Each path by its last name, where no other path ends in it."""
    paths = {step.path for step in steps}
    ends: dict[str, int] = {}
    for path in paths:
        ends[path.rpartition(" > ")[2]] = ends.get(path.rpartition(" > ")[2], 0) + 1
    return {path: end if ends[end := path.rpartition(" > ")[2]] == 1 else path for path in paths}


# ── as a list ─────────────────────────────────────────────────────────────────────────────────


def _list(steps: Sequence[TraceStep], shown: Sequence[int]) -> list[str]:
    width = max((len(steps[i].process) for i in shown), default=0)
    lines = []
    for before, i in zip([-1, *shown], [*shown, len(steps)], strict=True):
        if i - before > 1:
            lines.append(f"{'':{len(_prefix(0, 0)) + width + 2}}{_skipped(i - before - 1)}")
        if i < len(steps):
            lines.append(
                _prefix(i + 1, steps[i].time_ms)
                + f"{steps[i].process:{width}}  {words.delivery(steps[i])}  {_what(steps[i])}"
            )
    return lines
