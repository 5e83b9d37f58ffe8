"""Each transaction of the protocol, and how its answer is read.

Two rules make them safe (see ``docs/protocol.md``):

- *Write first, then look.* What a transaction looks for after its own writes, others look for after theirs, so that
  whoever comes second sees the first. None depends on a value that others change on the hot path.
- *Identity, never bare counters.* A thing is counted only under a compare that marks which thing was counted.

Where a compare fails, every transaction on a call reads the same ``snapshot`` instead, and the machine goes on from
what it finds there.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from . import keys as k
from .ids import derive
from .joins import ALL, joined_call, look_ops
from .model import (
    Armed,
    CallRecord,
    Child,
    Failure,
    JoinRecord,
    Message,
    Need,
    NewCall,
    NewJoin,
    Outbox,
    Outcome,
    Signal,
    StoredEvent,
    Waiter,
)
from .states import Reached
from .txn import (
    Add,
    Append,
    Compare,
    Delete,
    Expire,
    Get,
    Has,
    Held,
    Holder,
    Is,
    Keep,
    Lease,
    Length,
    Op,
    Put,
    Range,
    Release,
    Txn,
)
from .wire import encode, number


class Snapshot(Struct, frozen=True, gc=False):
    """What is there of a call and its run, when a compare failed."""

    status: bytes | None
    open: int
    armed: int
    state: bytes | None
    attempt: int
    due_ms: int | None
    record: bytes | None
    outbox: bytes | None
    uncounted: int
    strangers: int
    holder: tuple[str, int] | None


class Commit(Struct, frozen=True, gc=False):
    """A commit's transaction with what is left to do after it. ``leaf``: nothing is, the call settles with it."""

    txn: Txn
    outbox: Outbox
    leaf: bool


def snapshot(call: str) -> tuple[Op, ...]:
    own = (k.state(call), k.attempt(call), k.due(call), k.record(call), k.outbox(call))
    counts = (k.uncounted(call), k.strangers(call))
    return (Get((k.STATUS, k.OPEN, k.ARMED, *own, *counts)), Holder(call))


def read_snapshot(replies: tuple[Any, ...]) -> Snapshot:
    (status, open_, armed, state, attempt, due, record, outbox, *counts), holder = replies
    due_ms = None if due is None else int(due)
    uncounted, strangers = map(number, counts)
    return Snapshot(
        status=status,
        open=number(open_),
        armed=number(armed),
        state=state,
        attempt=number(attempt),
        due_ms=due_ms,
        record=record,
        outbox=outbox,
        uncounted=uncounted,
        strangers=strangers,
        holder=holder,
    )


