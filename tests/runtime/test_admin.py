"""Lists, cancelling, and what is done about calls that are dead."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from pwf_runtime import Context, Retry, UsageError, Workflow, call, emit, join, result
from pwf_runtime.core import keys as k
from pwf_runtime.core.effects import DEAD, FINISHED, OPEN
from pwf_runtime.core.ids import ROOT_CALL
from pwf_runtime.core.txn import Get, Txn

from .world import WAIT_S, World, eventually, world

ONCE = Retry(max_attempts=1)


def dying(mended: threading.Event) -> Workflow:
    """``work`` dies until it is mended; ``half`` also emits what a join waits for."""
    app = Workflow("dying")

    @app.task(retry=ONCE)
    def work(ctx: Context) -> Any:
        if not mended.is_set():
            raise RuntimeError("not mended yet")
        return result(ctx.attempt)

    @app.task
    def half() -> Any:
        return [call(work), join(end, on=["a", "b"]), emit("a")]

    @app.task
    def end() -> Any:
        return None

    return app


def dead_run(w: World, task: str = "work") -> str:
    run = w.client.publish(task)
    assert run.wait(WAIT_S).status == "dead"
    eventually(w.client.admin.dead)
    return run.id


def test_a_dead_call_is_listed_and_redriven_with_a_fresh_allowance() -> None:
    mended = threading.Event()
    with world(dying(mended)) as w:
        run_id = dead_run(w)
        (dead,) = w.client.admin.dead()
        assert (dead.run_id, dead.call_id, dead.task, dead.attempts) == (run_id, ROOT_CALL, "dying.work", 1)
        assert dead.error == "RuntimeError: not mended yet"
        assert "raise RuntimeError" in w.client.admin.dead_call(run_id, ROOT_CALL).traceback
        mended.set()
        w.client.admin.redrive(run_id, ROOT_CALL)
        assert w.client.wait(run_id, WAIT_S).result == 2, "attempts go on counting: they fence off what came before"
        assert not w.client.admin.dead()
        assert not w.store.index_size(DEAD)


def test_a_call_that_dies_again_is_listed_again() -> None:
    with world(dying(threading.Event())) as w:
        run_id = dead_run(w)
        for _ in range(3):
            w.client.admin.redrive(run_id, ROOT_CALL)
            eventually(w.client.admin.dead)
            assert w.client.wait(run_id, WAIT_S).status == "dead"


def test_a_redrive_that_was_cut_off_can_be_repeated() -> None:
    mended = threading.Event()
    with world(dying(mended)) as w:
        run_id = dead_run(w)
        w.workers.pop().stop()
        w.client.admin.redrive(run_id, ROOT_CALL)
        w.client.admin.redrive(run_id, ROOT_CALL)
        mended.set()
        w.work()
        assert w.client.wait(run_id, WAIT_S).result == 2


def test_dropping_a_dead_call_lets_its_run_end() -> None:
    with world(dying(threading.Event())) as w:
        run_id = dead_run(w)
        w.client.admin.drop(run_id, ROOT_CALL)
        assert w.client.wait(run_id, WAIT_S).status == "completed"
        for call in (ROOT_CALL, "nobody"):
            with pytest.raises(UsageError, match="no dead call"):
                w.client.admin.drop(run_id, call)
        assert (w.store.index_size(OPEN), w.store.index_size(DEAD), w.store.index_size(FINISHED)) == (0, 0, 1)


def test_what_a_drop_that_was_cut_off_has_left_is_done_by_the_next() -> None:
    with world(dying(threading.Event())) as w:
        run_id = dead_run(w)
        entries = w.store.index_read(DEAD, 1 << 60, 9)
        w.client.admin.drop(run_id, ROOT_CALL)
        w.store.index_add(DEAD, entries)
        w.client.admin.drop(run_id, ROOT_CALL)
        assert w.store.index_size(DEAD) == 0


def test_dropping_what_a_join_needed_strands_the_run() -> None:
    with world(dying(threading.Event())) as w:
        run_id = dead_run(w, "half")
        w.client.admin.drop(run_id, w.client.admin.dead()[0].call_id)
        outcome = w.client.wait(run_id, WAIT_S)
        assert (outcome.status, "b (0 of 1)" in outcome.reason) == ("stranded", True)


@pytest.mark.parametrize("ask", ["redrive", "drop", "dead_call"])
def test_only_a_dead_call_can_be_dealt_with(ask: str) -> None:
    with world(dying(threading.Event()), work=False) as w:
        run = w.client.publish("work")
        if ask != "redrive":
            with pytest.raises(UsageError, match="no dead call"):
                getattr(w.client.admin, ask)(run.id, ROOT_CALL)
        with pytest.raises(UsageError, match="no dead call"):
            getattr(w.client.admin, ask)(run.id, "nobody")
        with pytest.raises(UsageError, match="no dead call"):
            getattr(w.client.admin, ask)("nobody", ROOT_CALL)


@pytest.mark.parametrize("ask", ["redrive", "drop"])
def test_a_dead_call_of_a_run_that_was_cancelled_stays_as_it_is(ask: str) -> None:
    with world(dying(threading.Event())) as w:
        run_id = dead_run(w)
        w.client.cancel(run_id)
        before = dict(w.store.runs[run_id].fields)
        with pytest.raises(UsageError, match="no dead call"):
            getattr(w.client.admin, ask)(run_id, ROOT_CALL)
        assert w.store.runs[run_id].fields == before


def test_cancelling_ends_a_run_while_its_task_runs() -> None:
    app = Workflow("cancels")
    go, started = threading.Event(), threading.Event()

    @app.task
    def work() -> Any:
        started.set()
        go.wait(WAIT_S)
        return [call("work"), result("too late")]

    with world(app) as w:
        run = w.client.publish("work")
        assert started.wait(WAIT_S)
        w.client.cancel(run.id)
        w.client.cancel(run.id)
        go.set()
        outcome = run.wait(WAIT_S)
        assert (outcome.status, outcome.result) == ("cancelled", None)
        eventually(lambda: w.messages() == 0)
        assert w.store.txns([Txn("x", run.id, then=(Get((k.RESULT,)),))])[0].replies == ((None,),)
        assert [found.status for found in w.client.admin.runs()] == ["cancelled"]
        assert w.store.runs[run.id].expires_ms is not None


def test_cancelling_takes_dead_calls_off_the_list() -> None:
    with world(dying(threading.Event())) as w:
        run_id = dead_run(w)
        w.client.cancel(run_id)
        assert not w.store.index_size(DEAD)
        with pytest.raises(UsageError, match="no dead call"):
            w.client.admin.redrive(run_id, ROOT_CALL)


def test_a_run_that_has_ended_cannot_be_cancelled() -> None:
    mended = threading.Event()
    mended.set()
    with world(dying(mended)) as w:
        run = w.client.publish("work")
        run.wait(WAIT_S)
        with pytest.raises(UsageError, match="has ended already: it is completed"):
            w.client.cancel(run.id)


def test_runs_are_listed_newest_first() -> None:
    mended = threading.Event()
    mended.set()
    with world(dying(mended)) as w:
        ids = []
        for _ in range(3):
            run = w.client.publish("work")
            run.wait(WAIT_S)
            ids.append(run.id)
            eventually(lambda: w.store.index_size(FINISHED) == len(ids) and not w.store.index_size(OPEN))
            w.clock.ahead_ms += 1_000
        assert [found.run_id for found in w.client.admin.runs(2)] == ids[:0:-1]
        assert {found.status for found in w.client.admin.runs()} == {"completed"}


def test_a_run_that_ends_while_runs_are_listed_is_listed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with world(dying(threading.Event()), work=False) as w:
        run = w.client.publish("work")
        read, member = w.store.index_read, run.id.encode()

        def and_then_it_ends(index: str, upto: int, limit: int) -> list[tuple[bytes, int]]:
            found = read(index, upto, limit)
            w.store.index_add(FINISHED, [(member, 1)])
            w.store.index_remove(OPEN, [member])
            return found

        monkeypatch.setattr(w.store, "index_read", and_then_it_ends)
        assert [found.run_id for found in w.client.admin.runs()] == [run.id]


def test_a_run_on_both_lists_is_listed_once() -> None:
    """As it is for a moment when it ends."""
    with world(dying(threading.Event()), work=False) as w:
        run = w.client.publish("work")
        w.client.cancel(run.id)
        w.store.index_add(OPEN, [(run.id.encode(), 1)])
        assert [(found.run_id, found.status) for found in w.client.admin.runs()] == [(run.id, "cancelled")]


def test_unreadable_messages_can_be_dropped() -> None:
    with world(dying(threading.Event())) as w:
        w.send("dying", b"?")
        (kept,) = eventually(w.client.admin.unreadable)
        assert w.client.admin.unreadable_one(kept.key) == kept
        w.client.admin.redrive_unreadable(kept.key)
        eventually(w.client.admin.unreadable)
        w.client.admin.drop_unreadable(kept.key)
        assert not w.client.admin.unreadable()
        with pytest.raises(UsageError, match="no unreadable message"):
            w.client.admin.drop_unreadable(kept.key)
