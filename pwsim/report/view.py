"""A world as people read it: rows of named texts, by section. The only reader of a world's insides in this package.

A view is flat, so that two of them are easily compared: its keys are ``section/order/name``, which sort as they are to
be shown. Calls are named by their paths, leases by the worker that holds them, times in seconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from inspect import getdoc
from typing import Any, NamedTuple, TypeAlias

from pwf_runtime.codec import brief, decode, decode_message
from pwf_runtime.core import effects as e
from pwf_runtime.core import keys as k
from pwf_runtime.core import wire
from pwf_runtime.core.model import Message
from pwf_runtime.store.memory import Run

from ..history import DEFAULT_RUN, CallView, JoinView
from ..world.process import Process, Slot
from ..world.world import World
from .words import STATES, seconds

Row: TypeAlias = dict[str, str]
View: TypeAlias = dict[str, Row]

SECTIONS = {
    "worker": "processes",
    "queue": "queues",
    "run": "runs",
    "call": "calls",
    "join": "joins",
    "event": "events",
    "timer": "timers",
    "index": "lists",
}
"""The sections in their order, with their headings."""


class Key(NamedTuple):
    """A view's key, taken apart."""

    section: str
    order: str
    name: str


class Seen(NamedTuple):
    """A world, the worker to which each token belonged when it was drawn, and the tokens that are still in use."""

    world: World
    holders: Mapping[str, str]
    alive: Collection[str]

    def worker(self, token: str) -> str:
        return self.holders.get(token, "somebody")

    def path(self, run_id: str, call_id: str) -> str:
        return self.world.history.path(run_id, call_id)


def key_of(key: str) -> Key:
    return Key(*key.split("/", 2))


def look(world: World, holders: dict[str, str] | None = None) -> View:
    """The view of a world as it is now. ``holders`` remembers from view to view which worker had which token."""
    holders = {} if holders is None else holders
    alive = {slot.token: process.name for process in world.processes for slot in process.slots.values()}
    holders.update(alive)
    seen = Seen(world, holders, alive.keys())
    view: View = {}
    for section, rows in _LOOKS.items():
        for order, (name, row) in enumerate(rows(seen)):
            place = row.pop("#", f"{order:05}").replace("/", ".")
            view[f"{section}/{place}/{name}"] = row
    return view


# ── processes and queues ──────────────────────────────────────────────────────────────────────


def _workers(seen: Seen) -> Iterator[tuple[str, Row]]:
    for process in seen.world.processes:
        yield process.name, _process(seen, process)


def _process(seen: Seen, process: Process) -> Row:
    slots = process.slots.values()
    row = {"does": "; ".join(f"{slot.path} #{slot.nth}" for slot in slots) or "nothing"}
    if slots:
        row["state"] = "; ".join(_state(seen, slot) for slot in slots)
    if any(slot.attempt for slot in slots):
        row["attempt"] = "; ".join(str(slot.attempt) for slot in slots)
    if process.frozen_until is not None:
        row["frozen until"] = seconds(process.frozen_until)
    return row


def _state(seen: Seen, slot: Slot) -> str:
    """The machine's state: what its class says about itself, if there is nothing better to say."""
    kind = type(slot.state)
    about = (STATES.get(kind) or getdoc(kind) or "").replace("\n", " ").replace("`", "")
    todo = getattr(getattr(slot.state, "work", None), "todo", ())
    if todo:
        about = about.replace("the first of work.todo", event_name(seen, slot.run_id, todo[0].name))
    sentence = _END.split(about, maxsplit=1)[0]
    return f"{kind.__name__}: {sentence[:1].lower()}{sentence[1:]}" if sentence else kind.__name__


_END = re.compile(r"[.:;,](?:\s|$)")
"""Where the first thing that a docstring says is over."""


def _queues(seen: Seen) -> Iterator[tuple[str, Row]]:
    owners = {process.channel: process.name for process in seen.world.processes}
    for queue, waiting in seen.world.broker.queues.items():
        for queued in waiting:
            yield queue, _queued(seen, queued, "ready")
    for channel, unacked in seen.world.broker.unacked.items():
        for queue, queued in unacked.values():
            yield queue, _queued(seen, queued, f"unacked by {owners.get(channel, 'nobody')}")


def _queued(seen: Seen, queued: Any, state: str) -> Row:
    row = {"#": f"{queued.place:05}", "message": _message(seen, queued.body), "is": state}
    return row | {"redelivered": "yes"} if queued.redelivered else row


def _message(seen: Seen, body: bytes) -> str:
    message = decode_message(body)
    return seen.path(message.run_id, message.call_id) if isinstance(message, Message) else "marker"


# ── the store ─────────────────────────────────────────────────────────────────────────────────


def _runs(seen: Seen) -> Iterator[tuple[str, Row]]:
    for run_id, run in seen.world.store.runs.items():
        row = {"status": _text(run, k.STATUS), "open calls": _text(run, k.OPEN), "armed joins": _text(run, k.ARMED)}
        row["dead calls"] = _text(run, k.DEAD_COUNT)
        if k.RESULT in run.fields:
            row["result"] = payload(run.fields[k.RESULT])
        if run.expires_ms is not None:
            row["kept until"] = seconds(run.expires_ms)
        yield run_id, {name: value for name, value in row.items() if value}


def _calls(seen: Seen) -> Iterator[tuple[str, Row]]:
    for order, call in enumerate(seen.world.history.calls.values()):
        run = seen.world.store.runs.get(call.key[0])
        if run is not None and k.state(call.key[1]) in run.fields:
            yield call.path, {"#": f"{order:05}", **_call(seen, run, call)}


