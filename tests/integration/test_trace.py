"""Workers that are killed all the time record what they do, and the pure machines accept every line of it.

Two processes share one file, as they do with ``--processes``. What is refused, and at which line, is tried in
``tests/sim/test_check.py``; here one line of a real trace is changed, to see that this trace is looked at as well.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from pwf_runtime import trace
from pwf_runtime.client import Client, RunHandle, connect
from pwf_runtime.config import Settings

from .processes import END_S, ROOT, Servers, WorkerProcess, eventually, workers
from .registrations import end_of, start_of

RUNS = 20
LEAST_KILLS = 4
ALL_S = 300.0
LEASE_S = 2.0
APPS = ("tests.integration.registrations:users", "tests.integration.registrations:documents")


def pwsim(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pwsim", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=END_S, check=False)


def caught_at_work(running: list[WorkerProcess], client: Client) -> list[RunHandle]:
    """Begin runs, and as many more as it takes until workers that stand still have claimed a call. They stand, and are
    to be killed."""
    runs = client.publish_many([("kill_users.register_user", start_of(n), f"run-{n}") for n in range(RUNS)])

    def caught() -> bool:
        _tell(running, signal.SIGSTOP)
        for each in running:
            os.waitid(os.P_PID, each.process.pid, os.WSTOPPED)
        if any(call.state == "running" for run in runs for call in client.describe(run.id).calls):
            return True
        _tell(running, signal.SIGCONT)
        number = len(runs)
        runs.append(client.publish("kill_users.register_user", start_of(number), run_id=f"run-{number}"))
        return False

    eventually(caught, ALL_S)
    return runs


def _tell(running: list[WorkerProcess], number: signal.Signals) -> None:
    for each in running:
        each.process.send_signal(number)


def kill_in_turn(running: list[WorkerProcess], client: Client) -> int:
    """Until all runs have ended, but so often at least."""
    chance = random.Random(11)
    kills, end = 0, time.monotonic() + ALL_S
    while kills < LEAST_KILLS or [run for run in client.admin.runs(RUNS * 10) if run.status == "running"]:
        assert time.monotonic() < end, "the runs do not end"
        time.sleep(chance.uniform(0.5, 1.0))
        if kills < 3 * LEAST_KILLS:
            victim = running[kills % len(running)]
            victim.kill()
            victim.start()
            victim.wait_until_ready()
            kills += 1
    return kills


def test_the_pure_machine_accepts_what_killed_workers_recorded(servers: Servers, tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    command = [*APPS, "--lease", f"{LEASE_S:g}", "--concurrency", "3", "--recovery", "3", "--trace", str(file)]
    with (
        workers(servers, tmp_path, [command, command]) as running,
        connect((), servers.amqp_url, servers.redis_url, settings=Settings(timeout=20.0)) as client,
    ):
        runs = caught_at_work(running, client)
        kills = kill_in_turn(running, client)
        for number, run in enumerate(runs):
            assert run.wait(END_S).result == end_of(number)
        assert [worker.terminate() for worker in running] == [0, 0]
    found = pwsim("check", "--json", str(file))
    told = json.loads(found.stdout)
    assert (found.returncode, told["verdict"], told["violations"]) == (0, "pass", []), found.stdout
    assert told["processes"] == 2 + kills
    assert told["cut"] <= kills
    assert told["under_way"] > 0, "somebody was killed at work"
    print(f"{told['steps']:,} steps of {told['processes']} processes, {kills} kills; checked in {told['seconds']} s")
    take_a_line_away(file, tmp_path / "doctored.jsonl")


def take_a_line_away(file: Path, doctored: Path) -> None:
    """The step behind it is refused, whoever makes it."""
    steps = {number: line for number, line in trace.read(file) if isinstance(line, trace.Line)}
    went_on = {trace.raw_of(line).was: number for number, line in steps.items()}
    commits = [(number, trace.raw_of(line).state) for number, line in steps.items() if line.step.endswith("Committing")]
    at, after = next((number, went_on[state]) for number, state in commits if state in went_on)
    texts = file.read_bytes().splitlines(keepends=True)
    doctored.write_bytes(b"".join([*texts[: at - 1], *texts[at:]]))
    refused = pwsim("check", str(doctored))
    assert refused.returncode == 1
    assert refused.stdout.startswith(f"line {after - 1}: order: "), refused.stdout
