"""The workloads on this project's own runtime."""

from __future__ import annotations

import time
from typing import Any, ClassVar

from pwf_runtime import Workflow, call, fork

from . import PAYLOAD, done, urls

AMQP, REDIS = urls()

app = Workflow("peers")


@app.task
def step(data: dict[str, Any]) -> Any:
    left = data["left"] - 1
    return call(step if left > 1 else last, {"left": left, "padding": data["padding"]})


@app.task
def last() -> None:
    done()


@app.task
def spread(data: int) -> Any:
    return fork([call(part, PAYLOAD) for _ in range(data)], then=call(gather))


@app.task
def part(data: str) -> None:
    """Its end is all that the join waits for."""


@app.task
def gather() -> None:
    done()


@app.task
def ping(data: float) -> None:
    done(data)


class System:
    settings: ClassVar[str] = "classic queue, 8 threads, prefetch 64; state of the run in Redis, its end for a day"
    packages: ClassVar[tuple[str, ...]] = ("pwf", "pika", "redis")
    command: ClassVar[list[str]] = [
        *("pwf_runtime", "worker", f"{__name__}:app", "--log-level", "warning"),
        *("--queue-type", "classic"),
    ]
    forks: ClassVar[bool] = True

    def __init__(self) -> None:
        self._client = app.connect(AMQP, REDIS, settings={"timeout": 60})

    def chains(self, runs: int, steps: int) -> None:
        self._begin("step", {"left": steps, "padding": PAYLOAD}, runs)

    def fork(self, runs: int, width: int) -> None:
        self._begin("spread", width, runs)

    def ping(self) -> None:
        self._begin("ping", time.time(), 1)

    def close(self) -> None:
        self._client.close()

    def _begin(self, task: str, data: Any, runs: int) -> None:
        self._client.publish_many([(task, data, None)] * runs)
