"""The machine of one delivery: claims, commits, failures, publishing, settling, and the end of a run."""

from __future__ import annotations

import pytest

from pwf_runtime.core import keys as k
from pwf_runtime.core import states as s
from pwf_runtime.core.delivery import ROUTE_RETRY_MS
from pwf_runtime.core.effects import DEAD, FINISHED, OPEN, Ack, Publish
from pwf_runtime.core.ids import ROOT_CALL
from pwf_runtime.core.model import Failure, Message, NewCall, Outcome, Timer
from pwf_runtime.core.retry import UNKNOWN_TASK, Retry
from pwf_runtime.core.txn import Txn
from pwf_runtime.core.wire import decode_failure, decode_outbox

from .desk import BOOM, LEASE_MS, PLAIN, RUN, Desk, Hand, call, child, event, join

CALLS_ONE = Outcome(calls=(call("second"),))


def desk_of(first: Outcome | Failure = CALLS_ONE, policy: Retry = PLAIN) -> Desk:
    return Desk({"first": first, "second": Outcome()}, policy)


def failure_of(desk: Desk, call_id: str = ROOT_CALL) -> Failure:
    return decode_failure(desk.fields()[k.failure(call_id)])


def timer(desk: Desk) -> tuple[Timer, int]:
    ((timer, due),) = desk.timers().items()
    return timer, due


# ── claims ────────────────────────────────────────────────────────────────────────────────────


def test_a_ready_call_is_claimed_and_run_with_its_own_data() -> None:
    desk = desk_of()
    hand = desk.deliver(desk.begin("first", b"data")).until(s.Running)
    assert (hand.effect.data, hand.effect.attempt, hand.effect.events) == (b"data", 1, ())


def test_what_somebody_else_has_is_parked_until_its_lease_ends() -> None:
    """And acked: a delivery that is held back counts against the broker's time-out."""
    desk = desk_of()
    message = desk.begin("first")
    desk.deliver(message).until(s.Running)
    desk.clock.ms += 4_000
    hand = desk.deliver(message, token="other").until(s.Acking)
    assert timer(desk) == (Timer(RUN, ROOT_CALL, "q.first", "other"), desk.clock.ms + LEASE_MS - 4_000)
    assert isinstance(hand.effect, Ack)
    assert hand.states[-2:] == [s.Parking, s.Acking]


def test_a_timer_is_set_before_the_ack() -> None:
    """In between, the unacked delivery is what brings the call back."""
    desk = desk_of()
    message = desk.begin("first")
    desk.deliver(message).until(s.Running)
    hand = desk.deliver(message).until(s.Parking)
    assert not desk.timers()
    hand.go()
    assert desk.timers()


def test_a_claim_whose_reply_was_lost_is_found_again_by_its_token() -> None:
    """Else its worker would wait for its own lease to end."""
    desk = desk_of()
    hand = desk.deliver(desk.begin("first")).lose()
    assert type(hand.go()) is s.Running
    assert hand.state.claim.attempt == 1
    assert desk.field(k.attempt(ROOT_CALL)) == b"1"


@pytest.mark.parametrize("how", ["joined", "redriven"])
def test_a_claim_found_again_knows_all_that_a_granted_one_knows(how: str) -> None:
    desk = Desk({"first": Outcome(events=(event("a"),), joins=(join("second", "a"),)), "second": Outcome()})
    message = desk.begin("first")
    if how == "joined":
        desk.deliver(message).finish()
        message = desk.take("second")
    desk.put(k.uncounted(message.call_id), b"0")
    plain = desk.deliver(message, "token")
    plain.go()
    again = desk.deliver(message, "token")
    again.go()
    assert again.state == plain.state
    assert again.effect == plain.effect


