"""The workloads on Celery: a chain, and a chord of a group. RabbitMQ is its broker, Redis keeps its results."""

from __future__ import annotations

import time
from typing import Any, ClassVar

from celery import Celery, chain, chord

from . import PAYLOAD, done, urls

AMQP, REDIS = urls()

app = Celery("peers", broker=AMQP, backend=REDIS)
app.conf.update(
    task_default_queue="celery-peers",
    task_acks_late=True,
    broker_transport_options={"confirm_publish": True},
    broker_connection_retry_on_startup=True,
    result_expires=86_400,
    worker_prefetch_multiplier=64,
)


@app.task
def step(data: str) -> str:
    return data


@app.task
def last(data: str) -> None:
    done()


@app.task
def spread(width: int) -> None:
    chord([part.s(PAYLOAD) for _ in range(width)], gather.s()).apply_async()


@app.task
def part(data: str) -> None:
    """Its end is all that the chord waits for."""


@app.task
def gather(results: list[Any]) -> None:
    done()


@app.task
def ping(sent: float) -> None:
    done(sent)


class System:
    settings: ClassVar[str] = "classic queue, pool solo, prefetch 64; each call's result in Redis for a day"
    packages: ClassVar[tuple[str, ...]] = ("celery", "kombu", "amqp", "redis")
    command: ClassVar[list[str]] = [
        *("celery", "-A", __name__, "worker", "-P", "solo", "-c", "1", "-l", "error"),
        *("--without-gossip", "--without-mingle"),
    ]
    forks: ClassVar[bool] = True

    def chains(self, runs: int, steps: int) -> None:
        for _ in range(runs):
            chain(step.s(PAYLOAD), *[step.s() for _ in range(steps - 2)], last.s()).apply_async()

    def fork(self, runs: int, width: int) -> None:
        for _ in range(runs):
            spread.delay(width)

    def ping(self) -> None:
        ping.delay(time.time())

    def close(self) -> None:
        app.close()