class Steps:
    """Builds the transactions. Holds settings only, so one instance serves every delivery.

    ``lease_ms``: how long a claim lasts without renewal. ``retention_ms``: how long a run's summary and
    result are kept after its end.
    """

    def __init__(self, lease_ms: int, retention_ms: int) -> None:
        self.lease_ms = lease_ms
        self.retention_ms = retention_ms

    # ── one call ──────────────────────────────────────────────────────────────────────────────

    def claim(self, message: Message, token: str, due_ms: int | None = None) -> Txn:
        """Take the call, if it is ready and nobody has it. ``due_ms``: it waited until then, and that is over."""
        call = message.call_id
        waited = None if due_ms is None else b"%d" % due_ms
        take: tuple[Op, ...] = (
            Lease(call, token, self.lease_ms),
            Add(k.attempt(call), 1),
            Get((k.record(call), k.uncounted(call), k.strangers(call))),
        )
        return Txn(
            "claim",
            message.run_id,
            compare=(
                Is(k.STATUS, k.RUNNING),
                Is(k.state(call), k.READY),
                Is(k.due(call), waited),
                Held(call, None),
            ),
            then=take if waited is None else (*take, Delete((k.due(call),))),
            otherwise=snapshot(call),
        )

    def renew(self, message: Message, token: str) -> Txn:
        """Hold on to a claim. Does not hold: the lease is lost."""
        call = message.call_id
        return Txn("renew", message.run_id, (Held(call, token),), (Lease(call, token, self.lease_ms),))

    def release(self, message: Message, token: str) -> Txn:
        """Give a claim back that was not made use of, and with it the attempt that it took of the call's allowance. A
        lease may outlive its call, where a store throws runs away: then there is nothing to give back."""
        call = message.call_id
        back = (Release(call), Add(k.uncounted(call), 1))
        return Txn("release", message.run_id, (Held(call, token), Is(k.state(call), k.READY)), back)

    def commit(self, message: Message, attempt: int, record: CallRecord, outcome: Outcome, now_ms: int) -> Commit:
        """Make the outcome the call's, for ever: its children, events and joins come to be in this one step."""
        call = message.call_id
        outbox, writes = _created(call, record, outcome, now_ms)
        compare: list[Compare] = [
            Is(k.STATUS, k.RUNNING),
            Is(k.state(call), k.READY),
            Is(k.attempt(call), b"%d" % attempt),
        ]
        if record.expires:
            compare.append(Is(k.join_state(record.expires), k.ARMED_STATE))
            writes += [Put(k.join_state(record.expires), k.EXPIRED), Add(k.ARMED, -1)]
        if outcome.result is not None and not record.reports:
            writes.append(Put(k.RESULT, outcome.result))
        leaf = not (outbox.children or outbox.emitted or outbox.armed)
        if leaf:
            writes += [Delete(k.call_fields(call)), Release(call), Add(k.OPEN, -1), Get((k.ARMED,))]
        else:
            writes += [Put(k.state(call), k.COMMITTED), Put(k.outbox(call), encode(outbox)), Release(call)]
            writes += look_ops(outbox)
        txn = Txn("commit", message.run_id, tuple(compare), tuple(writes), snapshot(call))
        return Commit(txn, outbox, leaf)

    def look(self, message: Message, outbox: Outbox) -> Txn:
        """What a commit looks at after its writes, once more: for whoever takes the call over. That the commit is there
        is compared, since only then are its events: a store may have fallen back behind it."""
        call = message.call_id
        return Txn(
            "look",
            message.run_id,
            compare=(Is(k.state(call), k.COMMITTED),),
            then=tuple(look_ops(outbox)),
            otherwise=snapshot(call),
        )

    def settle(self, message: Message, guards: tuple[Is, ...]) -> Txn:
        """Forget the call: all it had to bring about is there. ``guards``: what a store that fell back lacks."""
        call = message.call_id
        return Txn(
            "settle",
            message.run_id,
            compare=(Is(k.state(call), k.COMMITTED), *guards),
            then=(Delete(k.call_fields(call)), Add(k.OPEN, -1), Get((k.ARMED,))),
            otherwise=snapshot(call),
        )

    def fail(
        self,
        message: Message,
        attempt: int,
        failure: Failure,
        due_ms: int | None,
        *,
        missing: str | None = None,
        without_task: tuple[int, int] | None = None,
    ) -> Txn:
        """Note a failed attempt: to be tried again at ``due_ms``, or dead (``None``).

        ``missing``: it failed only because there was no such field, and does not if there is one now: a store that fell
        back between the two may have it again. ``without_task``: it failed only because this worker does not have the
        task. It counts among such claims, not among the call's attempts; these are the numbers of uncounted attempts
        and of such claims, with this one.
        """
        call = message.call_id
        if due_ms is None:
            follows: tuple[Op, ...] = (Put(k.state(call), k.DEAD), Add(k.DEAD_COUNT, 1))
        else:
            follows = (Put(k.due(call), b"%d" % due_ms),)
        if without_task is not None:
            uncounted, strangers = without_task
            follows += (Put(k.uncounted(call), b"%d" % uncounted), Put(k.strangers(call), b"%d" % strangers))
        lacks = (Is(missing, None),) if missing is not None else ()
        return Txn(
            "fail",
            message.run_id,
            compare=(Is(k.state(call), k.READY), Is(k.attempt(call), b"%d" % attempt), *lacks),
            then=(*follows, Put(k.failure(call), encode(failure)), Release(call)),
            otherwise=snapshot(call),
        )

    def redrive(self, message: Message, attempt: int) -> Txn:
        """Let a call that died after ``attempt`` run again, with a fresh allowance.

        Attempts go on counting: a stale one from before its death must never look like a current one.
        """
        call = message.call_id
        return Txn(
            "redrive",
            message.run_id,
            compare=(
                Is(k.STATUS, k.RUNNING),
                Is(k.state(call), k.DEAD),
                Is(k.attempt(call), b"%d" % attempt if attempt else None),
            ),
            then=(
                Put(k.state(call), k.READY),
                Put(k.uncounted(call), b"%d" % attempt),
                Add(k.DEAD_COUNT, -1),
                Delete((k.due(call), k.failure(call), k.strangers(call))),
            ),
            otherwise=snapshot(call),
        )

    def undeliverable(self, message: Message, failure: Failure, *, dead: bool) -> Txn:
        """Note on a call that its queue does not exist; ``dead``: give it up."""
        call = message.call_id
        end: tuple[Op, ...] = (Put(k.state(call), k.DEAD), Add(k.DEAD_COUNT, 1)) if dead else ()
        ready = (Is(k.state(call), k.READY), Held(call, None))
        return Txn(
            "note",
            message.run_id,
            compare=ready,
            then=(Put(k.failure(call), encode(failure)), *end),
            otherwise=(Get((k.state(call),)),),
        )

    # ── joins ─────────────────────────────────────────────────────────────────────────────────

    def gather(self, message: Message, join: str, *, ranked: bool) -> Txn:
        """Read which events a joined call receives."""
        got: Op = Range(k.got(join), 0, ALL) if ranked else Length(k.got(join))
        return Txn("gather", message.run_id, then=(Get((k.join_record(join),)), got))

    def read_events(self, message: Message, wanted: tuple[tuple[str, int, int], ...]) -> Txn:
        """Read events: of each name from the first up to the second number."""
        ranges = tuple(Range(k.events(name), start, stop) for name, start, stop in wanted)
        return Txn("gather", message.run_id, then=ranges)

    def satisfy(self, message: Message, reached: Reached) -> Txn:
        """Mark that the join has enough of this name. The mark says which name was counted; that the last event needed
        is there is compared again, since a store may have fallen back behind it."""
        join, name = reached.join, reached.name
        last = k.item(k.events(name), reached.count - 1)
        return Txn(
            "satisfy",
            message.run_id,
            compare=(Is(k.join_state(join), k.ARMED_STATE), Is(k.mark(join, name), None), Has(last)),
            then=(
                Put(k.mark(join, name), k.MARKED),
                Append(k.got(join), name.encode() if reached.ranked else b""),
            ),
            otherwise=(
                Get((k.join_state(join), k.record(joined_call(join)), k.mark(join, name))),
                Length(k.got(join)),
            ),
        )

    def recall(self, message: Message, join: str) -> Txn:
        """Read a join's record. Only who is about to fire it does, since it is as long as the join is wide."""
        return Txn("recall", message.run_id, then=(Get((k.join_record(join),)),))

    def fire(self, message: Message, join: str, record: JoinRecord, marks: int, now_ms: int) -> Txn:
        """Create the joined call, once. ``marks``: how many names were marked when this was decided."""
        joined = joined_call(join)
        then = CallRecord(record.then.task, record.then.data, record.parent, now_ms, join=join, ranked=record.ranked)
        opened = 0 if record.timer or record.keeps_open else 1  # it takes the place of what was open for the join
        drop: tuple[Op, ...] = (Delete(k.call_fields(record.timer)), Release(record.timer)) if record.timer else ()
        return Txn(
            "fire",
            message.run_id,
            compare=(Is(k.join_state(join), k.ARMED_STATE), Is(k.length(k.got(join)), b"%d" % marks)),
            then=(
                Put(k.join_state(join), k.FIRED),
                Put(k.state(joined), k.READY),
                Put(k.record(joined), encode(then)),
                Add(k.OPEN, opened),
                Add(k.ARMED, -1),
                *drop,
            ),
            otherwise=(Get((k.join_state(join), k.state(joined))),),
        )

    # ── the run ───────────────────────────────────────────────────────────────────────────────

    def start(self, message: Message, data: bytes, digest: bytes, now_ms: int) -> Txn:
        """Create a run with its first call, unless there is one of this id."""
        root = message.call_id
        record = CallRecord(message.task, data, "", now_ms)
        return Txn(
            "start",
            message.run_id,
            compare=(Is(k.STATUS, None),),
            then=(
                Put(k.STATUS, k.RUNNING),
                Put(k.TASK, message.task.encode()),
                Put(k.DIGEST, digest),
                Put(k.STARTED, b"%d" % now_ms),
                Put(k.OPEN, b"1"),
                Put(k.state(root), k.READY),
                Put(k.record(root), encode(record)),
            ),
            otherwise=(Get((k.STATUS, k.TASK, k.DIGEST, k.state(root))),),
        )

    def complete(self, run_id: str, armed: int, now_ms: int) -> Txn:
        """End a run in which nothing is open. Joins that are still armed can never fire: it is stranded, and they are
        kept with it for people to see."""
        completed = (Put(k.STATUS, k.COMPLETED), Keep(k.SUMMARY, k.INBOX))
        end: tuple[Op, ...] = (Put(k.STATUS, k.STRANDED),) if armed else completed
        return Txn(
            "complete",
            run_id,
            compare=(Is(k.STATUS, k.RUNNING), Is(k.OPEN, b"0")),
            then=(Put(k.FINISHED, b"%d" % now_ms), *end, Expire(self.retention_ms)),
            otherwise=(Get((k.STATUS,)),),
        )

    def confirm(self, run_id: str) -> Txn:
        """Is a run that was ended running after all? It is, if the store fell back to before its end, or if a signal
        revived it."""
        return Txn("confirm", run_id, (Is(k.STATUS, k.RUNNING),))

    # ── signals ───────────────────────────────────────────────────────────────────────────────

    def address(self, run_id: str, call: str) -> Txn:
        """Read whether and where the run can receive the signal of this call, and whether it has."""
        return Txn("address", run_id, then=(_addressee(call),))

    def signal(self, message: Message, signal: Signal, task: bytes, *, revive: bool) -> Txn:
        """Create a signal's call, committed: all that is left to do is to look for joins that wait for its event.

        ``task``: the run's first task, so that it is the run whose queue the message goes to. ``revive``: the run is
        stranded, and goes on.
        """
        call, need = message.call_id, Need(signal.event, 1)
        writes: list[Op] = [
            Put(k.received(call), encode(signal)),
            Append(k.INBOX, k.received(call).encode()),
            Put(k.state(call), k.COMMITTED),
            Put(k.record(call), encode(CallRecord(message.task, signal.signal_id.encode(), "", signal.sent_ms))),
            Put(k.outbox(call), encode(Outbox((), (need,), ()))),
            Append(k.events(signal.event), encode(StoredEvent(signal.data, call, message.task))),
            Add(k.OPEN, 1),
        ]
        if revive:
            writes += [Put(k.STATUS, k.RUNNING), Delete((k.FINISHED,)), Expire(None)]
        status = k.STRANDED if revive else k.RUNNING
        return Txn(
            "revive" if revive else "signal",
            message.run_id,
            compare=(Is(k.STATUS, status), Is(k.TASK, task), Is(k.received(call), None)),
            then=tuple(writes),
            otherwise=(_addressee(call),),
        )


