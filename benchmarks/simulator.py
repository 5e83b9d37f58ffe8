"""How fast is the simulator? ``python -m benchmarks.simulator [--json] [--seconds N]``

One process, on the production core, driver and memory store. The workflow is a fork of three and its join, with two
workers (``pwsim.planted.workflows.fan``). ``--seconds`` bounds each row, times its workers and crashes where all orders
are tried. Rates are per second of CPU of this process, so that what else the machine does counts less; ``ratio_to``
compares rows of this run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pwsim import faults
from pwsim.explore import exhaustive, random
from pwsim.explore import faults as every_fault
from pwsim.explore.search import search
from pwsim.models.two_phase_commit import TwoPhaseCommit
from pwsim.planted import PLANTED, convict
from pwsim.planted.workflows import fan
from pwsim.program import Program
from pwsim.runner import Result, play
from pwsim.schedule import Schedule
from pwsim.shrink import shrink

Row = dict[str, Any]
CRASHES = faults.families("crash")
DEFAULT = faults.families(None)


def program(workers: int, modes: frozenset[str]) -> Program:
    """The workflow that is measured, prepared for faults of these modes."""
    made = Program([fan], [("begin", 3)], workers=workers)
    made.expects(modes)
    made.reference = play(made, Schedule()).world.committed_graph()
    return made


def until(seconds: float, results: Iterable[Result]) -> tuple[int, int, float, bool]:
    """Results and steps taken, seconds of CPU, and whether that was all of them."""
    began, count, steps = time.process_time(), 0, 0
    for result in results:
        assert result.violation is None, result.violation
        count += 1
        steps += result.steps
        if time.process_time() - began > seconds:
            return count, steps, time.process_time() - began, False
    return count, steps, time.process_time() - began, True


def row(name: str, value: float, unit: str, **ratio_to: float) -> Row:
    return {"name": name, "value": round(value, 3), "unit": unit, "ratio_to": ratio_to}


def random_rows(seconds: float) -> Iterator[Row]:
    made = program(2, DEFAULT)
    count, steps, took, _ = until(seconds, random.explore(made, DEFAULT, 3, seed=1))
    yield row("random schedules, up to 3 faults", count / took, "schedules/s")
    yield row("random schedules, up to 3 faults: steps", steps / took, "steps/s")


def fault_rows(seconds: float) -> Iterator[Row]:
    made = program(2, DEFAULT)
    count, _, took, done = until(seconds, every_fault.explore(made, DEFAULT, DEFAULT, 1))
    yield row(f"all single faults ({count:,} schedules{'' if done else ', cut off'})", took, "s")
    core = faults.core(DEFAULT)
    count, steps, took, done = until(seconds, every_fault.explore(made, core, core, 2))
    yield row(f"all pairs of core faults ({count:,} schedules{'' if done else ', cut off'})", took, "s")
    yield row("all pairs of core faults: steps", steps / took, "steps/s")


def exhaustive_rows(seconds: float) -> Iterator[Row]:
    for workers, crashes in ((2, 1), (2, 2), (3, 1), (3, 2)):
        made = program(workers, CRASHES)
        count, _, took, done = until(workers * crashes * seconds, exhaustive.explore(made, CRASHES, crashes))
        name = f"exhaustive, {workers} workers, up to {crashes} crashes ({count:,} states{'' if done else ', cut off'})"
        yield row(name, took, "s")
        yield row(f"exhaustive, {workers} workers, up to {crashes} crashes: rate", count / took, "states/s")


def model_rows(_seconds: float) -> Iterator[Row]:
    model = TwoPhaseCommit(7)
    began = time.process_time()
    count = sum(1 for _ in search(model.initial, model.successors, lambda state: state))
    took = time.process_time() - began
    yield row(f"two-phase commit, 7 managers ({count:,} states)", count / took, "states/s")


def planted_rows(seconds: float) -> Iterator[Row]:
    began, shrinking = time.process_time(), []
    convicted = [convict(planted) for planted in PLANTED.values()]
    took = time.process_time() - began
    right = sum(each.convicted_by == each.law for each in convicted)
    yield row(f"planted bugs and sound variants, all ({right} of {len(convicted)} as named)", took, "s")
    for planted in PLANTED.values():
        if planted.law and planted.faults and sum(shrinking) < seconds:
            shrinking += shrink_times(planted.program(), planted.law)
    if shrinking:
        yield row(f"shrinking, median of {len(shrinking)}", statistics.median(shrinking), "s")


def shrink_times(made: Program, law: str) -> list[float]:
    """Seconds to shrink the first random schedules of one planted bug that break its law."""
    made.expects(DEFAULT)
    times: list[float] = []
    for number, result in enumerate(random.explore(made, DEFAULT, 4, seed=3)):
        if result.violation is not None and result.violation.law == law:
            began = time.process_time()
            shrink(made, result)
            times.append(time.process_time() - began)
        if number >= 200 or len(times) >= 3:
            return times
    return times


def replay_rows(_seconds: float) -> Iterator[Row]:
    began = time.process_time()
    for _ in range(20):
        play(Program([fan], [("begin", 3)]), Schedule())
    yield row("replay of one scenario", (time.process_time() - began) / 20 * 1000, "ms")


PARTS: tuple[Callable[[float], Iterator[Row]], ...] = (
    random_rows,
    fault_rows,
    exhaustive_rows,
    model_rows,
    planted_rows,
    replay_rows,
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulator", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=20.0, help="the longest that each row may take (default: 20)")
    chosen = parser.parse_args()
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    rows: list[Row] = []
    if not chosen.json:
        print(f"{machine}; one process, rates per second of its CPU")
    for part in PARTS:
        for each in part(chosen.seconds):
            rows.append(each)
            if not chosen.json:
                print(f"{each['name']:<75}{each['value']:>14,.3f} {each['unit']}", flush=True)
    if chosen.json:
        print(json.dumps({"machine": machine, "rows": rows}))


if __name__ == "__main__":
    main()
