"""Recovery: the queues may lose everything. What is open is published again, and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest

from pwf_runtime.core import keys as k
from pwf_runtime.core import states as s
from pwf_runtime.core.effects import FINISHED, MARKERS, OPEN, Ack, Publish
from pwf_runtime.core.ids import ROOT_CALL
from pwf_runtime.core.inputs import Damaged
from pwf_runtime.core.model import CallRecord, Marker, Message, NewCall, Outcome
from pwf_runtime.core.recover import (
    FIELDS_AT_ONCE,
    SLACK_MS,
    Completing,
    Confirming,
    Marked,
    Probing,
    Republishing,
    ScanMachine,
    Scanned,
    Scanning,
)
from pwf_runtime.core.steps import Steps
from pwf_runtime.core.txn import Put, Txn
from pwf_runtime.core.wire import encode

from .desk import BOOM, INTERVAL_MS, LEASE_MS, RUN, Desk, Hand, call, child, event, join

LONG = 10 * SLACK_MS
A_RECORD = encode(CallRecord("q.first", b"", "", 0))


def desk_of(first: Outcome | None = None) -> Desk:
    return Desk({"first": first or Outcome(calls=(call("second"),)), "second": Outcome()})


def lose_queues(desk: Desk) -> None:
    for queue in desk.queues.values():
        queue.clear()


def republished(desk: Desk, **scan: int) -> list[str]:
    """The calls that a scan publishes, by a marker sent now unless another time is given."""
    lose_queues(desk)
    desk.scan(**scan).finish()
    return [message.call_id for message in desk.queues["q"] if isinstance(message, Message)]


@pytest.mark.parametrize(
    ("field", "bad"), [(k.OPEN, b"one"), (k.ARMED, b"?"), (k.due(ROOT_CALL), b"soon"), (k.record(ROOT_CALL), b"\xc1")]
)
def test_a_damaged_run_keeps_no_other_from_being_found(field: str, bad: bytes) -> None:
    desk = desk_of()
    desk.begin("first")
    desk.store.index_add(OPEN, [(b"damaged", 0)])
    there = {k.STATUS: k.RUNNING, k.OPEN: b"1", k.state(ROOT_CALL): k.READY, k.record(ROOT_CALL): A_RECORD, field: bad}
    desk.store.txns([Txn("x", "damaged", then=tuple(Put(name, value) for name, value in there.items()))])
    desk.clock.ms += LONG
    lose_queues(desk)
    desk.scan().finish()
    assert RUN in [message.run_id for message in desk.queues["q"] if isinstance(message, Message)]


@pytest.mark.parametrize("state", [Scanning, Probing, Completing, Confirming])
def test_a_scan_that_is_told_of_damage_goes_on_with_the_next_run(state: Any) -> None:
    machine, marker, runs = ScanMachine(Steps(LEASE_MS, 1)), Marker("q", 0), (("damaged", 0), ("next", 0))
    at = state(marker, runs, suspects=()) if state is Probing else state(marker, runs)
    went, effect = machine.step(at, Damaged("damaged", "what"), 0)
    assert went == Scanning(marker, runs[1:])
    assert isinstance(effect, Txn)
    assert effect.run_id == "next"


# ── markers ───────────────────────────────────────────────────────────────────────────────────


def test_a_marker_is_sent_when_the_last_one_is_old() -> None:
    desk = Desk()
    assert desk.mark().finish() == Marked(sent=True)
    desk.clock.ms += INTERVAL_MS - 1
    assert desk.mark().finish() == Marked(sent=False)
    desk.clock.ms += 1
    assert desk.mark().finish() == Marked(sent=True)
    assert desk.queues["q"] == [Marker("q", desk.clock.ms - INTERVAL_MS), Marker("q", desk.clock.ms)]
    assert desk.members(MARKERS) == [b"q"]


def test_each_queue_has_markers_of_its_own() -> None:
    desk = Desk()
    desk.queues["p"] = []
    assert [desk.mark("q").finish(), desk.mark("p").finish()] == [Marked(sent=True)] * 2
    assert desk.queues["p"] == [Marker("p", desk.clock.ms)]


def test_a_marker_is_noted_after_it_is_sent() -> None:
    """Who dies in between sends a second one, which is harmless; the other way round none would go for a while."""
    desk = Desk()
    hand = desk.mark()
    hand.go()
    assert isinstance(hand.effect, Publish)
    assert desk.members(MARKERS) == []


# ── what was lost ─────────────────────────────────────────────────────────────────────────────


def test_a_call_whose_message_was_lost_is_published_again() -> None:
    """And the run goes on as if nothing had happened."""
    desk = desk_of()
    desk.begin("first")
    desk.clock.ms += LONG
    assert republished(desk) == [ROOT_CALL]
    desk.drain()
    assert desk.field(k.STATUS) == k.COMPLETED


def test_a_call_that_may_be_behind_the_marker_is_waiting_and_not_lost() -> None:
    """No snowball: behind a long queue nothing is published again, however long it takes."""
    desk = desk_of()
    desk.clock.ms += LONG
    sent = desk.clock.ms
    desk.begin("first")
    desk.clock.ms += LONG
    assert republished(desk, sent_ms=sent) == []


@pytest.mark.parametrize(("older_ms", "found"), [(SLACK_MS, False), (SLACK_MS + 1, True)])
def test_older_than_the_marker_means_by_more_than_clocks_are_apart(older_ms: int, found: bool) -> None:
    desk = desk_of()
    desk.begin("first")
    assert bool(republished(desk, sent_ms=desk.clock.ms + older_ms)) == found


def test_a_call_that_somebody_has_is_left_to_him() -> None:
    desk = desk_of()
    message = desk.begin("first")
    desk.clock.ms += LONG
    desk.deliver(message).until(s.Running)
    assert republished(desk) == []
    desk.clock.ms += LEASE_MS
    assert republished(desk) == [ROOT_CALL]


def test_a_call_that_is_not_due_is_left_to_its_timer() -> None:
    """A retry, or a delay: ready since it is due, not since it was created."""
    desk = desk_of()
    desk.answers["first"] = BOOM
    message = desk.begin("first")
    desk.clock.ms += LONG
    desk.deliver(message).finish()
    assert republished(desk) == []
    desk.clock.ms += LONG
    assert republished(desk) == [ROOT_CALL]


def test_a_delayed_child_whose_timer_was_lost_is_found_when_it_is_due() -> None:
    desk = desk_of(Outcome(calls=(call("second", delay_ms=3 * LONG),)))
    desk.deliver(desk.begin("first")).finish()
    desk.store.indexes.clear()
    desk.store.index_add(OPEN, [(RUN.encode(), 0)])
    desk.clock.ms += 2 * LONG
    assert republished(desk) == []
    desk.clock.ms += 2 * LONG
    assert republished(desk) == [child("c0")]


def test_a_dead_call_is_left_to_people() -> None:
    desk = desk_of()
    desk.answers["first"] = BOOM
    desk.begin_and_drain("first")
    assert desk.field(k.state(ROOT_CALL)) == k.DEAD
    desk.clock.ms += LONG
    assert republished(desk) == []


def test_a_committed_call_is_published_again_for_what_it_has_still_to_do() -> None:
    desk = desk_of()
    message = desk.begin("first")
    desk.deliver(message).until(s.Publishing)
    desk.clock.ms += LONG
    assert republished(desk) == [ROOT_CALL, child("c0")] or republished(desk) == [child("c0"), ROOT_CALL]
    desk.drain()
    assert desk.field(k.STATUS) == k.COMPLETED
    assert len(desk.ran) == 2


def test_calls_of_another_queue_are_left_to_that_one_s_marker() -> None:
    desk = desk_of(Outcome(calls=(NewCall("p.x", b""), call("second"))))
    desk.queues["p"] = []
    desk.deliver(desk.begin("first")).finish()
    desk.clock.ms += LONG
    assert republished(desk) == [child("c1")]
    desk.scan(queue="p").finish()
    assert desk.queues["p"] == [Message(RUN, child("c0"), "p.x")]


def test_scanning_again_and_again_publishes_a_call_no_more_than_once_a_scan() -> None:
    """Harmless copies: the first to be claimed runs, the others are acked."""
    desk = desk_of()
    desk.begin("first")
    desk.clock.ms += LONG
    for _ in range(5):
        desk.scan().finish()
    assert len(desk.queues["q"]) == 5
    desk.drain()
    assert [ran.message.call_id for ran in desk.ran] == [ROOT_CALL, child("c0")]


def test_a_run_that_is_larger_than_a_page_is_scanned_as_a_whole() -> None:
    many = 2 * FIELDS_AT_ONCE
    desk = desk_of(Outcome(calls=tuple(call("second") for _ in range(many))))
    desk.deliver(desk.begin("first")).finish()
    desk.clock.ms += LONG
    assert sorted(republished(desk)) == sorted(child(f"c{i}") for i in range(many))
    assert desk.labels().count("scan") > 3


def test_every_open_run_is_looked_at() -> None:
    desk = desk_of()
    for run in ("one", "two", "three"):
        desk.start("first", run_id=run).finish()
    desk.clock.ms += LONG
    lose_queues(desk)
    hand = desk.scan()
    assert hand.finish() == Scanned(Marker("q", desk.clock.ms))
    assert {message.run_id for message in desk.queues["q"]} == {"one", "two", "three"}  # type: ignore[union-attr]
    assert hand.states.count(Republishing) == 3


def test_the_marker_is_acked_when_all_is_done() -> None:
    """Whoever dies during a scan leaves the marker unacked, so that another one scans."""
    desk = desk_of()
    desk.begin("first")
    desk.clock.ms += LONG
    hand, acks = desk.scan(), []
    while hand.effect is not None:
        acks.append(isinstance(hand.effect, Ack))
        hand.go()
    assert acks == [False] * (len(acks) - 1) + [True]


def test_a_broken_record_keeps_no_other_call_from_being_found() -> None:
    desk = desk_of(Outcome(calls=(call("second"), call("second"))))
    desk.deliver(desk.begin("first")).finish()
    desk.put(k.record(child("c0")), b"nonsense")
    desk.clock.ms += LONG
    assert republished(desk) == [child("c1")]


# ── runs ──────────────────────────────────────────────────────────────────────────────────────


def test_a_run_with_nothing_open_is_ended() -> None:
    """The worker that settled its last call died, and the message with it."""
    desk = desk_of(Outcome())
    desk.deliver(desk.begin("first")).until(s.Completing)
    hand = desk.scan()
    hand.finish()
    assert Completing in hand.states
    assert desk.field(k.STATUS) == k.COMPLETED
    assert (desk.members(OPEN), desk.members(FINISHED)) == ([], [RUN.encode()])


def test_a_run_with_nothing_open_and_joins_armed_is_stranded() -> None:
    desk = desk_of(Outcome(joins=(join("second", "never"),)))
    desk.deliver(desk.begin("first")).until(s.Completing)
    desk.scan().finish()
    assert desk.field(k.STATUS) == k.STRANDED


def test_a_run_that_has_ended_is_taken_off_the_open_ones() -> None:
    desk = desk_of(Outcome())
    desk.deliver(desk.begin("first")).until(s.Listing)
    assert desk.members(OPEN) == [RUN.encode()]
    desk.scan().finish()
    assert (desk.members(OPEN), desk.members(FINISHED)) == ([], [RUN.encode()])


def test_a_cancelled_run_is_taken_off_and_not_listed_as_finished() -> None:
    desk = desk_of()
    desk.begin("first")
    desk.put(k.STATUS, k.CANCELLED)
    desk.clock.ms += LONG
    assert republished(desk) == []
    assert (desk.members(OPEN), desk.members(FINISHED)) == ([], [])


@pytest.mark.parametrize(("age_ms", "stays"), [(SLACK_MS - 1, True), (SLACK_MS + 1, False)])
def test_a_run_that_is_listed_and_not_there_may_be_about_to_be_created(age_ms: int, stays: bool) -> None:
    """Its client lists it first. If it is not there after a while, its client has died."""
    desk = desk_of()
    desk.store.index_add(OPEN, [(b"coming", desk.clock.ms - age_ms)])
    desk.scan().finish()
    assert desk.members(OPEN) == ([b"coming"] if stays else [])


def test_a_run_whose_end_is_forgotten_in_between_is_listed_again() -> None:
    """A store that fell back: taken off the list, the run would never be found again."""
    desk = desk_of()
    desk.deliver(desk.begin("first")).finish()
    past = desk.fields()
    desk.deliver(desk.take("second")).until(s.Completing)
    hand = desk.scan().until(Confirming)
    assert desk.members(OPEN) == []
    desk.fall_back(past)
    hand.finish()
    assert desk.members(OPEN) == [RUN.encode()]


def test_a_scan_beside_the_worker_that_ends_the_run_changes_nothing() -> None:
    desk = desk_of(Outcome())
    worker = desk.deliver(desk.begin("first")).until(s.Completing)
    scan: Hand = desk.scan().until(Completing)
    worker.finish()
    before = desk.fields()
    scan.finish()
    assert desk.fields() == before
    assert desk.members(FINISHED) == [RUN.encode()]


def test_all_queues_lost_at_any_moment_lose_no_call() -> None:
    """Section 4 of the protocol: the queues may lose everything."""
    outcome = Outcome(calls=(call("tell"), call("tell")), joins=(join("last", ("a", 2)),))
    tasks = {"first": outcome, "tell": Outcome(events=(event("a"),)), "last": Outcome(result=b"r")}
    for moment in range(12):
        desk, handled = Desk(tasks), 0
        desk.start("first").finish()
        while desk.queues["q"]:
            if handled == moment:
                lose_queues(desk)
                break
            desk.handle()
            handled += 1
        desk.clock.ms += LONG
        desk.scan().finish()
        desk.drain()
        assert (desk.field(k.STATUS), desk.field(k.RESULT)) == (k.COMPLETED, b"r")
