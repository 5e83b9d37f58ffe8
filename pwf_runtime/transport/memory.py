"""A broker in this process: for ``connect("memory://")``, and the plain reading of the contract for tests.

Rules: one lock, the broker's, guards all state; nothing is ever called while it is held. Each transport has one thread
that hands events to its sink, because a sink called from within ``publish`` would meet the caller's own locks.
Nothing survives the process, so nothing here is durable; queues live as long as their ``MemoryBroker``.
"""

from __future__ import annotations

import heapq
import logging
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import count
from queue import SimpleQueue

from ..errors import UsageError
from .base import Confirmed, Delivery, Lost, Publication, Sink, TransportEvent, Up

_log = logging.getLogger(__name__)
_channels = count(1)


class _Queue:
    """Bodies in order of publication, and the transports that take turns in consuming them."""

    def __init__(self) -> None:
        self.ready: list[tuple[int, bytes, bool]] = []  # a heap: a body that comes back finds its old place
        self.consumers: list[MemoryTransport] = []

    def deal(self, name: str) -> None:
        """Hand over what the consumers have room for, one to each in turn."""
        while self.ready:
            free = next((each for each in self.consumers if each._has_room(name)), None)
            if free is None:
                return
            free._take(name, *heapq.heappop(self.ready))
            self.consumers.remove(free)
            self.consumers.append(free)


class MemoryBroker:
    """The queues shared by every transport made from it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queues: dict[str, _Queue] = {}
        self._order = count(1)

    def transport(self) -> MemoryTransport:
        return MemoryTransport(self)

    def depth(self, queue: str) -> int | None:
        """How many bodies wait there, not counting those handed over; ``None`` if there is no such queue."""
        with self._lock:
            return len(self._queues[queue].ready) if queue in self._queues else None

    def delete(self, queue: str) -> None:
        """Drop the queue with all that waits in it; its consumers get no more from it."""
        with self._lock:
            self._queues.pop(queue, None)


class MemoryTransport:
    """See ``base.Transport``. Never down, so it never says ``Down``, ``Lost`` only after ``close``."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._channel = next(_channels)
        self._tags = count(1)
        self._unacked: dict[int, tuple[str, int, bytes]] = {}  # tag -> queue, order, body
        self._load: Counter[str] = Counter()  # queue -> how many of its bodies are unacked here
        self._prefetch = 0
        self._sink: Sink | None = None
        self._closed = False
        self._outbox: SimpleQueue[list[TransportEvent] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._hand_over, name="pwf-memory", daemon=True)

    def start(self, sink: Sink, consume: Sequence[str] = (), prefetch: int = 64) -> None:
        if self._sink is not None or prefetch < 1:
            raise UsageError(f"start a transport once, with a prefetch of at least 1 (not {prefetch})")
        self._sink, self._prefetch = sink, prefetch
        self._say([Up()])
        with self._broker._lock:
            for name in consume:
                queue = self._broker._queues.setdefault(name, _Queue())
                queue.consumers.append(self)
                queue.deal(name)
        self._thread.start()

    def publish(self, publications: Sequence[Publication]) -> None:
        if self._sink is None:
            raise UsageError("start the transport before publishing: nobody would hear the answer")
        with self._broker._lock:
            closed = self._closed
            if not closed:
                self._say([self._store(each) for each in publications])
        if closed and publications:  # the thread is gone, so this one answers
            self._sink([Lost(each.ticket) for each in publications])

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        with self._broker._lock:
            mine = {each.tag: each.queue for each in deliveries if each.channel == self._channel}
            done = {tag: name for tag, name in mine.items() if self._unacked.pop(tag, None)}
            self._load.subtract(done.values())
            self._deal_again(done.values())

    def stop_consuming(self) -> None:
        with self._broker._lock:
            self._leave()

    def close(self, timeout: float = 5.0) -> None:
        with self._broker._lock:
            if not self._closed:
                self._closed = True
                self._leave()
                self._give_back()
                self._outbox.put(None)
        if self._sink is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def depth(self, queue: str) -> int | None:
        return self._broker.depth(queue)

    # The rest is called with the broker's lock held, except for the thread's own loop.

    def _store(self, publication: Publication) -> Confirmed:
        queue = self._broker._queues.get(publication.queue)
        if queue is None:
            return Confirmed(publication.ticket, returned=True)
        heapq.heappush(queue.ready, (next(self._broker._order), publication.body, False))
        queue.deal(publication.queue)
        return Confirmed(publication.ticket)

    def _has_room(self, name: str) -> bool:
        return self._load[name] < self._prefetch

    def _take(self, name: str, order: int, body: bytes, redelivered: bool) -> None:
        tag = next(self._tags)
        self._unacked[tag] = (name, order, body)
        self._load[name] += 1
        self._say([Delivery(name, body, self._channel, tag, redelivered)])

    def _leave(self) -> None:
        for queue in self._broker._queues.values():
            if self in queue.consumers:
                queue.consumers.remove(self)

    def _give_back(self) -> None:
        returned, self._unacked = self._unacked, {}
        for name, order, body in returned.values():
            if name in self._broker._queues:
                heapq.heappush(self._broker._queues[name].ready, (order, body, True))
        self._deal_again(name for name, _, _ in returned.values())

    def _deal_again(self, names: Iterable[str]) -> None:
        for name in dict.fromkeys(names):
            if name in self._broker._queues:
                self._broker._queues[name].deal(name)

    def _say(self, events: list[TransportEvent]) -> None:
        self._outbox.put(events)

    def _hand_over(self) -> None:
        events: list[TransportEvent] = []
        while (more := self._outbox.get()) is not None:
            events += more
            if self._outbox.empty():  # what came together is handed over together
                self._tell(events)
                events = []
        self._tell(events)

    def _tell(self, events: list[TransportEvent]) -> None:
        if events and self._sink is not None:
            try:
                self._sink(events)
            except Exception:
                _log.exception("the sink of a transport must not raise; %d events are lost", len(events))