def test_a_call_that_is_not_due_is_parked_until_then() -> None:
    """Found by simulation: a worker died between noting the retry and setting its timer, and a plain ack lost it."""
    desk = Desk({"first": Outcome(calls=(call("second", delay_ms=5_000),)), "second": Outcome()})
    desk.deliver(desk.begin("first")).finish()
    message = Message(RUN, child("c0"), "q.second")
    due = desk.clock.ms + 5_000
    desk.clock.ms += 4_999
    hand = desk.deliver(message, "early")
    hand.finish()
    assert hand.states == [s.Claiming, s.Parking, s.Acking, s.Done]
    assert desk.timers()[Timer(RUN, child("c0"), "q.second", "early")] == due


def test_a_call_that_has_become_due_is_claimed_and_no_longer_waits() -> None:
    desk = Desk({"first": Outcome(calls=(call("second", delay_ms=5_000),)), "second": Outcome()})
    desk.deliver(desk.begin("first")).finish()
    desk.clock.ms += 5_000
    hand = desk.deliver(Message(RUN, child("c0"), "q.second")).until(s.Running)
    assert hand.states == [s.Claiming, s.Claiming, s.Running]
    assert desk.field(k.due(child("c0"))) is None


def test_a_due_time_that_changes_while_it_is_claimed_is_looked_at_again() -> None:
    """Another attempt failed meanwhile: its retry is not due yet."""
    desk = Desk({"first": Outcome(calls=(call("second", delay_ms=5_000),)), "second": Outcome()})
    desk.deliver(desk.begin("first")).finish()
    desk.clock.ms += 5_000
    hand = desk.deliver(Message(RUN, child("c0"), "q.second"))
    hand.go()
    desk.put(k.due(child("c0")), b"%d" % (desk.clock.ms + 1_000))
    assert type(hand.go()) is s.Parking


@pytest.mark.parametrize(
    ("field", "value", "buried"), [(k.STATUS, k.CANCELLED, False), (k.state(ROOT_CALL), k.DEAD, True)]
)
def test_what_must_not_run_is_acked(field: str, value: bytes, buried: bool) -> None:
    """A cancelled run's call, a dead one."""
    desk = desk_of()
    message = desk.begin("first")
    desk.put(field, value)
    hand = desk.deliver(message)
    hand.finish()
    assert hand.states[-2:] == [s.Acking, s.Done]
    assert (s.Burying in hand.states) == buried == bool(desk.members(DEAD))
    assert not desk.ran
    assert not desk.timers()
    assert desk.field(k.attempt(ROOT_CALL)) is None


def test_a_committed_call_is_brought_to_its_end_with_the_outbox_that_it_kept() -> None:
    """The first commit wins for ever: the next worker does not run the task again."""
    desk = desk_of()
    message = desk.begin("first")
    desk.deliver(message).until(s.Committing).lose()
    hand = desk.deliver(message)
    hand.finish()
    assert hand.states[1:4] == [s.Looking, s.Publishing, s.Settling]
    assert len(desk.ran) == 1
    assert desk.take() == Message(RUN, child("c0"), "q.second")


def test_a_call_that_is_settled_is_acked_while_its_run_goes_on() -> None:
    """No tombstones: unknown means done."""
    desk = desk_of()
    message = desk.begin("first")
    desk.deliver(message).finish()
    hand = desk.deliver(message)
    hand.finish()
    assert hand.states == [s.Claiming, s.Acking, s.Done]


def test_a_message_of_a_run_that_is_gone_is_acked() -> None:
    desk = desk_of()
    hand = desk.deliver(Message("no such run", ROOT_CALL, "q.first"))
    hand.finish()
    assert hand.states[-2:] == [s.Acking, s.Done]
    assert (desk.store.runs, desk.timers(), desk.ran) == ({}, {}, [])


def test_a_message_that_was_delivered_before_lists_its_run_first() -> None:
    """Whoever had it may have taken the run off the open ones and died before seeing that the store had fallen back."""
    desk = desk_of()
    message = desk.begin("first")
    desk.store.indexes.clear()
    hand = Hand(desk, desk.delivery, *desk.delivery.begin(message, "token", redelivered_ms=desk.clock.ms))
    assert type(hand.go()) is s.Claiming
    assert desk.members(OPEN) == [RUN.encode()]
    hand.finish()
    desk.drain()
    assert (desk.field(k.STATUS), desk.members(OPEN)) == (k.COMPLETED, [])


