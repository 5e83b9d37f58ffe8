"""The workloads of ``benchmarks.peers``, one system to a module, each as its own documentation would write them.

A module offers ``System``: what it is, how its worker is started, and how work is given to it. It is loaded by the
benchmark and by the worker that the benchmark starts; ``urls`` tells both where the servers are.
"""

from __future__ import annotations

import os
import time
from functools import cache
from typing import ClassVar, Protocol

import redis

DONE = "bench:done"
PAYLOAD = "x" * 150


class System(Protocol):
    """Gives work to one worker process; that of each run's last task calls ``done``."""

    settings: ClassVar[str]
    """What it is set to beyond what all are, and what it keeps in Redis."""
    packages: ClassVar[tuple[str, ...]]
    """Whose versions matter."""
    command: ClassVar[list[str]]
    """Starts the worker: a module and its arguments."""
    forks: ClassVar[bool]
    """Whether it has joins."""

    def chains(self, runs: int, steps: int) -> None:
        """Begin so many runs, each one call after the other."""
        ...

    def fork(self, runs: int, width: int) -> None:
        """Begin so many runs: a task that calls ``width`` others, and one behind them all."""
        ...

    def ping(self) -> None:
        """Begin a run of one task, which gets the time, and with it calls ``done``."""
        ...

    def close(self) -> None: ...


def urls() -> tuple[str, str]:
    """Of RabbitMQ and of Redis."""
    return os.environ["PWF_AMQP_URL"], os.environ["PWF_REDIS_URL"]


@cache
def _redis() -> redis.Redis:
    return redis.Redis.from_url(urls()[1])


def done(sent: float = 0.0) -> None:
    """A run's last task has begun. What ``ping`` sent comes back as the seconds that it took to get here."""
    begun = time.time()
    _redis().rpush(DONE, begun - sent)
