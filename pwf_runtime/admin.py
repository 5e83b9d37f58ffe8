"""What operators do: list runs, cancel one, look at dead calls and unreadable messages, send them on or drop them.

Rules: every change is one transaction under a compare, then changes of lists that are safe to repeat, so that whoever
is cut off in the middle does the same again. A change never removes the last trace of a call from where recovery looks.
"""

from __future__ import annotations

from hashlib import blake2b

from msgspec import Struct

from .chores import Kept, decode_kept, encode_kept
from .clock import Clock
from .codec import encode_message
from .config import Settings
from .core import keys as k
from .core.effects import DEAD, FINISHED, OPEN, UNREADABLE
from .core.model import Message
from .core.recover import FOREVER
from .core.steps import Snapshot, Steps, read_snapshot, snapshot
from .core.txn import Add, Delete, Expire, Get, Is, Put, Txn
from .core.wire import decode_dead, decode_failure, decode_record, encode, number
from .courier import Courier
from .describe import dead_calls, no_such_call, read_fields, unknown_run
from .errors import UsageError
from .store.base import Store

MAX_LISTED = 100_000


class RunSummary(Struct, frozen=True):
    """A line of a list of runs. ``status`` is ``gone`` for a run whose retention has just ended, and
    ``damaged`` for one that cannot be read: `pwf show` says why."""

    run_id: str
    task: str
    status: str
    since_ms: int
    """When it began, or ended if it has."""
    open: int
    dead: int


class DeadCall(Struct, frozen=True):
    """A call that used up its attempts, or that can never be delivered."""

    run_id: str
    call_id: str
    task: str
    attempts: int
    since_ms: int
    error: str
    traceback: str


class Unreadable(Struct, frozen=True):
    """A message that no worker could deal with; ``key`` names it for ``redrive_unreadable`` and ``drop_unreadable``."""

    key: str
    queue: str
    since_ms: int
    reason: str
    body: bytes


