"""A run's facts as a scenario: what ``pwf export`` writes and ``pwsim replay`` re-enacts.

What must live here: how facts become the text of a file. What must never: how they are re-enacted, which takes the
user's code and the simulator (``pwsim.incident``).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec.structs import replace

from . import codec
from .core import keys as k
from .core.ids import ROOT_CALL
from .core.model import Signal
from .core.wire import decode_record
from .describe import read_fields, signals, unknown_run
from .errors import PwfError
from .facts import Fact, read
from .store.base import Store

PLACEHOLDER = "MODULE:APP"


def export(store: Store, run_id: str, apps: Sequence[str] = ()) -> str:
    """The text of a scenario file for a run. ``apps``: its workflows, as MODULE:APP.

    Raises UsageError when there is no such run, PwfError when none of its facts were kept.
    """
    fields = read_fields(store, run_id)
    if k.STATUS not in fields:
        raise unknown_run(run_id)
    facts = _numbered(read(fields))
    if not facts:
        raise PwfError(
            f"nothing was kept of what happened in run {run_id!r}: "
            "start its workers with --history 200 (or Settings(history=200)), and export the next one"
        )
    status, task = fields[k.STATUS].decode(), fields.get(k.TASK, b"").decode()
    return text_of(run_id, status, task, _data(fields, facts), facts, apps, signals(fields))


def _numbered(facts: Sequence[Fact]) -> list[Fact]:
    """With the attempts of claims, which nobody knew when they were noted: as a later fact says, else counted."""
    attempts = {fact.token: fact.attempt for fact in facts if fact.attempt}
    latest: dict[str, int] = {}
    found = []
    for fact in facts:
        if fact.what == "claim":
            attempt = attempts.get(fact.token) or latest.get(fact.call_id, 0) + 1
            latest[fact.call_id] = attempt
            fact = replace(fact, attempt=attempt)
        found.append(fact)
    return found


def _data(fields: dict[str, bytes], facts: Sequence[Fact]) -> bytes | None:
    """What the run was begun with, if that is known: from the first call's record, or from the fact of its commit."""
    record = fields.get(k.record(ROOT_CALL))
    if record is not None:
        return decode_record(record).data
    return next((fact.data for fact in facts if fact.data), None)


def text_of(
    run_id: str,
    status: str,
    task: str,
    data: bytes | None,
    facts: Sequence[Fact],
    apps: Sequence[str] = (),
    received: Sequence[Signal] = (),
) -> str:
    began = facts[0].time_ms
    names = _names(facts)
    shown, known = _json(data)
    lines = [
        f"# What happened in run {run_id}, from {_when(began)} to {_when(facts[-1].time_ms)}; it is {status}.",
        *([] if apps else ["# TO DO: apps are the workflows, as one would import them."]),
        *([] if known else ["# TO DO: data is not what the run was begun with, which JSON cannot say or nobody kept."]),
        "version = 1",
        f"about = {_string(f'run {run_id}: {_takeovers(facts)}')}",
        f"apps = [{', '.join(map(_string, apps or [PLACEHOLDER]))}]",
        f"start = [{{ task = {_string(task)}, data = {_string(shown)} }}]",
        f"workers = {max(2, len(names))}",
        f"prefetch = {_at_once(facts)}",
        "facts = [  # milliseconds, what, worker, delivery, call, task, attempt, note",
        *[f"    {_row(fact, began, names)}," for fact in facts],
        "]",
    ]
    for signal in received:
        lines += ["", *_signal(signal)]
    return "\n".join(lines) + "\n"


def _signal(signal: Signal) -> list[str]:
    shown, known = _json(signal.data)
    return [
        "[[signals]]",
        f"event = {_string(signal.event)}",
        *([] if known else ["# TO DO: data is not what it came with, which JSON cannot say."]),
        f"data = {_string(shown)}",
        f"id = {_string(signal.signal_id)}",
    ]


def _names(facts: Sequence[Fact]) -> dict[str, str]:
    """Short names for workers, in the order in which they come."""
    return {worker: f"w{n}" for n, worker in enumerate(dict.fromkeys([fact.worker for fact in facts]), 1)}


def _row(fact: Fact, began: int, names: dict[str, str]) -> str:
    delivery = fact.token.partition("-")[2]
    values = (fact.what, names[fact.worker], delivery, fact.call_id, fact.task)
    texts = ", ".join(map(_string, values))
    return f"[{fact.time_ms - began}, {texts}, {fact.attempt}, {_string(fact.note)}]"


def _at_once(facts: Sequence[Fact]) -> int:
    """The most deliveries that one worker had at a time."""
    last = {fact.token: number for number, fact in enumerate(facts)}
    under_way: dict[str, set[str]] = {}
    most = 1
    for number, fact in enumerate(facts):
        mine = under_way.setdefault(fact.worker, set())
        mine.add(fact.token)
        most = max(most, len(mine))
        if last[fact.token] == number:
            mine.discard(fact.token)
    return most


def _takeovers(facts: Sequence[Fact]) -> str:
    """In words, which calls were begun by one delivery and taken over by another."""
    began: dict[str, Fact] = {}
    found = []
    for fact in facts:
        before = began.setdefault(fact.call_id, fact)
        if fact.token != before.token and before.what in ("claim", "commit") and fact.what in ("claim", "look"):
            found.append(f"{fact.task} ({fact.call_id}) was taken over after its {before.what}")
        began[fact.call_id] = fact
    return "; ".join(found) or "no call was taken over"


def _json(data: bytes | None) -> tuple[str, bool]:
    """A payload as JSON text, and whether that is all of it."""
    if data is None:
        return "null", False
    value: Any = codec.decode(data)
    try:
        return json.dumps(value, ensure_ascii=False), True
    except (TypeError, ValueError):
        return json.dumps(value, default=repr, skipkeys=True, ensure_ascii=False), False


def _string(value: str) -> str:
    """As a TOML string: JSON's escapes are a subset of TOML's."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _when(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + " UTC"
