"""Why did this run? The causes of a call: what created it, what brought each delivery, and which attempt committed."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap

from ..world.naming import TraceStep
from . import words
from .paint import WIDEST
from .recording import Moment, Recording
from .view import NEEDS, Row, View, key_of


class Story:
    """A recording, read for causes. ``new`` holds, per section, each row that came to be: (moment, key, row)."""

    def __init__(self, recording: Recording) -> None:
        self.moments = recording.moments
        self.unwatched = recording.moments[0].number > 1 if recording.moments else False
        self.changes: list[tuple[Moment, str, Row | None, Row]] = []  # (moment, key, before, after)
        view = dict(recording.first)
        for moment in recording.moments:
            self.changes += [(moment, key, view.get(key), row) for key, row in moment.set.items()]
            _forward(view, moment)

    def calls(self) -> list[str]:
        """The paths of all calls that came to be."""
        return list(dict.fromkeys(key_of(key).name for _, key in self.created("call")))

    def created(self, section: str, name: str | None = None) -> Iterator[tuple[Moment, str]]:
        for moment, key, before, _ in self.changes:
            parts = key_of(key)
            if before is None and parts.section == section and name in (None, parts.name):
                yield moment, key

    def steps(self, path: str) -> list[Moment]:
        """The steps of all deliveries of a call."""
        return [moment for moment in self.moments if moment.step.path == path]

    def before(self, moment: Moment) -> TraceStep | None:
        """The step before this one in the same delivery."""
        same = [m.step for m in self.steps(moment.step.path) if m.number < moment.number]
        return next((step for step in reversed(same) if step.nth == moment.step.nth), None)


def _forward(view: View, moment: Moment) -> None:
    view.update(moment.set)
    for key in moment.gone:
        del view[key]


def explain(recording: Recording, path: str) -> list[str]:
    """The chain of causes of a call, in lines. ``path`` is one of ``Story.calls()``."""
    story = Story(recording)
    lines = [path, ""]
    for moment, _ in story.created("call", path):
        lines += _creation(story, path, moment)
    lines += ["", *_deliveries(story, path), *_ending(story, path)]
    further = list(_further_back(story, path))
    return [*lines, "", "further back", *further] if further else lines


# ── what created it ───────────────────────────────────────────────────────────────────────────


def _creation(story: Story, path: str, moment: Moment) -> list[str]:
    who = _who(moment)
    if moment.step.effect == "start":
        return [f"created when the client began the run ({who})"]
    if moment.step.effect in ("signal", "revive"):
        return [f"a signal, created when the client sent it ({who})"]
    if moment.step.path == path:
        return [f"written again, after it had settled, by its own {moment.step.effect} ({who})"]
    if moment.step.effect != "fire":
        return [f"created by the {moment.step.effect} of {moment.step.path} ({who})"]
    return [f"created by a join that had all it waits for ({who})", *_join(story, moment)]


def _who(moment: Moment) -> str:
    return f"step {moment.number}, {moment.step.process} in {words.delivery(moment.step)}"


def _join(story: Story, fired: Moment) -> Iterator[str]:
    """When the join was armed, and for each need which events met it and who marked that."""
    key, row = next((key, row) for key, row in fired.set.items() if key_of(key).section == "join")
    for moment, armed in story.created("join", key_of(key).name):
        if armed == key:
            yield f"  the join was armed by the commit of {moment.step.path} ({_who(moment)})"
    for cell in row:
        if cell.startswith(NEEDS):
            yield from _need(story, key, cell, fired)


def _need(story: Story, join: str, cell: str, fired: Moment) -> Iterator[str]:
    name, times, count = cell.removeprefix(NEEDS).rpartition(" x")
    name, needed = (name, int(count)) if times and count.isdigit() else (cell.removeprefix(NEEDS), 1)
    yield f"  {name}{f' ({needed} times)' if needed > 1 else ''}"
    events = [
        (moment, row["by"])
        for moment, key, before, row in story.changes
        if before is None and key_of(key).section == "event" and key_of(key).name == name
    ]
    for moment, by in events[:needed]:
        yield f"    emitted by {by} ({_who(moment)})"
    if len(events) < needed or events[needed - 1][0].number > fired.number:
        yield "    not emitted when the join fired"
    for moment, key, before, row in story.changes:
        if key == join and row.get(cell) == "met" and (before or {}).get(cell) != "met":
            yield f"    marked ({_who(moment)})"


# ── its deliveries ────────────────────────────────────────────────────────────────────────────


def _deliveries(story: Story, path: str) -> Iterator[str]:
    numbers = dict.fromkeys(moment.step.nth for moment in story.steps(path))
    if not numbers:
        yield "it was never delivered"
    for number in numbers:
        steps = [moment for moment in story.steps(path) if moment.step.nth == number]
        yield f"delivery {number}, to {steps[0].step.process}"
        yield from [f"  {line}" for line in _cause(story, path, steps[0])]
        did = " · ".join(f"{moment.number} {words.what(moment.step)}" for moment in steps)
        yield from wrap(did, WIDEST, initial_indent="  did: ", subsequent_indent="       ")


def _cause(story: Story, path: str, received: Moment) -> Iterator[str]:
    """Why the message was there to be received: from now back to its publish."""
    taken = [key for key, row in received.set.items() if key_of(key).section == "queue" and row["message"] == path]
    mine = [change for change in story.changes if change[1] in taken and change[0].number < received.number]
    for moment, _, before, row in reversed(mine):
        if before is None:
            yield from _published(story, path, moment)
            return
        if row["is"] == "ready":
            yield f"given back at step {moment.number}: {words.line(moment.step)}"


def _published(story: Story, path: str, moment: Moment) -> Iterator[str]:
    step = moment.step
    if step.effect == "receive":
        yield f"a copy that the broker kept ({_who(moment)})"
    elif step.path.startswith("sweep"):
        yield f"published because a timer of it was due ({_who(moment)})"
        yield from _timer(story, path, moment)
    elif step.path.startswith("scan of "):
        yield f"published anew by the recovery scan ({_who(moment)})"
    else:
        yield f"published by {step.path} ({_who(moment)})"


def _timer(story: Story, path: str, due: Moment) -> Iterator[str]:
    timers = [moment for moment, _ in story.created("timer", path) if moment.number < due.number]
    if timers:
        before = story.before(timers[-1])
        after = f", after its {words.what(before)}" if before is not None else ""
        yield f"  the timer was set by {words.delivery(timers[-1].step)} (step {timers[-1].number}{after})"


# ── how it ended, and what is behind it ───────────────────────────────────────────────────────


def _ending(story: Story, path: str) -> Iterator[str]:
    commits = [m for m in story.steps(path) if m.step.effect == "commit" and _was_done(m.step)]
    if path.rpartition(": ")[2].startswith("signal "):
        yield "it was committed when it was created"
    elif not commits:
        yield "it never committed"
    for moment in commits:
        attempt = [words.answer(m.step) for m in story.steps(path) if _is_claim(m, moment)]
        by = f"{attempt[-1]}, " if attempt else ""
        yield f"committed by {by}delivery {moment.step.nth} ({_who(moment)})"


def _was_done(step: TraceStep) -> bool:
    return step.answer is not None and words.answer(step) != "refused"


def _is_claim(claim: Moment, commit: Moment) -> bool:
    step = claim.step
    return step.effect == "claim" and step.nth == commit.step.nth and words.answer(step).startswith("attempt")


def _further_back(story: Story, path: str) -> Iterator[str]:
    """What created the call that created it, and so on to the run's start."""
    seen = {path}
    while created := next(story.created("call", path), None):
        path = created[0].step.path
        if path in seen or path not in story.calls():
            return
        seen.add(path)
        for moment, _ in story.created("call", path):
            yield f"  {path}: {_creation(story, path, moment)[0]}"
