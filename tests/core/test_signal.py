"""Signals: born committed, counted once, and able to bring a stranded run back; joins that wait for the outside."""

from __future__ import annotations

import pytest

from pwf_runtime.core import keys as k
from pwf_runtime.core import states
from pwf_runtime.core.delivery import ROUTE_RETRY_MS
from pwf_runtime.core.effects import OPEN, TIMERS, IndexAdd, Publish
from pwf_runtime.core.ids import ROOT_CALL, derive, signal_call
from pwf_runtime.core.model import Message, NewCall, Outcome, Signal, Timer
from pwf_runtime.core.signal import (
    Addressing,
    Closing,
    Confirming,
    Conflict,
    Publishing,
    Refused,
    Relisting,
    Signalled,
    Signalling,
    Waiting,
)
from pwf_runtime.core.txn import Expire, Txn
from pwf_runtime.core.wire import decode_event, decode_record

from .desk import LEASE_MS, RETENTION_MS, RUN, Desk, call, child, event, join, outside
from .situations import stranded_desk

CALL = signal_call("s")
MESSAGE = Message(RUN, CALL, "q.~a")


def waiting_desk(*needs: object, **more: object) -> Desk:
    """A run whose join waits for the signal "a"."""
    arms = Outcome(joins=(join("last", *(needs or (outside("a"),)), **more),))  # type: ignore[arg-type]
    desk = Desk({"first": arms, "last": Outcome(result=b"1"), "late": Outcome()})
    desk.begin_and_drain("first")
    return desk


def last_events(desk: Desk) -> list[tuple[str, bytes]]:
    (ran,) = [ran for ran in desk.ran if ran.message.task == "q.last"]
    return [(event.name, event.data) for event in ran.events]


# ── sending ───────────────────────────────────────────────────────────────────────────────────


def test_a_signal_is_created_in_one_transaction_and_then_published() -> None:
    """L8; and in that transaction it is committed, counted as open, and noted as received."""
    desk = waiting_desk()
    hand = desk.signal("a", b"data")
    effects = [type(hand.effect)]
    while hand.effect is not None:
        hand.go()
        effects.append(type(hand.effect))
    assert effects == [Txn, Txn, Publish, type(None)]
    assert hand.state == Signalled(created=True)
    assert desk.queues["q"] == [MESSAGE]
    assert desk.field(k.state(CALL)) == k.COMMITTED
    assert desk.number(k.OPEN) == 2
    assert decode_record(desk.fields()[k.record(CALL)]).parent == ""
    assert decode_event(desk.fields()[k.item(k.events("a"), 0)]).data == b"data"


def test_its_event_meets_a_join_that_is_armed() -> None:
    desk = waiting_desk()
    desk.signal("a", b"data").finish()
    desk.drain()
    assert last_events(desk) == [("a", b"data")]
    assert desk.field(k.STATUS) == k.COMPLETED


def test_its_event_waits_for_a_join_that_is_armed_later() -> None:
    arms = Outcome(joins=(join("last", outside("a")),))
    desk = Desk({"first": Outcome(calls=(call("second"),)), "second": arms, "last": Outcome()})
    desk.deliver(desk.begin("first")).finish()
    desk.signal("a", b"data").finish()
    desk.deliver(desk.take("~a")).finish()
    desk.drain()
    assert last_events(desk) == [("a", b"data")]
    assert desk.field(k.STATUS) == k.COMPLETED


def test_a_signal_counts_beside_the_events_of_calls() -> None:
    fan = Outcome(calls=(call("part"),), joins=(join("last", ("a", 2)),))
    desk = Desk({"first": fan, "part": Outcome(events=(event("a", b"mine"),)), "last": Outcome()})
    desk.deliver(desk.begin("first")).finish()
    desk.signal("a", b"theirs").finish()
    desk.drain()
    assert last_events(desk) == [("a", b"theirs"), ("a", b"mine")]


