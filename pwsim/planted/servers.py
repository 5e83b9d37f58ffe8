"""Broker and store: what a driver may believe of them, and what must survive when they lose something."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec.structs import replace

from pwf_runtime.codec import encode_message
from pwf_runtime.core.effects import Effect, Publish
from pwf_runtime.core.inputs import Acked, Entries, Published
from pwf_runtime.core.machine import Step
from pwf_runtime.core.model import CallRecord, Message, Outcome
from pwf_runtime.core.recover import ReadingRuns, Republishing, ScanMachine
from pwf_runtime.core.steps import Commit, Steps
from pwf_runtime.core.txn import Add, Expire, Get, Is, Length, Op, Range, Txn, TxnReply
from pwf_runtime.driver import Answer, Asked, Driver, Owner
from pwf_runtime.transport.base import Confirmed, Delivery, Lost, TransportEvent

from ..program import Protocol
from ..world.broker import Broker, SimTransport
from . import workflows
from .base import Planted


class _IgnoresReturns(Driver):
    def heard(self, event: TransportEvent) -> list[Answer]:
        return super().heard(replace(event, returned=False) if isinstance(event, Confirmed) else event)


class _TakesRefusedAsSent(Driver):
    """Takes whatever the broker says of a publish for a confirm."""

    def heard(self, event: TransportEvent) -> list[Answer]:
        return super().heard(Confirmed(event.ticket) if isinstance(event, Lost) else event)


class _TakesAllUpTo(Driver):
    """Takes a confirm for one of all that was published before, too, as if it were always for several."""

    def heard(self, event: TransportEvent) -> list[Answer]:
        if not isinstance(event, Confirmed):
            return super().heard(event)
        upto = sorted(ticket for ticket in self._publishing if ticket <= event.ticket)
        return [answer for ticket in upto for answer in Driver.heard(self, replace(event, ticket=ticket))]


class _Noticing(Driver):
    """Knows when it is asked for the same effect again, which is how a lost reply looks from here."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._asked: dict[Owner, Effect] = {}

    def perform(self, asked: Iterable[Asked]) -> list[Answer]:
        answers: list[Answer] = []
        for owner, effect in asked:
            lost = isinstance(effect, Txn) and effect.label == "commit" and self._asked.get(owner) is effect
            self._asked[owner] = effect
            answers += self._lost(owner, effect) if lost else super().perform([(owner, effect)])  # type: ignore[arg-type]
        return answers

    def _lost(self, owner: Owner, txn: Txn) -> list[Answer]:
        raise NotImplementedError


class _TakesAsNotDone(_Noticing):
    """What was not answered was not done: it is made again, without asking."""

    def _lost(self, owner: Owner, txn: Txn) -> list[Answer]:
        return Driver.perform(self, [(owner, replace(txn, compare=()))])


class _TakesAsDone(_Noticing):
    """What was not answered was done, and had nothing to say."""

    def _lost(self, owner: Owner, txn: Txn) -> list[Answer]:
        return [(owner, TxnReply(True, tuple([_nothing(op) for op in txn.then])))]


def _nothing(op: Op) -> Any:
    if isinstance(op, Get):
        return (None,) * len(op.fields)
    if isinstance(op, Range):
        return ()
    return 0 if isinstance(op, Length | Add) else None


class _OnBroker(Driver):
    """A driver that behaves as a client library would, for which the simulated broker has to be asked."""

    @property
    def broker(self) -> Broker:
        assert isinstance(self.transport, SimTransport), "planted drivers are for the simulated broker"
        return self.transport.broker


class _NeverWaits(_OnBroker):
    """Takes a publish as done when it is sent. What the connection had not delivered when it dropped is lost."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._sent: dict[Owner, list[Message]] = {}

    def perform(self, asked: Iterable[Asked]) -> list[Answer]:
        asked = list(asked)
        for owner, effect in asked:
            delivery = self._deliveries.get(owner)
            if delivery is not None and delivery.channel not in self.broker.unacked:
                self._lose(self._sent.pop(owner, []))
            if isinstance(effect, Publish):
                sent = [message for message in effect.messages if isinstance(message, Message)]
                self._sent.setdefault(owner, []).extend(sent)
        return super().perform(asked)

    def _lose(self, messages: Sequence[Message]) -> None:
        bodies = [encode_message(message) for message in messages]
        for queued in self.broker.queues.values():
            queued[:] = [each for each in queued if each.redelivered or each.body not in bodies]


class _AcksByNumber(_OnBroker):
    """Acks all up to a number, as clients do to save frames, on whichever channel is open by then."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._numbered: dict[int, list[Delivery]] = {}

    def holds(self, owner: Owner, delivery: Delivery) -> None:
        super().holds(owner, delivery)
        self._numbered.setdefault(delivery.channel, []).append(delivery)

    def _ack(self, owners: Sequence[Owner]) -> list[Answer]:
        for owner in owners:
            delivery = self._deliveries.pop(owner, None)
            if delivery is not None:
                self.transport.ack(self._meant(delivery))
        return [(owner, Acked()) for owner in owners]

    def _meant(self, delivery: Delivery) -> list[Delivery]:
        """What the broker takes the ack for: numbers begin anew with each channel."""
        if delivery.channel in self.broker.unacked:
            return [delivery]
        number = self._numbered[delivery.channel].index(delivery)
        return self._numbered.get(max(self.broker.unacked), [])[: number + 1]


