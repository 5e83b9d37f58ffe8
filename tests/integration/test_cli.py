"""The command line from end to end: what a user types, and what comes back."""

from __future__ import annotations

import json
import signal
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis

from .processes import END_S, Servers, eventually, workers

APP = "tests.integration.flows:app"
LISTS = ("open", "finished", "dead")
MAY_BE_SAID = ("INFO", "WARNING")
"""By a worker, even if all is well: a server that the machine holds up may close a connection, or answer late."""


def answer(servers: Servers, *arguments: str) -> Any:
    done = servers.pwf(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def running(servers: Servers, folder: Path) -> str:
    """A run whose task runs, until there is a file "end" in ``folder``."""
    run: str = answer(servers, "publish", "cli_flows.held", json.dumps(str(folder)))["run_id"]
    eventually((folder / "runs").exists, END_S)
    assert answer(servers, "show", run)["calls"][0]["state"] == "running"
    return run


def test_from_publish_to_result(servers: Servers, tmp_path: Path) -> None:
    with workers(servers, tmp_path, [[APP, "--processes", "2"]]) as (worker,):
        done = servers.pwf("publish", "cli_flows.hello", '"you"', "--run-id", "r1", "--wait")
        assert (done.returncode, done.stdout) == (0, 'r1 completed: {"hello":"you"}\n')
        assert answer(servers, "publish", "cli_flows.hello", '"you"', "--run-id", "r1")["created"] is False
        conflict = servers.pwf("publish", "cli_flows.hello", '"me"', "--run-id", "r1")
        assert (conflict.returncode, "begun with other data" in conflict.stderr) == (2, True)
        assert [(run["run_id"], run["status"]) for run in answer(servers, "runs")] == [("r1", "completed")]
        assert answer(servers, "show", "r1")["result"] == {"hello": "you"}
        unknown = servers.pwf("show", "nobody")
        assert (unknown.returncode, "there is no run 'nobody'" in unknown.stderr) == (2, True)
        assert worker.terminate() == 0
    assert [line for line in worker.lines if not any(level in line for level in MAY_BE_SAID)] == ["ready"]


def test_lists_that_redis_lost_are_made_again(servers: Servers, tmp_path: Path) -> None:
    with workers(servers, tmp_path, [[APP]]):
        servers.pwf("publish", "cli_flows.hello", '"you"', "--run-id", "ended", "--wait")
        servers.pwf("publish", "cli_flows.picky", json.dumps(str(tmp_path / "no")), "--run-id", "dead", "--wait")
        db = redis.Redis.from_url(servers.redis_url)
        eventually(lambda: [db.zcard(f"pwf:{index}") for index in LISTS] == [1, 1, 1], END_S)
    with closing(db):
        db.delete(*[f"pwf:{index}" for index in LISTS])
    assert answer(servers, "runs") == answer(servers, "dead", "list")["calls"] == []
    found = servers.pwf("relist")
    assert (found.returncode, found.stdout.partition("; ")[2]) == (0, "listed again: 1 open, 1 ended, 1 dead calls\n")
    runs = answer(servers, "runs")
    assert [(run["run_id"], run["status"]) for run in runs] == [("dead", "running"), ("ended", "completed")]
    assert [call["run_id"] for call in answer(servers, "dead", "list")["calls"]] == ["dead"]
    again = answer(servers, "relist")
    assert [again[what] for what in ("open", "ended", "dead", "damaged")] == [0, 0, 0, []]


def test_a_dead_call_is_shown_and_redriven(servers: Servers, tmp_path: Path) -> None:
    file = tmp_path / "file"
    with workers(servers, tmp_path, [[APP]]):
        done = servers.pwf("publish", "cli_flows.picky", json.dumps(str(file)), "--run-id", "r2", "--wait")
        assert (done.returncode, "r2 dead: cli_flows.picky" in done.stdout) == (1, True)
        (call,) = eventually(lambda: answer(servers, "dead", "list")["calls"], END_S)
        assert "is not there yet" in servers.pwf("dead", "show", "r2", call["call_id"]).stdout
        assert f"pwf dead redrive r2 {call['call_id']}" in servers.pwf("explain", "r2").stdout
        file.touch()
        assert servers.pwf("dead", "redrive", "r2", call["call_id"]).returncode == 0
        assert (
            "there"
            in servers.pwf("publish", "cli_flows.picky", json.dumps(str(file)), "--run-id", "r2", "--wait").stdout
        )


def test_a_run_is_cancelled(servers: Servers, tmp_path: Path) -> None:
    with workers(servers, tmp_path, [[APP]]):
        run = answer(servers, "publish", "cli_flows.later")["run_id"]
        eventually(lambda: "waits 3" in servers.pwf("explain", run).stdout, END_S)
        assert servers.pwf("cancel", run).returncode == 0
        assert answer(servers, "show", run)["status"] == "cancelled"


def test_sigterm_lets_tasks_end_within_the_grace(servers: Servers, tmp_path: Path) -> None:
    with workers(servers, tmp_path, [[APP, "--grace", "600"]]) as (worker,):
        run = running(servers, tmp_path)
        worker.process.send_signal(signal.SIGTERM)
        eventually(lambda: any("stopping" in line for line in worker.lines), END_S)
        (tmp_path / "end").touch()
        assert worker.process.wait(END_S) == 0
        assert answer(servers, "show", run)["result"]["attempt"] == 1


@pytest.mark.parametrize("processes", ["1", "2"])
def test_what_runs_longer_than_the_grace_goes_to_another_worker_at_once(
    servers: Servers, tmp_path: Path, processes: str
) -> None:
    """It would run for minutes, and so long would its lease hold."""
    with workers(servers, tmp_path, [[APP, "--lease", "600", "--grace", "0.2", "--processes", processes]]) as (worker,):
        run = running(servers, tmp_path)
        assert worker.terminate() == 0
        worker.start()
        worker.wait_until_ready()
        eventually(lambda: answer(servers, "show", run)["status"] == "completed", END_S)
        assert answer(servers, "show", run)["result"]["attempt"] == 2


def test_a_second_sigterm_is_a_crash(servers: Servers, tmp_path: Path) -> None:
    with workers(servers, tmp_path, [[APP]]) as (worker,):
        running(servers, tmp_path)
        worker.process.send_signal(signal.SIGTERM)
        eventually(lambda: any("stopping" in line for line in worker.lines), END_S)
        assert worker.terminate() == 1


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_queue_of_another_type_is_refused_with_words(servers: Servers, tmp_path: Path, processes: str) -> None:
    with workers(servers, tmp_path, [[APP]]) as (worker,):
        assert worker.terminate() == 0
    refused = servers.pwf("worker", APP, "--queue-type", "classic", "--processes", processes)
    assert (refused.returncode, "a queue exists with other settings" in refused.stderr) == (1, True)


def test_an_empty_answer_is_said_to_people_only(servers: Servers) -> None:
    for arguments, said in ((["runs"], "no run is open"), (["dead", "list"], "nothing is dead")):
        done = servers.pwf(*arguments)
        assert (done.returncode, done.stdout, said in done.stderr) == (0, "", True)
        assert servers.pwf(*arguments, "--json").stderr == ""


def test_doctor_looks_at_both_servers(servers: Servers) -> None:
    findings = answer(servers, "doctor")
    assert {each["level"] for each in findings} <= {"ok", "warn"}
    assert {each["subject"].split()[0] for each in findings} == {"redis", "rabbitmq"}
