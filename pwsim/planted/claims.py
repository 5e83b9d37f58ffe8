"""Claims, attempts and commits: who may do the work, how often, and whose answer counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from pwf_runtime.core import keys as k
from pwf_runtime.core.delivery import DeliveryMachine
from pwf_runtime.core.machine import Step
from pwf_runtime.core.model import CallRecord, Event, Failure, Message, Outcome
from pwf_runtime.core.retry import Retry
from pwf_runtime.core.states import Claim, Claiming, Committing, Failing, Work
from pwf_runtime.core.steps import Commit, Snapshot, Steps, read_snapshot
from pwf_runtime.core.txn import Compare, Delete, Held, Is, Put, Txn, TxnReply
from pwf_runtime.core.wire import encode

from ..program import Protocol
from . import workflows
from .base import Loose, Planted


def without(txn: Txn, *compares: Compare) -> Txn:
    """``txn``, which must have these compares, without them."""
    assert all(compare in txn.compare for compare in compares), f"{txn.label} does not compare {compares}"
    return replace(txn, compare=tuple([compare for compare in txn.compare if compare not in compares]))


class NoDedupe(Steps):
    def commit(self, message: Message, attempt: int, record: CallRecord, outcome: Outcome, now_ms: int) -> Commit:
        commit = super().commit(message, attempt, record, outcome, now_ms)
        return replace(commit, txn=replace(commit.txn, compare=()))


class _NoFence(Steps):
    def commit(self, message: Message, attempt: int, record: CallRecord, outcome: Outcome, now_ms: int) -> Commit:
        commit = super().commit(message, attempt, record, outcome, now_ms)
        return replace(commit, txn=without(commit.txn, Is(k.attempt(message.call_id), b"%d" % attempt)))


class NoLease(Steps):
    def claim(self, message: Message, token: str, due_ms: int | None = None) -> Txn:
        return without(super().claim(message, token, due_ms), Held(message.call_id, None))


class _NeverRenews(Steps):
    def renew(self, message: Message, token: str) -> Txn:
        return replace(super().renew(message, token), then=())


class _AttemptStays(Steps):
    """Every claim is attempt 1."""

    def claim(self, message: Message, token: str, due_ms: int | None = None) -> Txn:
        txn = super().claim(message, token, due_ms)
        lease, add, get, *rest = txn.then
        return replace(txn, then=(Delete((k.attempt(message.call_id),)), add, get, lease, *rest))


class _ForgetsParked(DeliveryMachine):
    def _park(self, message: Message, token: str, due_ms: int) -> Step:
        return self._ack(message)


class _ForgetsEarly(DeliveryMachine):
    """A call that is not due yet will surely have its timer: its delivery is acked."""

    def _as_found(self, message: Message, token: str, found: Snapshot, now_ms: int) -> Step:
        if found.state == k.READY and found.holder is None and found.due_ms is not None and found.due_ms > now_ms:
            return self._ack(message)
        return super()._as_found(message, token, found, now_ms)


class _IgnoresDue(Steps):
    def claim(self, message: Message, token: str, due_ms: int | None = None) -> Txn:
        txn = super().claim(message, token, due_ms)
        return replace(txn, compare=tuple([c for c in txn.compare if c != Is(k.due(message.call_id), None)]))


class _RetriesForEver(DeliveryMachine):
    def __init__(self, steps: Steps, policies: Mapping[str, Retry]) -> None:
        super().__init__(steps, {task: replace(retry, max_attempts=2**31) for task, retry in policies.items()})


class _RetryNotedOnly(Loose):
    """A failed attempt is noted with the time of the next one, and the timer is left to others."""

    def _failed(self, state: Failing, reply: TxnReply, now_ms: int) -> Step:
        return self._ack(state.claim.message) if reply.held else super()._failed(state, reply, now_ms)


class DropsUnknown(Loose):
    """Nobody here knows this task, so nobody anywhere does."""

    def _granted(self, claim: Claim, now_ms: int) -> Step:
        if claim.record.task not in self.policies and not claim.record.expires:
            return self._ack(claim.message)
        return super()._granted(claim, now_ms)


class _PublishesAnyhow(Loose):
    """Does not ask whether the commit held, except where it was made before."""

    def _committed(self, state: Committing, reply: TxnReply, now_ms: int) -> Step:
        if not reply.held and read_snapshot(reply.replies).state == k.DEAD:
            return self._onward(Work(state.claim.message, state.claim.token, state.outbox))
        return super()._committed(state, reply, now_ms)


class _ForgetsData(Loose):
    """A second attempt runs, and is not told with what."""

    def _run(self, claim: Claim, events: tuple[Event, ...]) -> Step:
        nothing = replace(claim, record=replace(claim.record, data=encode(None)))
        return super()._run(claim if claim.attempt == 1 else nothing, events)


class _Recomputes(Loose):
    """Finds a call committed and runs its task again, to know what is left to publish."""

    def _as_found(self, message: Message, token: str, found: Snapshot, now_ms: int) -> Step:
        if found.state != k.COMMITTED or found.holder is not None:
            return super()._as_found(message, token, found, now_ms)
        claim = self.steps.claim(message, token)
        committed = Is(k.state(message.call_id), k.COMMITTED)
        compare = tuple([committed if c == Is(k.state(message.call_id), k.READY) else c for c in claim.compare])
        return Claiming(message, token), replace(claim, compare=compare)

    def _committed(self, state: Committing, reply: TxnReply, now_ms: int) -> Step:
        if not reply.held and read_snapshot(reply.replies).state == k.COMMITTED:
            return self._onward(Work(state.claim.message, state.claim.token, state.outbox))
        return super()._committed(state, reply, now_ms)


class _DrawsIds(Steps):
    """Children are named by the attempt that created them."""

    def commit(self, message: Message, attempt: int, record: CallRecord, outcome: Outcome, now_ms: int) -> Commit:
        commit = super().commit(message, attempt, record, outcome, now_ms)
        drawn = {child.call_id: f"{child.call_id[:-2]}{attempt:02}" for child in commit.outbox.children}
        children = tuple([replace(child, call_id=drawn[child.call_id]) for child in commit.outbox.children])
        writes = tuple([_renamed(op, drawn) for op in commit.txn.then])
        return replace(commit, txn=replace(commit.txn, then=writes), outbox=replace(commit.outbox, children=children))


def _renamed(op: Any, names: dict[str, str]) -> Any:
    if isinstance(op, Put) and op.field[2:-2] in names:
        return replace(op, field=f"c:{names[op.field[2:-2]]}{op.field[-2:]}")
    return op


class _FailsUnfenced(Steps):
    def fail(self, message: Message, attempt: int, failure: Failure, due_ms: int | None, **why: Any) -> Txn:
        return replace(super().fail(message, attempt, failure, due_ms, **why), compare=())


class _SettlesTwice(Steps):
    def settle(self, message: Message, guards: tuple[Is, ...]) -> Txn:
        return without(super().settle(message, guards), Is(k.state(message.call_id), k.COMMITTED))


BUGS = (
    Planted(
        "no-dedupe",
        "a commit does not compare whether the call is still its attempt's",
        law="L1",
        faults=1,
        protocol=Protocol(steps=NoDedupe),
        families="stall",
    ),
    Planted(
        "lease-without-fence",
        "a commit does not compare the attempt, so whoever outlived its lease still commits",
        law="L5",
        faults=2,
        protocol=Protocol(steps=_NoFence),
        apps=(workflows.chain,),
        start=("leave", 1),
        families="stall,requeue,duplicate,lease",
    ),
    Planted(
        "no-lease",
        "a claim does not compare whether somebody holds the call",
        law="L5",
        faults=1,
        protocol=Protocol(steps=NoLease),
    ),
    Planted(
        "lease-never-renewed",
        "a worker does not renew the lease of a task that takes longer",
        law="L5",
        faults=2,
        protocol=Protocol(steps=_NeverRenews),
        apps=(workflows.chain,),
        start=("leave", 1),
        families="slow,duplicate",
    ),
    Planted(
        "attempt-not-incremented",
        "a second claim of a call gets the same attempt number as the first",
        law="L5",
        faults=1,
        protocol=Protocol(steps=_AttemptStays),
    ),
    Planted(
        "parked-call-forgotten",
        "a delivery whose call somebody else has is acked without a timer",
        law="L4",
        faults=1,
        protocol=Protocol(delivery=_ForgetsParked),
    ),
    Planted(
        "early-delivery-forgotten",
        "a delivery that comes before its call is due is acked without a timer",
        law="L4",
        faults=1,
        protocol=Protocol(delivery=_ForgetsEarly),
        apps=(workflows.chain,),
        start=("poison", 1),
    ),
    Planted(
        "retry-without-timer",
        "a failed attempt is noted, and nothing is set that brings the call back",
        law="L4",
        faults=0,
        protocol=Protocol(delivery=_RetryNotedOnly),
        apps=(workflows.flaky,),
        start=("attempt", 1),
    ),
    Planted(
        "poison-task-without-limit",
        "a task that always fails is tried for ever",
        law="L4",
        faults=0,
        protocol=Protocol(delivery=_RetriesForEver),
        apps=(workflows.chain,),
        start=("poison", 1),
    ),
    Planted(
        "due-time-ignored",
        "a call is claimed whenever it is delivered, even long before it is due",
        law="L9",
        faults=1,
        protocol=Protocol(steps=_IgnoresDue),
        apps=(workflows.chain,),
        start=("poison", 1),
    ),
    Planted(
        "unknown-task-dropped",
        "a task that this worker does not know is acked, in the middle of a deploy",
        law="L8",
        faults=1,
        protocol=Protocol(delivery=DropsUnknown),
        families="deploy",
    ),
    Planted(
        "children-of-a-dead-call-published",
        "a commit that comes too late, after its call was given up, publishes its children all the same",
        law="L8",
        faults=1,
        protocol=Protocol(delivery=_PublishesAnyhow),
        apps=(workflows.chain,),
        start=("once", 1),
    ),
    Planted(
        "result-recomputed",
        "a redelivery that finds the call committed runs its task again, which picks another branch",
        law="L8",
        faults=1,
        protocol=Protocol(delivery=_Recomputes),
        apps=(workflows.flaky,),
        start=("attempt", 1),
    ),
    Planted(
        "second-attempt-without-data",
        "a second attempt of a call runs without the data of the first",
        law="L6",
        faults=1,
        protocol=Protocol(delivery=_ForgetsData),
        apps=(workflows.chain,),
        start=("pass_on", 1),
    ),
    Planted(
        "drawn-child-ids",
        "a child's id is drawn by the attempt, not derived from its parent and position",
        law="L2",
        faults=0,
        protocol=Protocol(steps=_DrawsIds),
        apps=(workflows.chain,),
        start=("leave", 1),
    ),
    Planted(
        "stale-failure-noted",
        "an attempt that failed after its lease was lost is noted, whoever has the call by then",
        law="L5",
        faults=1,
        protocol=Protocol(steps=_FailsUnfenced),
        apps=(workflows.chain,),
        start=("poison", 1),
    ),
    Planted(
        "settled-twice",
        "settling does not compare whether the call is there, so it is counted down twice",
        law="L4",
        faults=1,
        protocol=Protocol(steps=_SettlesTwice),
        families="crash,stall,reply-lost",
    ),
)
