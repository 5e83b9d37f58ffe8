"""The workloads on Dramatiq: a pipeline, and a group with a completion callback, which Redis counts down."""

from __future__ import annotations

import time
from typing import ClassVar

import dramatiq
import redis
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.middleware import GroupCallbacks
from dramatiq.rate_limits.backends import RedisBackend

from . import PAYLOAD, done, urls

AMQP, REDIS = urls()

QUEUE = "dramatiq-peers"
broker = RabbitmqBroker(url=AMQP, confirm_delivery=True)
broker.add_middleware(GroupCallbacks(RedisBackend(client=redis.Redis.from_url(REDIS))))
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name=QUEUE)
def step(data: str) -> str:
    return data


@dramatiq.actor(queue_name=QUEUE)
def last(data: str) -> None:
    done()


@dramatiq.actor(queue_name=QUEUE)
def spread(width: int) -> None:
    parts = dramatiq.group([part.message(PAYLOAD) for _ in range(width)])
    parts.add_completion_callback(gather.message())
    parts.run()


@dramatiq.actor(queue_name=QUEUE)
def part(data: str) -> None:
    """Its end is all that the group waits for."""


@dramatiq.actor(queue_name=QUEUE)
def gather() -> None:
    done()


@dramatiq.actor(queue_name=QUEUE)
def ping(sent: float) -> None:
    done(sent)


class System:
    settings: ClassVar[str] = "classic queue, 1 thread, prefetch 2; no results, a counter per group in Redis"
    packages: ClassVar[tuple[str, ...]] = ("dramatiq", "pika", "redis")
    command: ClassVar[list[str]] = ["dramatiq", __name__, "-p", "1", "-t", "1", "--skip-logging"]
    forks: ClassVar[bool] = True

    def chains(self, runs: int, steps: int) -> None:
        for _ in range(runs):
            messages = [step.message(PAYLOAD), *[step.message() for _ in range(steps - 2)], last.message()]
            dramatiq.pipeline(messages).run()

    def fork(self, runs: int, width: int) -> None:
        for _ in range(runs):
            spread.send(width)

    def ping(self) -> None:
        ping.send(time.time())

    def close(self) -> None:
        broker.close()


class FourThreads(System):
    """Chains take less with more threads, joins more: so both are measured."""

    settings: ClassVar[str] = System.settings.replace("1 thread, prefetch 2", "4 threads, prefetch 8")
    command: ClassVar[list[str]] = ["dramatiq", __name__, "-p", "1", "-t", "4", "--skip-logging"]
