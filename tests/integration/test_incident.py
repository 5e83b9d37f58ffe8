"""From an incident in production to a test: a worker is killed, the run is exported and replayed, and the replay shows
the same takeover."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import pwsim.testing
from pwf_runtime import Workflow, call
from pwf_runtime.client import connect, connections
from pwf_runtime.config import Settings
from pwf_runtime.describe import read_fields
from pwf_runtime.export import export
from pwf_runtime.facts import AHEAD, read
from pwsim.commands.common import open_file
from pwsim.scenario import load
from pwsim.world.naming import TraceStep

from .dying import SETTINGS, app
from .processes import END_S, ROOT, START_S, Servers, eventually, workers
from .test_on_servers import working
from .test_trace import APPS, caught_at_work, kill_in_turn

DATA = {"left": "l", "right": "r"}


@contextmanager
def dying_workers(servers: Servers, folder: Path, label: str, task: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two of them: the first to come to that place dies there."""
    started: list[subprocess.Popen[bytes]] = []
    try:
        for number in range(2):
            command = [sys.executable, "-m", "tests.integration.dying", label, task, str(folder / "died")]
            with (folder / f"worker-{number}.log").open("wb") as log:
                started.append(subprocess.Popen(command, cwd=ROOT, env=servers.environ, stderr=log, stdout=log))
        for number in range(2):
            log = folder / f"worker-{number}.log"
            eventually(lambda log=log: b"ready" in log.read_bytes(), START_S)
        yield started
    finally:
        for each in started:
            each.kill()
            each.wait(END_S)


def one_was_killed(running: list[subprocess.Popen[bytes]]) -> bool:
    """Its parent may hear of it a moment after those who take its work over."""
    eventually(lambda: any(each.poll() is not None for each in running), END_S)
    return [each.poll() for each in running].count(-signal.SIGKILL) == 1


def incident(servers: Servers, folder: Path, label: str, task: str) -> Path:
    """Have it happen on real servers, and export it."""
    with (
        dying_workers(servers, folder, label, task) as working,
        connect(app, servers.amqp_url, servers.redis_url, settings=SETTINGS) as client,
    ):
        outcome = client.publish("begin", DATA, run_id="incident-1").wait(END_S)
        assert (outcome.status, outcome.result) == ("completed", ["l", "r"])
        assert one_was_killed(working)
    done = servers.pwf("export", "incident-1")
    assert done.returncode == 0, done.stderr
    path = folder / "incident.toml"
    path.write_text(done.stdout)
    return path