class _Expires(Steps):
    """Who arms a join sees to it that its state does not stay for ever."""

    expire_ms = 30_000

    def commit(self, message: Message, attempt: int, record: CallRecord, outcome: Outcome, now_ms: int) -> Commit:
        commit = super().commit(message, attempt, record, outcome, now_ms)
        if not commit.outbox.armed:
            return commit
        return replace(commit, txn=replace(commit.txn, then=(Expire(self.expire_ms), *commit.txn.then)))


class _ExpiresInADay(_Expires):
    """Longer than anything that is tried takes: it shows only if nobody works for so long."""

    expire_ms = 86_400_000


class _SettlesBlindly(Steps):
    def settle(self, message: Message, guards: tuple[Is, ...]) -> Txn:
        return super().settle(message, ())


class _CommitsBlindly(Steps):
    """A commit does not look whether its call is still there and its own."""

    def commit(self, message: Message, attempt: int, record: CallRecord, outcome: Outcome, now_ms: int) -> Commit:
        commit = super().commit(message, attempt, record, outcome, now_ms)
        return replace(commit, txn=replace(commit.txn, compare=()))


class _ScansNothing(ScanMachine):
    """Comes by, and leaves."""

    def _read(self, state: ReadingRuns, _entries: Entries, _now_ms: int) -> Step:
        return self._next(state.marker, ())


class _ScansForEver(ScanMachine):
    """Looks at the same run again until none of its calls is missing."""

    def _republished(self, state: Republishing, _published: Published, _now_ms: int) -> Step:
        return self._next(state.marker, state.runs)


BUGS = (
    Planted(
        "unroutable-counted-as-sent",
        "a message that no queue took counts as published, because the broker confirmed it",
        law="L4",
        faults=0,
        protocol=Protocol(driver=_IgnoresReturns),
        apps=(workflows.chain,),
        start=("misdirect", 1),
    ),
    Planted(
        "publish-without-confirm",
        "a publish counts as done when it is sent, not when the broker has confirmed it",
        law="L4",
        faults=1,
        protocol=Protocol(driver=_NeverWaits),
        apps=(workflows.chain,),
        start=("leave", 1),
        families="requeue",
    ),
    Planted(
        "ack-on-a-reopened-channel",
        "an ack goes to the channel that is open now, where its number means other deliveries",
        law="L4",
        faults=2,
        protocol=Protocol(driver=_AcksByNumber),
        start=("begin", 3),
        families="requeue,crash",
        workers=1,
        prefetch=3,
    ),
    Planted(
        "lost-reply-taken-as-not-done",
        "a commit that was not answered counts as not done and is made again without comparing",
        law="L1",
        faults=1,
        protocol=Protocol(driver=_TakesAsNotDone),
        families="reply-lost",
    ),
    Planted(
        "lost-reply-taken-as-done",
        "a commit that was not answered counts as done, with nothing found by its look",
        law="L3",
        faults=1,
        protocol=Protocol(driver=_TakesAsDone),
        families="reply-lost",
    ),
    Planted(
        "join-state-expires",
        "a run's state has a time to live while the run is open",
        law="L4",
        faults=0,
        protocol=Protocol(steps=_Expires),
        apps=(workflows.many,),
        start=("confuse", 1),
    ),
    Planted(
        "open-run-is-kept-for-a-day",
        "a run's state has a time to live of a day while the run is open",
        law="L4",
        faults=1,
        protocol=Protocol(steps=_ExpiresInADay),
        families="pause",
    ),
    Planted(
        "blind-settle-after-a-rollback",
        "settling does not compare whether the marks that were made are still there",
        law="L3",
        faults=1,
        protocol=Protocol(steps=_SettlesBlindly),
        families="rollback",
    ),
    Planted(
        "refused-counted-as-sent",
        "a message that the broker refused, because the queue is full, counts as published",
        law="L4",
        faults=1,
        protocol=Protocol(driver=_TakesRefusedAsSent),
        apps=(workflows.chain,),
        start=("leave", 1),
        families="refused",
    ),
    Planted(
        "confirm-counted-for-all-before",
        "a confirm of one message counts for all that were published before it",
        law="L4",
        faults=1,
        protocol=Protocol(driver=_TakesAllUpTo),
        families="refused",
    ),
    Planted(
        "commit-into-an-evicted-run",
        "a commit writes without comparing, also into a run that the store has thrown away",
        law="L7",
        faults=1,
        protocol=Protocol(steps=_CommitsBlindly),
        apps=(workflows.chain,),
        start=("leave", 1),
        families="eviction",
    ),
    Planted(
        "evicted-timers-stay-lost",
        "the recovery scan finds nothing, so what waited for a timer that the store threw away waits for ever",
        law="L4",
        faults=1,
        protocol=Protocol(scan=_ScansNothing),
        apps=(workflows.chain,),
        start=("linger", 1),
        families="eviction",
    ),
    Planted(
        "dropped-at-the-delivery-limit",
        "the recovery scan finds nothing, so what the broker drops as delivered too often is gone",
        law="L4",
        faults=2,
        protocol=Protocol(scan=_ScansNothing),
        apps=(workflows.chain,),
        start=("leave", 1),
        families="limit,crash",
    ),
    Planted(
        "scan-republishes-for-ever",
        "the recovery scan publishes again what is not taken yet, and looks at once whether it is",
        law="L4",
        faults=1,
        protocol=Protocol(scan=_ScansForEver),
        apps=(workflows.chain,),
        start=("leave", 1),
        families="loss",
        workers=1,
    ),
)