def test_whoever_finds_nothing_open_ends_the_run() -> None:
    """The worker that settled the last call died before it did."""
    desk = desk_of(Outcome())
    message = desk.begin("first")
    desk.deliver(message).until(s.Completing)
    assert desk.field(k.STATUS) == k.RUNNING
    hand = desk.deliver(message)
    hand.finish()
    assert hand.states == [s.Claiming, s.Completing, s.Listing, s.Unlisting, s.Confirming, s.Acking, s.Done]
    assert desk.field(k.STATUS) == k.COMPLETED


@pytest.mark.parametrize("died_at", [s.Completing, s.Listing, s.Unlisting, s.Confirming])
@pytest.mark.parametrize("outcome", [Outcome(), Outcome(joins=(join("second", "never"),))])
def test_whoever_finds_a_run_ended_lists_it(outcome: Outcome, died_at: type) -> None:
    """L7: it must not stay among the open ones because somebody died on the way, whether completed or stranded."""
    desk = desk_of(outcome)
    message = desk.begin("first")
    desk.deliver(message).until(died_at).lose()
    desk.deliver(message).finish()
    assert desk.members(FINISHED) == [RUN.encode()]
    assert desk.members(OPEN) == []


# ── commits ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("leaf", [True, False])
def test_a_commit_whose_reply_was_lost_is_sent_again_and_counts_once(leaf: bool) -> None:
    """L1, and L2: nothing is created twice."""
    desk = desk_of(Outcome(result=b"r") if leaf else Outcome(calls=(call("second"),), events=(event("e"),)))
    hand = desk.deliver(desk.begin("first")).until(s.Committing).lose()
    fields = desk.fields()
    hand.go()
    assert desk.fields() == fields
    assert type(hand.state) is (s.Completing if leaf else s.Looking)
    hand.finish()
    assert desk.number(k.OPEN) == (0 if leaf else 1)
    assert desk.number(k.length(k.events("e"))) == (0 if leaf else 1)


def test_another_answer_of_another_attempt_is_dropped() -> None:
    """A task that is no function of its input: still exactly one of its answers is brought about."""
    desk = Desk(
        {
            "first": lambda asked: Outcome(calls=(call("second", b"%d" % asked.attempt),)),
            "second": Outcome(),
        }
    )
    message = desk.begin("first")
    stale = desk.deliver(message).until(s.Committing)
    desk.clock.ms += LEASE_MS
    winner = desk.deliver(message).until(s.Publishing)
    stale.finish()
    winner.finish()
    desk.drain()
    assert {ran.data for ran in desk.ran if ran.message.task == "q.second"} == {b"2"}


def test_a_stale_attempt_leaves_the_call_to_the_later_one() -> None:
    """L5: it acks, and nothing else; the later attempt has a delivery of its own."""
    desk = desk_of()
    message = desk.begin("first")
    stale = desk.deliver(message).until(s.Committing)
    desk.clock.ms += LEASE_MS
    desk.deliver(message).until(s.Running)
    before = desk.fields()
    stale.finish()
    assert stale.states[-3:] == [s.Committing, s.Acking, s.Done]
    assert desk.fields() == before


def test_a_commit_after_a_cancellation_is_dropped() -> None:
    """L9, its second half."""
    desk = desk_of()
    hand = desk.deliver(desk.begin("first")).until(s.Committing)
    desk.put(k.STATUS, k.CANCELLED)
    hand.finish()
    assert hand.states[-2:] == [s.Acking, s.Done]
    assert not desk.queues["q"]
    assert desk.field(k.state(child("c0"))) is None