@pytest.mark.parametrize("settled", [False, True])
def test_the_same_signal_again_is_one_signal(settled: bool) -> None:
    """While its call is open it is published again: who created it may have died before. (L1)"""
    desk = waiting_desk(outside("a", 2))
    desk.signal("a").finish()
    if settled:
        desk.drain()
    before, waiting = desk.fields(), list(desk.queues["q"])
    again = desk.signal("a")
    assert again.finish() == Signalled(created=False)
    assert desk.fields() == before
    assert (Publishing in again.states) is not settled
    assert desk.queues["q"] == [*waiting, *([] if settled else [MESSAGE])]


def test_it_is_known_as_long_as_the_result_of_its_run() -> None:
    """A sender that heard nothing may ask again when the signal has long led to the run's end."""
    desk = waiting_desk()
    desk.signal("a").finish()
    desk.drain()
    assert desk.field(k.STATUS) == k.COMPLETED
    assert sorted(desk.fields()) == sorted({*k.SUMMARY, k.received(CALL)} & set(desk.fields()))
    assert desk.signal("a").finish() == Signalled(created=False)
    desk.clock.ms += RETENTION_MS
    assert desk.signal("a").finish() == Refused("")


def test_the_same_id_with_another_event_or_other_data_is_a_conflict() -> None:
    desk = waiting_desk()
    desk.signal("a", b"data").finish()
    there = Signal("s", "a", b"data", desk.clock.ms)
    before = desk.fields()
    assert desk.signal("b", b"data").finish() == Conflict(there)
    assert desk.signal("a", b"else").finish() == Conflict(there)
    assert desk.fields() == before


def test_an_answer_that_is_lost_counts_nothing_twice() -> None:
    desk = waiting_desk(outside("a", 2))
    hand = desk.signal("a").until(Signalling).lose()
    before = desk.fields()
    assert hand.finish() == Signalled(created=False)
    assert desk.fields() == before
    assert desk.queues["q"] == [MESSAGE]


def test_another_id_is_another_signal() -> None:
    desk = waiting_desk(outside("a", 2))
    desk.signal("a", b"1", signal_id="s").finish()
    desk.signal("a", b"2", signal_id="t").finish()
    desk.drain()
    assert last_events(desk) == [("a", b"1"), ("a", b"2")]


@pytest.mark.parametrize("status", [k.COMPLETED, k.CANCELLED])
def test_a_run_that_has_ended_receives_nothing(status: bytes) -> None:
    desk = waiting_desk()
    desk.put(k.STATUS, status)
    before = desk.fields()
    assert desk.signal("a").finish() == Refused(status.decode())
    assert desk.fields() == before
    assert not desk.queues["q"]


def test_there_is_no_such_run() -> None:
    desk = Desk()
    assert desk.signal("a").finish() == Refused("")
    assert desk.fields() == {}


def test_a_run_that_was_begun_anew_under_its_id_is_another() -> None:
    """The message would go to the queue of the old one's first task."""
    desk = waiting_desk()
    hand = desk.signal("a").until(Signalling)
    desk.put(k.TASK, b"p.other")
    assert hand.go().message.queue == "p"


def test_a_first_task_without_a_queue_waits_for_it() -> None:
    desk = waiting_desk()
    del desk.queues["q"]
    hand = desk.signal("a")
    assert hand.finish() == Signalled(created=True, routed=False)
    assert Waiting in hand.states
    assert desk.timers() == {Timer(RUN, CALL, "q.~a", "signal", tries=1): desk.clock.ms + ROUTE_RETRY_MS}
    desk.queues["q"] = []
    desk.drain()
    assert desk.field(k.STATUS) == k.COMPLETED


# ── beside the end of a run ───────────────────────────────────────────────────────────────────


def test_a_signal_between_the_last_settle_and_the_end_keeps_the_run_open() -> None:
    desk = Desk({"first": Outcome()})
    hand = desk.deliver(desk.begin("first")).until(states.Completing)
    desk.signal("a").finish()
    hand.finish()
    assert desk.field(k.STATUS) == k.RUNNING
    desk.drain()
    assert desk.field(k.STATUS) == k.COMPLETED
    assert desk.members(OPEN) == []


def test_a_run_that_completes_before_the_transaction_receives_nothing() -> None:
    desk = Desk({"first": Outcome()})
    message = desk.begin("first")
    signal = desk.signal("a").until(Signalling)
    desk.deliver(message).finish()
    assert signal.finish() == Refused("completed")