def _call(seen: Seen, run: Run, call: CallView) -> Row:
    call_id, fields = call.key[1], run.fields
    row = {"state": _text(run, k.state(call_id)), "attempt": _text(run, k.attempt(call_id))}
    holder = run.holder(call_id, seen.world.clock.time_ms)
    if holder is not None:
        gone = "" if holder[0] in seen.alive else " (gone)"
        row["lease"] = f"{seen.worker(holder[0])}{gone} until {seconds(seen.world.clock.time_ms + holder[1])}"
    if k.due(call_id) in fields:
        row["not before"] = seconds(int(fields[k.due(call_id)]))
    row["data"] = _read(lambda: payload(wire.decode_record(fields[k.record(call_id)]).data))
    if k.outbox(call_id) in fields:
        row["to bring about"] = _read(lambda: _outbox(seen, call.key[0], fields[k.outbox(call_id)]))
    if k.failure(call_id) in fields:
        row["failure"] = _read(lambda: _failure(fields[k.failure(call_id)]))
    return {name: value for name, value in row.items() if value}


def _outbox(seen: Seen, run_id: str, value: bytes) -> str:
    outbox = wire.decode_outbox(value)
    parts = [f"call {child.task.partition('.')[2]}" for child in outbox.children]
    parts += [f"event {event_name(seen, run_id, need.name)}" for need in outbox.emitted]
    parts += ["a join" for _ in outbox.armed]
    return ", ".join(parts)


def _failure(value: bytes) -> str:
    failure = wire.decode_failure(value)
    return f"{failure.kind}: {failure.message}"


def _joins(seen: Seen) -> Iterator[tuple[str, Row]]:
    for order, join in enumerate(seen.world.history.joins.values()):
        run = seen.world.store.runs.get(join.key[0])
        if run is not None and k.join_state(join.key[1]) in run.fields:
            then, parent = join.record.then.task.partition(".")[2], seen.path(join.key[0], join.record.parent)
            yield f"{then}, armed by {parent}", {"#": f"{order:05}", **_join(seen, run, join)}


def _join(seen: Seen, run: Run, join: JoinView) -> Row:
    join_id, needs = join.key[1], join.record.needs
    row = {"state": _text(run, k.join_state(join_id))}
    if join.record.at_least < len(needs):
        row["waits for"] = f"{join.record.at_least} of {len(needs)}"
    for need in needs:
        times = f" x{need.count}" if need.count > 1 else ""
        met = k.mark(join_id, need.name) in run.fields
        row[f"{NEEDS}{event_name(seen, join.key[0], need.name)}{times}"] = "met" if met else "not yet"
    return row


NEEDS = "need "
"""How the cells of a join begin that say what it needs."""


def event_name(seen: Seen, run_id: str, name: str) -> str:
    """An event's name, with its run where paths have that too. The library's own are reports of a fork's member."""
    if name.startswith("~"):
        return f"result of {seen.path(run_id, name[1:])}"
    return name if run_id == DEFAULT_RUN else f"{run_id}: {name}"


def _events(seen: Seen) -> Iterator[tuple[str, Row]]:
    for run_id, run in seen.world.store.runs.items():
        for field, value in run.fields.items():
            what, _, rest = field.partition(":")
            if what == "e" and not field.endswith("#"):
                name, _, number = rest.rpartition(":")
                yield event_name(seen, run_id, name), {"#": f"{name}.{number:>04}", **_event(seen, run_id, value)}


def _event(seen: Seen, run_id: str, value: bytes) -> Row:
    try:
        event = wire.decode_event(value)
    except Exception as error:
        return {"unreadable": str(error)}
    return {"by": seen.path(run_id, event.call_id), "data": payload(event.data)}


# ── the indexes ───────────────────────────────────────────────────────────────────────────────


def _timers(seen: Seen) -> Iterator[tuple[str, Row]]:
    for member, due_ms in seen.world.store.indexes.get(e.TIMERS, {}).items():
        timer = wire.decode_timer(member)
        row = {"#": f"{timer.call_id}.{timer.token}", "due": seconds(due_ms)}
        if timer.token:
            row["set by"] = seen.worker(timer.token)
        if timer.tries:
            row["tries"] = str(timer.tries)
        yield seen.path(timer.run_id, timer.call_id), row


def _lists(seen: Seen) -> Iterator[tuple[str, Row]]:
    for index, entries in seen.world.store.indexes.items():
        if index != e.TIMERS:
            for member, score in entries.items():
                yield _member(seen, index, member), {"#": index, "listed as": index, "since": seconds(score)}


def _member(seen: Seen, index: str, member: bytes) -> str:
    if index == e.DEAD:
        return _read(lambda: seen.path(*wire.decode_dead(member)))
    return member.decode(errors="replace")


_LOOKS: dict[str, Callable[[Seen], Iterator[tuple[str, Row]]]] = {
    "worker": _workers,
    "queue": _queues,
    "run": _runs,
    "call": _calls,
    "join": _joins,
    "event": _events,
    "timer": _timers,
    "index": _lists,
}


# ── values ────────────────────────────────────────────────────────────────────────────────────


def payload(body: bytes) -> str:
    """A payload's value, cut short."""
    return _read(lambda: brief(decode(body), 80)) if body else ""


def _read(read: Callable[[], str]) -> str:
    """A broken protocol writes what cannot be read; that is then what there is to see."""
    try:
        return read()
    except KeyError:
        return "missing"
    except Exception as error:
        return f"unreadable: {error}"


def _text(run: Run, field: str) -> str:
    value = run.fields.get(field)
    return value.decode(errors="replace") if value is not None else ""
