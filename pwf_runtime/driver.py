"""The only place where an effect meets a store or a transport.

``perform`` takes effects of many machines at once and brings each kind about in one go: store transactions as one
pipeline, publishes as one batch, acks together. What can be answered at once is returned; tasks and publishes are
answered later, by ``heard`` for what the transport says.

An effect is performed until its outcome is known. When the store cannot be reached its effects wait in the driver until
``retry``; what the transport loses, or a broker does not take, is published again. Machines never see any of that.

A broker that refuses (a full queue, an alarm) is not asked again at once: what it did not take waits for a pause that
grows, and then goes out in portions. Time arrives as an argument of ``publish_again``, so that nothing here waits.

The production worker, the client and the simulator all drive their machines through this class.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from .codec import encode_message
from .core.effects import Ack, Effect, IndexAdd, IndexRead, IndexRemove, Publish, RunTask
from .core.inputs import Acked, Damaged, Entries, Indexed, Input, Published
from .core.model import Marker, Message
from .core.txn import Txn
from .errors import RunDamaged, StoreUnavailable
from .pause import NEVER, Pause
from .store.base import Store
from .transport.base import Confirmed, Delivery, Down, Lost, Publication, Transport, TransportEvent, Up

Owner: TypeAlias = int
"""Who asked: a number that the caller chooses; answers bear it."""

Asked: TypeAlias = tuple[Owner, Effect]
Answer: TypeAlias = tuple[Owner, Input]

PORTION = 100
"""How many messages of one queue are offered at once to a broker that refused them."""


class _Publishing:
    """A ``Publish`` that is not confirmed as a whole yet."""

    __slots__ = ("left", "owner", "unroutable")

    def __init__(self, owner: Owner, left: int) -> None:
        self.owner = owner
        self.left = left
        self.unroutable: list[Message | Marker] = []


class Driver:
    """Performs effects. Not thread-safe: one thread, the caller's, does everything.

    ``run_task`` starts a task and returns; its outcome goes to the machine without passing here.
    """

    def __init__(self, store: Store, transport: Transport, run_task: Callable[[Owner, RunTask], None]) -> None:
        self.store = store
        self.transport = transport
        self.run_task = run_task
        self.deferred: list[Asked] = []
        """Store effects that wait for the store to come back."""
        self.store_error: StoreUnavailable | None = None
        """Why, if any do."""
        self._deliveries: dict[Owner, Delivery] = {}
        self._tickets = itertools.count(1)
        self._publishing: dict[int, tuple[_Publishing, Message | Marker]] = {}
        self._unsent: dict[str, deque[tuple[_Publishing, Message | Marker]]] = {}  # by queue: one may be full
        self._pause = Pause()
        self._refused_again = False
        self._is_up = True

    def holds(self, owner: Owner, delivery: Delivery) -> None:
        """What ``owner`` will ack."""
        self._deliveries[owner] = delivery

    def perform(self, asked: Iterable[Asked]) -> list[Answer]:
        """Perform effects; the answers that are there at once, in no particular order between machines."""
        to_store: list[tuple[Owner, Txn]] = []
        to_indexes: list[Asked] = []
        to_publish: list[tuple[_Publishing, Message | Marker]] = []
        to_ack: list[Owner] = []
        for owner, effect in asked:
            kind = type(effect)
            if kind is Txn:
                to_store.append((owner, effect))  # type: ignore[arg-type]
            elif kind is Publish:
                publishing = _Publishing(owner, len(effect.messages))  # type: ignore[union-attr]
                to_publish += [(publishing, message) for message in effect.messages]  # type: ignore[union-attr]
            elif kind is Ack:
                to_ack.append(owner)
            elif kind is RunTask:
                self.run_task(owner, effect)  # type: ignore[arg-type]
            else:
                to_indexes.append((owner, effect))
        answers = self._ask_store(to_store) if to_store else []
        if to_indexes:
            answers += self._ask_indexes(to_indexes)
        if to_publish:
            self._publish(to_publish)
        if to_ack:
            answers += self._ack(to_ack)
        return answers

    def retry(self) -> list[Answer]:
        """Perform the store effects that wait, once more."""
        waiting, self.deferred, self.store_error = self.deferred, [], None
        return self.perform(waiting)

    def heard(self, event: TransportEvent) -> list[Answer]:
        """What follows from something the transport said; a ``Delivery`` is not for here."""
        if isinstance(event, Confirmed):
            return self._confirmed(event)
        if isinstance(event, Lost):
            lost = self._publishing.pop(event.ticket, None)
            if lost is not None:
                self._refused_again = True
                self._unsent.setdefault(lost[1].queue, deque()).append(lost)
        elif isinstance(event, Down):
            self._is_up = False
        elif isinstance(event, Up):
            self._is_up = True
            self._pause.end()
            again, self._unsent = self._unsent, {}
            if again:
                self._publish(list(itertools.chain.from_iterable(again.values())))
        return []

    def publish_again(self, now: float) -> float:
        """Publish what the broker did not take, if its pause is over. When to ask next: ``NEVER`` if nothing waits, or
        only the connection can bring it on."""
        pause = self._pause
        if not self._is_up or (not self._unsent and not pause.runs):
            return NEVER
        if not pause.runs:
            pause.begin(now)
        elif pause.is_over(now):
            if not self._unsent:  # all of the last portion was taken
                pause.end()
                return NEVER
            if self._refused_again:
                pause.lengthen(now)
            else:
                pause.begin(now)
            self._publish(self._portion())
        else:
            return pause.at
        self._refused_again = False
        return pause.at

    def refused(self) -> dict[str, int]:
        """How many messages wait for their queue to take them."""
        return {queue: len(waiting) for queue, waiting in self._unsent.items()}

    def _portion(self) -> list[tuple[_Publishing, Message | Marker]]:
        """Some of each queue, those that have waited longest."""
        portion = []
        for queue in list(self._unsent):
            waiting = self._unsent[queue]
            portion += [waiting.popleft() for _ in range(min(PORTION, len(waiting)))]
            if not waiting:
                del self._unsent[queue]
        return portion

    # ── the transport ─────────────────────────────────────────────────────────────────────────

    def _publish(self, messages: Sequence[tuple[_Publishing, Message | Marker]]) -> None:
        publications = []
        for publishing, message in messages:
            ticket = next(self._tickets)
            self._publishing[ticket] = (publishing, message)
            publications.append(Publication(ticket, message.queue, encode_message(message)))
        self.transport.publish(publications)

    def _confirmed(self, event: Confirmed) -> list[Answer]:
        found = self._publishing.pop(event.ticket, None)
        if found is None:
            return []
        publishing, message = found
        if event.returned:
            publishing.unroutable.append(message)
        publishing.left -= 1
        if publishing.left:
            return []
        return [(publishing.owner, Published(tuple(publishing.unroutable)))]

    def _ack(self, owners: Sequence[Owner]) -> list[Answer]:
        held = [self._deliveries.pop(owner, None) for owner in owners]
        self.transport.ack([delivery for delivery in held if delivery is not None])
        return [(owner, Acked()) for owner in owners]

    # ── the store ─────────────────────────────────────────────────────────────────────────────

    def _ask_store(self, asked: Sequence[tuple[Owner, Txn]]) -> list[Answer]:
        """All in one pipeline. What gets no answer is deferred; a damaged run holds up no other."""
        replies: Sequence[Input]
        try:
            replies = self.store.txns([txn for _, txn in asked])
        except StoreUnavailable as error:
            self._defer(asked, error)
            return []
        except RunDamaged as damage:
            replies = [
                Damaged(each.run_id, each.what) if isinstance(each, RunDamaged) else each for each in damage.replies
            ]
        return [(owner, reply) for (owner, _), reply in zip(asked, replies, strict=True)]

    def _ask_indexes(self, asked: Sequence[Asked]) -> list[Answer]:
        answers: list[Answer] = []
        added: dict[str, list[tuple[bytes, int]]] = {}
        removed: dict[str, list[bytes]] = {}
        for _, effect in asked:
            if isinstance(effect, IndexAdd):
                added.setdefault(effect.index, []).extend(effect.entries)
            elif isinstance(effect, IndexRemove):
                removed.setdefault(effect.index, []).extend(effect.members)
        try:
            for index, entries in added.items():
                self.store.index_add(index, entries)
            for index, members in removed.items():
                self.store.index_remove(index, members)
            for owner, effect in asked:
                if isinstance(effect, IndexRead):
                    found = self.store.index_read(effect.index, effect.upto, effect.limit)
                    answers.append((owner, Entries(tuple(found))))
                else:
                    answers.append((owner, Indexed()))
        except StoreUnavailable as error:
            self._defer(asked, error)
            return []
        return answers

    def _defer(self, asked: Sequence[Asked], error: StoreUnavailable) -> None:
        self.deferred += asked
        self.store_error = error