def test_a_committed_call_keeps_what_it_takes_to_bring_it_about() -> None:
    outcome = Outcome(calls=(call("second", delay_ms=7),), events=(event("a"), event("a")), joins=(join("first", "b"),))
    desk = desk_of(outcome)
    hand = desk.deliver(desk.begin("first")).until(s.Committing)
    hand.go()
    kept = decode_outbox(desk.fields()[k.outbox(ROOT_CALL)])
    assert [(c.call_id, c.task, c.due_ms) for c in kept.children] == [(child("c0"), "q.second", desk.clock.ms + 7)]
    assert [(need.name, need.count) for need in kept.emitted] == [("a", 2)]
    assert [armed.join_id for armed in kept.armed] == [child("j0")]
    assert kept == hand.state.work.outbox


def test_the_store_fell_back_before_the_commit_so_it_is_made_again() -> None:
    """By a new claim: no attempt's answer outlives the store's memory of the attempt."""
    desk = desk_of()
    message = desk.begin("first")
    past = desk.fields()
    hand = desk.deliver(message).until(s.Settling)
    desk.fall_back(past)
    hand.go()
    assert type(hand.state) is s.Claiming
    hand.finish()
    assert desk.labels().count("commit") == 2
    desk.drain()
    assert desk.field(k.STATUS) == k.COMPLETED


# ── failures ──────────────────────────────────────────────────────────────────────────────────


def test_a_failure_is_noted_then_the_timer_is_set_then_it_is_acked() -> None:
    desk = desk_of(BOOM)
    hand = desk.deliver(desk.begin("first"), "token")
    hand.finish()
    assert hand.states == [s.Claiming, s.Running, s.Failing, s.Parking, s.Acking, s.Done]
    assert failure_of(desk) == BOOM
    assert timer(desk) == (Timer(RUN, ROOT_CALL, "q.first", "token"), desk.clock.ms + 1_000)
    assert desk.field(k.due(ROOT_CALL)) == b"%d" % (desk.clock.ms + 1_000)
    assert desk.holder(ROOT_CALL) is None


def test_each_retry_waits_longer_and_the_last_failure_is_death() -> None:
    desk = desk_of(BOOM)
    began = desk.clock.ms
    desk.begin_and_drain("first")
    assert [ran.attempt for ran in desk.ran] == [1, 2, 3]
    assert desk.clock.ms == began + 1_000 + 2_000
    assert (desk.field(k.state(ROOT_CALL)), desk.number(k.DEAD_COUNT), desk.number(k.OPEN)) == (k.DEAD, 1, 1)
    assert len(desk.members(DEAD)) == 1
    assert desk.field(k.STATUS) == k.RUNNING


def test_a_final_failure_is_not_tried_again() -> None:
    desk = desk_of(Failure("UsageError", "cannot be meant", final=True))
    desk.begin_and_drain("first")
    assert len(desk.ran) == 1
    assert desk.field(k.state(ROOT_CALL)) == k.DEAD


def test_a_task_that_kills_its_worker_each_time_ends() -> None:
    """A claim counts as an attempt: poison ends dead, not in a loop, and names what happened."""
    desk = desk_of()
    message = desk.begin("first")
    for _ in range(3):
        desk.deliver(message).until(s.Running)
        desk.clock.ms += LEASE_MS
    hand = desk.deliver(message)
    hand.finish()
    assert hand.states == [s.Claiming, s.Failing, s.Burying, s.Acking, s.Done]
    assert not desk.ran, "no attempt ever ended"
    assert failure_of(desk).kind == "NeverAnswered"
    assert "all 3 attempts" in failure_of(desk).message


def test_a_stale_failure_is_not_noted() -> None:
    """L5: a later attempt runs, and may well succeed."""
    desk = desk_of(BOOM)
    message = desk.begin("first")
    stale = desk.deliver(message).until(s.Failing)
    desk.clock.ms += LEASE_MS
    desk.deliver(message).until(s.Running)
    stale.finish()
    assert stale.states[-3:] == [s.Failing, s.Acking, s.Done]
    assert desk.field(k.failure(ROOT_CALL)) is None
    assert desk.holder(ROOT_CALL) is not None


