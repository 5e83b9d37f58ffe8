"""Begin runs, wait for them, look at them."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest

import pwf_runtime
from pwf_runtime import (
    DataError,
    Event,
    Retry,
    RunConflict,
    ServerRefused,
    StoreUnavailable,
    TransportUnavailable,
    UsageError,
    WaitTimeout,
    Workflow,
    call,
    emit,
    fork,
    join,
    result,
)
from pwf_runtime.client import Client, RunOutcome, connect
from pwf_runtime.config import Settings, amqp_url, redis_url, without_password
from pwf_runtime.core.effects import OPEN
from pwf_runtime.transport.base import Confirmed, Down, Lost, Publication, Refused, Sink, Up

from .world import WAIT_S, FlakyStore, eventually, world


def echo() -> Workflow:
    app = Workflow("echo")
    app.subscribe("say", lambda data: result(data))
    return app


def test_memory_brings_its_own_worker() -> None:
    app = echo()
    with app.connect("memory://", settings={"concurrency": 2}) as client:
        run = client.publish("say", {"a": [1, None, "x"]})
        assert run.wait(WAIT_S) == RunOutcome(run.id, "completed", {"a": [1, None, "x"]})
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pwf-engine")]


def test_a_task_can_be_named_in_three_ways() -> None:
    app = echo()
    with world(app) as w:
        runs = w.client.publish_many([("say", 1, None), ("echo.say", 1, None), (app.tasks["say"], 1, None)])
        assert [w.client.describe(run.id).task for run in runs] == ["echo.say"] * 3


@pytest.mark.parametrize(
    ("task", "text"),
    [
        ("sya", r"publish\('sya'\): echo has no task 'sya'; it has say"),
        ("a.b.c", 'write "task"'),
        (len, "not a task"),
    ],
)
def test_a_task_that_cannot_be_meant_is_told_before_anything_is_done(task: Any, text: str) -> None:
    with world(echo(), work=False) as w:
        with pytest.raises(UsageError, match=text):
            w.client.publish(task)
        assert not w.store.indexes.get(OPEN)


def test_a_bare_name_needs_one_service() -> None:
    with (
        world(Workflow("a"), Workflow("b"), work=False) as w,
        pytest.raises(UsageError, match=r'of which service\? Write "queue.task"; this client knows a, b'),
    ):
        w.client.publish("say")


def test_data_that_cannot_be_sent_is_told() -> None:
    with world(echo(), work=False) as w, pytest.raises(DataError, match=r"data\['x'\]"):
        w.client.publish("say", {"x": object()})


@pytest.mark.parametrize("run_id", ["", "a\nb", 7, "x" * 201])
def test_a_run_id_that_cannot_be_one(run_id: Any) -> None:
    with world(echo(), work=False) as w, pytest.raises(UsageError, match="a run's id is a str"):
        w.client.publish("say", run_id=run_id)


def test_publishing_again_under_one_id_is_the_same_run() -> None:
    with world(echo()) as w:
        first = w.client.publish("say", 1, run_id="user-42")
        assert first.wait(WAIT_S).result == 1
        again = w.client.publish("say", 1, run_id="user-42")
        assert (first.created, again.created, again.wait(0).result) == (True, False, 1)
        with pytest.raises(RunConflict, match="'user-42' exists and was begun with other data"):
            w.client.publish("say", 2, run_id="user-42")


def test_a_queue_that_does_not_exist_yet_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    with world(echo(), work=False) as w:
        run = w.client.publish("say", 5)
        assert "queue 'echo' does not exist yet: it waits for a worker" in caplog.text
        w.work()
        assert run.wait(WAIT_S).result == 5


def test_clients_can_be_shared_between_threads() -> None:
    with world(echo()) as w:
        results: list[int] = []

        def use(n: int) -> None:
            results.append(w.client.publish("say", n).wait(WAIT_S).result)

        threads = [threading.Thread(target=use, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
        assert sorted(results) == list(range(8))


# ── waiting ───────────────────────────────────────────────────────────────────────────────────


def waiting_app() -> Workflow:
    app = Workflow("waiting")

    @app.task
    def begin() -> Any:
        return [call("later", delay=60), join("end", on=["a", {"b": 2}], at_least=1), emit("b")]

    @app.task
    def later() -> Any:
        return emit("c")

    @app.task
    def end() -> Any:
        return None

    @app.task
    def strand() -> Any:
        return join("end", on=["a", {"b": 2}])

    @app.task
    def members() -> Any:
        return fork([call("die"), call("end")], then=call("gather"))

    @app.task
    def gather(events: list[Event]) -> Any:
        return None

    @app.task(retry=Retry(max_attempts=1))
    def die() -> Any:
        raise RuntimeError("no way")

    return app


def test_waiting_too_long_says_what_is_open() -> None:
    with world(waiting_app()) as w:
        run = w.client.publish("begin")
        eventually(lambda: len(w.client.describe(run.id).calls) == 1 and w.client.describe(run.id).joins)
        with pytest.raises(WaitTimeout) as raised:
            run.wait(0.02)
        assert "1 waiting (waiting.later); a join for waiting.end lacks any 1 of 2 names" in str(raised.value)
        assert "a (0 of 1), b (1 of 2)" in str(raised.value)
        assert isinstance(raised.value, TimeoutError)


def test_a_stranded_run_names_the_events_it_waits_for() -> None:
    with world(waiting_app()) as w:
        outcome = w.client.publish("strand").wait(WAIT_S)
        assert outcome.status == "stranded"
        assert outcome.reason.endswith("waiting.end waits for a (0 of 1), b (0 of 2)")
        assert "look for the task that should have" in w.client.explain(outcome.run_id)


def test_a_dead_member_of_a_fork_is_named() -> None:
    with world(waiting_app()) as w:
        run = w.client.publish("members")
        outcome = run.wait(WAIT_S)
        assert (outcome.status, "waiting.die" in outcome.reason) == ("dead", True)
        text = w.client.explain(run.id)
        assert "dead after 1 attempts: RuntimeError: no way" in text
        assert f"pwf dead redrive {run.id} " in text
        assert "the end of call" in text


def test_an_unknown_run_is_told() -> None:
    with world(echo(), work=False) as w:
        for ask in (w.client.wait, w.client.describe, w.client.explain, w.client.cancel):
            with pytest.raises(UsageError, match="there is no run 'nobody'"):
                ask("nobody")


def test_a_description_tells_who_runs_what() -> None:
    app = Workflow("busy")
    go, started = threading.Event(), threading.Event()

    @app.task
    def work() -> Any:
        started.set()
        go.wait(WAIT_S)
        return result(1)

    with world(app) as w:
        run = w.client.publish("work")
        assert started.wait(WAIT_S)
        (found,) = w.client.describe(run.id).calls
        assert (found.state, found.attempt, found.task) == ("running", 1, "busy.work")
        assert 0 < (found.lease_ms or 0) <= 10_000
        assert "running, attempt 1, its lease holds for" in w.client.explain(run.id)
        go.set()
        run.wait(WAIT_S)
        ended = w.client.describe(run.id)
        assert (ended.status, ended.result, ended.calls) == ("completed", 1, ())


# ── servers that do not answer ────────────────────────────────────────────────────────────────


class FakeTransport:
    """Says what it is told to."""

    def __init__(self, *events: Any, answer: Any = Lost) -> None:
        self.events, self.answer = events, answer
        self.sink: Sink

    def start(self, sink: Sink, consume: Any = (), prefetch: int = 64) -> None:
        self.sink = sink
        sink(list(self.events))

    def publish(self, publications: list[Publication]) -> None:
        if self.answer is not None:
            self.sink([self.answer(each.ticket) for each in publications])

    def ack(self, deliveries: Any) -> None: ...
    def stop_consuming(self) -> None: ...
    def close(self, timeout: float = 5.0) -> None: ...


def client_of(transport: FakeTransport, store: FlakyStore | None = None, timeout: float = 0.3) -> Client:
    return Client([echo()], store or FlakyStore(), transport, Settings(timeout=timeout))


@pytest.mark.parametrize(
    ("transport", "text"),
    [
        (FakeTransport(Down("connection refused")), "RabbitMQ cannot be reached: connection refused"),
        (FakeTransport(Up(), answer=None), "RabbitMQ does not confirm"),
    ],
)
def test_a_broker_that_does_not_answer(transport: FakeTransport, text: str) -> None:
    with client_of(transport) as client, pytest.raises(TransportUnavailable, match=text) as raised:
        client.publish("say", run_id="r1")
    assert "may have begun: 'r1': publish with the same run_id again" in str(raised.value)


def test_a_store_that_does_not_answer() -> None:
    store = FlakyStore()
    store.away = True
    with client_of(FakeTransport(Up(), answer=Confirmed), store) as client:
        with pytest.raises(StoreUnavailable, match=r"Redis at nowhere.*may have begun"):
            client.publish("say")
        store.away = False
        assert client.publish("say").created


def test_a_store_that_comes_back_in_time_is_no_error() -> None:
    class BackSoon(FlakyStore):
        def _check(self) -> None:
            self.away = self.refusals < 3
            super()._check()

    store = BackSoon()
    with client_of(FakeTransport(Up(), answer=Confirmed), store, timeout=WAIT_S) as client:
        assert client.publish("say").created
    assert store.refusals == 3


def test_a_refusal_is_told_each_time() -> None:
    with client_of(FakeTransport(Refused("wrong password"))) as client:
        for _ in range(2):
            with pytest.raises(ServerRefused, match="wrong password"):
                client.publish("say")


# ── URLs ──────────────────────────────────────────────────────────────────────────────────────


def test_urls_come_from_the_environment_and_are_checked() -> None:
    environ = {"PWF_AMQP_URL": "amqp://there", "PWF_REDIS_URL": "http://me:secret@x"}
    assert amqp_url(None, environ) == "amqp://there"
    assert amqp_url("amqps://here", environ) == "amqps://here"
    with pytest.raises(UsageError, match=r"PWF_REDIS_URL='http://me@x' is no URL of Redis"):
        redis_url(None, environ)
    with pytest.raises(UsageError, match="or set PWF_REDIS_URL"):
        redis_url(None, {})
    assert without_password("redis://localhost") == "redis://localhost"


def test_memory_takes_no_second_url() -> None:
    with pytest.raises(UsageError, match="takes no second URL"):
        connect((), "memory://", "redis://x")


def test_workflows_in_the_place_of_a_url_are_told_where_they_go() -> None:
    url: Any = [echo()]
    with pytest.raises(UsageError, match=r"Workflow echo.* is no URL of RabbitMQ: .*; workflows go to apps="):
        pwf_runtime.connect(url)


def test_nothing_is_logged_when_all_is_well(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), world(echo()) as w:
        w.client.publish("say", 1).wait(WAIT_S)
    assert not caplog.records
