"""The engine on the store and the broker in memory: what a worker does with tasks, and with trouble."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from importlib import import_module
from typing import Any

import pytest

from pwf_runtime import Context, Event, PwfError, Retry, UsageError, Workflow, call, emit, fork, join, result
from pwf_runtime.client import RunOutcome
from pwf_runtime.config import Settings, wait_replicas
from pwf_runtime.core import keys as k
from pwf_runtime.core.effects import OPEN, TIMERS, UNREADABLE
from pwf_runtime.core.ids import ROOT_CALL
from pwf_runtime.core.txn import Holder, Put, Release, Txn
from pwf_runtime.errors import RunDamaged
from pwf_runtime.transport.memory import MemoryBroker

from .world import WAIT_S, World, eventually, world

SOON = Retry(max_attempts=3, first_delay=0.02, factor=1.0, jitter=0.0)
OFTEN = Retry(max_attempts=1_000, first_delay=0.02, factor=1.0, jitter=0.0)

RESULTS: dict[str, tuple[list[str], Any]] = {
    "registration": (
        ["users", "documents"],
        {"name": "Ada", "email_valid": True, "card": "1234", "document": "Welcome, Ada!"},
    ),
    "original_style": (
        ["users", "documents"],
        {"name": "Ada", "email_valid": True, "card": "1234", "document": "Welcome, Ada!"},
    ),
    "bulk": (["app"], {"numbers": [121, 144, 169, 196, 225], "sum": 855}),
    "ping_pong": (["ping", "pong"], {"hits": 10}),
    "conditional": (["app"], {"order": 7, "status": "sent by van"}),
}


@pytest.mark.parametrize("name", RESULTS)
def test_every_example_ends_with_its_result(name: str) -> None:
    module = import_module(f"examples.{name}")
    apps = [getattr(module, app) for app in RESULTS[name][0]]
    with world(*apps) as w:
        run = w.client.publish(next(iter(apps[0].tasks.values())), module.START)
        assert run.wait(WAIT_S) == RunOutcome(run.id, "completed", RESULTS[name][1])


# ── what tasks return ─────────────────────────────────────────────────────────────────────────


def test_a_fork_hands_on_its_results_in_order() -> None:
    app = Workflow("forks")

    @app.task
    def begin() -> Any:
        return fork([call(square, n) for n in range(20)], then=call(total, "sum"))

    @app.task
    def square(data: int) -> Any:
        return result(data * data)

    @app.task
    def total(data: str, events: list[Event]) -> Any:
        return result({data: [event.data for event in events]})

    with world(app) as w:
        assert w.client.publish("begin").wait(WAIT_S).result == {"sum": [n * n for n in range(20)]}


def test_a_delayed_call_waits() -> None:
    app = Workflow("delays")

    @app.task
    def begin() -> Any:
        return call(end, time.time(), delay=0.2)

    @app.task
    def end(data: float) -> Any:
        return result(time.time() - data)

    with world(app) as w:
        assert w.client.publish("begin").wait(WAIT_S).result > 0.19


def test_async_tasks_run_side_by_side_in_one_loop() -> None:
    app = Workflow("loops")
    running: list[int] = []
    most: list[int] = []

    @app.task
    async def begin() -> Any:
        return [call(nap, n) for n in range(8)] + [join(end, on={"awake": 8})]

    @app.task
    async def nap(data: int) -> Any:
        """Until as many have slept at once as there are places, and a while more."""
        running.append(data)
        while max([*most, len(running)]) < 4:
            await asyncio.sleep(0.005)
        most.append(len(running))
        await asyncio.sleep(0.05)
        most.append(len(running))
        running.remove(data)
        return emit("awake")

    @app.task
    def end() -> Any:
        return result("done")

    with world(app, concurrency=4) as w:
        assert w.client.publish("begin").wait(WAIT_S).result == "done"
    assert max(most) == 4


def test_no_more_tasks_run_than_there_are_slots() -> None:
    app = Workflow("slots")
    count, most = 0, 0
    lock, three = threading.Lock(), threading.Barrier(3)

    @app.task
    def work() -> Any:
        nonlocal count, most
        with lock:
            count += 1
            most = max(most, count)
        three.wait(WAIT_S)
        time.sleep(0.02)
        with lock:
            count -= 1

    with world(app, concurrency=3) as w:
        for run in w.client.publish_many([("work", None, None)] * 21):
            assert run.wait(WAIT_S).status == "completed"
    assert most == 3


# ── what tasks raise ──────────────────────────────────────────────────────────────────────────


def test_a_task_that_raises_is_tried_again() -> None:
    app = Workflow("retries")
    attempts: list[int] = []

    @app.task(retry=SOON)
    def work(ctx: Context) -> Any:
        attempts.append(ctx.attempt)
        if ctx.attempt == 2:
            raise SystemExit(3)  # no way to end a worker
        if ctx.attempt == 1:
            raise ConnectionError("no luck")
        return result(ctx.idempotency_key)

    with world(app) as w:
        run = w.client.publish("work")
        assert run.wait(WAIT_S).result == f"{run.id}/{ROOT_CALL}"
    assert attempts == [1, 2, 3]


@pytest.mark.parametrize("is_async", [False, True])
def test_when_its_attempts_are_used_up_the_call_is_dead_and_says_why(is_async: bool) -> None:
    app = Workflow("deaths")

    def work() -> Any:
        raise KeyboardInterrupt("hopeless")

    async def work_async() -> Any:
        raise KeyboardInterrupt("hopeless")

    app.subscribe("work", work_async if is_async else work, retry=SOON)
    with world(app) as w:
        outcome = w.client.publish("work").wait(WAIT_S)
        assert outcome.status == "dead"
        assert "deaths.work" in outcome.reason
        assert "failed 3 times, at last with KeyboardInterrupt: hopeless" in outcome.reason
        assert "raise KeyboardInterrupt" in eventually(w.client.admin.dead)[0].traceback


def test_data_of_the_wrong_shape_is_dead_at_once() -> None:
    app = Workflow("shapes")

    @app.task
    def work(data: int) -> Any:
        return None

    with world(app) as w:
        outcome = w.client.publish("work", {"no": "number"}).wait(WAIT_S)
        assert (outcome.status, "failed 1 times" in outcome.reason) == ("dead", True)
        assert "shapes.work cannot take its data" in outcome.reason


def test_what_no_payload_can_hold_is_dead_at_once() -> None:
    app = Workflow("payloads")

    @app.task
    def work() -> Any:
        return emit("e", object())

    with world(app) as w:
        assert "DataError" in w.client.publish("work").wait(WAIT_S).reason


def test_a_plain_task_that_times_out_is_tried_again_and_its_late_answer_dropped() -> None:
    app = Workflow("timeouts")
    late, ended = threading.Event(), threading.Event()

    @app.task(retry=OFTEN, timeout=0.05)
    def work(ctx: Context) -> Any:
        if ctx.attempt == 1:
            eventually(lambda: ctx.lost)
            late.wait(WAIT_S)
            ended.set()
            return result("late")
        return result("in time")

    with world(app, concurrency=2) as w:
        run = w.client.publish("work")
        assert run.wait(WAIT_S).result == "in time"
        late.set()
        assert ended.wait(WAIT_S)
        eventually(lambda: not w.workers[0]._engine._executions._zombies)
        assert run.wait(WAIT_S).result == "in time"


def test_a_task_that_timed_out_keeps_its_slot_until_it_ends() -> None:
    """One slot: the second attempt cannot start before the first has really ended."""
    app = Workflow("zombies")
    order: list[str] = []

    @app.task(retry=OFTEN, timeout=0.02)
    def work(ctx: Context) -> Any:
        order.append(f"begin {ctx.attempt}")
        if ctx.attempt == 1:
            eventually(lambda: ctx.lost)
            time.sleep(0.1)
        order.append(f"end {ctx.attempt}")
        return result("done")

    with world(app, concurrency=1) as w:
        w.client.publish("work").wait(WAIT_S)
    attempts = len(order) // 2  # on a busy machine the second may time out as well
    assert attempts >= 2
    assert order == [f"{what} {number}" for number in range(1, attempts + 1) for what in ("begin", "end")]


def test_an_async_task_that_times_out_is_cancelled() -> None:
    app = Workflow("cancelling")
    cancelled = threading.Event()

    @app.task(retry=Retry(max_attempts=1), timeout=0.05)
    async def work() -> Any:
        try:
            await asyncio.sleep(10 * WAIT_S)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with world(app) as w:
        outcome = w.client.publish("work").wait(WAIT_S)
        assert "Timeout: the task did not end within its timeout of 0.05 s" in outcome.reason
        assert cancelled.wait(WAIT_S)


def test_an_event_loop_that_is_held_up_is_closed_when_it_can_be() -> None:
    """The worker does not wait for it."""
    app = Workflow("held_up")
    started, go = threading.Event(), threading.Event()

    @app.task
    async def work() -> Any:
        started.set()
        go.wait(WAIT_S)

    with world(app) as w:
        w.client.publish("work")
        assert started.wait(WAIT_S)
        worker = w.workers.pop()
        worker.stop(grace=0)
        loop = worker._engine._executions._runner._loop
        assert loop is not None
        assert not loop.is_closed()
        go.set()
        eventually(loop.is_closed)


def test_a_step_that_succeeded_is_not_run_again() -> None:
    app = Workflow("steps")
    charged: list[int] = []

    @app.task(retry=SOON)
    def work(ctx: Context) -> Any:
        first = ctx.step("charge", lambda: charged.append(ctx.attempt) or ("receipt", len(charged)))  # type: ignore[func-returns-value]
        second = ctx.step("mail", lambda: f"mailed at {ctx.attempt}")
        if ctx.attempt < 3:
            raise ConnectionError("after the steps")
        return result([first, second])

    with world(app) as w:
        run = w.client.publish("work")
        assert run.wait(WAIT_S).result == [["receipt", 1], "mailed at 1"]
        assert charged == [1]
        assert not [field for field in w.store.runs[run.id].fields if field.startswith("c:")]


def test_a_step_of_an_attempt_that_is_over_says_so() -> None:
    app = Workflow("stale_steps")
    errors: list[Exception] = []

    @app.task
    def work(ctx: Context) -> Any:
        w.client.cancel(ctx.run_id)
        w.store.txns([Txn("x", ctx.run_id, then=(Put(k.attempt(ctx.call_id), b"7"),))])
        try:
            ctx.step("a", lambda: 1)
        except PwfError as error:
            errors.append(error)

    with world(app) as w:
        w.client.publish("work").wait(WAIT_S)
        eventually(lambda: errors)
    assert "attempt 1 of stale_steps.work is over" in str(errors[0])


# ── messages that cannot be dealt with ────────────────────────────────────────────────────────


def test_an_unknown_task_is_put_off_and_not_dropped() -> None:
    old, new = Workflow("deploys"), Workflow("deploys")

    @old.task("begin")
    def begin_old() -> Any:
        return call("added_later")

    @new.task("added_later")
    def added_later() -> Any:
        return result("run by the new worker")

    with world(old) as w:
        run = w.client.publish("begin")
        waiting = eventually(lambda: [c for c in w.client.describe(run.id).calls if c.state == "waiting"])
        assert "no task 'added_later' is registered by this worker of 'deploys'" in waiting[0].error
        w.workers.pop().stop()
        w.work([new])
        assert run.wait(WAIT_S).result == "run by the new worker"


@pytest.mark.parametrize(("body", "reason"), [(b"\xffgarbage", "no message"), (b'[99,"x"]', "version 99")])
def test_a_body_that_cannot_be_read_is_kept_and_the_worker_goes_on(body: bytes, reason: str) -> None:
    app = Workflow("bodies")

    @app.task
    def work() -> Any:
        return result("still here")

    with world(app, concurrency=1) as w:
        w.send("bodies", body)
        kept = eventually(w.client.admin.unreadable)
        assert (kept[0].queue, kept[0].body) == ("bodies", body)
        assert reason in kept[0].reason
        assert w.client.publish("work").wait(WAIT_S).result == "still here"
        eventually(lambda: w.messages() == 0)


def test_nothing_unreadable_is_acked_before_it_is_kept() -> None:
    app = Workflow("bodies")
    app.subscribe("work", lambda: None)
    with world(app) as w:
        w.store.away = True
        w.send("bodies", b"?")
        eventually(lambda: w.store.refusals > 2)
        assert w.messages() == 1
        w.store.away = False
        eventually(lambda: w.messages() == 0)
        assert w.store.index_size(UNREADABLE) == 1


def test_a_damaged_record_does_not_end_the_worker_nor_spin() -> None:
    app = Workflow("damage")
    app.subscribe("work", lambda: result("fine"))
    with world(app, work=False, concurrency=1) as w:
        w.declare("damage")
        run = w.client.publish("work")
        w.store.txns([Txn("x", run.id, then=(Put(k.record(ROOT_CALL), b"\xc1"),))])
        w.work()
        kept = eventually(w.client.admin.unreadable)
        assert run.id.encode() in kept[0].body
        assert "DecodeError" in kept[0].reason
        assert w.client.publish("work").wait(WAIT_S).result == "fine"


def test_a_run_that_the_store_cannot_stand_does_not_hold_up_the_others() -> None:
    app = Workflow("poison")
    app.subscribe("work", lambda: result("fine"))
    with world(app, work=False) as w:
        w.declare("poison")
        runs = w.client.publish_many([("work", None, f"r{n}") for n in range(5)])
        w.store.poison = "r2"
        w.work()
        for run in runs:
            if run.id != "r2":
                assert run.wait(WAIT_S).result == "fine"
        assert b"r2" in eventually(w.client.admin.unreadable)[0].body
        w.store.poison = ""
        w.client.admin.redrive_unreadable(w.client.admin.unreadable()[0].key)
        assert w.client.wait("r2", WAIT_S).result == "fine"


def test_the_log_tells_of_each_attempt_that_failed(caplog: pytest.LogCaptureFixture) -> None:
    app = Workflow("failing")

    @app.task(retry=Retry(max_attempts=2, first_delay=0.01, jitter=0.0))
    def work() -> Any:
        raise ValueError("not today")

    with caplog.at_level(logging.INFO, "pwf"), world(app) as w:
        w.client.publish("work", run_id="r")
        eventually(w.client.admin.dead)
    again, dead = [record for record in caplog.records if "not today" in record.getMessage()]
    call = f"run r: failing.work {ROOT_CALL}"
    assert again.levelname == "INFO"
    assert again.getMessage() == f"{call} failed in attempt 1: ValueError: not today; it is tried again in 0.0 s"
    assert dead.levelname == "ERROR"
    first, *trace = dead.getMessage().splitlines()
    assert first == f"{call} is dead after attempt 2: ValueError: not today; kept, see `pwf dead list`"
    assert (trace[0], trace[-1]) == ("Traceback (most recent call last):", "ValueError: not today")


def test_a_field_of_the_wrong_kind_parks_its_call_and_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """Its task has run, and its commit cannot be. Told with run, field and remedy; then mended."""
    app = Workflow("wrong")
    ran: list[str] = []

    @app.task
    def work(ctx: Any) -> Any:
        ran.append(ctx.run_id)
        return result("fine")

    with world(app, work=False, lease=0.1) as w:
        w.declare("wrong")
        runs = w.client.publish_many([("work", None, f"r{n}") for n in range(5)])
        w.store.txns([Txn("x", "r2", then=(Put(k.OPEN, b"one"),))])
        w.work()
        for run in runs:
            if run.id != "r2":
                assert run.wait(WAIT_S).result == "fine"
        (kept,) = eventually(w.client.admin.unreadable)
        said = "run 'r2' is damaged: the field 'open' holds no number ('commit'); mend it in the store, or end the run"
        assert kept.reason.startswith(said)
        assert "Traceback" not in kept.reason
        assert [said in record.getMessage() for record in caplog.records].count(True) == 1
        assert ran.count("r2") == 1
        w.store.txns([Txn("x", "r2", then=(Put(k.OPEN, b"1"),))])
        w.client.admin.redrive_unreadable(kept.key)
        assert w.client.wait("r2", WAIT_S).result == "fine"


def test_a_client_is_told_of_a_damaged_run() -> None:
    app = Workflow("told")
    app.subscribe("work", lambda: result("fine"))
    with world(app) as w:
        w.store.txns([Txn("x", "r", then=(Put(k.STATUS, k.RUNNING), Put(k.OPEN, b"one")))])
        with pytest.raises(RunDamaged, match=r"run 'r' is damaged: .*'open'.*b'one'.*`pwf cancel r`"):
            w.client.describe("r")
        with pytest.raises(RunDamaged, match=r"run 'r' is damaged: .*'open'.*b'one'.*`pwf cancel r`"):
            w.client.explain("r")
        w.store.index_add(OPEN, [(b"r", 1)])
        assert [(line.run_id, line.status) for line in w.client.admin.runs()] == [("r", "damaged")]
        w.client.admin.cancel("r")
        assert w.client.wait("r", WAIT_S).status == "cancelled"
        assert w.client.publish("work").wait(WAIT_S).result == "fine"


# ── servers that go away ──────────────────────────────────────────────────────────────────────


def test_calls_wait_while_the_store_is_away(caplog: pytest.LogCaptureFixture) -> None:
    app = Workflow("outages")
    go = threading.Event()
    started = threading.Semaphore(0)

    @app.task
    def work() -> Any:
        started.release()
        go.wait(WAIT_S)
        return [call(end), call(end), join(last, on={"ended": 2})]

    @app.task
    def end() -> Any:
        return emit("ended")

    @app.task
    def last() -> Any:
        return result("all of it")

    with world(app) as w:
        runs = w.client.publish_many([("work", None, None)] * 4)
        assert all(started.acquire(timeout=WAIT_S) for _ in runs)
        w.store.away = True
        go.set()
        eventually(lambda: w.store.refusals > 3)
        w.store.away = False
        assert [run.wait(WAIT_S).result for run in runs] == ["all of it"] * 4
    said = [record.getMessage() for record in caplog.records if "store" in record.getMessage()]
    assert len([line for line in said if "does not answer: Redis at nowhere" in line]) == 1
    assert said[-1] == "the store answers again"


def test_a_lost_message_is_found_and_published_again() -> None:
    """The queues lose everything; time goes by, since only calls older than the slack count as lost."""
    app = Workflow("lost")
    app.subscribe("work", lambda: result("found"))
    with world(app, work=False, recovery=0.2) as w:
        w.declare("lost")
        run = w.client.publish("work")
        w.clock.ahead_ms = 10_000
        w.broker = MemoryBroker()
        w.work()
        assert run.wait(WAIT_S).result == "found"


# ── leases ────────────────────────────────────────────────────────────────────────────────────


def test_a_running_task_keeps_its_lease_and_a_redelivery_waits() -> None:
    """The broker gives the message to another worker while the first still runs: one commit."""
    app = Workflow("leases")
    ran: list[int] = []
    go = threading.Event()

    @app.task
    def work(ctx: Context) -> Any:
        ran.append(ctx.attempt)
        go.wait(WAIT_S)
        eventually(lambda: not ctx.lost)  # it counts by the machine's clock, which may have run on alone for a moment
        return result(ctx.attempt)

    with world(app, lease=0.3) as w:
        w.clock.stand()
        run = w.client.publish("work")
        eventually(lambda: ran)
        w.work()
        w.lose_channels("leases")
        eventually(lambda: w.store.index_size(TIMERS))
        for _ in range(5):
            w.clock.ahead_ms += 200
            eventually(lambda: lease_ms(w, run.id) == 300)
        assert ran == [1]
        go.set()
        assert run.wait(WAIT_S).result == 1
    assert ran == [1]


def lease_ms(w: World, run_id: str) -> int:
    """How long the lease of its first call still holds; 0 if nobody has it."""
    (held,) = w.store.txns([Txn("x", run_id, then=(Holder(ROOT_CALL),))])[0].replies
    return held[1] if held else 0


def test_a_lost_lease_is_told_to_the_task(caplog: pytest.LogCaptureFixture) -> None:
    app = Workflow("losses")
    seen: list[int] = []

    @app.task
    def work(ctx: Context) -> Any:
        if ctx.attempt == 1:
            w.store.txns([Txn("x", ctx.run_id, then=(Release(ctx.call_id),))])
            eventually(lambda: ctx.lost and "the lease of losses.work" in caplog.text)
        seen.append(ctx.attempt)
        return result(ctx.attempt)

    with world(app, lease=0.3) as w:
        assert w.client.publish("work").wait(WAIT_S).result == 1
    assert seen == [1]


# ── the end ───────────────────────────────────────────────────────────────────────────────────


def test_stopping_lets_running_tasks_end_and_leaves_the_rest_to_others() -> None:
    app = Workflow("stops")
    started, go = threading.Semaphore(0), threading.Event()

    @app.task
    def work(data: int) -> Any:
        started.release()
        go.wait(WAIT_S)
        return result(data)

    with world(app, concurrency=2) as w:
        runs = w.client.publish_many([("work", n, None) for n in range(6)])
        assert started.acquire(timeout=WAIT_S)
        assert started.acquire(timeout=WAIT_S)
        worker = w.workers.pop()
        worker.request_stop(grace=WAIT_S)
        go.set()
        worker.stop(grace=WAIT_S)
        assert sorted(run.id for run in runs if w.store.runs[run.id].fields[k.STATUS] == k.COMPLETED) == sorted(
            run.id for run in runs[:2]
        )
        w.work()
        assert [run.wait(WAIT_S).result for run in runs] == list(range(6))


def test_what_still_runs_after_the_grace_is_released_for_others() -> None:
    app = Workflow("graces")
    go = threading.Event()
    started = threading.Event()

    @app.task
    def work(ctx: Context) -> Any:
        if ctx.attempt == 1:
            started.set()
            go.wait(WAIT_S)
        return result(ctx.attempt)

    with world(app, lease=10 * WAIT_S) as w:
        run = w.client.publish("work")
        assert started.wait(WAIT_S)
        begun = time.monotonic()
        w.workers.pop().stop(grace=0.1)
        assert time.monotonic() - begun < WAIT_S / 2
        assert w.store.txns([Txn("x", run.id, then=(Holder(ROOT_CALL),))])[0].replies == (None,)
        w.work()
        assert run.wait(WAIT_S).result == 2
        go.set()


def test_nothing_is_left_but_what_is_retained_and_that_only_for_its_time() -> None:
    module = import_module("examples.registration")
    with world(module.users, module.documents, retention=3600.0, recovery=0.2) as w:
        for run in w.client.publish_many([("users.register_user", module.START, None)] * 5):
            assert run.wait(WAIT_S).status == "completed"
        eventually(lambda: w.messages() == 0)
        eventually(lambda: not w.store.index_size("open"))
        assert len(w.store.runs) == 5
        assert all(set(run.fields) <= set(k.SUMMARY) for run in w.store.runs.values())
        w.clock.ahead_ms = 3_601_000
        w.work()  # which begins with a look at what is over
        eventually(lambda: not w.store.index_size("finished"))
        w.store.txns([Txn("x", "any")])
        assert not w.store.runs
        assert {name for name, entries in w.store.indexes.items() if entries} <= {"markers"}


def test_a_worker_needs_workflows_of_different_names() -> None:
    with pytest.raises(UsageError, match="of different names"):
        world(Workflow("a"), Workflow("a")).__enter__().work()


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ({"lease": 0}, r"lease=0: must be a number from 0.1 to 3600"),
        ({"concurrency": 2.5}, r"concurrency=2.5: must be a whole number from 1 to 1000"),
        ({"queue_type": "fast"}, r"queue_type='fast': must be one of quorum, classic"),
        ({"recovery": "5"}, r"recovery='5': must be a number"),
        ({"wait_replicas": -1}, r"wait_replicas=-1: must be a whole number from 0 to 100 \(how many replicas of Redis"),
        ({"wait_timeout": 0}, r"wait_timeout=0: must be a number from 0.01 to 60"),
    ],
)
def test_a_wrong_setting_is_named_with_its_range(setting: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        Settings(**setting)


@pytest.mark.parametrize(("given", "expected"), [({}, 0), ({"PWF_WAIT_REPLICAS": "2"}, 2)])
def test_replicas_to_wait_for_are_a_setting_or_a_variable(given: dict[str, str], expected: int) -> None:
    assert wait_replicas(Settings(), given) == expected
    assert wait_replicas(Settings(wait_replicas=3), given) == 3


@pytest.mark.parametrize("given", ["two", "-1", "101", ""])
def test_a_variable_that_is_no_number_of_replicas_is_named(given: str) -> None:
    with pytest.raises(UsageError, match=f"PWF_WAIT_REPLICAS='{given}': must be a whole number from 0 to 100"):
        wait_replicas(Settings(), {"PWF_WAIT_REPLICAS": given})


def test_timeouts_of_tasks_that_have_ended_are_not_kept() -> None:
    """With a timeout of hours and many short tasks, each would otherwise stay for hours."""
    app = Workflow("tidy_timeouts")
    app.subscribe("work", lambda: None, timeout=3600.0)
    with world(app) as w:
        for run in w.client.publish_many([("work", None, None)] * 1500):
            run.wait(WAIT_S)
        assert len(w.workers[0]._engine._executions._timeouts) < 1_200
