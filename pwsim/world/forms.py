"""The canonical forms of what a world consists of, for ``fingerprint``: what only names or dates a thing left out.

A form says all that the future depends on, up to two changes that nobody in a world can notice: other names for the
tokens of claims, and all times later by the same span. Each rule says why. What is made of a value that worlds share
(a run, a history, a slot that waits) is kept with it, so that a world costs only what its last step changed.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from typing import Any

from msgspec import DecodeError, Struct
from msgspec.structs import replace

from pwf_runtime.codec import decode_message
from pwf_runtime.core import keys as k
from pwf_runtime.core import states as s
from pwf_runtime.core.model import Marker, Message
from pwf_runtime.core.txn import Is
from pwf_runtime.core.wire import decode_outbox, decode_record, decode_timer
from pwf_runtime.store.memory import Run

from ..history import CallView, History
from .process import Slot

message_of = lru_cache(maxsize=4096)(decode_message)
timer_of = lru_cache(maxsize=4096)(decode_timer)

# ── values ────────────────────────────────────────────────────────────────────────────────────


def plain(value: Any, base_ms: int | None) -> Hashable:
    """A value of the core: without the name of its token, and with its times as spans from ``base_ms``.

    ``None``: times are kept. That a token is there at all is kept; whose it is, the slot's form says. When a call was
    created is asked by nobody but the recovery scan, which runs where times are kept.
    """
    if isinstance(value, Struct):
        fields = [_field(name, getattr(value, name), base_ms) for name in value.__struct_fields__]
        return type(value), tuple(fields)
    if isinstance(value, tuple):
        return tuple([plain(each, base_ms) for each in value])
    return value  # type: ignore[no-any-return]


def _field(name: str, value: Any, base_ms: int | None) -> Hashable:
    if name == "token":
        return value is None
    if name == "members":
        return tuple([plain(_member(member), base_ms) for member in value])
    if base_ms is not None and name in ("due_ms", "created_ms"):
        return value and name == "due_ms" and value - base_ms
    return plain(value, base_ms)


def _member(member: bytes) -> Any:
    """What is in an index: a timer, which bears a token, or a name."""
    try:
        return timer_of(member)
    except DecodeError:
        return member


# ── runs and histories ────────────────────────────────────────────────────────────────────────


def run_form(run: Run, *, ages: bool) -> tuple[int, tuple[tuple[str, int], ...]]:
    """A run's fields, and its times by what they belong to. ``ages``: somebody asks how old things are."""
    if ages:
        return hash(frozenset(run.fields.items())), ()
    seen: list[Hashable] = []
    times: list[tuple[str, int]] = []
    for field, value in run.fields.items():
        what, _, rest = field.partition(":")
        kind = rest[-2:] if what == "c" else ""
        if kind == ":r":
            seen.append((field, _record(value)))
        elif kind == ":u":
            times.append((field, int(value)))
        elif kind == ":o":
            outbox, due = _outbox(value)
            seen.append((field, outbox))
            times += [(field + child, due_ms) for child, due_ms in due]
        elif field not in (k.STARTED, k.FINISHED):  # read by people only
            seen.append((field, value))
    return hash(frozenset(seen)), tuple(sorted(times))


@lru_cache(maxsize=4096)
def _record(value: bytes) -> Hashable:
    return replace(decode_record(value), created_ms=0)


@lru_cache(maxsize=4096)
def _outbox(value: bytes) -> tuple[Hashable, tuple[tuple[str, int], ...]]:
    outbox = decode_outbox(value)
    timeless = replace(outbox, children=tuple([replace(child, due_ms=0) for child in outbox.children]))
    return timeless, tuple([(child.call_id, child.due_ms) for child in outbox.children if child.due_ms])


