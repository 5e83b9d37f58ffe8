"""What is wrong with what was read: one rule per function. In doubt they are silent."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct

from .names import Count, Name
from .reading import CallSite, JoinSite, Place, Reading


class Finding(Struct, frozen=True):
    """What is wrong, and where. ``task``: the user's function, by its full name."""

    rule: str
    file: str
    line: int
    task: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.rule}: {self.message}"


class Whole:
    """All tasks together, and how much of what they do is known."""

    def __init__(self, readings: Sequence[Reading]) -> None:
        self.readings = readings
        self.tasks = {reading.task.full_name for reading in readings}
        self.queues = {reading.task.queue for reading in readings}
        self.emits = [emit for reading in readings for emit in reading.emits]
        self.joins = [join for reading in readings for join in reading.joins]
        self.calls: dict[str, list[tuple[Reading, CallSite]]] = defaultdict(list)
        for reading in readings:
            for site in reading.calls:
                self.calls[site.task.text].append((reading, site))
        self.is_closed = all(reading.is_complete for reading in readings) and all(map(self._is_here, self.calls))
        """Whether no task is called that was not read, so that nobody else emits or waits."""

    def _is_here(self, task: str) -> bool:
        return task.partition(".")[0] in self.queues and Name(task).is_known


def no_such_task(whole: Whole) -> Iterator[Finding]:
    """A call to a task that nobody registered."""
    for reading in whole.readings:
        for stranger, place in reading.strangers:
            shown = getattr(stranger, "__name__", repr(stranger))
            message = f"{_who(reading)} calls {shown}, which is no task: put @app.task above it, or give a task's name"
            yield _finding("no-such-task", reading, place, message)
        for site in reading.calls:
            if problem := _missing(whole, site.task):
                yield _finding("no-such-task", reading, site.place, f"{_who(reading)} calls {problem}")


def _missing(whole: Whole, task: Name) -> str:
    if not task.is_known or task.text in whole.tasks:
        return ""
    queue, _, name = task.text.partition(".")
    if queue in whole.queues:
        there = sorted(known.partition(".")[2] for known in whole.tasks if known.startswith(f"{queue}."))
        return f"{task.text!r}, which {queue!r} does not have: {_meant(name, there)}"
    close = difflib.get_close_matches(queue, whole.queues, n=1, cutoff=0.8)
    return f"{task.text!r}, and there is no service {queue!r} here: did you mean {close[0]!r}?" if close else ""


def never_emitted(whole: Whole) -> Iterator[Finding]:
    """A join that waits for an event which no task emits."""
    if not whole.is_closed:
        return
    for reading in whole.readings:
        for join in reading.joins:
            inside = [need.event for need in join.needs if not need.outside]
            lacking = [event for event in inside if not any(event.may_be(emit.event) for emit in whole.emits)]
            if lacking and (join.is_whole or len(lacking) == len(join.needs)):
                there = sorted({str(emit.event) for emit in whole.emits})
                name = repr(str(lacking[0]))
                shown = (
                    f"{_who(reading)} waits for {name}, which no task emits, so its join can never fire (if it comes "
                    f"from outside, write signal({name}))"
                )
                yield _finding("never-emitted", reading, join.place, f"{shown}: {_meant(str(lacking[0]), there)}")


def never_awaited(whole: Whole) -> Iterator[Finding]:
    """An event that no join waits for."""
    if not whole.is_closed:
        return
    awaited = [need.event for join in whole.joins for need in join.needs]
    for reading in whole.readings:
        for emit in reading.emits:
            if not any(emit.event.may_be(event) for event in awaited):
                shown = f"{_who(reading)} emits {str(emit.event)!r}, which no join waits for"
                meant = _meant(str(emit.event), sorted({str(event) for event in awaited}))
                yield _finding("never-awaited", reading, emit.place, f"{shown}: {meant}")


def too_many(whole: Whole) -> Iterator[Finding]:
    """A join that needs more events than there can be.

    Said only where all that could emit them is in view: the task with the join is called by nobody (so it runs once in
    a run), and every task that emits them is called by it alone, a known number of times.
    """
    if not whole.is_closed:
        return
    for reading in whole.readings:
        if not whole.calls[reading.task.full_name]:
            for join in reading.joins:
                yield from _short_of(whole, reading, join)


def _short_of(whole: Whole, reading: Reading, join: JoinSite) -> Iterator[Finding]:
    outside = {need.event.text for need in join.needs if need.outside}
    inside = {need.event.text: need.event for need in join.needs if need.event.text not in outside}
    for event in inside.values() if join.is_whole else ():
        counts = [need.count for need in join.needs if need.event == event]
        need, most = _sum(counts), _most(whole, reading, event)
        if need is not None and most not in (None, NONE) and need.exceeds(most):
            shown = f"{_who(reading)} waits for {need} events {str(event)!r}, and its calls emit {most} at most"
            message = f"{shown}, so its join can never fire: count as many as are made"
            yield _finding("too-many", reading, join.place, message)


def _most(whole: Whole, reading: Reading, event: Name) -> Count | None:
    """How many events of a name one execution of the task brings about, if that is known."""
    found: list[Count | None] = []
    for other in whole.readings:
        emitted = _sum([emit.times for emit in other.emits if emit.event.may_be(event)])
        if emitted == NONE:
            continue
        sites = whole.calls[other.task.full_name]
        if other is reading:
            found.append(emitted)
        elif emitted is None or any(caller is not reading for caller, _ in sites):
            return None
        else:
            made = _sum([site.times for _, site in sites])
            found.append(None if made is None else made.times(emitted))
    return _sum(found)


NONE = Count("", 0)


def _sum(counts: Sequence[Count | None]) -> Count | None:
    """The sum, if it can be said."""
    total = NONE
    for count in counts:
        if count is None or (count.base and total.base):
            return None
        total = Count(count.base or total.base, count.more + total.more)
    return total


def impure(whole: Whole) -> Iterator[Finding]:
    """A task that is not a function of its input."""
    for reading in whole.readings:
        for what, place in reading.impure:
            remedy = 'take it from data, or remember it over attempts: ctx.step("name", lambda: ...)'
            if "changes" in what:
                remedy = (
                    "another worker does not see it, and a retry does it twice: return it, or keep it in a database"
                )
            message = f"{_who(reading)} is no function of its input: {what}; {remedy}"
            yield _finding("impure", reading, place, message)


RULES: tuple[Callable[[Whole], Iterator[Finding]], ...] = (no_such_task, never_emitted, never_awaited, too_many, impure)


def _who(reading: Reading) -> str:
    return f"{reading.task.fn.__name__}()" if hasattr(reading.task.fn, "__name__") else reading.task.full_name


def _meant(name: str, there: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, there, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(there) or 'none'}"


def _finding(rule: str, reading: Reading, place: Place, message: str) -> Finding:
    return Finding(rule, *place, reading.task.full_name, message)
