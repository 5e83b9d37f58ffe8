"""Signals as their users meet them: sent by a client, told by descriptions, refused with words."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from pwf_runtime import (
    DataError,
    Event,
    RunConflict,
    RunEnded,
    SignalConflict,
    StoreUnavailable,
    UsageError,
    WaitTimeout,
    Workflow,
    call,
    emit,
    join,
    result,
    signal,
)
from pwf_runtime.client import Client, SentSignal
from pwf_runtime.config import Settings
from pwf_runtime.core.effects import FINISHED, OPEN
from pwf_runtime.describe import SignalDescription

from .world import WAIT_S, eventually, world

orders = Workflow("orders")


@orders.task
def order(data: Any) -> list[Any]:
    """Wait for a call and for the outside."""
    return [call(pay, data), join(ship, data, on=["paid", signal("delivered")])]


@orders.task
def trust(data: Any) -> list[Any]:
    """The same, without saying what comes from outside."""
    return [call(pay, data), join(ship, data, on=["paid", "delivered"])]


@orders.task
def ask(data: float) -> Any:
    return join(ship, data, on=[signal("approved")], timeout=data, on_timeout=give_up)


@orders.task
def pay(data: Any) -> Any:
    return emit("paid", data)


@orders.task
def ship(events: list[Event]) -> Any:
    return result([event.data for event in events])


@orders.task
def give_up() -> Any:
    return result("nobody answered")


def waits(w: Any, run: Any) -> None:
    """Until nothing but the join is left."""
    eventually(lambda: not w.client.describe(run.id).calls and w.client.describe(run.id).joins)


def test_a_run_waits_for_a_signal_and_goes_on() -> None:
    with world(orders) as w:
        run = w.client.publish("order", 5)
        waits(w, run)
        sent = w.client.signal(run.id, "delivered", {"by": "Ada"}, signal_id="receipt-7")
        assert sent == SentSignal("receipt-7", created=True)
        assert run.wait(WAIT_S).result == [5, {"by": "Ada"}]


def test_a_signal_may_come_before_anything_waits_for_it() -> None:
    with world(orders, work=False) as w:
        w.declare("orders")
        run = w.client.publish("order", 5)
        assert run.signal("delivered", 1).created
        w.work()
        assert run.wait(WAIT_S).result == [5, 1]


def test_an_id_is_drawn_where_none_is_given() -> None:
    with world(orders) as w:
        run = w.client.publish("order", 5)
        one, other = run.signal("unheard", 1), run.signal("unheard", 1)
        assert one.created
        assert other.created
        assert one.signal_id != other.signal_id


def test_what_a_run_waits_for_is_told() -> None:
    with world(orders) as w:
        run = w.client.publish("order", 5)
        waits(w, run)
        told = "a join for orders.ship waits for the signal delivered from outside (0 of 1)"
        assert told in w.client.explain(run.id)
        with pytest.raises(WaitTimeout) as raised:
            run.wait(0.01)
        assert told in str(raised.value)
        run.signal("other", signal_id="x")
        assert [each.event for each in w.client.describe(run.id).signals] == ["other"]
        (need,) = [need for each in w.client.describe(run.id).joins for need in each.lacks]
        assert (need.name, need.outside) == ("delivered", True)


def test_the_signals_of_a_run_are_told_as_long_as_its_result() -> None:
    with world(orders) as w:
        run = w.client.publish("order", 5)
        run.signal("delivered", 1, signal_id="receipt-7")
        assert run.wait(WAIT_S).status == "completed"
        (told,) = w.client.describe(run.id).signals
        assert told == SignalDescription("receipt-7", "delivered", told.sent_ms)
        assert run.signal("delivered", 1, signal_id="receipt-7") == SentSignal("receipt-7", created=False)


@pytest.mark.parametrize(("event", "data"), [("delivered", 2), ("returned", 1)])
def test_one_id_is_one_signal(event: str, data: int) -> None:
    with world(orders) as w:
        run = w.client.publish("order", 5)
        run.signal("delivered", 1, signal_id="receipt-7")
        with pytest.raises(SignalConflict, match=r"'receipt-7' already, with .*: choose another signal_id") as raised:
            run.signal(event, data, signal_id="receipt-7")
        assert ("other data" if event == "delivered" else "event 'delivered'") in str(raised.value)
        assert run.wait(WAIT_S).result == [5, 1]


def test_a_timeout_ends_the_wait() -> None:
    with world(orders) as w:
        assert w.client.publish("ask", 0.05).wait(WAIT_S).result == "nobody answered"
        run = w.client.publish("ask", 60.0)
        run.signal("approved", True)
        assert run.wait(WAIT_S).result == [True]
        assert not w.client.admin.dead()


def test_a_stranded_run_goes_on() -> None:
    with world(orders) as w:
        run = w.client.publish("trust", 5)
        stranded = run.wait(WAIT_S)
        assert (stranded.status, "waits for delivered (0 of 1)" in stranded.reason) == ("stranded", True)
        assert f"pwf signal {run.id} EVENT DATA_JSON" in w.client.explain(run.id)
        run.signal("delivered", 1)
        eventually(lambda: run.wait(WAIT_S).status == "completed")
        assert run.wait(WAIT_S).result == [5, 1]
        eventually(lambda: not w.store.indexes.get(OPEN))


def test_a_run_that_goes_on_is_listed_once() -> None:
    with world(orders) as w:
        run = w.client.publish("trust", 5)
        assert run.wait(WAIT_S).status == "stranded"
        eventually(lambda: w.store.index_size(FINISHED))
        w.workers[0].stop()
        run.signal("delivered", 1)
        assert [(each.run_id, each.status) for each in w.client.admin.runs()] == [(run.id, "running")]


def test_beginning_it_again_beside_a_signal_is_the_same_run() -> None:
    with world(orders) as w:
        run = w.client.publish("trust", 5, run_id="user-42")
        assert run.wait(WAIT_S).status == "stranded"
        assert w.client.publish("trust", 5, run_id="user-42").created is False
        with pytest.raises(RunConflict):
            w.client.publish("trust", 6, run_id="user-42")


@pytest.mark.parametrize("end", ["completed", "cancelled"])
def test_a_run_that_has_ended_says_so(end: str) -> None:
    with world(orders) as w:
        run = w.client.publish("order", 5)
        if end == "completed":
            run.signal("delivered")
            run.wait(WAIT_S)
        else:
            w.client.cancel(run.id)
        with pytest.raises(RunEnded, match=f"signal 'paid' to run '{run.id}': it is {end}.*begin another run"):
            run.signal("paid")


def test_an_unknown_run_says_so() -> None:
    with world(orders) as w, pytest.raises(UsageError, match="there is no run 'nobody'"):
        w.client.signal("nobody", "delivered")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"event": ""}, r"signal\(\.\.\., ''\): an event needs a name"),
        ({"event": "~x"}, "reserved"),
        ({"event": 3}, "an event's name is a str"),
        ({"signal_id": ""}, "signal_id='': a signal's id is a str of 1 to 200 bytes"),
        ({"run_id": "a\n"}, "run_id='a.*: a run's id is a str"),
        ({"data": object()}, "data: "),
    ],
)
def test_what_cannot_be_meant_is_told_before_anything_is_done(arguments: dict[str, Any], error: str) -> None:
    given = {"run_id": "user-42", "event": "delivered", **arguments}
    with world(orders) as w:
        w.client.publish("order", 5, run_id="user-42")
        with pytest.raises(DataError if "data" in arguments else UsageError, match=error):
            w.client.signal(**given)
        assert not w.client.describe("user-42").signals


def test_a_server_that_is_away_leaves_it_open_and_names_the_id() -> None:
    with world(orders) as w, Client([orders], w.store, w.broker.transport(), Settings(timeout=0.2)) as impatient:
        run = w.client.publish("order", 5)
        w.store.away = True
        with pytest.raises(StoreUnavailable, match=r"send it again with signal_id='[0-9a-f]{20}' to be sure"):
            impatient.signal(run.id, "delivered")
        w.store.away = False


def test_a_queue_that_does_not_exist_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    with world(orders, work=False) as w, caplog.at_level(logging.WARNING, "pwf"):
        run = w.client.publish("order", 5)
        run.signal("delivered", 1)
        assert f"signal 'delivered' is in run {run.id}, but the queue of its first task does not exist" in caplog.text
        w.work()
        assert run.wait(WAIT_S).result == [5, 1]


def test_facts_of_a_run_with_signals_are_kept() -> None:
    """Its call was taken over from the sender, so it begins with a look."""
    from pwf_runtime.describe import read_fields
    from pwf_runtime.facts import read

    with world(orders, history=50) as w:
        run = w.client.publish("order", 5)
        run.signal("delivered", 1)
        assert run.wait(WAIT_S).status == "completed"
        fields = read_fields(w.store, run.id)
    mine = [(fact.what, fact.attempt) for fact in read(fields) if fact.task == "orders.~delivered"]
    assert mine == [("look", 0), ("settle", 0)]
    assert Settings().history == 0


def test_a_wait_for_two_takes_two() -> None:
    app = Workflow("votes")
    app.subscribe("ask", lambda: join("count", on=signal("vote", 2)))
    app.subscribe("count", lambda events: result(sorted(event.data for event in events)))
    with world(app) as w:
        run = w.client.publish("ask")
        run.signal("vote", 1)
        waits(w, run)
        assert w.client.describe(run.id).status == "running"
        run.signal("vote", 2)
        assert run.wait(WAIT_S).result == [1, 2]
