"""What is measured of one system: the worker that runs, the work it is given, and what that took.

What must live here: each workload, once for all systems. What must never: a system's name.
"""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct

from .machine import Servers, cpu_s
from .systems import DONE, System

START_S = 60.0
LONGEST_S = 300.0


class Sizes(Struct, frozen=True):
    """How much work a round gives to each system."""

    chains: tuple[int, int] = (100, 50)
    forks: tuple[int, int] = (50, 20)
    wide: tuple[int, ...] = (1_000, 5_000)
    pings: int = 200


SMALL = Sizes(chains=(5, 4), forks=(2, 5), wide=(20,), pings=5)


class Usage(Struct, frozen=True):
    """CPU seconds of each, up to now."""

    worker: float
    rabbitmq: float
    redis: float


class Measure(Struct, frozen=True):
    name: str
    value: float
    unit: str


class Bench:
    """A worker of one system that has shown that it works, and what is measured of it."""

    def __init__(self, system: System, worker: subprocess.Popen[bytes], servers: Servers, db: Any) -> None:
        self._system = system
        self._worker = worker
        self._servers = servers
        self._db = db
        system.ping()
        self._wait(1, START_S)  # imports, queues, scripts, threads
        self._rest()

    def measures(self, sizes: Sizes, deadline: float) -> Iterator[Measure]:
        """As many as there is time for, at least the first of them."""
        yield from self._chains(*sizes.chains)
        if time.monotonic() < deadline:
            yield from self._pings(sizes.pings)
        if self._system.forks:
            if time.monotonic() < deadline:
                yield from self._forks(*sizes.forks)
            for width in sizes.wide:
                if time.monotonic() < deadline:
                    yield from self._wide(width)

    def _chains(self, runs: int, steps: int) -> Iterator[Measure]:
        name = f"chains {runs} x {steps}"
        took, used = self._timed(runs, lambda: self._system.chains(runs, steps))
        yield Measure(name, runs * steps / took, "steps/s")
        for part in Usage.__struct_fields__:
            yield Measure(f"{name}: CPU, {part}", getattr(used, part) / (runs * steps) * 1e6, "us/step")
        yield Measure(f"{name}: CPU, all", _all(used) / (runs * steps) * 1e6, "us/step")
        yield from self._left(name, runs)

    def _forks(self, runs: int, width: int) -> Iterator[Measure]:
        name, tasks = f"forks {runs} x (1 + {width} + 1)", runs * (width + 2)
        took, used = self._timed(runs, lambda: self._system.fork(runs, width))
        yield Measure(name, tasks / took, "tasks/s")
        yield Measure(f"{name}: CPU, all", _all(used) / tasks * 1e6, "us/task")
        yield from self._left(name, runs)

    def _wide(self, width: int) -> Iterator[Measure]:
        name = f"one join of {width:,}"
        took, used = self._timed(1, lambda: self._system.fork(1, width))
        yield Measure(name, took, "s")
        yield Measure(f"{name}: CPU, all", _all(used) / (width + 2) * 1e6, "us/task")

    def _pings(self, count: int) -> Iterator[Measure]:
        found: list[float] = []
        for _ in range(count):
            self._system.ping()
            found += self._wait(1, START_S)
            time.sleep(0.005)  # what comes after the task is to be over, too
        found.sort()
        yield Measure("publish to start, median", statistics.median(found) * 1e3, "ms")
        yield Measure("publish to start, 95 of 100", found[int(len(found) * 0.95)] * 1e3, "ms")

    def _timed(self, runs: int, begin: Callable[[], None]) -> tuple[float, Usage]:
        """Seconds from the first publish to the last task's begin, and the CPU used until all was quiet."""
        self._db.flushall()
        before, begun = self._usage(), time.perf_counter()
        begin()
        self._wait(runs, LONGEST_S)
        took = time.perf_counter() - begun
        self._rest()
        after = self._usage()
        return took, Usage(*[getattr(after, each) - getattr(before, each) for each in Usage.__struct_fields__])

    def _left(self, name: str, runs: int) -> Iterator[Measure]:
        keys = list(self._db.scan_iter(count=1_000))
        with self._db.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.memory_usage(key, samples=0)
            sizes = pipe.execute()
        yield Measure(f"{name}: left in Redis", len(keys) / runs, "keys/run")
        yield Measure(f"{name}: left in Redis", sum(filter(None, sizes)) / runs, "bytes/run")

    def _usage(self) -> Usage:
        return Usage(*map(cpu_s, (self._worker.pid, self._servers.rabbitmq, self._servers.redis)))

    def _rest(self) -> None:
        """Until the worker does nothing but wait."""
        deadline = time.monotonic() + START_S
        busy = True
        while busy and time.monotonic() < deadline:
            before = cpu_s(self._worker.pid)
            time.sleep(0.3)
            busy = cpu_s(self._worker.pid) - before > 0.02

    def _wait(self, runs: int, seconds: float) -> list[float]:
        found: list[float] = []
        deadline = time.monotonic() + seconds
        while len(found) < runs:
            item = self._db.blpop([DONE], timeout=1)
            if item is not None:
                found.append(float(item[1]))
            elif self._worker.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{len(found)} of {runs} runs have ended; the worker {self._state()}")
        return found

    def _state(self) -> str:
        code = self._worker.poll()
        return "still runs" if code is None else f"has ended with code {code}"


def _all(used: Usage) -> float:
    return used.worker + used.rabbitmq + used.redis
