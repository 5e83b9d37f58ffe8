"""Sound variants: they change what must not matter. A law that convicts one of them is wrong."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from pwf_runtime.core import keys as k
from pwf_runtime.core.delivery import DeliveryMachine
from pwf_runtime.core.effects import Publish
from pwf_runtime.core.inputs import TaskDone
from pwf_runtime.core.machine import Step
from pwf_runtime.core.model import Failure, Message
from pwf_runtime.core.states import Committing, Running, Work
from pwf_runtime.core.steps import Steps
from pwf_runtime.core.txn import Get, Release, Txn, TxnReply

from ..program import Protocol
from . import workflows
from .base import Loose, Planted, first


class _LooksApart(Loose):
    """Looks in a transaction of its own, after the commit, as who takes the call over does."""

    def _committed(self, state: Committing, reply: TxnReply, now_ms: int) -> Step:
        if not reply.held or state.leaf:
            return super()._committed(state, reply, now_ms)
        return self._look(Work(state.claim.message, state.claim.token, state.outbox))


class _PublishesBackwards(Loose):
    def _onward(self, work: Work) -> Step:
        state, effect = super()._onward(work)
        return state, (Publish(effect.messages[::-1]) if isinstance(effect, Publish) else effect)


class _PublishesTwice(Loose):
    def _onward(self, work: Work) -> Step:
        state, effect = super()._onward(work)
        return state, (Publish(effect.messages * 2) if isinstance(effect, Publish) else effect)


class _RenewsOnceMore(Loose):
    def _ran(self, state: Running, done: TaskDone, now_ms: int) -> Step:
        claim = state.claim
        return first(self.steps.renew(claim.message, claim.token), super()._ran(state, done, now_ms))


class _LongLease(Steps):
    def __init__(self, lease_ms: int, retention_ms: int) -> None:
        super().__init__(3 * lease_ms, retention_ms)


class _ParksLonger(DeliveryMachine):
    def _park(self, message: Message, token: str, due_ms: int) -> Step:
        return super()._park(message, token, due_ms + 500)


class _ReadsMore(Steps):
    def claim(self, message: Message, token: str, due_ms: int | None = None) -> Txn:
        txn = super().claim(message, token, due_ms)
        return replace(txn, then=(*txn.then, Get((k.STATUS, k.OPEN, k.failure(message.call_id)))))


class _KeepsLease(Steps):
    """A failed attempt does not give its lease up: the next one comes when it has run out. Slower, not wrong."""

    def fail(self, message: Message, attempt: int, failure: Failure, due_ms: int | None, **why: Any) -> Txn:
        txn = super().fail(message, attempt, failure, due_ms, **why)
        return replace(txn, then=tuple([op for op in txn.then if op != Release(message.call_id)]))


def _sound(name: str, about: str, protocol: Protocol, **where: Any) -> Planted:
    return Planted(name, about, law="", faults=0, protocol=protocol, **where)


BUGS = (
    _sound("sound-look-apart", "a commit looks in a transaction of its own", Protocol(delivery=_LooksApart)),
    _sound(
        "sound-published-backwards",
        "children are published in reverse order",
        Protocol(delivery=_PublishesBackwards),
    ),
    _sound("sound-published-twice", "every child is published twice", Protocol(delivery=_PublishesTwice)),
    _sound("sound-renewed-once-more", "a lease is renewed before the commit", Protocol(delivery=_RenewsOnceMore)),
    _sound("sound-long-lease", "leases last three times as long", Protocol(steps=_LongLease)),
    _sound("sound-parked-longer", "calls are parked a little longer", Protocol(delivery=_ParksLonger)),
    _sound("sound-claim-reads-more", "a claim reads more than it needs", Protocol(steps=_ReadsMore)),
    _sound(
        "sound-retry-keeps-its-lease",
        "a failed attempt lets its lease run out",
        Protocol(steps=_KeepsLease),
        apps=(workflows.chain,),
        start=("poison", 1),
    ),
)
