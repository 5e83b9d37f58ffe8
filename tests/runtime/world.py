"""A worker, its client, a store and a broker in this process, for the tests of this folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pwf_runtime import Workflow
from pwf_runtime.client import Client
from pwf_runtime.clock import Clock, SystemClock
from pwf_runtime.config import Settings
from pwf_runtime.core.txn import Txn, TxnReply
from pwf_runtime.errors import StoreUnavailable
from pwf_runtime.store.memory import MemoryStore
from pwf_runtime.transport.memory import MemoryBroker, _Queue
from pwf_runtime.worker import Worker

WAIT_S = 60.0


class WorldClock:
    """The clock of a world: the machine's, and ahead of it by what a test says; or standing, until a test says more."""

    def __init__(self) -> None:
        self.ahead_ms = 0
        self._stands_at_ms: int | None = None

    def now_ms(self) -> int:
        began = SystemClock().now_ms() if self._stands_at_ms is None else self._stands_at_ms
        return began + self.ahead_ms

    def stand(self) -> None:
        """From now on time goes by with ``ahead_ms`` alone."""
        self._stands_at_ms = SystemClock().now_ms()


class FlakyStore(MemoryStore):
    """Away while ``away`` is set; ``poison``, if any, makes each batch with a transaction of that run raise."""

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock or SystemClock())
        self.away = False
        self.refusals = 0
        self.poison = ""

    def txns(self, txns: Sequence[Txn]) -> list[TxnReply]:
        self._check()
        if any(txn.run_id == self.poison for txn in txns):
            raise ValueError(f"run {self.poison} holds no number that can be added to")
        return super().txns(txns)

    def index_add(self, index: str, entries: Sequence[tuple[bytes, int]]) -> None:
        self._check()
        super().index_add(index, entries)

    def index_read(self, index: str, upto: int, limit: int) -> list[tuple[bytes, int]]:
        self._check()
        return super().index_read(index, upto, limit)

    def index_remove(self, index: str, members: Sequence[bytes]) -> None:
        self._check()
        super().index_remove(index, members)

    def _check(self) -> None:
        if self.away:
            self.refusals += 1
            raise StoreUnavailable("Redis at nowhere: connection refused")


class World:
    """``client`` has a courier of its own; workers are started with ``work``. All read ``clock``, the store too."""

    def __init__(self, apps: Sequence[Workflow], settings: dict[str, Any]) -> None:
        self.apps = apps
        self.settings = Settings(**{"timeout": WAIT_S, **settings})
        self.clock = WorldClock()
        self.store = FlakyStore(self.clock)
        self.broker = MemoryBroker()
        self.workers: list[Worker] = []
        self.client = Client(apps, self.store, self.broker.transport(), self.settings, clock=self.clock)

    def work(self, apps: Sequence[Workflow] | None = None, **options: Any) -> Worker:
        settings = Settings(**{**{f: getattr(self.settings, f) for f in Settings.__struct_fields__}, **options})
        worker = Worker(apps or self.apps, self.store, self.broker.transport(), settings, clock=self.clock)
        worker.start(WAIT_S)
        self.workers.append(worker)
        return worker

    def declare(self, queue: str) -> None:
        """Make a queue that nobody consumes."""
        self.broker._queues.setdefault(queue, _Queue())

    def send(self, queue: str, body: bytes) -> None:
        self.client._courier.publish([(queue, body)])

    def messages(self) -> int:
        """In all queues, handed over or not."""
        queues = self.broker._queues.values()
        return sum(len(queue.ready) + sum(len(each._unacked) for each in queue.consumers) for queue in queues)

    def lose_channels(self, queue: str) -> None:
        """As a broken connection does: all deliveries come back, to whomever, and acks for the old ones are void."""
        with self.broker._lock:
            for consumer in list(self.broker._queues[queue].consumers):
                consumer._channel += 1_000
                consumer._give_back()

    def close(self) -> None:
        self.store.away, self.store.poison = False, ""
        for worker in self.workers:
            worker.stop(grace=0)
        self.client.close()


@contextmanager
def world(*apps: Workflow, work: bool = True, **settings: Any) -> Iterator[World]:
    made = World(apps, settings)
    try:
        if work:
            made.work()
        yield made
    finally:
        made.close()


def eventually(check: Callable[[], Any], timeout: float = WAIT_S) -> Any:
    """What ``check`` returns, once it is true."""
    deadline = time.monotonic() + timeout
    while not (found := check()):
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.005)
    return found
