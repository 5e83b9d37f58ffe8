"""A run as one self-contained page: lanes for processes, queues and the store, to step through forward and back.

The page needs no network and no server: styles, script and data are in it, and its policy forbids everything else. What
it shows is ``page/page.js``'s business; here is only what it shows: the steps, with views as differences.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..campaign import Violation
from ..faults import Fault, describe, when
from ..runner import Result
from . import divergence, words
from .recording import Moment, Recording, record
from .sequence import activities, short_paths
from .text import ending, sentence
from .view import SECTIONS, View, key_of

STORE = "store"


def write(path: Path, result: Result, replay: str) -> None:
    """Write the page of a result."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(result, replay), encoding="utf-8")


def page(result: Result, replay: str) -> str:
    """The page of a result. ``replay`` is the line that replays it."""
    parts = files(__package__).joinpath("page")
    text = parts.joinpath("page.html").read_text(encoding="utf-8")
    embedded = {
        "/*STYLE*/": parts.joinpath("page.css").read_text(encoding="utf-8"),
        "/*SCRIPT*/": parts.joinpath("page.js").read_text(encoding="utf-8"),
        "/*DATA*/": embeddable(data(result, replay)),
    }
    for place, content in embedded.items():
        text = text.replace(place, content, 1)
    return text


def embeddable(value: Mapping[str, Any]) -> str:
    """As JSON that cannot end the element it stands in, whatever a payload says: nothing in it looks like a tag."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def data(result: Result, replay: str) -> dict[str, Any]:
    """All that the page shows."""
    recording = record(result.world.program, result.schedule)
    parting = divergence.from_passing(recording.program, result) if result.violation is not None else None
    lanes = _lanes(recording)
    numbers = {lane["name"]: i for i, lane in enumerate(lanes)}
    return {
        "title": _title(result),
        "broken": result.violation.law if result.violation is not None else "",
        "faults": [{"address": str(fault), "step": _where(result, fault)} for fault in result.schedule.faults],
        "parting": {"text": str(parting), "step": parting.number} if parting is not None else None,
        "replay": replay,
        "ending": ending(result).strip("▶ "),
        "skipped": recording.moments[0].number - 1 if recording.moments else 0,
        "sections": SECTIONS,
        "lanes": lanes,
        "first": recording.first,
        "steps": list(_steps(recording, numbers)),
    }


def _title(result: Result) -> str:
    broken = result.violation
    if broken is None:
        return f"No law is broken, {when(result.schedule.faults)}."
    return sentence(Violation(broken.law, broken.sentence, result))


def _where(result: Result, fault: Fault) -> int:
    """The number of the step at which a fault struck; 0: it did not."""
    struck = [i for i, step in enumerate(result.trace, 1) if (step.point, step.fault) == (fault.point, fault.mode)]
    return struck[0] if struck else 0


# ── lanes ─────────────────────────────────────────────────────────────────────────────────────


def _lanes(recording: Recording) -> list[dict[str, Any]]:
    """The client, the workers that did anything, the queues, the store."""
    trace = recording.result.trace
    workers = sorted({step.process for step in trace} - {"client"})
    processes = [name for name in ("client", *workers) if any(step.process == name for step in trace)]
    lanes: list[dict[str, Any]] = [
        {"name": name, "kind": "process", "busy": _busy(recording, name)} for name in processes
    ]
    lanes += [{"name": _queue(queue), "kind": "queue"} for queue in recording.program.queues]
    return [*lanes, {"name": STORE, "kind": STORE}]


def _queue(name: str) -> str:
    return f"queue {name}"


def _busy(recording: Recording, process: str) -> list[dict[str, Any]]:
    """From which step to which the process was busy with what, and between which it was frozen; if one sees it."""
    trace = recording.result.trace
    begin = recording.moments[0].number - 1 if recording.moments else 0
    return [
        {
            "from": activity.first + 1,
            "to": activity.last + 1,
            "call": trace[activity.first].path,
            "frozen": [(start + 1, end + 1) for start, end in activity.frozen],
        }
        for activity in activities(trace, process)
        if activity.last >= begin
    ]


# ── steps ─────────────────────────────────────────────────────────────────────────────────────


def _steps(recording: Recording, lanes: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    short = short_paths(recording.result.trace)
    view = dict(recording.first)
    for moment in recording.moments:
        step = moment.step
        yield {
            "n": moment.number,
            "time": words.seconds(step.time_ms),
            "lane": lanes[step.process],
            "call": step.path,
            "short": short[step.path],
            "nth": step.nth,
            "label": words.label(step),
            "came": words.answer(step),
            "address": str(step.point),
            "fault": step.fault,
            "about": describe([Fault(step.point, step.fault)]) if step.fault else "",
            "arrows": [
                {"from": lanes[a], "to": lanes[b]} for a, b in _arrows(moment, view) if a in lanes and b in lanes
            ],
            "set": moment.set,
            "gone": moment.gone,
        }
        view.update(moment.set)
        for key in moment.gone:
            del view[key]


def _arrows(moment: Moment, before: View) -> Iterator[tuple[str, str]]:
    """Between which lanes something went: to the store and its answer, and messages to and from queues."""
    step = moment.step
    moved = {key: row["is"] for key, row in moment.set.items() if key_of(key).section == "queue"}
    for key, state in moved.items():
        queue = _queue(key_of(key).name)
        if state == "ready":
            yield step.process, queue
        elif key in before or step.effect == "receive":
            yield queue, step.process
    for key in moment.gone:
        if key_of(key).section == "queue" and step.effect == "ack":
            yield step.process, _queue(key_of(key).name)
    if step.answer is not None and step.effect.partition(" ")[0] not in ("receive", "publish", "run", "ack"):
        yield step.process, STORE
