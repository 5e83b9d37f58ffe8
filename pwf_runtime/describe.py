"""A run as people want to see it: what is open, what it waits for, what went wrong.

What must live here: how a run's fields are read as a whole, and how that is put into words. What must never: a change.
A description is read piece by piece while the run goes on, so its parts may be of slightly different moments.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import MsgspecError, Struct

from . import codec
from .core import keys as k
from .core.model import Signal
from .core.txn import Holder, Scan, Txn
from .core.wire import decode_failure, decode_join, decode_outbox, decode_record, decode_signal, number
from .errors import PwfError, RunDamaged, UsageError
from .store.base import Store

FIELDS_AT_ONCE = 1_000
ID_LENGTH = 16


class CallDescription(Struct, frozen=True):
    """A call that is open.

    ``state``: ``running`` (somebody holds its lease, for ``lease_ms`` more), ``waiting`` (not before ``due_ms``),
    ``ready`` (its message is in a queue, or will be sent again), ``committed`` (its task has ended, what follows from
    it is being published) or ``dead``. ``error`` and ``traceback`` are of the latest attempt that failed.
    """

    call_id: str
    task: str
    state: str
    attempt: int
    created_ms: int
    holder: str | None = None
    lease_ms: int | None = None
    due_ms: int | None = None
    error: str = ""
    traceback: str = ""


class NeedDescription(Struct, frozen=True):
    """``have`` events of ``count`` that are needed of a name. ``outside``: they are signals."""

    name: str
    count: int
    have: int
    outside: bool = False


class JoinDescription(Struct, frozen=True):
    """A join; ``state`` is ``armed``, ``fired`` or ``expired``. It fires on ``at_least`` of its ``needs``."""

    join_id: str
    task: str
    state: str
    at_least: int
    needs: tuple[NeedDescription, ...]

    @property
    def lacks(self) -> tuple[NeedDescription, ...]:
        return tuple(need for need in self.needs if need.have < need.count)


class SignalDescription(Struct, frozen=True):
    """A signal that the run received. ``sent_ms`` is the sender's clock."""

    signal_id: str
    event: str
    sent_ms: int


class RunDescription(Struct, frozen=True):
    """A run. ``calls``: those that are open. Joins and events are kept until it completes, signals as its result."""

    run_id: str
    task: str
    status: str
    started_ms: int
    finished_ms: int | None
    open: int
    dead: int
    calls: tuple[CallDescription, ...]
    joins: tuple[JoinDescription, ...]
    events: dict[str, int]
    result: Any = None
    signals: tuple[SignalDescription, ...] = ()


def describe(store: Store, run_id: str, now_ms: int) -> RunDescription:
    """Read a run. Raises UsageError when there is none of this id, RunDamaged when it cannot be read."""
    fields = read_fields(store, run_id)
    if k.STATUS not in fields:
        raise unknown_run(run_id)
    try:
        return _described(store, run_id, fields, now_ms)
    except (ValueError, MsgspecError) as error:
        raise RunDamaged(run_id, first_wrong(fields) or str(error)) from error


def _described(store: Store, run_id: str, fields: dict[str, bytes], now_ms: int) -> RunDescription:
    finished, result = fields.get(k.FINISHED), fields.get(k.RESULT)
    return RunDescription(
        run_id=run_id,
        task=fields.get(k.TASK, b"").decode(),
        status=fields[k.STATUS].decode(),
        started_ms=number(fields.get(k.STARTED)),
        finished_ms=None if finished is None else int(finished),
        open=number(fields.get(k.OPEN)),
        dead=number(fields.get(k.DEAD_COUNT)),
        calls=_calls(store, run_id, fields, now_ms),
        joins=tuple(sorted(_joins(fields), key=lambda join: join.join_id)),
        events=_events(fields),
        result=None if result is None else codec.decode(result),
        signals=tuple([SignalDescription(each.signal_id, each.event, each.sent_ms) for each in signals(fields)]),
    )


_READERS: tuple[tuple[str, Callable[[bytes], Any]], ...] = (
    ("started|finished|open|armed|dead|inbox#|[ew]:.*#|j:.*:got#|c:.*:[aubn]", int),
    ("c:.*:r", decode_record),
    ("c:.*:o", decode_outbox),
    ("c:.*:e", decode_failure),
    ("j:[^:]*:r", decode_join),
    ("s:.*", decode_signal),
    ("status|task", bytes.decode),
)