def _addressee(call: str) -> Op:
    """What a signal has to know of its run."""
    return Get((k.STATUS, k.TASK, k.received(call), k.state(call)))


def remember(message: Message, attempt: int, results: bytes) -> Txn:
    """Keep what a call's steps have returned, for its later attempts. Only the current attempt may."""
    call = message.call_id
    mine = (Is(k.state(call), k.READY), Is(k.attempt(call), b"%d" % attempt))
    return Txn("remember", message.run_id, mine, (Put(k.steps(call), results),))


# ── what a commit creates ─────────────────────────────────────────────────────────────────────


def _created(call: str, record: CallRecord, outcome: Outcome, now_ms: int) -> tuple[Outbox, list[Op]]:
    """All that an outcome brings into being: as an outbox, and as the operations that do it."""
    build = _Build(call, record.task, now_ms)
    for position, new in enumerate(outcome.calls):
        build.call(new, f"c{position}")
    for event in outcome.events:
        build.event(event.name, event.data)
    for position, join in enumerate(outcome.joins):
        build.join(join, f"j{position}")
    for position, fork in enumerate(outcome.forks):
        ids = [build.call(new, f"f{position}.{i}", reports=fork.then is not None) for i, new in enumerate(fork.calls)]
        if fork.then is not None:
            needs = tuple(Need(k.private_event(member), 1) for member in ids)
            build.join(NewJoin(fork.then, needs, len(needs)), f"f{position}")
    if record.reports:
        build.event(record.reports, outcome.result if outcome.result is not None else _NOTHING)
    return build.done()


