"""The arms on which the store's contract is tried: memory, an imitation of Redis, and Redis.

Time is the only thing that differs: the memory store has a clock that a test sets forward, Redis has its own, so there
a test waits. Keep the TTLs of tests short.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import fakeredis
import redis

from pwf_runtime.core.txn import Compare, Op, Scan, Txn, TxnReply
from pwf_runtime.store.base import Store
from pwf_runtime.store.memory import MemoryStore
from pwf_runtime.store.redis import RedisStore

RUN = "user-42"
TIMEOUT_S = 60.0  # what stands for many operations is one transaction, and the machine may be busy


class SettableClock:
    def __init__(self) -> None:
        self.ms = 1_000_000

    def now_ms(self) -> int:
        return self.ms


@dataclass
class Arm:
    name: str
    store: Store
    other: Store
    """The same data seen by another client."""
    advance: Callable[[int], None]
    """Let this many milliseconds go by on the store's clock."""
    expires: Callable[[], bool]
    """Whether the fields of ``RUN`` have an expiry (asked behind the contract's back)."""
    clear: Callable[[], None]

    def do(self, *then: Op, compare: tuple[Compare, ...] = (), otherwise: tuple[Op, ...] = ()) -> TxnReply:
        """One transaction on ``RUN``."""
        return self.store.txns([Txn("test", RUN, compare, then, otherwise)])[0]

    def get(self, *then: Op) -> Any:
        """The reply of the last operation."""
        return self.do(*then).replies[-1]

    def fields(self) -> dict[str, bytes]:
        return everything(self.store)


def everything(store: Store, run_id: str = RUN, limit: int = 1000) -> dict[str, bytes]:
    """All fields of a run, by as many scans as it takes."""
    cursor, fields = 0, {}
    while True:
        cursor, some = store.txns([Txn("scan", run_id, then=(Scan(cursor, limit),))])[0].replies[0]
        fields.update(some)
        if cursor == 0:
            return fields


def memory() -> Iterator[Arm]:
    clock = SettableClock()
    store = MemoryStore(clock)

    def advance(ms: int) -> None:
        clock.ms += ms

    def expires() -> bool:
        return RUN in store.runs and store.runs[RUN].expires_ms is not None

    def clear() -> None:
        store.runs.clear()
        store.indexes.clear()

    yield Arm("memory", store, store, advance, expires, clear)


def imitation() -> Iterator[Arm]:
    server = fakeredis.FakeServer()
    yield from _on_redis("fakeredis", lambda: fakeredis.FakeRedis(server=server), RedisStore.from_client)


def real(url: str) -> Iterator[Arm]:
    yield from _on_redis("redis", lambda: redis.Redis.from_url(url), lambda _: RedisStore(url, timeout=TIMEOUT_S))


def _on_redis(name: str, client: Callable[[], Any], store: Callable[[Any], RedisStore]) -> Iterator[Arm]:
    eye = client()
    one, other = store(client()), store(client())
    yield Arm(
        name=name,
        store=one,
        other=other,
        advance=lambda ms: time.sleep((ms + 2) / 1000),  # a key is gone in the millisecond after its last
        expires=lambda: eye.pttl(f"pwf:{{{RUN}}}") > 0,
        clear=lambda: eye.flushall(),
    )
    for each in (one, other):
        each.close()
    eye.close()
