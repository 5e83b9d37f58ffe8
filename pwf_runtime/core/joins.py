"""Joins: which have enough, what firing one means for the work at hand, and which events the joined call receives.

A join waits for *needs*: counts of events by name. When a name has as many events as are needed, it is *marked*, once;
when enough names are marked (``at_least``), the join *fires*, once. Events may come before the join or after it:
a commit appends its events and then looks for joins that wait, and registers its joins and then looks for events that
are there (``look_ops``), so that whoever comes second sees the first.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from . import keys as k
from .ids import derive
from .model import Child, Event, JoinRecord, Outbox
from .states import Reached, Work
from .txn import Is, Length, Op, Range
from .wire import decode_event, decode_waiter

EVENTS_AT_ONCE = 500
"""How many events of a joined call are read in one transaction."""

ALL = 2**31
"""As the end of a range: all there is."""


def joined_call(join: str) -> str:
    """The id of the call that a join fires."""
    return derive(join, "then")


def look_ops(outbox: Outbox) -> list[Op]:
    """How many events has each name I emitted, and who waits for it? How many has each name my joins need?"""
    ops: list[Op] = []
    for emitted in outbox.emitted:
        ops += [Length(k.events(emitted.name)), Range(k.waiters(emitted.name), 0, ALL)]
    for armed in outbox.armed:
        ops += [Length(k.events(need.name)) for need in armed.needs]
    return ops


def reached(outbox: Outbox, replies: tuple[Any, ...], *, fresh: bool) -> tuple[Reached, ...]:
    """The (join, name) pairs that have reached their need, from the answers to ``look_ops``, each once.

    ``fresh``: asked in the very transaction that appended the events. Then the last ``count`` events of a name are
    mine, and I answer for exactly the joins whose need one of them met; for the others somebody else does. Without
    this, each further event of a name would look again at every join that ever waited for it.
    """
    answers = iter(replies)
    found: dict[Reached, None] = {}
    for emitted in outbox.emitted:
        length, waiting = next(answers), next(answers)
        already = length - emitted.count if fresh else 0
        for waiter in map(decode_waiter, waiting):
            if already < waiter.count <= length:
                reached = Reached(waiter.join_id, emitted.name, waiter.count, waiter.at_least, waiter.ranked)
                found[reached] = None
    for armed in outbox.armed:
        for need in armed.needs:
            if need.count <= next(answers):
                found[Reached(armed.join_id, need.name, need.count, armed.at_least, armed.ranked)] = None
    return tuple(found)


def over(work: Work, join_state: bytes | None, task: str) -> Work:
    """The first of ``work.todo`` has fired or expired, or is gone with its run. ``task``: that of its joined call, if
    this is open: whoever fired the join may have died before publishing it."""
    join = work.todo[0].join
    joined = (*work.joined, Child(joined_call(join), task)) if task and join_state == k.FIRED else work.joined
    return replace(
        work,
        todo=tuple([reached for reached in work.todo if reached.join != join]),
        joined=joined,
        guards=(*work.guards, Is(k.join_state(join), join_state)),
    )


def wanted(join: JoinRecord, got: tuple[bytes, ...] | None) -> tuple[tuple[str, int, int], ...]:
    """Of each name that fired the join, in the order declared, the first ``count`` events. ``got``: the names in the
    order in which they were marked; ``None``: all of them fired it."""
    names = None if got is None else {name.decode() for name in got[: join.at_least]}
    return tuple([(need.name, 0, need.count) for need in join.needs if names is None or need.name in names])


def portion(wanted: tuple[tuple[str, int, int], ...]) -> tuple[tuple[tuple[str, int, int], ...], ...]:
    """Cut ``wanted`` in two: what is read at once, and the rest."""
    ask: list[tuple[str, int, int]] = []
    room = EVENTS_AT_ONCE
    for i, (name, start, stop) in enumerate(wanted):
        if stop - start > room:
            ask.append((name, start, start + room))
            return tuple(ask), ((name, start + room, stop), *wanted[i + 1 :])
        ask.append((name, start, stop))
        room -= stop - start
        if not room:
            return tuple(ask), wanted[i + 1 :]
    return tuple(ask), ()


def received(name: str, value: bytes) -> Event:
    """An event as the task gets it. A fork's member is named by its task."""
    stored = decode_event(value)
    return Event(stored.task.partition(".")[2] if name.startswith(k.OWN) else name, stored.data)