def test_a_run_that_strands_before_the_transaction_is_revived() -> None:
    desk = Desk({"first": Outcome(joins=(join("last", "a"),)), "last": Outcome()})
    message = desk.begin("first")
    signal = desk.signal("a").until(Signalling)
    desk.deliver(message).finish()
    assert desk.field(k.STATUS) == k.STRANDED
    assert signal.finish() == Signalled(created=True)
    desk.drain()
    assert desk.field(k.STATUS) == k.COMPLETED


# ── reviving ──────────────────────────────────────────────────────────────────────────────────


def test_a_stranded_run_is_listed_revived_listed_and_published() -> None:
    """In this order; with its retention taken back in the same transaction that counts the signal."""
    desk = stranded_desk()
    hand = desk.signal("a")
    assert hand.finish() == Signalled(created=True)
    asked = [effect for _, effect in desk.seen[-6:]]
    assert [type(effect) for effect in asked] == [Txn, IndexAdd, Txn, IndexAdd, Publish, type(None)]
    assert asked[2].then[-1] == Expire(None)
    assert desk.members(OPEN) == [RUN.encode()]
    assert (desk.field(k.STATUS), desk.field(k.FINISHED)) == (k.RUNNING, None)
    desk.clock.ms += 2 * RETENTION_MS
    desk.drain()
    assert [ran.message.task for ran in desk.ran] == ["q.first", "q.last"]
    assert desk.field(k.STATUS) == k.COMPLETED
    assert desk.members(OPEN) == []
    assert desk.store.runs[RUN].expires_ms == desk.clock.ms + RETENTION_MS


def test_a_signal_that_nobody_waits_for_leaves_the_run_stranded_again() -> None:
    desk = stranded_desk()
    desk.signal("b").finish()
    desk.drain()
    assert desk.field(k.STATUS) == k.STRANDED
    assert desk.members(OPEN) == []
    assert desk.store.runs[RUN].expires_ms is not None


def test_a_sender_that_dies_after_reviving_leaves_a_run_that_recovery_finds() -> None:
    desk = stranded_desk()
    desk.signal("a").until(Relisting)
    desk.clock.ms += 3_600_000
    desk.scan().finish()
    desk.drain()
    assert desk.field(k.STATUS) == k.COMPLETED


def test_a_store_that_falls_back_while_it_revives_does_not_leave_the_run_unlisted() -> None:
    desk = stranded_desk()
    hand = desk.signal("a").until(Signalling)
    desk.store.index_remove(OPEN, [RUN.encode()])  # it has forgotten that the run was listed
    hand.finish()
    assert desk.members(OPEN) == [RUN.encode()]


def test_a_store_that_forgets_a_signal_takes_it_again() -> None:
    desk = waiting_desk()
    past = desk.fields()
    desk.signal("a").finish()
    desk.fall_back(past)
    assert desk.deliver(desk.take("~a")).finish() == states.Done(MESSAGE)
    assert desk.field(k.STATUS) == k.RUNNING
    assert desk.signal("a").finish() == Signalled(created=True)
    desk.drain()
    assert desk.field(k.STATUS) == k.COMPLETED


def test_two_signals_revive_it_once() -> None:
    desk = stranded_desk(Outcome(joins=(join("last", ("a", 2)),)))
    one, other = (desk.signal("a", signal_id=name).until(Signalling) for name in ("s", "t"))
    assert one.finish() == Signalled(created=True)
    assert other.finish() == Signalled(created=True)
    assert desk.number(k.OPEN) == 2
    assert len({txn.label for txn in desk.txns[-3:]} & {"revive", "signal"}) == 2


def test_who_was_about_to_revive_a_run_that_was_revived_meanwhile_leaves_it_listed() -> None:
    """It has taken the run off the list, and looks once more."""
    desk = stranded_desk()
    again = desk.signal("b").until(Signalling)
    desk.signal("b").finish()
    desk.drain()
    again.until(Closing)
    desk.signal("a", signal_id="t").finish()
    again.until(Confirming)
    assert desk.members(OPEN) == []
    assert again.finish() == Signalled(created=False)
    assert desk.members(OPEN) == [RUN.encode()]