def test_a_task_that_this_worker_does_not_have_waits_for_a_deploy() -> None:
    """Parked, not dropped; in the end dead, with what to do about it."""
    desk = Desk({"second": Outcome(), "third": Outcome()})
    desk.start("first").finish()
    began = desk.clock.ms
    desk.handle("first")
    assert failure_of(desk).kind == "UnknownTask"
    assert "no task 'first' is registered by this worker of 'q' (it has: second, third)" in failure_of(desk).message
    assert timer(desk)[1] == began + UNKNOWN_TASK.delay_ms(1, ROOT_CALL)
    desk.drain()
    assert desk.field(k.state(ROOT_CALL)) == k.DEAD
    assert desk.field(k.attempt(ROOT_CALL)) == b"%d" % UNKNOWN_TASK.max_attempts


def test_a_worker_that_has_the_task_takes_it_over_after_a_deploy() -> None:
    desk = Desk({"first": Outcome(), "second": Outcome()})
    policies = desk.delivery.policies
    desk.delivery.policies = {"q.second": PLAIN}
    desk.start("first").finish()
    desk.handle("first")
    desk.delivery.policies = policies
    desk.drain()
    assert desk.field(k.STATUS) == k.COMPLETED


def test_workers_without_the_task_cost_the_call_no_attempt() -> None:
    """Else a rolling deploy would kill what may be tried once only, for a reason that is none."""
    desk = Desk({"first": Outcome(), "second": Outcome()})
    policies = {"q.first": Retry(max_attempts=1), "q.second": PLAIN}
    desk.delivery.policies = {"q.second": PLAIN}
    desk.start("first").finish()
    for _ in range(3):
        desk.handle("first")
        desk.clock.ms = timer(desk)[1]
        desk.sweep().finish()
    desk.delivery.policies = policies
    desk.drain()
    assert desk.field(k.STATUS) == k.COMPLETED


def test_a_redriven_call_has_a_fresh_allowance_and_goes_on_counting() -> None:
    """A stale attempt from before its death must never look like a current one."""
    desk = desk_of(BOOM)
    desk.begin_and_drain("first")
    message = Message(RUN, ROOT_CALL, "q.first")
    assert desk.perform(desk.steps.redrive(message, 3)).held
    desk.queues["q"].append(message)
    desk.drain()
    assert [ran.attempt for ran in desk.ran] == [1, 2, 3, 4, 5, 6]
    assert desk.field(k.state(ROOT_CALL)) == k.DEAD
    assert desk.perform(desk.steps.redrive(message, 6)).held
    desk.answers["first"] = Outcome()
    desk.queues["q"].append(message)
    desk.drain()
    assert desk.ran[-1].attempt == 7
    assert desk.field(k.STATUS) == k.COMPLETED


def test_a_stale_attempt_from_before_a_redrive_is_fenced_off() -> None:
    desk = desk_of(CALLS_ONE, Retry(max_attempts=1))
    message = desk.begin("first")
    stale = desk.deliver(message).until(s.Committing)
    desk.clock.ms += LEASE_MS
    desk.deliver(message).finish()
    assert desk.field(k.state(ROOT_CALL)) == k.DEAD
    desk.perform(desk.steps.redrive(message, 2))
    later = desk.deliver(message).until(s.Running)
    stale.finish()
    assert stale.states[-3:] == [s.Committing, s.Acking, s.Done]
    later.finish()
    assert desk.labels().count("settle") == 1


# ── publishing ────────────────────────────────────────────────────────────────────────────────


def test_children_are_published_together_after_their_commit_and_before_the_settle() -> None:
    """L8."""
    desk = Desk({"first": Outcome(calls=(call("second"), call("second", delay_ms=5)), events=()), "second": Outcome()})
    hand = desk.deliver(desk.begin("first"))
    hand.finish()
    order = [s.Committing, s.Publishing, s.Delaying, s.Settling, s.Acking]
    assert [state for state in hand.states if state in order] == order


