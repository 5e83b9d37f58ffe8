"""The transactions: each may be sent twice, or come late once more, because a reply can be lost after it was done."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pwf_runtime.core import keys as k
from pwf_runtime.core import states as s
from pwf_runtime.core.ids import ROOT_CALL
from pwf_runtime.core.model import NewCall, NewFork, Outcome
from pwf_runtime.core.retry import Retry
from pwf_runtime.core.steps import read_snapshot, remember, snapshot
from pwf_runtime.core.txn import Put, Txn, TxnReply
from pwf_runtime.core.wire import decode_record

from .desk import BOOM, LEASE_MS, RUN, Desk, call, child, event, join, joined

PATIENT = Retry(max_attempts=1_000, first_delay=1.0, factor=1.0, jitter=0.0)


class Twice(Desk):
    """Every transaction is done twice; only the second reply is heard."""

    def txn(self, txn: Txn) -> TxnReply:
        super().txn(txn)
        return super().txn(txn)


class Late(Desk):
    """Behind the ``n``-th transaction comes an earlier one once more, as ``again`` says."""

    again: dict[int, int]

    def txn(self, txn: Txn) -> TxnReply:
        reply = super().txn(txn)
        number = len(self.txns)
        if number in self.again:
            super().txn(self.txns[self.again[number] % number])
        return reply


def _tasks() -> dict[str, Outcome]:
    """Forks, joins of each kind, delays, a timeout, a name that has no queue, an attempt that fails."""
    return {
        "first": Outcome(
            calls=(call("a"), call("b"), call("b", delay_ms=500), call("flaky"), NewCall("nowhere.x", b"")),
            events=(event("early"),),
            joins=(
                join("all", "a", ("b", 2), "early"),
                join("some", "a", "b", "never", at_least=2),
                join("never", "not this", timeout_ms=60_000, on_timeout=call("late")),
                join("fast", "a", timeout_ms=600_000, on_timeout=call("never")),
            ),
            forks=(NewFork((call("member", b"0"), call("member", b"1")), call("then")),),
        ),
        "a": Outcome(events=(event("a", b"1"),)),
        "b": Outcome(events=(event("b", b"2"),)),
        "member": Outcome(result=b"member"),
        **{name: Outcome() for name in ("all", "some", "fast", "then", "late", "never")},
    }


def _whole_run(desk: Desk) -> None:
    desk.answers["flaky"] = lambda asked: BOOM if asked.attempt == 1 else Outcome(result=b"result")
    desk.delivery.policies = {f"q.{name}": PATIENT for name in desk.answers}
    desk.begin_and_drain("first")


def _ran(desk: Desk) -> set[tuple[str, bytes, tuple[tuple[str, bytes], ...]]]:
    """Which calls ran, with what they were given."""
    return {
        (ran.message.call_id, ran.data, tuple((event.name, event.data) for event in ran.events)) for ran in desk.ran
    }


@pytest.fixture(scope="module")
def once() -> Desk:
    desk = Desk(_tasks())
    _whole_run(desk)
    return desk


LABELS = {"start", "claim", "gather", "commit", "fail", "note", "satisfy", "fire", "settle"}


def test_the_run_that_is_repeated_has_every_transaction(once: Desk) -> None:
    """Else the tests below would say little. One call can never be delivered, so the run stays open."""
    assert set(once.labels()) >= LABELS
    assert once.number(k.OPEN) == once.number(k.DEAD_COUNT) == 1
    assert len(_ran(once)) == 12


def test_every_transaction_may_be_sent_twice(once: Desk) -> None:
    """A lost reply is an unknown outcome, so a driver, or a client library by itself, sends it again."""
    twice = Twice(_tasks())
    _whole_run(twice)
    assert _ran(twice) == _ran(once)
    for field in (k.OPEN, k.DEAD_COUNT, k.STATUS, k.ARMED, k.RESULT):
        assert twice.field(field) == once.field(field)


def test_every_transaction_may_come_again_an_hour_later() -> None:
    """After the end of its call each compares what is no more, and changes nothing."""
    desk = Desk(_tasks())
    _whole_run(desk)
    desk.clock.ms += 3_600_000
    before, sent = desk.fields(), list(desk.txns)
    for txn in sent:
        desk.store.txns([txn])
        assert desk.fields() == before, txn.label


@settings(max_examples=60, deadline=None)
@given(again=st.dictionaries(st.integers(1, 120), st.integers(0, 1_000), max_size=12))
def test_an_earlier_transaction_that_comes_in_between_does_no_harm(again: dict[int, int]) -> None:
    """It may cost time (a claim that nobody knows of holds its lease), and never a call, a join or a count."""
    desk, plain = Late(_tasks()), Desk(_tasks())
    desk.again = again
    _whole_run(desk)
    _whole_run(plain)
    assert _ran(desk) == _ran(plain)
    for field in (k.OPEN, k.DEAD_COUNT, k.STATUS, k.ARMED):
        assert desk.field(field) == plain.field(field)


# ── one by one ────────────────────────────────────────────────────────────────────────────────


def test_a_claim_takes_a_lease_and_the_next_attempt() -> None:
    desk = Desk({"first": Outcome()})
    message = desk.begin("first")
    assert desk.store.txns([desk.steps.claim(message, "mine")])[0].held
    assert desk.field(k.attempt(ROOT_CALL)) == b"1"
    assert desk.holder(ROOT_CALL) == ("mine", LEASE_MS)
    assert not desk.store.txns([desk.steps.claim(message, "other")])[0].held
    assert desk.field(k.attempt(ROOT_CALL)) == b"1"


def test_a_lease_is_renewed_by_its_holder_only() -> None:
    """L5: whoever lost it must hear of it, and not take it back."""
    desk = Desk({"first": Outcome()})
    message = desk.begin("first")
    desk.store.txns([desk.steps.claim(message, "mine")])
    desk.clock.ms += LEASE_MS - 1
    assert not desk.store.txns([desk.steps.renew(message, "other")])[0].held
    assert desk.store.txns([desk.steps.renew(message, "mine")])[0].held
    desk.clock.ms += LEASE_MS - 1
    assert desk.holder(ROOT_CALL) == ("mine", 1)
    desk.clock.ms += 1
    assert not desk.store.txns([desk.steps.renew(message, "mine")])[0].held


def test_a_commit_of_an_earlier_attempt_changes_nothing() -> None:
    """L5: the attempt is the fencing token."""
    desk = Desk({"first": Outcome(calls=(call("first"),))})
    message = desk.begin("first")
    stale = desk.deliver(message).until(s.Committing)
    desk.clock.ms += LEASE_MS
    desk.deliver(message).until(s.Running)
    before = desk.fields()
    assert not desk.perform(stale.effect).held
    assert desk.fields() == before


def test_steps_are_remembered_by_the_current_attempt_only() -> None:
    desk = Desk({"first": Outcome()})
    message = desk.begin("first")
    desk.deliver(message).until(s.Running)
    assert desk.store.txns([remember(message, 1, b"one")])[0].held
    desk.clock.ms += LEASE_MS
    desk.deliver(message).until(s.Running)
    assert not desk.store.txns([remember(message, 1, b"stale")])[0].held
    assert desk.field(k.steps(ROOT_CALL)) == b"one"
    assert desk.store.txns([remember(message, 2, b"two")])[0].held
    assert desk.field(k.steps(ROOT_CALL)) == b"two"


def test_settling_removes_every_field_of_the_call() -> None:
    """L7: a loop of tasks runs in constant space."""
    desk = Desk({"first": lambda asked: BOOM if asked.attempt == 1 else Outcome(calls=(call("first"),))})
    message = desk.begin("first")
    hand = desk.deliver(message)
    hand.finish()
    desk.clock.ms += 60_000
    hand = desk.deliver(message).until(s.Running)
    desk.store.txns([remember(message, 2, b"a step")])
    desk.put(k.uncounted(ROOT_CALL), b"1")
    desk.put(k.strangers(ROOT_CALL), b"1")
    hand.until(s.Settling)
    mine = {field for field in desk.fields() if field.startswith(f"c:{ROOT_CALL}:")}
    assert mine == set(k.call_fields(ROOT_CALL)) - {k.due(ROOT_CALL)}
    hand.finish()
    assert not [field for field in desk.fields() if field.startswith(f"c:{ROOT_CALL}:")]


def test_a_commit_creates_everything_in_one_transaction() -> None:
    """L2, and with it that no crash can come between a call and its children."""
    desk = Desk(_tasks())
    desk.answers["flaky"] = Outcome()
    hand = desk.deliver(desk.begin("first")).until(s.Committing)
    hand.go()
    made = [child(position) for position in ("c0", "c1", "c2", "c3", "c4", "f0.0", "f0.1", "j2.t", "j3.t")]
    for call_id in made:
        assert desk.field(k.state(call_id)) == k.READY
        assert decode_record(desk.fields()[k.record(call_id)]).parent == ROOT_CALL
    assert desk.number(k.OPEN) == 1 + len(made)
    assert desk.number(k.ARMED) == 5
    assert desk.field(k.due(child("c2"))) == b"%d" % (desk.clock.ms + 500)
    assert desk.number(k.length(k.events("early"))) == 1
    assert desk.number(k.length(k.waiters("a"))) == 3


def test_a_snapshot_reads_what_is_there() -> None:
    desk = Desk({"first": Outcome()})
    message = desk.begin("first")
    desk.store.txns([desk.steps.claim(message, "mine")])
    desk.put(k.uncounted(ROOT_CALL), b"7")
    found = read_snapshot(desk.store.txns([Txn("t", RUN, then=snapshot(ROOT_CALL))])[0].replies)
    assert (found.status, found.open, found.armed, found.state) == (k.RUNNING, 1, 0, k.READY)
    assert (found.attempt, found.due_ms, found.outbox, found.uncounted) == (1, None, None, 7)
    assert found.holder == ("mine", LEASE_MS)
    gone = read_snapshot(desk.store.txns([Txn("t", "no such run", then=snapshot(ROOT_CALL))])[0].replies)
    assert (gone.status, gone.open, gone.state, gone.attempt, gone.holder) == (None, 0, None, 0, None)


def test_a_mark_needs_the_event_that_it_counts() -> None:
    """A store may have fallen back behind the event that somebody saw; then there is nothing to count."""
    fan = Outcome(events=(event("done"), event("done")), joins=(join("last", ("done", 2)),))
    desk = Desk({"first": fan, "last": Outcome()})
    satisfy = desk.deliver(desk.begin("first")).until(s.Satisfying).effect
    last = k.item(k.events("done"), 1)
    value = desk.store.runs[RUN].fields.pop(last)
    assert not desk.store.txns([satisfy])[0].held
    desk.put(last, value)
    assert [desk.store.txns([satisfy])[0].held for _ in range(2)] == [True, False]
    assert desk.number(k.length(k.got(child("j0")))) == 1


def test_a_join_is_fired_by_one_transaction_only() -> None:
    """L3: at most once, however many saw that it has enough."""
    fan = Outcome(events=(event("a"),), joins=(join("last", "a"),))
    desk = Desk({"first": fan, "last": Outcome()})
    hand = desk.deliver(desk.begin("first")).until(s.Firing)
    first, second = desk.perform(hand.effect), desk.perform(hand.effect)
    assert (first.held, second.held) == (True, False)
    assert second.replies == ((k.FIRED, k.READY),)
    assert (desk.number(k.OPEN), desk.number(k.ARMED)) == (2, 0)
    assert desk.field(k.state(joined())) == k.READY


def test_a_run_that_has_something_open_is_not_ended() -> None:
    """L4: never before its last call."""
    desk = Desk({"first": Outcome()})
    desk.begin("first")
    complete = desk.steps.complete(RUN, 0, desk.clock.ms)
    assert not desk.store.txns([complete])[0].held
    desk.put(k.OPEN, b"0")
    assert desk.store.txns([complete])[0].held
    assert not desk.store.txns([complete])[0].held
    assert set(desk.fields()) <= set(k.SUMMARY)


def test_a_join_that_fires_takes_the_call_that_would_end_it_with_it() -> None:
    """So the two can never both happen, and the run does not wait for a time that does not matter any more."""
    fan = Outcome(events=(event("a"),), joins=(join("last", "a", timeout_ms=50),))
    desk = Desk({"first": fan, "last": Outcome()})
    desk.deliver(desk.begin("first")).until(s.Publishing)
    assert desk.field(k.join_state(child("j0"))) == k.FIRED
    assert not [field for field in desk.fields() if field.startswith(f"c:{child('j0.t')}:")]
    assert desk.number(k.OPEN) == 2


def test_what_ends_a_join_at_its_time_compares_that_it_is_armed() -> None:
    """Fired or expired: whoever was first wins, in whatever state the call of the timeout is."""
    desk = Desk({"first": Outcome(joins=(join("last", "a", timeout_ms=50),)), "last": Outcome()})
    desk.deliver(desk.begin("first")).finish()
    desk.clock.ms += 50
    desk.sweep().finish()
    hand = desk.deliver(desk.take("last")).until(s.Committing)
    desk.put(k.join_state(child("j0")), k.FIRED)
    assert not desk.perform(hand.effect).held
    desk.put(k.join_state(child("j0")), k.ARMED_STATE)
    assert desk.perform(hand.effect).held
    assert desk.field(k.join_state(child("j0"))) == k.EXPIRED


def test_redriving_twice_is_redriving_once() -> None:
    desk = Desk({"first": BOOM}, policy=Retry(max_attempts=1))
    message = desk.begin("first")
    desk.deliver(message).finish()
    assert desk.number(k.DEAD_COUNT) == 1
    redrive = desk.steps.redrive(message, 1)
    assert [desk.store.txns([redrive])[0].held for _ in range(2)] == [True, False]
    assert desk.number(k.DEAD_COUNT) == 0
    assert desk.field(k.failure(ROOT_CALL)) is None


def test_what_is_redriven_is_the_death_that_was_seen() -> None:
    """A call that was redriven by somebody else and died again has an allowance that counts from a later attempt."""
    desk = Desk({"first": BOOM}, policy=Retry(max_attempts=1))
    message = desk.begin("first")
    desk.deliver(message).finish()
    seen = desk.steps.redrive(message, 1)
    assert desk.perform(seen).held
    desk.deliver(message).finish()
    assert (desk.field(k.state(ROOT_CALL)), desk.number(k.attempt(ROOT_CALL))) == (k.DEAD, 2)
    assert not desk.perform(seen).held
    assert desk.perform(desk.steps.redrive(message, 2)).held


def test_a_call_of_a_run_that_was_cancelled_is_not_redriven() -> None:
    desk = Desk({"first": BOOM}, policy=Retry(max_attempts=1))
    message = desk.begin("first")
    desk.deliver(message).finish()
    desk.put(k.STATUS, k.CANCELLED)
    assert not desk.perform(desk.steps.redrive(message, 1)).held
    assert desk.field(k.state(ROOT_CALL)) == k.DEAD


def test_a_call_that_somebody_holds_is_not_given_up_for_its_route() -> None:
    """It was delivered after all."""
    desk = Desk({"first": Outcome()})
    message = desk.begin("first")
    note = desk.steps.undeliverable(message, BOOM, dead=True)
    desk.store.txns([desk.steps.claim(message, "mine")])
    assert not desk.store.txns([note])[0].held
    desk.clock.ms += LEASE_MS
    assert desk.store.txns([note])[0].held
    assert desk.field(k.state(ROOT_CALL)) == k.DEAD
    assert not any(isinstance(op, Put) for op in note.otherwise)