def replay(path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pwsim", "replay", str(path), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=END_S, check=False)


def effects(trace: list[TraceStep], path: str, nth: int) -> list[str]:
    return [step.effect for step in trace if (step.path, step.nth) == (path, nth)]


def in_order(whole: list[str], *parts: str) -> bool:
    rest = iter(whole)
    return all(part in rest for part in parts)


def test_a_worker_killed_between_publish_and_settle(servers: Servers, tmp_path: Path) -> None:
    """Delivery 1 of ``begin`` has published and dies; another worker looks at what it committed, and settles it."""
    path = incident(servers, tmp_path, "settle", "begin")
    facts = [(row[1], row[2], row[5], row[6]) for row in tomllib.loads(path.read_text())["facts"]]
    about = [(what, attempt) for what, _, task, attempt in facts if task == "incident.begin"]
    assert about == [("claim", 1), ("commit", 1), ("look", 0), ("settle", 0)]
    assert len({worker for _, worker, task, _ in facts if task == "incident.begin"}) == 2

    told = replay(path, "--apps", "tests.integration.dying:app")
    assert told.returncode == 0, told.stdout + told.stderr
    assert f"re-enacted: {len(facts)} of {len(facts)} facts" in told.stdout
    assert "begin #1 / settle / before" in told.stdout

    trace = open_file(path, "tests.integration.dying:app").play().trace
    assert in_order(effects(trace, "begin", 1), "claim", "run", "commit", "publish left", "publish right", "settle")
    assert "ack" not in effects(trace, "begin", 1)
    assert in_order(effects(trace, "begin", 2), "claim", "look", "publish left", "publish right", "settle", "ack")


def test_a_worker_killed_before_its_commit(servers: Servers, tmp_path: Path) -> None:
    """Attempt 1 of ``left`` is claimed and dies with its worker; attempt 2 is another's, after the lease."""
    path = incident(servers, tmp_path, "commit", "left")
    facts = [(row[1], row[5], row[6]) for row in tomllib.loads(path.read_text())["facts"]]
    about = [(what, attempt) for what, task, attempt in facts if task == "incident.left"]
    assert about[:3] == [("claim", 1), ("claim", 2), ("commit", 2)]
    told = replay(path, "--apps", "tests.integration.dying:app")
    assert told.returncode == 0, told.stdout + told.stderr
    assert f"re-enacted: {len(facts)} of {len(facts)} facts" in told.stdout
    assert "begin > left #1 / run / after" in told.stdout
    result = open_file(path, "tests.integration.dying:app").play()
    (call,) = [call for call in result.world.history.calls.values() if call.path == "begin > left"]
    assert (call.attempt, call.commits) == (2, 1)


def test_the_file_stays_as_a_test(servers: Servers, tmp_path: Path) -> None:
    """With its apps filled in it is a scenario like any other: the same each time, in any process."""
    path = incident(servers, tmp_path, "settle", "begin")
    assert "# TO DO: apps" in path.read_text()
    path.write_text(path.read_text().replace("MODULE:APP", "tests.integration.dying:app"))
    scenario = load(path)
    assert scenario.starts() == [("incident.begin", DATA)]
    pwsim.testing.replay(path).assert_passed()
    prints = {open_file(path).play().fingerprint() for _ in range(3)}
    assert len(prints) == 1
    hashed = subprocess.run(
        [
            sys.executable,
            "-c",
            f"from pwsim.commands.common import open_file; print(open_file({str(path)!r}).play().fingerprint())",
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        timeout=END_S,
        check=True,
    )
    assert hashed.stdout.split() == list(prints)


def test_without_history_the_export_says_what_to_do(servers: Servers) -> None:
    with connect(app, servers.amqp_url, servers.redis_url, settings=SETTINGS) as client:
        client.publish("begin", DATA, run_id="nobody")
    refused = servers.pwf("export", "nobody")
    assert (refused.returncode, "--history 200" in refused.stderr) == (1, True)
    unknown = servers.pwf("export", "who")
    assert (unknown.returncode, "there is no run 'who'" in unknown.stderr) == (2, True)


@pytest.mark.parametrize("limit", [5, 12])
def test_the_oldest_facts_give_way(servers: Servers, limit: int) -> None:
    """So many are kept, and a few more where several workers did not hear of each other."""
    chain = Workflow(f"history_{limit}")
    chain.subscribe("step", lambda data: call("step", data - 1) if data else None)
    with working(servers, chain, settings=Settings(lease=2.0, history=limit)) as client:
        run = client.publish("step", 20)
        assert run.wait(END_S).status == "completed"
        store, _ = connections(servers.amqp_url, servers.redis_url, SETTINGS)
        facts = read(read_fields(store, run.id))
        store.close()
    assert limit <= len(facts) <= limit + AHEAD
    assert facts[-1].note == "leaf"


def test_what_killed_workers_left_behind_is_re_enacted(servers: Servers, tmp_path: Path) -> None:
    """Runs on workers that are killed in turn: nearly every fact comes about again, and no law is broken."""
    command = [*APPS, "--lease", "2", "--concurrency", "3", "--recovery", "3", "--history", "200"]
    with (
        workers(servers, tmp_path, [command, command]) as running,
        connect((), servers.amqp_url, servers.redis_url, settings=Settings(timeout=20.0)) as client,
    ):
        runs = caught_at_work(running, client)
        kill_in_turn(running, client)
        assert {run.wait(END_S).status for run in runs} == {"completed"}
    store, _ = connections(servers.amqp_url, servers.redis_url, SETTINGS)
    count = missing = faults = 0
    for run in runs:
        path = tmp_path / f"{run.id}.toml"
        path.write_text(export(store, run.id, APPS))
        scenario = load(path)
        enacted = scenario.enacted()
        pwsim.testing.replay(path).assert_passed()
        count, missing = count + len(scenario.facts), missing + len(enacted.missing)
        faults += len(enacted.schedule.faults)
    store.close()
    print(f"{count} facts of {len(runs)} runs, {missing} of them did not come about; {faults} faults")
    assert faults > 0
    assert missing <= count / 20