def first_wrong(fields: Mapping[str, bytes]) -> str:
    """Which field holds what cannot be read, in words; "" if all that is looked at can."""
    for field, value in sorted(fields.items()):
        reader = next((reader for pattern, reader in _READERS if re.fullmatch(pattern, field)), None)
        try:
            if reader is not None:
                reader(value)
        except (ValueError, MsgspecError) as error:
            return f"the field {field!r} holds {value[:40]!r}, which cannot be read ({error})"
    return ""


def unknown_run(run_id: str) -> UsageError:
    return UsageError(
        f"there is no run {run_id!r}: it was never begun here, or it ended and its retention is over; "
        "`pwf runs` lists those that there are"
    )


def read_fields(store: Store, run_id: str) -> dict[str, bytes]:
    """Everything that the store holds of a run."""
    fields: dict[str, bytes] = {}
    cursor = 0
    while True:
        reply = store.txns([Txn("describe", run_id, then=(Scan(cursor, FIELDS_AT_ONCE),))])[0]
        cursor, page = reply.replies[0]
        fields |= page
        if not cursor:
            return fields


def dead_calls(fields: dict[str, bytes]) -> list[str]:
    """The ids of the dead calls among a run's fields."""
    return [name[2:-2] for name, value in fields.items() if value == k.DEAD and name[:2] == "c:" and name[-2:] == ":s"]


def signals(fields: dict[str, bytes]) -> list[Signal]:
    """The signals among a run's fields, in the order of their senders' clocks."""
    received = [decode_signal(value) for field, value in fields.items() if field.startswith(k.received(""))]
    return sorted(received, key=lambda signal: (signal.sent_ms, signal.signal_id))


def _calls(store: Store, run_id: str, fields: dict[str, bytes], now_ms: int) -> tuple[CallDescription, ...]:
    ids = [field[2 : 2 + ID_LENGTH] for field in fields if field.startswith("c:") and field.endswith(":r")]
    if not ids:
        return ()
    holders = store.txns([Txn("probe", run_id, then=tuple(Holder(call) for call in ids))])[0].replies
    found = [_call(call, fields, holder, now_ms) for call, holder in zip(ids, holders, strict=True)]
    return tuple(sorted(found, key=lambda call: (call.created_ms, call.call_id)))


def _call(call: str, fields: dict[str, bytes], holder: tuple[str, int] | None, now_ms: int) -> CallDescription:
    record = decode_record(fields[k.record(call)])
    due = fields.get(k.due(call))
    failed = fields.get(k.failure(call))
    failure = None if failed is None else decode_failure(failed)
    state = fields.get(k.state(call), b"gone").decode()
    if state == "ready":
        if holder is not None:
            state = "running"
        elif due is not None and int(due) > now_ms:
            state = "waiting"
    return CallDescription(
        call_id=call,
        task=record.task,
        state=state,
        attempt=number(fields.get(k.attempt(call))),
        created_ms=record.created_ms,
        holder=None if holder is None else holder[0],
        lease_ms=None if holder is None else holder[1],
        due_ms=None if due is None else int(due),
        error="" if failure is None else f"{failure.kind}: {failure.message}",
        traceback="" if failure is None else failure.traceback,
    )


def _joins(fields: dict[str, bytes]) -> list[JoinDescription]:
    found = []
    for field, value in fields.items():
        if field.startswith("j:") and len(field) == ID_LENGTH + 4 and field.endswith(":r"):
            join_id, join = field[2 : 2 + ID_LENGTH], decode_join(value)
            state = fields.get(k.join_state(join_id), b"gone").decode()
            needs = tuple(
                NeedDescription(_shown(need.name), need.count, _count(fields, need.name), need.outside)
                for need in join.needs
            )
            found.append(JoinDescription(join_id, join.then.task, state, join.at_least, needs))
    return found


def _count(fields: dict[str, bytes], event: str) -> int:
    return number(fields.get(k.length(k.events(event))))


def _shown(name: str) -> str:
    """The private event of a fork's member is shown as what it stands for."""
    return f"the end of call {name[1:]}" if name.startswith(k.OWN) else name