class Admin:
    """Acts on a store and, to send calls on, through a courier."""

    def __init__(self, store: Store, courier: Courier, clock: Clock, settings: Settings) -> None:
        self._store = store
        self._courier = courier
        self._clock = clock
        self._steps = Steps(settings.lease_ms, settings.retention_ms)

    # ── runs ──────────────────────────────────────────────────────────────────────────────────

    def runs(self, limit: int = 50) -> list[RunSummary]:
        """The runs that are open, then those that have ended; of each the newest ``limit``, newest first.

        A run that ends is first put on the one list and then taken off the other: so read, each is seen, and once.
        """
        open_ = self._summaries(OPEN, limit)
        seen = {run.run_id for run in open_}
        ended = [run for run in self._summaries(FINISHED, limit) if run.run_id not in seen]
        return [*open_, *[run for run in ended if run.status != "running"]]  # some go on again

    def _summaries(self, index: str, limit: int) -> list[RunSummary]:
        newest = self._newest(index, limit)
        ids = [member.decode() for member, _ in newest]
        get = Get((k.STATUS, k.TASK, k.OPEN, k.DEAD_COUNT))
        replies = self._store.txns([Txn("describe", run_id, then=(get,)) for run_id in ids])
        found = []
        for run_id, (_, since), reply in zip(ids, newest, replies, strict=True):
            status, task, open_, dead = reply.replies[0]
            try:
                shown, counts = (status or b"gone").decode(), (number(open_), number(dead))
            except ValueError:
                shown, counts = "damaged", (0, 0)
            found.append(RunSummary(run_id, (task or b"").decode(errors="replace"), shown, since, *counts))
        return found

    def _newest(self, index: str, limit: int) -> list[tuple[bytes, int]]:
        return self._store.index_read(index, FOREVER, MAX_LISTED)[::-1][: max(limit, 0)]

    def cancel(self, run_id: str) -> None:
        """End a run now: what runs may end but changes nothing more, and nothing else of it is begun.

        Cancelling it again is no error. Raises UsageError when there is no such run or it has ended otherwise.
        """
        now_ms = self._clock.now_ms()
        txn = Txn(
            "cancel",
            run_id,
            compare=(Is(k.STATUS, k.RUNNING),),
            then=(
                Put(k.STATUS, k.CANCELLED),
                Put(k.FINISHED, b"%d" % now_ms),
                Expire(self._steps.retention_ms),
            ),
            otherwise=(Get((k.STATUS,)),),
        )
        reply = self._store.txns([txn])[0]
        if not reply.held:
            ((status,),) = reply.replies
            if status is None:
                raise unknown_run(run_id)
            if status != k.CANCELLED:
                raise UsageError(f"run {run_id!r} has ended already: it is {status.decode()}")
        calls = dead_calls(read_fields(self._store, run_id))
        self._store.index_remove(DEAD, [encode((run_id, call)) for call in calls])
        self._store.index_add(FINISHED, [(run_id.encode(), now_ms)])
        self._store.index_remove(OPEN, [run_id.encode()])

    # ── dead calls ────────────────────────────────────────────────────────────────────────────

    def dead(self, limit: int = 50) -> list[DeadCall]:
        """Dead calls, the newest first."""
        found: list[DeadCall] = []
        for member, since in self._newest(DEAD, MAX_LISTED):
            if len(found) >= limit:
                break
            call = self._dead_call(*decode_dead(member), since)
            if call is not None:
                found.append(call)
        return found

    def dead_call(self, run_id: str, call_id: str) -> DeadCall:
        """One of them. Raises UsageError when there is none such."""
        call = self._dead_call(run_id, call_id, 0)
        if call is None:
            raise no_such_call(run_id, call_id)
        return DeadCall(
            call.run_id,
            call.call_id,
            call.task,
            call.attempts,
            self._since(run_id, call_id) or 0,
            call.error,
            call.traceback,
        )

    def _since(self, run_id: str, call_id: str) -> int | None:
        """Since when a call is on the list of the dead, ``None`` if it is not."""
        return dict(self._store.index_read(DEAD, FOREVER, MAX_LISTED)).get(encode((run_id, call_id)))

    def _dead_call(self, run_id: str, call_id: str, since_ms: int) -> DeadCall | None:
        get = Get((k.STATUS, k.state(call_id), k.record(call_id), k.attempt(call_id), k.failure(call_id)))
        ((status, state, record, attempts, failed),) = self._store.txns([Txn("describe", run_id, then=(get,))])[
            0
        ].replies
        if status != k.RUNNING or state is None:  # nothing can bring it back, so the entry is of no more use
            self._store.index_remove(DEAD, [encode((run_id, call_id))])
            return None
        if state != k.DEAD:  # sent on; should it die again, it needs its entry
            return None
        failure = None if failed is None else decode_failure(failed)
        return DeadCall(
            run_id,
            call_id,
            decode_record(record).task,
            number(attempts),
            since_ms,
            "" if failure is None else f"{failure.kind}: {failure.message}",
            "" if failure is None else failure.traceback,
        )

    def redrive(self, run_id: str, call_id: str) -> None:
        """Let a dead call run again, with a fresh allowance of attempts.

        It is taken off the list before its message is published: should that fail, the recovery scan finds a call that
        is ready and publishes it, while an entry removed afterwards could be that of its next death.
        Raises UsageError when there is no such dead call.
        """
        found, task = self._look_at(run_id, call_id)
        message = Message(run_id, call_id, task)
        if found.state == k.DEAD:
            reply = self._store.txns([self._steps.redrive(message, found.attempt)])[0]
            found = found if reply.held else read_snapshot(reply.replies)
        if found.state not in (k.DEAD, k.READY) or found.status != k.RUNNING:
            raise no_such_call(run_id, call_id)  # ready: an earlier redrive was cut off, or has done its work
        self._store.index_remove(DEAD, [encode((run_id, call_id))])
        self._courier.publish([(message.queue, encode_message(message))])

    def _look_at(self, run_id: str, call_id: str) -> tuple[Snapshot, str]:
        """A call as it is, and its task. Raises UsageError when there is no such call."""
        found = read_snapshot(self._store.txns([Txn("describe", run_id, then=snapshot(call_id))])[0].replies)
        if found.record is None:
            raise no_such_call(run_id, call_id)
        return found, decode_record(found.record).task

    def drop(self, run_id: str, call_id: str) -> None:
        """End a dead call as if it had returned nothing. A join that needed its event, or its fork, cannot fire then.

        Raises UsageError when there is no such dead call.
        """
        settle = Txn(
            "drop",
            run_id,
            compare=(Is(k.STATUS, k.RUNNING), Is(k.state(call_id), k.DEAD)),
            then=(
                Delete(k.call_fields(call_id)),
                Add(k.DEAD_COUNT, -1),
                Add(k.OPEN, -1),
                Get((k.ARMED,)),
            ),
            otherwise=(Get((k.STATUS, k.state(call_id), k.OPEN, k.ARMED)),),
        )
        reply = self._store.txns([settle])[0]
        if reply.held:
            open_, (armed,) = reply.replies[-2:]
        else:
            ((status, state, found, armed),) = reply.replies
            open_ = number(found)
            was_cut_off = self._since(run_id, call_id) is not None or (status == k.RUNNING and open_ == 0)
            if state is not None or not was_cut_off:
                raise no_such_call(run_id, call_id)
        self._store.index_remove(DEAD, [encode((run_id, call_id))])
        if open_ == 0:
            self._end(run_id, number(armed))

    def _end(self, run_id: str, armed: int) -> None:
        now_ms = self._clock.now_ms()
        reply = self._store.txns([self._steps.complete(run_id, armed, now_ms)])[0]
        if reply.held:
            self._store.index_add(FINISHED, [(run_id.encode(), now_ms)])
            self._store.index_remove(OPEN, [run_id.encode()])
            if self._store.txns([self._steps.confirm(run_id)])[0].held:  # a signal has revived it meanwhile
                self._store.index_add(OPEN, [(run_id.encode(), now_ms)])

    # ── unreadable messages ───────────────────────────────────────────────────────────────────

    def unreadable(self, limit: int = 50) -> list[Unreadable]:
        """Messages that no worker could deal with, the newest first."""
        return [_shown(member, since) for member, since in self._newest(UNREADABLE, limit)]

    def unreadable_one(self, key: str) -> Unreadable:
        """One of them. Raises UsageError for an unknown key."""
        member, _ = self._kept(key)
        return _shown(member, dict(self._store.index_read(UNREADABLE, FOREVER, MAX_LISTED)).get(member, 0))

    def redrive_unreadable(self, key: str) -> None:
        """Send one back to its queue as it came, after the cause is mended. Raises UsageError for an unknown key.

        It is kept under another entry meanwhile: should a worker fail at it again before we are done here, then what it
        notes is not what we remove.
        """
        member, kept = self._kept(key)
        now_ms = self._clock.now_ms()
        sending = encode_kept(Kept(kept.queue, kept.body, f"being sent again since {now_ms}; before: {kept.reason}"))
        self._store.index_add(UNREADABLE, [(sending, now_ms)])
        self._store.index_remove(UNREADABLE, [member])
        if self._courier.publish([(kept.queue, kept.body)]) != [True]:
            raise UsageError(f"queue {kept.queue!r} does not exist: start a worker of that service first")
        self._store.index_remove(UNREADABLE, [sending])

    def drop_unreadable(self, key: str) -> None:
        """Forget one. Raises UsageError for an unknown key."""
        self._store.index_remove(UNREADABLE, [self._kept(key)[0]])

    def _kept(self, key: str) -> tuple[bytes, Kept]:
        for member, _ in self._store.index_read(UNREADABLE, FOREVER, MAX_LISTED):
            if _key(member) == key:
                return member, decode_kept(member)
        raise UsageError(f"there is no unreadable message {key!r}: `pwf dead list` lists those that there are")


def _key(member: bytes) -> str:
    return blake2b(member, digest_size=6).hexdigest()


def _shown(member: bytes, since_ms: int) -> Unreadable:
    kept = decode_kept(member)
    return Unreadable(_key(member), kept.queue, since_ms, kept.reason, kept.body)
