"""What runs in memory runs the same on RabbitMQ and Redis."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import pytest
import redis

from pwf_runtime import Context, RunConflict, ServerRefused, Workflow, call, result
from pwf_runtime.client import Client, connect, connections
from pwf_runtime.config import Settings
from pwf_runtime.worker import Worker
from tests.runtime.test_worker import RESULTS

from .processes import END_S, Servers, eventually

SETTINGS = Settings(timeout=END_S, lease=2.0)


@contextmanager
def working(servers: Servers, *apps: Workflow, settings: Settings = SETTINGS) -> Iterator[Client]:
    store, transport = connections(servers.amqp_url, servers.redis_url, settings)
    worker = Worker(apps, store, transport, settings)
    worker.start(END_S)
    try:
        with connect(apps, servers.amqp_url, servers.redis_url, settings=settings) as client:
            yield client
    finally:
        worker.stop()
        store.close()


@pytest.mark.parametrize("name", RESULTS)
def test_every_example_ends_with_its_result(servers: Servers, name: str) -> None:
    module = import_module(f"examples.{name}")
    apps = [getattr(module, app) for app in RESULTS[name][0]]
    with working(servers, *apps) as client:
        outcome = client.publish(next(iter(apps[0].tasks.values())), module.START).wait(END_S)
        assert (outcome.status, outcome.result) == ("completed", RESULTS[name][1])


def test_one_id_is_one_run(servers: Servers) -> None:
    app = Workflow("one_id")
    app.subscribe("work", lambda data: result(data))
    with working(servers, app) as client:
        run = client.publish("work", 1, run_id="{odd} id%/ü")
        assert client.publish("work", 1, run_id=run.id).wait(END_S).result == 1
        with pytest.raises(RunConflict, match="was begun with other data"):
            client.publish("work", 2, run_id=run.id)


def test_a_damaged_run_is_kept_apart_and_shown(servers: Servers) -> None:
    """Somebody wrote into it. The others of its batch go on, and every command says which field and what to do."""
    app = Workflow("damaged")
    app.subscribe("work", lambda: result("done"))
    with connect(app, servers.amqp_url, servers.redis_url, settings=SETTINGS) as client:
        runs = client.publish_many([("work", None, f"d{n}") for n in range(20)])
    with redis.Redis.from_url(servers.redis_url) as behind:
        behind.hset("pwf:{d7}", "open", "one")
    with working(servers, app) as client:
        for run in runs:
            if run.id != "d7":
                assert client.wait(run.id, END_S).result == "done"
        (kept,) = eventually(client.admin.unreadable, END_S)
    assert "run 'd7' is damaged: the field open holds no number ('commit' in Redis at" in kept.reason
    shown = servers.pwf("show", "d7")
    assert (shown.returncode, shown.stdout) == (1, "")
    assert "the field 'open' holds b'one', which cannot be read" in shown.stderr
    assert "`pwf cancel d7`" in shown.stderr
    assert "d7  damaged" in servers.pwf("runs").stdout
    assert "unreadable in damaged: run 'd7' is damaged" in servers.pwf("dead", "list").stdout
    assert servers.pwf("cancel", "d7").returncode == 0


def test_a_queue_that_does_not_exist_yet_is_waited_for(servers: Servers, caplog: pytest.LogCaptureFixture) -> None:
    app = Workflow("born_late")
    app.subscribe("work", lambda: result("born"))
    with connect(app, servers.amqp_url, servers.redis_url, settings=SETTINGS) as client:
        run = client.publish("work")
        assert "queue 'born_late' does not exist yet" in caplog.text
        with working(servers, app):
            assert run.wait(END_S).result == "born"


def test_nothing_is_left_when_a_run_has_ended_and_its_retention_is_over(servers: Servers) -> None:
    """A run that has not ended has no retention, so nothing would remove it."""
    app = Workflow("tidy")
    leaves: list[str] = []

    @app.task
    def work(data: int, ctx: Context) -> Any:
        if data:
            return [call(work, data - 1), call(work, data - 1)]
        return leaves.append(ctx.call_id)

    with working(servers, app, settings=Settings(retention=1.0)) as client:
        client.publish_many([("work", 3, None)] * 20)
        eventually(lambda: len(leaves) >= 20 * 2**3, END_S)
        with redis.Redis.from_url(servers.redis_url) as db:
            eventually(lambda: {*db.scan_iter()} <= {b"pwf:finished", b"pwf:markers"}, END_S)


def test_a_wrong_password_is_refused_with_words(servers: Servers) -> None:
    app = Workflow("refused")
    app.subscribe("work", lambda: None)
    store, transport = connections(servers.amqp_url.replace("guest:guest", "guest:wrong"), servers.redis_url, SETTINGS)
    worker = Worker(app, store, transport, SETTINGS)
    with pytest.raises(ServerRefused, match=r"refuses the login|ACCESS_REFUSED"):
        worker.run()
    store.close()


def test_many_runs_at_once(servers: Servers) -> None:
    app = Workflow("many")

    @app.task
    def step(data: int) -> Any:
        return call(step, data - 1) if data else result("end")

    with working(servers, app) as client:
        runs = client.publish_many([("step", 20, None)] * 50)
        assert [run.wait(END_S).result for run in runs] == ["end"] * 50