def _events(fields: dict[str, bytes]) -> dict[str, int]:
    names = [field[2:-1] for field in fields if field.startswith("e:") and field.endswith("#")]
    return {name: _count(fields, name) for name in sorted(names) if not name.startswith(k.OWN)}


# ── in words ──────────────────────────────────────────────────────────────────────────────────


def explain(run: RunDescription, now_ms: int) -> str:
    """Why the run is where it is, and what can be done about it; several lines."""
    lines = [f"run {run.run_id} ({run.task}) is {run.status}"]
    if run.status == "running":
        lines[0] += f", begun {seconds(now_ms - run.started_ms)} ago: {waits_for(run)}"
    lines += [f"  call {call.call_id} {call.task}: {_why(run, call, now_ms)}" for call in run.calls]
    lines += [f"  join -> {join.task}: {_waits(join)}" for join in run.joins if join.state == "armed"]
    if run.status == "stranded":
        lines.append("  nothing is open that could still emit these events; look for the task that should have, or")
        lines.append(f"  bring them from outside: pwf signal {run.run_id} EVENT DATA_JSON")
    return "\n".join(lines)


def waits_for(run: RunDescription) -> str:
    """In one line, what is open."""
    if run.open and run.open == run.dead:
        return "nothing goes on, as every open call is dead: " + dead_reason(run)
    states: dict[str, list[str]] = {}
    for call in run.calls:
        states.setdefault(call.state, []).append(call.task)
    parts = [f"{len(tasks)} {state} ({', '.join(sorted(set(tasks)))})" for state, tasks in sorted(states.items())]
    armed = [join for join in run.joins if join.state == "armed"]
    parts += [f"a join for {join.task} {_waits(join)}" for join in armed[:5]]
    return "; ".join(parts) or "nothing is open, it is about to end"


def dead_reason(run: RunDescription) -> str:
    """Which calls are dead, and of what."""
    dead = [call for call in run.calls if call.state == "dead"]
    shown = [
        f"{call.task} ({call.call_id}) failed {call.attempt} times, at last with {call.error}" for call in dead[:3]
    ]
    more = f"; and {len(dead) - 3} more" if len(dead) > 3 else ""
    return "; ".join(shown) + more


def stranded_reason(run: RunDescription) -> str:
    """Which events a run that can go no further waits for."""
    armed = [f"{join.task} waits for {_lacking(join)}" for join in run.joins if join.state == "armed"]
    return "no call is open that could emit what joins wait for: " + "; ".join(armed)


def _lacking(join: JoinDescription) -> str:
    lacks = ", ".join(f"{named(need)} ({need.have} of {need.count})" for need in join.lacks) or "nothing, it is firing"
    some = f"any {join.at_least} of {len(join.needs)} names, open are: " if join.at_least < len(join.needs) else ""
    return some + lacks


def named(need: NeedDescription) -> str:
    """What is needed, by its name."""
    return f"the signal {need.name} from outside" if need.outside else need.name


def _waits(join: JoinDescription) -> str:
    """It waits for what only the outside can bring; else it lacks what its run should."""
    return f"{'waits for' if any(need.outside for need in join.lacks) else 'lacks'} {_lacking(join)}"


def _why(run: RunDescription, call: CallDescription, now_ms: int) -> str:
    error = f"; the last attempt failed: {call.error}" if call.error and call.state != "dead" else ""
    if call.state == "running":
        return f"running, attempt {call.attempt}, its lease holds for {seconds(call.lease_ms or 0)} more{error}"
    if call.state == "waiting":
        return f"waits {seconds((call.due_ms or 0) - now_ms)} more{error}"
    if call.state == "dead":
        again = f"pwf dead redrive {run.run_id} {call.call_id}"
        return f"dead after {call.attempt} attempts: {call.error}; try again with: {again}"
    if call.state == "committed":
        return "done; what follows from it is being published"
    return f"ready, waits for a worker{error}"


def seconds(ms: int) -> str:
    return f"{max(ms, 0) / 1000:.1f} s"


def no_such_call(run_id: str, call_id: str) -> PwfError:
    return UsageError(f"run {run_id!r} has no dead call {call_id!r}: `pwf dead list` lists those that there are")
