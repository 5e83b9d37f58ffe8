"""The planted bugs. Each overrides as little of production code as its mistake takes."""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from pwf_runtime.core import keys as k
from pwf_runtime.core.delivery import ONWARD, DeliveryMachine
from pwf_runtime.core.effects import Ack
from pwf_runtime.core.inputs import Acked
from pwf_runtime.core.machine import Row, Step
from pwf_runtime.core.model import CallRecord, Message, Outcome
from pwf_runtime.core.states import Committing, Reached
from pwf_runtime.core.steps import Commit, Steps
from pwf_runtime.core.txn import Is, Txn, TxnReply

from ..program import Protocol
from . import workflows
from .base import Planted


class _AckingEarly(Struct, frozen=True):
    """Acking before what ``state`` asks for by ``effect`` is done."""

    state: Any
    effect: Any


class _AckBeforePublish(DeliveryMachine):
    TABLE = (
        *[
            row._replace(to=(*row.to, _AckingEarly)) if row.state is Committing else row
            for row in DeliveryMachine.TABLE
        ],
        Row(_AckingEarly, Acked, "_acked_early", ONWARD),
    )

    def _committed(self, state: Committing, reply: TxnReply, now_ms: int) -> Step:
        step = super()._committed(state, reply, now_ms)
        return (_AckingEarly(*step), Ack()) if isinstance(step[0], ONWARD) else step

    def _acked_early(self, state: _AckingEarly, _done: Acked, _now_ms: int) -> Step:
        return state.state, state.effect


class _NoDedupe(Steps):
    def commit(self, message: Message, attempt: int, record: CallRecord, outcome: Outcome, now_ms: int) -> Commit:
        commit = super().commit(message, attempt, record, outcome, now_ms)
        return replace(commit, txn=replace(commit.txn, compare=()))


class _CountOnly(Steps):
    def satisfy(self, message: Message, reached: Reached) -> Txn:
        txn = super().satisfy(message, reached)
        return replace(txn, compare=(Is(k.join_state(reached.join), k.ARMED_STATE),))


class _NeverLooksBack(Steps):
    def commit(self, message: Message, attempt: int, record: CallRecord, outcome: Outcome, now_ms: int) -> Commit:
        commit = super().commit(message, attempt, record, outcome, now_ms)
        looks = sum(len(armed.needs) for armed in commit.outbox.armed)
        then = commit.txn.then[: len(commit.txn.then) - looks]
        return replace(commit, txn=replace(commit.txn, then=then), outbox=replace(commit.outbox, armed=()))


class _ForgetsParked(DeliveryMachine):
    def _park(self, message: Message, token: str, due_ms: int) -> Step:
        return self._ack(message)


BUGS = (
    Planted(
        "ack-before-publish",
        "a delivery is acked after its commit, before its children are published",
        law="L8",
        faults=0,
        protocol=Protocol(delivery=_AckBeforePublish),
    ),
    Planted(
        "no-dedupe",
        "a commit does not compare whether the call is still its attempt's",
        law="L1",
        faults=1,
        protocol=Protocol(steps=_NoDedupe),
    ),
    Planted(
        "join-by-counter",
        "a join counts arrivals without marking which name was counted",
        law="L3",
        faults=1,
        protocol=Protocol(steps=_CountOnly),
    ),
    Planted(
        "late-join-never-looks-back",
        "a join that is declared after its events does not look for them",
        law="L3",
        faults=0,
        protocol=Protocol(steps=_NeverLooksBack),
        apps=(workflows.late,),
        start=("hurry", 1),
    ),
    Planted(
        "parked-call-forgotten",
        "a delivery whose call somebody else has is acked without a timer",
        law="L4",
        faults=1,
        protocol=Protocol(delivery=_ForgetsParked),
    ),
)
