"""What does it cost to wait for a replica of Redis?

``python -m benchmarks.replicas [--seconds N]``

The chains of ``benchmarks.runtime``, on a Redis with a replica on the same machine: with workers that do not wait for
it and workers that do, in turn, so that whatever else the machine does meets both.
"""

from __future__ import annotations

import argparse
import statistics
import time

from tests.servers.redis import RedisServer

from .machine import described, servers
from .runtime import CHAINS, LENGTH, PADDING, bench

ASKED: dict[str, list[str]] = {"not waited for": [], "waited for": ["--wait-replicas", "1"]}
CHAIN = {"left": LENGTH, "padding": PADDING}


def measure(environ: dict[str, str], options: list[str]) -> dict[str, float]:
    with bench(environ, options) as each:
        each.run("step", CHAIN, 20)
        before = each.cpu_s()
        seconds = each.run("step", CHAIN, CHAINS)
        steps = CHAINS * LENGTH
        cpu = (each.cpu_s() - before) / steps * 1e6
        latencies = each.latencies_ms(1.0)
    return {"steps/s": steps / seconds, "worker CPU, us per step": cpu, "start, ms": statistics.median(latencies)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replicas", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="to measure for (default: 60)")
    end = time.monotonic() + parser.parse_args().seconds
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ASKED}
    with servers() as started:
        replica = RedisServer("--replicaof", "127.0.0.1", started.environ["PWF_REDIS_URL"].split(":")[-1].split("/")[0])
        replica.start()
        try:
            while time.monotonic() < end or not all(found.values()):
                for name, options in ASKED.items():
                    found[name].append(measure(started.environ, options))
        finally:
            replica.stop()
    print(f"{described()}; median of {len(found['waited for'])} rounds in turn")
    for what in found["waited for"][0]:
        without, with_ = (statistics.median(each[what] for each in found[name]) for name in ASKED)
        print(f"{what:<26}{without:>10,.1f} not waited for{with_:>10,.1f} waited for   x {with_ / without:.2f}")


if __name__ == "__main__":
    main()