# ── taking over ───────────────────────────────────────────────────────────────────────────────


def test_whoever_receives_it_goes_on_as_from_any_commit() -> None:
    """A worker dies after each step; the next finds what it left. (L3, L4)"""
    desk = waiting_desk()
    desk.signal("a").finish()
    message = desk.take("~a")
    for state in (states.Looking, states.Satisfying, states.Firing, states.Publishing, states.Settling):
        desk.deliver(message).until(state).lose()
    desk.deliver(message).finish()
    desk.drain()
    assert [ran.message.task for ran in desk.ran] == ["q.first", "q.last"]
    assert desk.field(k.STATUS) == k.COMPLETED


def test_a_lost_message_is_published_again() -> None:
    desk = waiting_desk()
    desk.signal("a").finish()
    desk.queues["q"].clear()
    desk.clock.ms += LEASE_MS
    desk.scan().finish()
    assert desk.queues["q"] == [MESSAGE]


def test_no_signal_is_a_call_of_a_task() -> None:
    assert signal_call("root") != ROOT_CALL
    assert signal_call("c0") != derive("", "c0")
    assert Addressing in {row.state for row in Desk().signaller.TABLE}


# ── waiting for the outside ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("needs", [(outside("a"),), ("b", outside("a")), (outside("a", 2), outside("b"))])
def test_a_join_that_waits_for_the_outside_keeps_its_run_open(needs: tuple[object, ...]) -> None:
    """Once, however many of its names are signals; it ends neither as completed nor as stranded."""
    desk = waiting_desk(*needs)
    assert (desk.field(k.STATUS), desk.number(k.OPEN), desk.number(k.ARMED)) == (k.RUNNING, 1, 1)
    desk.clock.ms += 10 * RETENTION_MS
    desk.scan().finish()
    assert desk.field(k.STATUS) == k.RUNNING
    assert desk.members(OPEN) == [RUN.encode()]


def test_the_joined_call_takes_its_place() -> None:
    desk = waiting_desk()
    desk.signal("a").finish()
    desk.deliver(desk.take("~a")).finish()
    assert desk.number(k.OPEN) == 1
    assert desk.take("last").call_id in {field[2:18] for field in desk.fields() if field.startswith("c:")}


@pytest.mark.parametrize("in_time", [True, False])
def test_with_a_timeout_its_timer_is_what_is_open(in_time: bool) -> None:
    """Counted once, and taken back by whichever comes first."""
    arms = Outcome(joins=(join("last", outside("a"), timeout_ms=50, on_timeout=NewCall("q.late", b"")),))
    desk = Desk({"first": arms, "last": Outcome(), "late": Outcome()})
    desk.deliver(desk.begin("first")).finish()
    assert desk.number(k.OPEN) == 1
    if in_time:
        desk.signal("a").finish()
    desk.drain()
    assert [ran.message.task for ran in desk.ran] == ["q.first", "q.last" if in_time else "q.late"]
    assert (desk.field(k.STATUS), desk.number(k.OPEN), desk.number(k.ARMED)) == (k.COMPLETED, 0, 0)


def test_any_of_several_is_enough() -> None:
    desk = waiting_desk("b", outside("a"), at_least=1)
    assert desk.number(k.OPEN) == 1
    desk.signal("a", b"data").finish()
    desk.drain()
    assert last_events(desk) == [("a", b"data")]
    assert desk.field(k.STATUS) == k.COMPLETED


def test_a_call_may_emit_what_is_awaited_from_outside() -> None:
    fan = Outcome(calls=(call("part"),), joins=(join("last", outside("a")),))
    desk = Desk({"first": fan, "part": Outcome(events=(event("a"),)), "last": Outcome()})
    desk.begin_and_drain("first")
    assert desk.field(k.STATUS) == k.COMPLETED


def test_a_join_that_does_not_say_so_strands_its_run() -> None:
    desk = stranded_desk()
    assert (desk.field(k.STATUS), desk.number(k.OPEN)) == (k.STRANDED, 0)
    assert desk.field(k.record(child("c0"))) is None
    assert TIMERS not in desk.store.indexes
