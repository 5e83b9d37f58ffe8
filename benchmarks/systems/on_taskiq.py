"""The workload on taskiq: each step kicks the next. It has no joins of its own. Redis keeps its results."""

from __future__ import annotations

import asyncio
import time
from typing import Any, ClassVar

from taskiq_aio_pika import AioPikaBroker
from taskiq_aio_pika.queue import Queue, QueueType
from taskiq_redis import RedisAsyncResultBackend

from . import PAYLOAD, done, urls

AMQP, REDIS = urls()

broker = (
    AioPikaBroker(AMQP, qos=64)
    .with_queue(Queue(name="taskiq-peers", type=QueueType.CLASSIC))
    .with_result_backend(RedisAsyncResultBackend(REDIS, result_ex_time=86_400))
)


@broker.task
async def step(left: int, data: str) -> None:
    if left > 1:
        await step.kiq(left - 1, data)
    else:
        done()


@broker.task
async def ping(sent: float) -> None:
    done(sent)


class System:
    settings: ClassVar[str] = "classic queue, prefetch 64, ack when the result is saved; each result in Redis for a day"
    packages: ClassVar[tuple[str, ...]] = ("taskiq", "taskiq-aio-pika", "taskiq-redis", "aio-pika")
    command: ClassVar[list[str]] = [
        *("taskiq", "worker", f"{__name__}:broker", "--workers", "1"),
        *("--log-level", "ERROR"),
    ]
    forks: ClassVar[bool] = False

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._do(broker.startup())

    def chains(self, runs: int, steps: int) -> None:
        self._do(self._begin(runs, steps))

    def fork(self, runs: int, width: int) -> None:
        raise NotImplementedError("taskiq has no joins")

    def ping(self) -> None:
        self._do(ping.kiq(time.time()))

    def close(self) -> None:
        self._do(broker.shutdown())
        self._loop.close()

    async def _begin(self, runs: int, steps: int) -> None:
        for _ in range(runs):
            await step.kiq(steps, PAYLOAD)

    def _do(self, work: Any) -> None:
        self._loop.run_until_complete(work)