_NOTHING = encode(None)


class _Build:
    """Collects what one commit creates."""

    def __init__(self, call: str, task: str, now_ms: int) -> None:
        self.parent, self.task, self.now_ms = call, task, now_ms
        self.ops: list[Op] = []
        self.children: list[Child] = []
        self.emitted: dict[str, int] = {}
        self.armed: list[Armed] = []
        self.opened = 0

    def call(self, new: NewCall, position: str, *, reports: bool = False, expires: str = "") -> str:
        call = derive(self.parent, position)
        event = k.private_event(call) if reports else ""
        record = CallRecord(new.task, new.data, self.parent, self.now_ms, reports=event, expires=expires)
        due_ms = self.now_ms + new.delay_ms if new.delay_ms else 0
        self.ops += [Put(k.state(call), k.READY), Put(k.record(call), encode(record))]
        if due_ms:
            self.ops.append(Put(k.due(call), b"%d" % due_ms))
        self.children.append(Child(call, new.task, due_ms))
        self.opened += 1
        return call

    def event(self, name: str, data: bytes) -> None:
        self.ops.append(Append(k.events(name), encode(StoredEvent(data, self.parent, self.task))))
        self.emitted[name] = self.emitted.get(name, 0) + 1

    def join(self, new: NewJoin, position: str) -> None:
        join = derive(self.parent, position)
        timer = ""
        if new.timeout_ms is not None:
            data = encode(new.on_timeout) if new.on_timeout is not None else b""
            timer = self.call(NewCall(new.then.task, data, new.timeout_ms), f"{position}.t", expires=join)
        record = JoinRecord(new.then, new.needs, new.at_least, self.parent, timer)
        self.ops += [Put(k.join_state(join), k.ARMED_STATE), Put(k.join_record(join), encode(record)), Add(k.ARMED, 1)]
        for need in new.needs:
            waiter = Waiter(join, need.count, new.at_least, record.ranked)
            self.ops.append(Append(k.waiters(need.name), encode(waiter)))
        self.armed.append(Armed(join, new.needs, new.at_least))
        self.opened += record.keeps_open

    def done(self) -> tuple[Outbox, list[Op]]:
        if self.opened:
            self.ops.append(Add(k.OPEN, self.opened))
        emitted = tuple([Need(name, count) for name, count in self.emitted.items()])
        return Outbox(tuple(self.children), emitted, tuple(self.armed)), self.ops
