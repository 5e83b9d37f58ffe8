"""The same work on comparable systems: ``python -m benchmarks.peers [--json] [--seconds N] [--systems NAME ...]``

One worker process each, one after the other, in rounds, on the same RabbitMQ and Redis, which are started here on this
machine and share its cores with the worker. The durability is the same for all, see ``DURABILITY``; what each is set to
beyond that, and what it keeps in Redis, is printed with the numbers. The others are installed by
``pip install -e '.[bench]'``; what is not installed is skipped. How each does the work: ``benchmarks/systems``.

Compare within one call: rates vary with whatever else the machine does. The steadiest figure is the CPU that worker,
RabbitMQ and Redis use together.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from importlib import import_module, metadata
from typing import Any, TypeAlias

import redis

from .machine import ROOT, Servers, described, servers
from .workloads import SMALL, Bench, Sizes

DURABILITY = (
    "one worker process each, durable queues, persistent messages, publisher confirms, acks after the work, "
    "Redis AOF everysec, servers on the same machine"
)
OURS = "pwf"
SYSTEMS = {
    OURS: "on_pwf:System",
    "celery": "on_celery:System",
    "dramatiq": "on_dramatiq:System",
    "dramatiq-4": "on_dramatiq:FourThreads",
    "taskiq": "on_taskiq:System",
}

Found: TypeAlias = dict[tuple[str, str], dict[str, list[float]]]
"""By measure and unit, then by system: one value of each round."""


def installed(names: Sequence[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """The classes of those systems that are here, and why the others are skipped."""
    systems: dict[str, Any] = {}
    skipped: dict[str, str] = {}
    for name in names:
        module, _, made = SYSTEMS[name].partition(":")
        try:
            systems[name] = getattr(import_module(f"{__package__}.systems.{module}"), made)
        except ModuleNotFoundError as error:
            skipped[name] = f"{error.name} is not installed: pip install -e '.[bench]'"
    return systems, skipped


@contextmanager
def bench(system: Any, started: Servers) -> Iterator[Bench]:
    """A worker of this system, with what it says where it can be read if it fails."""
    with tempfile.TemporaryFile() as said:
        command = [sys.executable, "-m", *system.command]
        worker = subprocess.Popen(command, cwd=ROOT, env=started.environ, stdout=said, stderr=said)
        try:
            with redis.Redis.from_url(started.environ["PWF_REDIS_URL"]) as db, closing(system()) as asked:
                yield Bench(asked, worker, started, db)
        except RuntimeError as error:
            said.seek(0)
            raise SystemExit(f"{' '.join(command)}: {error}\n{said.read().decode(errors='replace')[-4000:]}") from error
        finally:
            _end(worker)


def _end(worker: subprocess.Popen[bytes]) -> None:
    worker.terminate()
    try:
        worker.wait(30)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()


def measure(systems: dict[str, Any], started: Servers, sizes: Sizes, seconds: float) -> Found:
    """In rounds until the time is over; at least the first workload of each system."""
    found: Found = {}
    deadline = time.monotonic() + seconds
    first = True
    while systems and (first or time.monotonic() < deadline):
        for name, system in systems.items():
            if first or time.monotonic() < deadline:
                with bench(system, started) as each:
                    for measured in each.measures(sizes, deadline):
                        values = found.setdefault((measured.name, measured.unit), {})
                        values.setdefault(name, []).append(measured.value)
        first = False
    return found


def rows(found: Found) -> list[dict[str, Any]]:
    """A row for each measure of each system: the median of its rounds, and what it is of that of the others."""
    made = []
    for (measure, unit), values in found.items():
        medians = {name: statistics.median(each) for name, each in values.items()}
        for name, value in medians.items():
            made.append(
                {
                    "name": f"{measure}: {name}",
                    "value": round(value, 2),
                    "unit": unit,
                    "rounds": len(values[name]),
                    "ratio_to": {
                        f"{measure}: {other}": round(value / against, 3)
                        for other, against in medians.items()
                        if other != name and against
                    },
                }
            )
    return made


def table(found: Found, names: Sequence[str]) -> Iterator[str]:
    """A line for each measure, a column for each system, in brackets what its figure is of ours."""
    yield f"{'':<44}" + "".join(f"{name:>20}" for name in names)
    for (measure, unit), values in found.items():
        medians = {name: statistics.median(each) for name, each in values.items()}
        cells = [_cell(medians.get(name), medians.get(OURS) if name != OURS else None) for name in names]
        yield f"{measure:<34}{unit:>10}" + "".join(f"{cell:>20}" for cell in cells)


def _cell(value: float | None, ours: float | None) -> str:
    if value is None:
        return "-"
    digits = 0 if value >= 100 else 2
    return f"{value:,.{digits}f}" + (f" ({value / ours:.2f})" if ours else "")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--seconds",
        type=float,
        default=240.0,
        help="no workload is begun later, but each system's first (default: 240)",
    )
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS), help="(default: all)")
    parser.add_argument("--small", action="store_true", help="next to no work: to see that it works")
    chosen = parser.parse_args()
    logging.getLogger("pwf").setLevel(logging.ERROR)  # it warns of a worker that is only about to be there
    machine = described()
    with servers() as started:
        os.environ.update(started.environ)
        systems, skipped = installed(chosen.systems)
        found = measure(systems, started, SMALL if chosen.small else Sizes(), chosen.seconds)
    settings = {name: f"{_versions(system)}; {system.settings}" for name, system in systems.items()}
    if chosen.json:
        about = {"machine": machine, "durability": DURABILITY, "settings": settings, "skipped": skipped}
        print(json.dumps({**about, "rows": rows(found)}))
        return
    print(f"{machine}; {DURABILITY}")
    for name, what in {**settings, **skipped}.items():
        print(f"{name}: {what}")
    print(*table(found, list(systems)), sep="\n")


def _versions(system: Any) -> str:
    return ", ".join(f"{package} {metadata.version(package)}" for package in system.packages)


if __name__ == "__main__":
    main()
