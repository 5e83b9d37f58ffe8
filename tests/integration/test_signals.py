"""Signals on real servers, sent with the command line: before and after their join is armed, to a worker that is
killed, to a run that has stranded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pwf_runtime.client import Client, connect

from .dying import SETTINGS, SIGNAL_ID, app
from .processes import END_S, Servers, eventually, workers
from .test_incident import dying_workers, one_was_killed, replay
from .test_on_servers import working

APP = "tests.integration.dying:app"


def send(servers: Servers, run: str, *more: str) -> Any:
    done = servers.pwf("signal", run, "right", '"r"', "--json", *more)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def connected(servers: Servers) -> Client:
    return connect(app, servers.amqp_url, servers.redis_url, settings=SETTINGS)


def waits(client: Client, run: str) -> None:
    """Until nothing is left to do for the run but to wait."""
    eventually(lambda: client.describe(run).joins and not client.describe(run).calls, END_S)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_signal_before_and_after_its_join_is_armed(servers: Servers, tmp_path: Path, when: str) -> None:
    with workers(servers, tmp_path, [[APP]]) as (worker,), connected(servers) as client:
        if when == "before":
            assert worker.terminate() == 0  # and leaves its queue
        run = client.publish("wait", "l", run_id=f"signal-{when}")
        if when == "after":
            waits(client, run.id)
            shown = servers.pwf("show", run.id).stdout
            assert "the signal right from outside 0/1" in shown
            assert "waits for the signal right from outside" in servers.pwf("explain", run.id).stdout
        assert send(servers, run.id, "--signal-id", SIGNAL_ID) == {"signal_id": SIGNAL_ID, "created": True}
        if when == "before":
            assert not client.describe(run.id).joins
            worker.start()
        assert run.wait(END_S).result == ["l", "r"]
        assert send(servers, run.id, "--signal-id", SIGNAL_ID)["created"] is False
        late = servers.pwf("signal", run.id, "right")
        assert (late.returncode, "it is completed" in late.stderr) == (2, True)


def test_a_worker_killed_between_a_signal_and_its_end(servers: Servers, tmp_path: Path) -> None:
    """It has fired the join and published its call; another worker settles the signal. Exported, it happens again."""
    with dying_workers(servers, tmp_path, "settle", "signal") as running, connected(servers) as client:
        run = client.publish("wait", "l", run_id="killed")
        waits(client, run.id)
        send(servers, run.id, "--signal-id", SIGNAL_ID)
        assert run.wait(END_S).result == ["l", "r"]
        assert one_was_killed(running)
        send(servers, run.id, "--signal-id", SIGNAL_ID)
    path = tmp_path / "incident.toml"
    path.write_text(servers.pwf("export", "killed", "--apps", APP).stdout)
    assert f'id = "{SIGNAL_ID}"' in path.read_text()
    told = replay(path)
    assert told.returncode == 0, told.stdout + told.stderr
    assert f"signal {SIGNAL_ID} #1 / settle / before" in told.stdout


def test_a_stranded_run_goes_on(servers: Servers) -> None:
    with working(servers, app, settings=SETTINGS) as client:
        run = client.publish("trust", "l", run_id="stranded")
        assert run.wait(END_S).status == "stranded"
        send(servers, run.id)
        eventually(lambda: run.wait(END_S).status == "completed", END_S)
        assert run.wait(END_S).result == ["l", "r"]
        assert [each.status for each in client.admin.runs()] == ["completed"]