def test_a_delayed_child_gets_a_timer_in_place_of_a_message() -> None:
    desk = Desk({"first": Outcome(calls=(call("second", delay_ms=5),)), "second": Outcome()})
    hand = desk.deliver(desk.begin("first"))
    hand.finish()
    assert s.Publishing not in hand.states
    assert timer(desk) == (Timer(RUN, child("c0"), "q.second", ""), desk.clock.ms + 5)


def test_setting_a_delayed_child_s_timer_again_is_the_same_timer() -> None:
    desk = Desk({"first": Outcome(calls=(call("second", delay_ms=5),)), "second": Outcome()})
    message = desk.begin("first")
    desk.deliver(message).until(s.Settling)
    desk.clock.ms += 1
    desk.deliver(message).until(s.Settling)
    assert timer(desk) == (Timer(RUN, child("c0"), "q.second", ""), desk.clock.ms + 4)


def test_a_message_that_no_queue_takes_is_noted_and_tried_again() -> None:
    """A confirmed publish to a queue that does not exist must not count as sent."""
    calls = (NewCall("nowhere.a", b""), call("second"), NewCall("nowhere.b", b""))
    desk = Desk({"first": Outcome(calls=calls), "second": Outcome()})
    hand = desk.deliver(desk.begin("first"), "token")
    hand.finish()
    assert hand.states[3:9] == [s.Publishing, s.Noting, s.Noting, s.Delaying, s.Settling, s.Acking]
    for position, task in (("c0", "nowhere.a"), ("c2", "nowhere.b")):
        assert failure_of(desk, child(position)).kind == "Unroutable"
        entry = Timer(RUN, child(position), task, "token", tries=1)
        assert desk.timers()[entry] == desk.clock.ms + ROUTE_RETRY_MS
    assert desk.take() == Message(RUN, child("c1"), "q.second")


def test_a_publish_names_every_call_that_is_due() -> None:
    fan = Outcome(calls=(call("second"), call("second")), events=(event("a"),), joins=(join("second", "a"),))
    desk = Desk({"first": fan, "second": Outcome()})
    hand = desk.deliver(desk.begin("first")).until(s.Publishing)
    assert isinstance(hand.effect, Publish)
    assert len(hand.effect.messages) == 3


# ── the end of a run ──────────────────────────────────────────────────────────────────────────


def test_a_run_ends_with_its_last_call_and_keeps_its_summary() -> None:
    """L7: all else goes at once, the summary after its retention."""
    desk = desk_of(Outcome(result=b"r"))
    desk.begin_and_drain("first")
    assert set(desk.fields()) == {k.STATUS, k.TASK, k.DIGEST, k.STARTED, k.OPEN, k.RESULT, k.FINISHED}
    assert desk.field(k.RESULT) == b"r"
    assert desk.store.runs[RUN].expires_ms == desk.clock.ms + desk.steps.retention_ms


def test_a_run_whose_joins_can_never_fire_is_stranded_and_keeps_them() -> None:
    """For people to see what it waits for."""
    desk = desk_of(Outcome(joins=(join("second", "never"),)))
    desk.begin_and_drain("first")
    assert desk.field(k.STATUS) == k.STRANDED
    assert desk.field(k.join_state(child("j0"))) == k.ARMED_STATE
    assert desk.store.runs[RUN].expires_ms is not None


def test_the_result_committed_last_is_the_run_s() -> None:
    desk = Desk({"first": Outcome(calls=(call("second"),), result=b"1"), "second": Outcome(result=b"2")})
    desk.begin_and_drain("first")
    assert desk.field(k.RESULT) == b"2"


def test_a_run_that_was_forgotten_to_have_ended_is_listed_and_done_again() -> None:
    """A store that fell back between the end and the look at it."""
    desk = desk_of()
    desk.deliver(desk.begin("first")).finish()
    second, past = desk.take("second"), desk.fields()
    hand = desk.deliver(second).until(s.Confirming)
    assert desk.members(OPEN) == []
    desk.fall_back(past)
    hand.go()
    assert type(hand.state) is s.Relisting
    hand.go()
    assert desk.members(OPEN) == [RUN.encode()]
    hand.finish()
    assert desk.field(k.STATUS) == k.COMPLETED
    assert desk.members(OPEN) == []