def history_form(
    history: History,
) -> tuple[int, tuple[tuple[Hashable, int], ...], frozenset[tuple[str, str]]]:
    """What the laws remember, until when calls must wait, and which are settled.

    How many attempts a settled call took matters to no law: only a slot that still has one of them could show it, and
    its form says whether it was the last.
    """
    calls = [
        (call.key, call.commits, call.settled, call.dead, None if call.settled else call.attempt, call.outcome)
        for call in history.calls.values()
    ]
    joins = [(join.key, join.fired, join.expired) for join in history.joins.values()]
    events = [(key, tuple(events)) for key, events in history.events.items()]
    ends = frozenset(history.status.items()), frozenset(history.results.items())
    waits = [(call.key, call.due_ms) for call in history.calls.values() if call.due_ms and not call.settled]
    settled = frozenset([call.key for call in history.calls.values() if call.settled])
    return hash((frozenset(calls), frozenset(joins), frozenset(events), ends)), tuple(waits), settled


# ── messages and slots ────────────────────────────────────────────────────────────────────────


def message_form(body: bytes, settled: frozenset[tuple[str, str]]) -> Hashable:
    """A message in a queue. Those for calls of one run that are settled are all alike: each finds no call, and all that
    its worker does next depends on the run alone."""
    message: Message | Marker = message_of(body)
    if isinstance(message, Message) and (message.run_id, message.call_id) in settled:
        return message.run_id
    return message


_RUNNING = (s.Gathering, s.Running, s.Committing, s.Failing)
_FAILS = (s.Claiming, s.Committing, s.Failing, s.Settling)
"""In these, a settled call makes a transaction fail, whatever else it would have done."""
_ENDING = (s.Completing, s.Listing, s.Unlisting, s.Confirming, s.Relisting, s.Acking)
"""In these, only the run matters and the delivery."""
_SETTLED = frozenset((*_FAILS, *_ENDING))
_WORKING = frozenset((s.Looking, s.Satisfying, s.Recalling, s.Firing, s.Publishing, s.Noting, s.Delaying, s.Settling))


def state_form(state: Any, base_ms: int | None) -> int:
    """What a state of production's machines says of what is to come; what settling compares says ``unmet``."""
    if type(state) not in _WORKING:
        return hash(plain(state, base_ms))
    work: s.Work = state.work
    if type(state) is s.Settling:
        return hash(s.Settling)
    if type(state) is s.Publishing:
        return hash((s.Publishing, plain((work.outbox.children, work.joined), base_ms)))
    rest = [getattr(state, name) for name in state.__struct_fields__ if name != "work"]
    return hash((type(state), plain((work.outbox, work.todo, work.joined, tuple(rest)), base_ms)))


def slot_form(slot: Slot, about: Hashable, *, plainly: bool, is_settled: bool) -> int:
    """What a slot waits for and how far it is with it. ``about``: its state's form. ``plainly``: nothing is left out
    that only production's protocol makes meaningless."""
    state = type(slot.state)
    done = slot.part, slot.reordered, slot.unroutable, len(slot.inner), slot.answer, slot.lost_after
    progress = id(slot.machine), slot.struck, slot.woke, done
    if plainly:
        return hash((about, slot.outcome, slot.attempt, progress))
    if is_settled and state in _SETTLED:
        return hash((state, slot.run_id, progress))
    call = None if is_settled and state in _WORKING else slot.call_id
    outcome = slot.outcome if state is s.Committing else None
    attempt = slot.attempt if state in _RUNNING else 0
    return hash((about, slot.run_id, call, outcome, attempt, progress))


def unmet(slot: Slot, run: Run | None) -> tuple[Is, ...]:
    """Which of the compares do not hold with which this slot's call will settle. What holds once holds for good: that a
    name is marked, that a join has fired or is over."""
    if type(slot.state) not in _WORKING or not slot.state.work.guards:
        return ()
    fields = run.fields if run is not None else {}
    return tuple([guard for guard in slot.state.work.guards if fields.get(guard.field) != guard.value])


def is_out_of_date(slot: Slot, call: CallView | None) -> bool:
    """Whether its attempt is not the call's latest."""
    return bool(slot.attempt) and call is not None and slot.attempt != call.attempt
