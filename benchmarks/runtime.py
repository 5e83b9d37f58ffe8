"""How fast is a worker on real servers, and what does a step cost?

``python -m benchmarks.runtime [--json] [--seconds N]``

Starts its own RabbitMQ and Redis, both on this machine, so worker and servers share its cores. Durable quorum queue,
persistent messages, publisher confirms, acks after the work, Redis with its append-only file (fsync each second).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import redis

from pwf_runtime.client import Client, connect
from pwf_runtime.config import Settings

from .machine import ROOT, cpu_s, described, servers

PADDING = "x" * 150
CHAINS, LENGTH = 200, 50
FORKS, WIDTH = 200, 20
BASE = "chains 200 x 50"
WORKERS: dict[str, list[str]] = {
    "": [],
    ", prefetch 256": ["--prefetch", "256"],
    ", 2 processes": ["--processes", "2"],
}

Row = dict[str, Any]


class Bench:
    """A worker, a client, and what they are asked to do."""

    def __init__(self, client: Client, db: Any, worker: int) -> None:
        self.client = client
        self.db = db
        self.worker = worker

    def cpu_s(self) -> float:
        """Of the worker and its processes, up to now."""
        return cpu_s(self.worker)

    def run(self, task: str, data: Any, runs: int) -> float:
        """Seconds from the first publish to the end of the last of so many runs."""
        before = self.db.zcard("pwf:finished")
        begun = time.perf_counter()
        self.client.publish_many([(f"bench.{task}", data, None)] * runs)
        while self.db.zcard("pwf:finished") - before < runs:
            time.sleep(0.005)
        return time.perf_counter() - begun

    def latencies_ms(self, seconds: float) -> list[float]:
        """From before publish to the begin of the task, on an idle worker."""
        found: list[float] = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or len(found) < 20:
            begun = time.time()
            found.append((self.client.publish("bench.now").wait(30).result - begun) * 1000)
        return sorted(found)


@contextmanager
def bench(environ: dict[str, str], options: Sequence[str]) -> Iterator[Bench]:
    command = [
        sys.executable,
        "-m",
        "pwf_runtime",
        "worker",
        "benchmarks.flows:app",
        "--log-level",
        "warning",
        *options,
    ]
    worker = subprocess.Popen(command, cwd=ROOT, env=environ, stderr=subprocess.PIPE, text=True)
    assert worker.stderr is not None
    try:
        said = worker.stderr.readline()
        if said != "ready\n":
            raise SystemExit(f"the worker does not work: {said}{worker.stderr.read()}")
        db = redis.Redis.from_url(environ["PWF_REDIS_URL"])
        urls = environ["PWF_AMQP_URL"], environ["PWF_REDIS_URL"]
        with db, connect((), *urls, settings=Settings(timeout=60)) as client:
            yield Bench(client, db, worker.pid)
    finally:
        worker.terminate()
        worker.wait(60)
        worker.stderr.close()


def repeat(measure: Callable[[], float], seconds: float) -> float:
    """The median of as many measurements as fit, at least one."""
    found: list[float] = []
    end = time.perf_counter() + seconds
    while not found or time.perf_counter() < end:
        found.append(measure())
    return statistics.median(found)


def measure(environ: dict[str, str], seconds: float) -> list[Row]:
    rows: list[Row] = []
    share = seconds / (2 * len(WORKERS) + 1)
    for name, options in WORKERS.items():
        with bench(environ, options) as each:
            rows += throughput(each, name, share)
            if not name:
                rows += latency(each, share)
    values = {row["name"]: row["value"] for row in rows}
    for row in rows:
        for variant in WORKERS:
            if variant and row["name"].endswith(variant):
                base = row["name"].removesuffix(variant)
                row["ratio_to"] = {base: round(row["value"] / values[base], 2)}
    return rows


def throughput(each: Bench, name: str, seconds: float) -> list[Row]:
    chain = {"left": LENGTH, "padding": PADDING}
    each.run("step", chain, 20)  # imports, scripts, threads
    cpu = each.cpu_s()
    count = 0

    def chains() -> float:
        nonlocal count
        count += 1
        return CHAINS * LENGTH / each.run("step", chain, CHAINS)

    def forks() -> float:
        return FORKS * (WIDTH + 2) / each.run("fork", {"width": WIDTH, "padding": PADDING}, FORKS)

    steps_per_s = repeat(chains, seconds)
    per_step = (each.cpu_s() - cpu) / (count * CHAINS * LENGTH)
    return [
        row(f"{BASE}{name}", steps_per_s, "steps/s"),
        row(f"forks 200 x (20 + 2){name}", repeat(forks, seconds), "tasks/s"),
        row(f"worker CPU per step{name}", per_step * 1e6, "us"),
    ]


def latency(each: Bench, seconds: float) -> list[Row]:
    found = each.latencies_ms(min(seconds, 5.0))
    return [
        row("publish to start, median", statistics.median(found), "ms"),
        row("publish to start, 99 of 100", found[int(len(found) * 0.99)], "ms"),
    ]


def row(name: str, value: float, unit: str) -> Row:
    return {"name": name, "value": round(value, 2 if value < 100 else 0), "unit": unit, "ratio_to": {}}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.runtime", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="to measure for, beside starting servers (default: 60)"
    )
    chosen = parser.parse_args()
    machine = described()
    with servers() as started:
        rows = measure(started.environ, chosen.seconds)
    settings = "quorum queue, confirms, acks after the work, Redis AOF everysec, servers on the same machine"
    if chosen.json:
        print(json.dumps({"machine": machine, "settings": settings, "rows": rows}))
        return
    print(f"{machine}; {settings}")
    for each in rows:
        ratios = "".join(f"  x {ratio} of {name}" for name, ratio in each["ratio_to"].items())
        print(f"{each['name']:<45}{each['value']:>10,.1f} {each['unit']}{ratios}")


if __name__ == "__main__":
    main()