def test_an_end_that_finds_something_open_after_all_leaves_it_alone() -> None:
    desk = desk_of()
    desk.deliver(desk.begin("first")).finish()
    second, past = desk.take("second"), desk.fields()
    hand = desk.deliver(second).until(s.Completing)
    desk.fall_back(past)
    hand.go()
    assert type(hand.state) is s.Acking
    assert desk.field(k.STATUS) == k.RUNNING


def test_a_plain_step_takes_three_transactions() -> None:
    """Claim, commit, settle: what throughput rests on."""
    desk = desk_of()
    message = desk.begin("first")
    before = len(desk.txns)
    desk.deliver(message).finish()
    assert desk.labels()[before:] == ["claim", "commit", "settle"]


def test_a_loop_of_tasks_runs_in_constant_space() -> None:
    desk = Desk({"first": lambda asked: Outcome(calls=(call("first", b"x"),)) if len(desk.ran) < 60 else Outcome()})
    message = desk.begin("first")
    sizes = []
    for _ in range(50):
        desk.deliver(message).finish()
        message = desk.take("first")
        sizes.append(len(desk.fields()))
    assert set(sizes[1:]) == {sizes[1]}


def test_every_transaction_is_on_the_message_s_own_run() -> None:
    """One hash tag, one slot of a Redis cluster."""
    desk = desk_of()
    desk.begin_and_drain("first")
    assert {txn.run_id for txn in desk.txns} == {RUN}
    assert all(isinstance(txn, Txn) and txn.label for txn in desk.txns)


def test_a_worker_may_die_after_any_step_of_a_delivery() -> None:
    """Each effect is done once and not heard of; the next worker goes on from what is there, and the run ends alike."""
    outcome = Outcome(calls=(call("second"),), events=(event("a"),), joins=(join("second", "a"),))
    plain = desk_of(outcome)
    plain.begin_and_drain("first")
    whole = desk_of(outcome)
    hand = whole.deliver(whole.begin("first"))
    hand.finish()
    for stop in range(len(hand.states) - 1):
        desk = desk_of(outcome)
        message = desk.begin("first")
        dead = desk.deliver(message)
        for _ in range(stop):
            dead.go()
        dead.lose()
        desk.clock.ms += LEASE_MS
        desk.deliver(message).finish()
        desk.drain()
        assert desk.field(k.STATUS) == k.COMPLETED, dead.states
        assert {(r.message, r.data, r.events) for r in desk.ran} == {(r.message, r.data, r.events) for r in plain.ran}


def test_a_claim_that_is_given_back_costs_no_attempt() -> None:
    """A worker that is shut down before its task runs: however often that happens, the call does not die of it."""
    desk = desk_of(BOOM)
    message = desk.begin("first")
    for n in range(1, 8):
        held = desk.deliver(message, f"worker {n}").until(s.Running)
        release = desk.steps.release(message, f"worker {n}")
        assert desk.perform(release).held
        assert not desk.perform(release).held, "sent again it must not count once more"
        assert held.state.claim.attempt == n
    desk.queues["q"].append(message)
    desk.drain()
    assert [ran.attempt for ran in desk.ran] == [8, 9, 10]
    assert desk.field(k.state(ROOT_CALL)) == k.DEAD


def test_a_claim_that_somebody_else_has_by_now_cannot_be_given_back() -> None:
    desk = desk_of()
    message = desk.begin("first")
    desk.deliver(message, "old").until(s.Running)
    desk.clock.ms += LEASE_MS
    desk.deliver(message, "new").until(s.Running)
    assert not desk.perform(desk.steps.release(message, "old")).held
    assert desk.holder(ROOT_CALL) == ("new", LEASE_MS)
