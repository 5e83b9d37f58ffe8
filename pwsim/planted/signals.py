"""Signals: sent twice, sent too early, forgotten, and what a run does that waits for them or goes on with them."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from pwf_runtime.core import keys as k
from pwf_runtime.core.effects import Publish
from pwf_runtime.core.inputs import Indexed, Published
from pwf_runtime.core.machine import Row, Step
from pwf_runtime.core.model import CallRecord, JoinRecord, Message, Outcome, Signal
from pwf_runtime.core.signal import Addressing, Publishing, Sending, Signalled, Signalling, SignalMachine
from pwf_runtime.core.steps import Commit, Steps
from pwf_runtime.core.txn import Add, Expire, Is, Keep, Op, Txn, TxnReply

from ..program import Protocol
from . import workflows
from .base import First, Planted, first
from .claims import without


class _NoInbox(Steps):
    """A signal leaves no note that it was received."""

    def signal(self, message: Message, signal: Signal, task: bytes, *, revive: bool) -> Txn:
        txn = without(super().signal(message, signal, task, revive=revive), Is(k.received(message.call_id), None))
        _note, _name, *rest = txn.then
        return replace(txn, then=tuple(rest))


class _ForgetsInbox(Steps):
    """The end of a run leaves nothing of what it received."""

    def complete(self, run_id: str, armed: int, now_ms: int) -> Txn:
        txn = super().complete(run_id, armed, now_ms)
        return replace(txn, then=tuple([replace(op, listed="") if isinstance(op, Keep) else op for op in txn.then]))


class _SignalsAnyRun(Steps):
    """A run that was running when it was asked about surely still is."""

    def signal(self, message: Message, signal: Signal, task: bytes, *, revive: bool) -> Txn:
        return without(super().signal(message, signal, task, revive=revive), Is(k.STATUS, k.RUNNING))


class _RevivesForAWhile(Steps):
    def signal(self, message: Message, signal: Signal, task: bytes, *, revive: bool) -> Txn:
        txn = super().signal(message, signal, task, revive=revive)
        return replace(txn, then=tuple([op for op in txn.then if not isinstance(op, Expire)]))


class _WaitsUncounted(Steps):
    """A join that waits for the outside is as open as any other: not at all."""

    def commit(self, message: Message, attempt: int, record: CallRecord, outcome: Outcome, now_ms: int) -> Commit:
        commit = super().commit(message, attempt, record, outcome, now_ms)
        waiting = sum([join.timeout_ms is None and any(n.outside for n in join.needs) for join in outcome.joins])
        writes = tuple([_less(op, waiting) for op in commit.txn.then])
        return replace(commit, txn=replace(commit.txn, then=writes))


def _less(op: Op, by: int) -> Op:
    return replace(op, delta=op.delta - by) if isinstance(op, Add) and op.field == k.OPEN and op.delta > 0 else op


class _WaitsForEver(Steps):
    """Firing a join opens its call, and leaves open what was open for the join."""

    def fire(self, message: Message, join: str, record: JoinRecord, marks: int, now_ms: int) -> Txn:
        txn = super().fire(message, join, record, marks, now_ms)
        more = 1 if record.keeps_open else 0
        return replace(
            txn, then=tuple([_less(op, -more) if op != Add(k.OPEN, 0) else Add(k.OPEN, more) for op in txn.then])
        )


_STATES = tuple(dict.fromkeys(state for row in SignalMachine.TABLE for state in (row.state, *row.to)))


class _Loose(SignalMachine):
    """The machine of signals, with a table that leads anywhere, and through ``First``."""

    TABLE = (
        *[row._replace(to=(*_STATES, First)) for row in SignalMachine.TABLE],
        *[Row(First, kind, "_resumed", _STATES) for kind in (Published, Indexed, TxnReply)],
    )

    def _resumed(self, state: First, _input: Any, _now_ms: int) -> Step:
        return state.state, state.effect


class _PublishesFirst(_Loose):
    def _signal(self, sending: Sending, task: bytes, *, revive: bool) -> Step:
        return first(Publish((sending.message(task),)), super()._signal(sending, task, revive=revive))


class _RevivesUnlisted(_Loose):
    """A run that goes on is not listed as open again."""

    def _as_found(self, sending: Sending, reply: TxnReply, now_ms: int) -> Step:
        ((status, task, received, _call),) = reply.replies
        if status == k.STRANDED and received is None:
            return self._signal(sending, task, revive=True)
        return super()._as_found(sending, reply, now_ms)


class _SaysSo(_Loose):
    """A run that is running will surely receive it."""

    def _addressed(self, state: Addressing, reply: TxnReply, now_ms: int) -> Step:
        step = super()._addressed(state, reply, now_ms)
        return (Signalled(True), None) if isinstance(step[0], Signalling) else step


class _NeverPublishes(_Loose):
    """The transaction is all that counts; somebody will see the call."""

    def _signalled(self, state: Signalling, reply: TxnReply, now_ms: int) -> Step:
        step = super()._signalled(state, reply, now_ms)
        return (Signalled(True), None) if isinstance(step[0], Publishing) else step


class _PublishesTwice(_Loose):
    def _signalled(self, state: Signalling, reply: TxnReply, now_ms: int) -> Step:
        after, effect = super()._signalled(state, reply, now_ms)
        return after, (Publish(effect.messages * 2) if isinstance(effect, Publish) else effect)


def _planted(name: str, about: str, law: str, faults: int, protocol: Protocol, task: str, **more: Any) -> Planted:
    where = {"apps": (workflows.outside,), "start": (task, 1), "signals": (("approved", 2),), **more}
    return Planted(name, about, law=law, faults=faults, protocol=protocol, **where)


BUGS = (
    _planted(
        "signal-without-its-note",
        "a signal leaves no note in the run, so one that is sent again is counted again",
        "L1",
        1,
        Protocol(steps=_NoInbox),
        "approve",
        families="crash,reply-lost",
    ),
    _planted(
        "signal-forgotten-with-its-run",
        "what a run received is forgotten at its end, so a sender that asks again is refused",
        "L2",
        1,
        Protocol(steps=_ForgetsInbox),
        "approve",
        families="crash",
    ),
    _planted(
        "signal-published-first",
        "a signal's message is published before the transaction that creates its call",
        "L8",
        0,
        Protocol(signal=_PublishesFirst),
        "approve",
    ),
    _planted(
        "signal-never-published",
        "a signal's call is created, and its message left to others",
        "L4",
        0,
        Protocol(signal=_NeverPublishes),
        "approve",
        signals=(("unheard", 2),),
    ),
    _planted(
        "signal-said-to-be-received",
        "a sender is told that a run has its signal because it is running",
        "L2",
        0,
        Protocol(signal=_SaysSo),
        "approve",
    ),
    _planted(
        "signal-after-the-end",
        "a signal does not compare whether its run is still running",
        "L4",
        0,
        Protocol(steps=_SignalsAnyRun),
        "hear",
    ),
    _planted(
        "revived-unlisted",
        "a run that a signal revives is not listed as open, where the recovery scan would find it",
        "L4",
        1,
        Protocol(signal=_RevivesUnlisted),
        "trust",
        families="loss",
        signals=(("unheard", 2),),
    ),
    _planted(
        "revived-for-a-while",
        "a run that a signal revives keeps the retention of its end",
        "L4",
        0,
        Protocol(steps=_RevivesForAWhile),
        "trust",
    ),
    _planted(
        "wait-for-the-outside-not-open",
        "an armed join that waits for a signal is not counted as open, so its run ends without it",
        "L4",
        0,
        Protocol(steps=_WaitsUncounted),
        "approve",
    ),
    _planted(
        "wait-for-the-outside-stays-open",
        "firing a join that waited for a signal does not take back that it was counted as open",
        "L4",
        0,
        Protocol(steps=_WaitsForEver),
        "approve",
    ),
    _planted(
        "sound-signal-published-twice",
        "a signal's message is published twice",
        "",
        0,
        Protocol(signal=_PublishesTwice),
        "approve",
    ),
)
