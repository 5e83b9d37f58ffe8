"""The simulated broker: durable queues, and unacked deliveries that come back.

Modelled on RabbitMQ: what is unacked when a channel goes returns with ``redelivered`` set; a publish to a queue that
does not exist is confirmed but returned; an ack on a channel that is gone does nothing. *Where* it returns to is what
the two types of queue differ in (see ``faults.Returns``). That RabbitMQ does the same is the business of
``tests/contract/test_broker_agreement.py``; which differences that found is told in ``docs/fidelity.md``.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from typing import NamedTuple

from pwf_runtime.transport.base import Confirmed, Delivery, Lost, Publication, Sink, TransportEvent

from ..faults import PARTLY, UNCONFIRMED, Returns


class Queued(NamedTuple):
    """A body in a queue. ``place`` says when it was published; ``since``: the step it came."""

    place: int
    since: int
    body: bytes
    redelivered: bool = False


class Broker:
    """Queues and what is unacked, for all channels of the world. ``step`` is the world's, for the default order."""

    def __init__(self, queues: Sequence[str], returns: Returns = "first") -> None:
        self.returns = returns
        self.queues: dict[str, list[Queued]] = {queue: [] for queue in queues}
        self.unacked: dict[int, dict[int, tuple[str, Queued]]] = {}
        self._places = 0
        self._channels = 0

    def copy(self) -> Broker:
        new = Broker((), self.returns)
        new.queues = {queue: list(queued) for queue, queued in self.queues.items()}
        new.unacked = {channel: dict(unacked) for channel, unacked in self.unacked.items()}
        new._places, new._channels = self._places, self._channels
        return new

    def open_channel(self) -> int:
        self._channels += 1
        self.unacked[self._channels] = {}
        return self._channels

    def close_channel(self, channel: int, step: int) -> None:
        """Its unacked deliveries go back, in the order in which they were handed over."""
        for queue, queued in self.unacked.pop(channel, {}).values():
            again = Queued(queued.place, step, queued.body, redelivered=True)
            if self.returns == "place":
                insort(self.queues[queue], again)
            else:
                self.queues[queue].insert(self.returned(queue), again)

    def returned(self, queue: str) -> int:
        """How many at the head of a queue have been handed over before."""
        for number, queued in enumerate(self.queues[queue]):
            if not queued.redelivered:
                return number
        return len(self.queues[queue])

    def publish(self, queue: str, body: bytes, step: int) -> bool:
        """Whether a queue took it."""
        if queue not in self.queues:
            return False
        self._places += 1
        self.queues[queue].append(Queued(self._places, step, body))
        return True

    def deliver(self, queue: str, channel: int, *, keep_copy: bool = False) -> Delivery:
        """Hand over the head of the queue. ``keep_copy``: and leave a copy of it at the end."""
        queued = self.queues[queue].pop(0)
        self.unacked[channel][queued.place] = (queue, queued)
        if keep_copy:
            self.publish(queue, queued.body, queued.since)
        return Delivery(queue, queued.body, channel, queued.place, queued.redelivered)

    def ack(self, delivery: Delivery) -> None:
        """Forget the delivery, if its channel is still the one it came on."""
        self.unacked.get(delivery.channel, {}).pop(delivery.tag, None)

    def is_empty(self) -> bool:
        return not any(self.queues.values()) and not any(self.unacked.values())


class SimTransport:
    """The broker as a driver sees it. Confirms come at once, into ``heard``; faults are the world's business.

    ``refuses``: the mode of fault that strikes the next publishes, once.
    """

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.step = 0
        self.heard: list[TransportEvent] = []
        self.refuses = ""

    def publish(self, publications: Sequence[Publication]) -> None:
        if self.refuses:
            return self._refuse(publications)
        for publication in publications:
            routed = self.broker.publish(publication.queue, publication.body, self.step)
            self.heard.append(Confirmed(publication.ticket, returned=not routed))
        return None

    def _refuse(self, publications: Sequence[Publication]) -> None:
        mode, self.refuses = self.refuses, ""
        if mode == PARTLY:  # what is said of the last comes first
            *refused, taken = publications
            self.publish([taken])
            self.heard += [Lost(publication.ticket) for publication in refused]
            return
        if mode == UNCONFIRMED:
            for publication in publications:
                self.broker.publish(publication.queue, publication.body, self.step)
        self.heard += [Lost(publication.ticket) for publication in publications]

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            self.broker.ack(delivery)

    def start(self, sink: Sink, consume: Sequence[str] = (), prefetch: int = 64) -> None:
        raise NotImplementedError("the world delivers by itself")

    def stop_consuming(self) -> None:
        raise NotImplementedError("the world delivers by itself")

    def close(self, timeout: float = 5.0) -> None:
        raise NotImplementedError("the world closes channels by itself")
