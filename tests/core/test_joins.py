"""L3: a join fires exactly once if its needs are met and never otherwise, with exactly the right events."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pwf_runtime.core import keys as k
from pwf_runtime.core import states as s
from pwf_runtime.core.ids import ROOT_CALL
from pwf_runtime.core.joins import EVENTS_AT_ONCE, portion, wanted
from pwf_runtime.core.model import JoinRecord, Message, Need, NewCall, NewFork, Outcome
from pwf_runtime.core.txn import Range
from pwf_runtime.core.wire import decode_record, encode

from .desk import RUN, Desk, call, child, event, join, joined


def emitting(name: str) -> NewCall:
    """A call of the task that emits what its data says."""
    return call("tell", name.encode())


def telling(outcome: Outcome) -> Desk:
    """``first`` answers this; ``tell`` emits the event of its data, which carries the number of the emission."""
    told: list[str] = []

    def tell(asked: object) -> Outcome:
        name = asked.data.decode()  # type: ignore[attr-defined]
        told.append(name)
        return Outcome(events=(event(name, b"%s %d" % (name.encode(), told.count(name))),))

    return Desk({"first": outcome, "tell": tell, "last": Outcome(), "late": Outcome()})


def received(desk: Desk, task: str = "last") -> list[list[bytes]]:
    """The events with which each call of this task ran."""
    return [[event.data for event in ran.events] for ran in desk.ran if ran.message.task == f"q.{task}"]


def emit(desk: Desk, *names: str) -> None:
    """Let the calls that emit these run, in this order."""
    for name in names:
        messages = [message for message in desk.queues["q"] if isinstance(message, Message)]
        message = next(m for m in messages if decode_record(desk.fields()[k.record(m.call_id)]).data == name.encode())
        desk.queues["q"].remove(message)
        desk.deliver(message).finish()


# ── which needs fire it ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("order", list(permutations("abc")))
def test_all_of_several_names_in_whatever_order(order: tuple[str, ...]) -> None:
    """The events come in the order declared, not in that of their arrival."""
    desk = telling(Outcome(calls=tuple(map(emitting, "abc")), joins=(join("last", "a", "b", "c"),)))
    desk.deliver(desk.begin("first")).finish()
    emit(desk, *order[:2])
    assert desk.field(k.join_state(child("j0"))) == k.ARMED_STATE
    emit(desk, order[2])
    desk.drain()
    assert received(desk) == [[b"a 1", b"b 1", b"c 1"]]
    assert desk.field(k.STATUS) == k.COMPLETED


def test_one_name_emitted_twice_does_not_stand_for_two() -> None:
    """Identity, not a count: where go-pubsub-workflow fires."""
    desk = telling(Outcome(calls=(emitting("a"), emitting("a")), joins=(join("last", "a", "b"),)))
    desk.begin_and_drain("first")
    assert received(desk) == []
    assert desk.field(k.STATUS) == k.STRANDED
    assert desk.field(k.join_state(child("j0"))) == k.ARMED_STATE


@pytest.mark.parametrize(("emitted", "fires"), [(2, False), (3, True), (5, True)])
def test_so_many_of_one_name_and_the_first_of_them(emitted: int, fires: bool) -> None:
    desk = telling(Outcome(calls=tuple(emitting("a") for _ in range(emitted)), joins=(join("last", ("a", 3)),)))
    desk.begin_and_drain("first")
    assert received(desk) == ([[b"a 1", b"a 2", b"a 3"]] if fires else [])


def test_any_of_several_names() -> None:
    desk = telling(Outcome(calls=tuple(map(emitting, "ab")), joins=(join("last", "a", "b", "c", at_least=1),)))
    desk.deliver(desk.begin("first")).finish()
    emit(desk, "b", "a")
    desk.drain()
    assert received(desk) == [[b"b 1"]]


@pytest.mark.parametrize("order", list(permutations("abcd")))
def test_two_of_three_are_the_first_two_in_the_order_declared(order: tuple[str, ...]) -> None:
    """``d`` is none of its names, and a third comes too late. The names that fired it are remembered by rank."""
    desk = telling(Outcome(calls=tuple(map(emitting, "abcd")), joins=(join("last", "a", "b", "c", at_least=2),)))
    desk.deliver(desk.begin("first")).finish()
    emit(desk, *order)
    desk.drain()
    first = sorted([name for name in order if name != "d"][:2])
    assert received(desk) == [[b"%s 1" % name.encode() for name in first]]


def test_needs_of_different_counts_under_one_join() -> None:
    calls = tuple(map(emitting, ["a", "b", "b", "a", "b"]))
    desk = telling(Outcome(calls=calls, joins=(join("last", ("b", 3), ("a", 2)),)))
    desk.begin_and_drain("first")
    assert received(desk) == [[b"b 1", b"b 2", b"b 3", b"a 1", b"a 2"]]


def test_joins_that_wait_for_the_same_name_do_not_take_it_from_each_other() -> None:
    joins = (join("last", "a"), join("last", ("a", 2)), join("late", "a", "b"))
    desk = telling(Outcome(calls=tuple(map(emitting, "aab")), joins=joins))
    desk.begin_and_drain("first")
    assert sorted(received(desk)) == [[b"a 1"], [b"a 1", b"a 2"]]
    assert received(desk, "late") == [[b"a 1", b"b 1"]]


# ── before or after ───────────────────────────────────────────────────────────────────────────


def test_events_that_came_before_the_join_count() -> None:
    """Write first, then look: the join arms itself and looks for what is there."""
    desk = Desk(
        {
            "first": Outcome(events=(event("a", b"early"),), calls=(call("second"),)),
            "second": Outcome(joins=(join("last", "a"),)),
            "last": Outcome(),
        }
    )
    desk.begin_and_drain("first")
    assert received(desk) == [[b"early"]]


def test_a_join_and_its_events_may_come_of_the_same_commit() -> None:
    """Found from both sides, and marked once."""
    desk = Desk({"first": Outcome(events=(event("a"), event("b")), joins=(join("last", "a", "b"),)), "last": Outcome()})
    desk.begin_and_drain("first")
    assert received(desk) == [[b"", b""]]
    assert desk.labels().count("satisfy") == 2


def test_some_before_and_some_after() -> None:
    desk = telling(Outcome(events=(event("a", b"before"),), calls=(emitting("b"),), joins=(join("last", "b", "a"),)))
    desk.begin_and_drain("first")
    assert received(desk) == [[b"b 1", b"before"]]


@pytest.mark.parametrize("first", ["the emission", "the join"])
@pytest.mark.parametrize("how_far", [s.Looking, s.Satisfying, s.Publishing, s.Settling])
def test_whoever_comes_second_sees_the_first(first: str, how_far: type) -> None:
    """However far the first one got before it stopped: the other one's commit is the one that fires the join."""
    outcomes = {"tell": Outcome(events=(event("a", b"x"),)), "arm": Outcome(joins=(join("last", "a"),))}
    desk = Desk({"first": Outcome(calls=(call("tell"), call("arm"))), **outcomes, "last": Outcome()})
    desk.deliver(desk.begin("first")).finish()
    order = ["tell", "arm"] if first == "the emission" else ["arm", "tell"]
    stopped = desk.deliver(desk.take(order[0])).until(s.Committing)
    stopped.go()
    while type(stopped.state) is not how_far and type(stopped.state) is not s.Settling:
        stopped.go()
    other = desk.deliver(desk.take(order[1]))
    other.finish()
    assert s.Firing in other.states
    stopped.finish()
    desk.drain()
    assert received(desk) == [[b"x"]]
    assert desk.labels().count("fire") == 1


# ── exactly once ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("stop", [s.Satisfying, s.Firing, s.Publishing, s.Settling])
@pytest.mark.parametrize("done", [False, True])
def test_who_dies_while_firing_is_taken_over_and_the_join_fires_once(stop: type, done: bool) -> None:
    """Satisfying and firing may be done again by anybody; the joined call is published by whoever finds it open."""
    desk = telling(Outcome(calls=tuple(map(emitting, "ab")), joins=(join("last", "a", "b"),)))
    desk.deliver(desk.begin("first")).finish()
    emit(desk, "a")
    message = desk.take("tell")
    dead = desk.deliver(message).until(stop)
    if done:
        dead.lose()
    desk.deliver(message).finish()
    desk.drain()
    assert len({ran.message.call_id for ran in desk.ran if ran.message.task == "q.last"}) == 1
    assert received(desk) == [[b"a 1", b"b 1"]]
    assert desk.field(k.STATUS) == k.COMPLETED


def test_two_last_arrivals_fire_once() -> None:
    """Both have marked before either counts; the one that comes second finds it fired, and publishes nothing twice."""
    desk = telling(Outcome(calls=tuple(map(emitting, "ab")), joins=(join("last", "a", "b"),)))
    desk.deliver(desk.begin("first")).finish()
    one, other = (desk.deliver(desk.take("tell")).until(s.Satisfying) for _ in range(2))
    one.go()
    other.go()
    assert type(one.state) is s.Settling
    one.finish()
    other.finish()
    desk.drain()
    assert s.Firing in other.states
    assert desk.labels().count("fire") == 1
    assert received(desk) == [[b"a 1", b"b 1"]]


def test_a_mark_that_comes_between_counting_and_firing_makes_one_count_again() -> None:
    """The fire compares how many were marked, so the joined call's names are those that it was fired with."""
    desk = telling(Outcome(calls=tuple(map(emitting, "ab")), joins=(join("last", "a", "b", at_least=1),)))
    desk.deliver(desk.begin("first")).finish()
    one = desk.deliver(desk.take("tell")).until(s.Firing)
    desk.deliver(desk.take("tell")).until(s.Firing)
    one.go()
    assert type(one.state) is s.Satisfying
    one.until(s.Publishing)
    one.finish()
    desk.drain()
    assert received(desk) == [[b"a 1"]]


def test_a_joined_call_that_is_still_open_is_published_by_who_finds_the_join_fired() -> None:
    """Whoever fired it may have died before publishing."""
    desk = telling(Outcome(calls=(emitting("a"),), joins=(join("last", "a"),)))
    desk.deliver(desk.begin("first")).finish()
    message = desk.take("tell")
    desk.deliver(message).until(s.Firing).lose()
    found = desk.deliver(message).until(s.Publishing)
    assert [published.call_id for published in found.effect.messages] == [joined()]


def test_a_joined_call_that_is_done_is_not_published_again() -> None:
    desk = telling(Outcome(calls=(emitting("a"), emitting("b")), joins=(join("last", "a"),)))
    desk.deliver(desk.begin("first")).finish()
    message = desk.take("tell")
    slow = desk.deliver(message).until(s.Settling)
    desk.handle("last")
    again = desk.deliver(message)
    again.finish()
    assert s.Publishing not in again.states
    slow.finish()


def test_events_beyond_the_need_look_at_no_join_any_more() -> None:
    """The emission that met the need answers for the join; without that, each further event would look at all joins
    that ever waited for its name."""
    desk = telling(Outcome(calls=tuple(emitting("a") for _ in range(6)), joins=(join("last", ("a", 3)),)))
    desk.begin_and_drain("first")
    assert desk.labels().count("satisfy") == desk.labels().count("fire") == 1
    assert len(received(desk)) == 1


# ── after the store fell back ─────────────────────────────────────────────────────────────────


def test_a_store_that_fell_back_behind_the_events_is_looked_at_again() -> None:
    """There is nothing to count, although the worker saw enough of them."""
    desk = telling(Outcome(calls=(emitting("a"),), joins=(join("last", "a"),)))
    desk.deliver(desk.begin("first")).finish()
    past = desk.fields()
    hand = desk.deliver(desk.take("tell")).until(s.Satisfying)
    desk.fall_back(past)
    assert type(hand.go()) is s.Looking
    hand.finish()
    desk.drain()
    assert received(desk) == [[b"a 2"]]


@pytest.mark.parametrize("lost", ["the mark", "the firing"])
def test_settling_compares_what_was_done_to_joins(lost: str) -> None:
    """A store that fell back between two steps has forgotten the mark, or the firing, but not the commit."""
    desk = telling(Outcome(calls=tuple(map(emitting, "ab")), joins=(join("last", "a", "b"),)))
    desk.deliver(desk.begin("first")).finish()
    if lost == "the mark":
        hand = desk.deliver(desk.take("tell")).until(s.Satisfying)
    else:
        emit(desk, "a")
        hand = desk.deliver(desk.take("tell")).until(s.Firing)
    past = desk.fields()
    hand.until(s.Settling)
    desk.fall_back(past)
    assert type(hand.go()) is s.Looking
    hand.finish()
    desk.drain()
    assert received(desk) == [[b"a 1", b"b 1"]]
    assert desk.field(k.STATUS) == k.COMPLETED


def test_a_joined_call_whose_events_are_gone_fails() -> None:
    """It must not run with fewer than it was fired for, nor look for them for ever."""
    desk = telling(Outcome(calls=(emitting("a"),), joins=(join("last", "a"),)))
    desk.deliver(desk.begin("first")).finish()
    desk.handle("tell")
    hand = desk.deliver(desk.take("last")).until(s.Gathering)
    hand.go()
    assert type(hand.state) is s.Gathering
    desk.store.runs[RUN].fields.pop(k.length(k.events("a")))
    assert type(hand.go()) is s.Failing


# ── timeouts ──────────────────────────────────────────────────────────────────────────────────

TIMEOUT_MS = 5_000


def timed(*calls: NewCall) -> Desk:
    return telling(
        Outcome(calls=calls, joins=(join("last", "a", timeout_ms=TIMEOUT_MS, on_timeout=call("late", b"why")),))
    )


def test_a_join_that_fires_in_time_has_no_timeout() -> None:
    desk = timed(emitting("a"))
    desk.begin_and_drain("first")
    assert [len(received(desk)), len(received(desk, "late"))] == [1, 0]
    assert desk.field(k.STATUS) == k.COMPLETED


def test_when_its_time_is_over_the_other_call_runs_once_and_the_join_never_fires() -> None:
    desk = timed(call("tell", b"a", delay_ms=2 * TIMEOUT_MS))
    desk.begin_and_drain("first")
    assert [len(received(desk)), len(received(desk, "late"))] == [0, 1]
    assert [ran.data for ran in desk.ran if ran.message.task == "q.late"] == [b"why"]
    assert (desk.field(k.STATUS), desk.number(k.ARMED)) == (k.COMPLETED, 0)


def test_a_join_without_another_call_just_ends() -> None:
    desk = telling(Outcome(joins=(join("last", "a", timeout_ms=TIMEOUT_MS),)))
    desk.begin_and_drain("first")
    assert received(desk) == []
    assert desk.field(k.STATUS) == k.COMPLETED


@pytest.mark.parametrize("winner", ["the join", "the time"])
@pytest.mark.parametrize("emitter_stops_at", [s.Committing, s.Satisfying, s.Firing])
@pytest.mark.parametrize("time_stops_at", [s.Claiming, s.Committing])
def test_a_join_and_its_timeout_are_never_both(winner: str, emitter_stops_at: type, time_stops_at: type) -> None:
    """Each compares that the join is armed, in the transaction that ends it: whoever is first wins."""
    desk = timed(emitting("a"))
    desk.deliver(desk.begin("first")).finish()
    emitter = desk.deliver(desk.take("tell")).until(emitter_stops_at)
    desk.clock.ms += TIMEOUT_MS
    desk.sweep().finish()
    timeout = desk.deliver(desk.take("last")).until(time_stops_at)
    for hand in (emitter, timeout) if winner == "the join" else (timeout, emitter):
        hand.finish()
    desk.drain()
    fired, late = len(received(desk)), len(received(desk, "late"))
    assert fired + late == 1
    assert fired == (winner == "the join")
    assert desk.field(k.STATUS) == k.COMPLETED
    assert not desk.timers()


# ── forks ─────────────────────────────────────────────────────────────────────────────────────


def test_a_fork_hands_on_results_in_the_order_of_its_calls() -> None:
    """Whichever ends first; a member without a result hands on nothing, and each is named by its task."""
    members = (call("a", b"0"), call("b"), call("a", b"2"))
    desk = Desk(
        {
            "first": Outcome(forks=(NewFork(members, call("last")),)),
            "a": lambda asked: Outcome(result=b"\x01"),
            "b": Outcome(),
            "last": Outcome(),
        }
    )
    desk.deliver(desk.begin("first")).finish()
    desk.queues["q"].reverse()
    desk.drain()
    (last,) = [ran for ran in desk.ran if ran.message.task == "q.last"]
    assert [(event.name, event.data) for event in last.events] == [("a", b"\x01"), ("b", b"\xc0"), ("a", b"\x01")]
    assert desk.field(k.RESULT) is None, "a member's result is its fork's, not the run's"


def test_a_fork_within_a_fork() -> None:
    """A member's own fork does not hold up the outer one, whose member has given its result."""
    inner = NewFork((call("leaf", b"1"), call("leaf", b"2")), call("inner"))
    desk = Desk(
        {
            "first": Outcome(forks=(NewFork((call("member"), call("leaf", b"3")), call("outer")),)),
            "member": Outcome(forks=(inner,), result=b"m"),
            "leaf": lambda asked: Outcome(result=asked.data),
            "inner": lambda asked: Outcome(result=b"inner"),
            "outer": Outcome(),
        }
    )
    desk.begin_and_drain("first")
    assert received(desk, "outer") == [[b"m", b"3"]]
    assert received(desk, "inner") == [[b"1", b"2"]]
    assert desk.field(k.RESULT) == b"inner"
    assert desk.field(k.STATUS) == k.COMPLETED


def test_two_forks_of_one_commit_keep_apart() -> None:
    forks = (NewFork((call("leaf", b"1"),), call("x")), NewFork((call("leaf", b"2"), call("leaf", b"3")), call("y")))
    desk = Desk(
        {
            "first": Outcome(forks=forks),
            "leaf": lambda asked: Outcome(result=asked.data),
            "x": Outcome(),
            "y": Outcome(),
        }
    )
    desk.begin_and_drain("first")
    assert (received(desk, "x"), received(desk, "y")) == ([[b"1"]], [[b"2", b"3"]])


def test_a_fork_with_nothing_to_follow_is_a_number_of_calls() -> None:
    desk = Desk({"first": Outcome(forks=(NewFork((call("leaf"), call("leaf")), None),)), "leaf": Outcome()})
    desk.begin_and_drain("first")
    assert [ran.message.task for ran in desk.ran].count("q.leaf") == 2
    assert desk.field(k.STATUS) == k.COMPLETED


# ── cost ──────────────────────────────────────────────────────────────────────────────────────

WIDE = 20_000


@pytest.mark.parametrize("kind", ["names", "count"])
def test_an_event_costs_the_same_however_wide_its_join(kind: str) -> None:
    """O(1) per event: claim, commit, satisfy, settle, each with few operations. What is wide is done once, when the
    join is armed and when the joined call reads its events."""
    needs = [f"n{i}" for i in range(WIDE)] if kind == "names" else [("n0", WIDE)]
    calls = (emitting("n0"), emitting("n7"), call("late", delay_ms=1))
    desk = telling(Outcome(calls=calls, joins=(join("last", *needs),)))
    desk.deliver(desk.begin("first")).finish()
    if kind == "count":
        desk.put(k.length(k.events("n0")), b"%d" % (WIDE - 2))
    for _ in range(2):
        before = len(desk.txns)
        desk.handle("tell")
        txns = desk.txns[before:]
        assert len(txns) <= 4
        assert max(max(len(txn.then), len(txn.otherwise)) for txn in txns) <= 12


def test_an_event_reads_and_writes_the_same_amount_however_wide_its_join() -> None:
    """O(1) in bytes as well: a fork of 20,000 would else move some gigabytes in and out of the store."""

    def spent(width: int) -> int:
        desk = telling(Outcome(calls=(emitting("n0"), call("late", delay_ms=1)), joins=(join("last", *names(width)),)))
        desk.deliver(desk.begin("first")).finish()
        before = len(desk.txns)
        hand = desk.deliver(desk.take("tell"))
        moved = 0
        while hand.effect is not None:
            answer = desk.perform(hand.effect)
            moved += len(encode(hand.effect)) + len(encode(answer))
            hand.answer(answer)
        assert {"commit", "satisfy", "settle"} < set(desk.labels()[before:])
        return moved

    def names(width: int) -> list[str]:
        return [f"n{i}" for i in range(width)]

    assert spent(WIDE) <= 2 * spent(10)


def test_a_fork_of_twice_the_width_takes_twice_the_transactions() -> None:
    """Nothing in a whole run grows with the width but the number of its calls."""

    def spent(width: int) -> int:
        fork = NewFork(tuple(call("leaf") for _ in range(width)), call("last"))
        desk = Desk({"first": Outcome(forks=(fork,)), "leaf": Outcome(), "last": Outcome()})
        desk.begin_and_drain("first")
        assert len(received(desk)[0]) == width
        return len(desk.txns)

    assert spent(400) - spent(200) == 200 * 4
    assert spent(2_000) - spent(1_000) == 1_000 * 4 + 1_000 // EVENTS_AT_ONCE


def test_the_events_of_a_wide_join_are_read_in_portions() -> None:
    """20,000 of them are not one reply; and each portion is within the bound."""
    events = tuple(event("n", b"%d" % i) for i in range(WIDE))
    desk = Desk({"first": Outcome(events=events, joins=(join("last", ("n", WIDE)),)), "last": Outcome()})
    desk.begin_and_drain("first")
    assert received(desk) == [[b"%d" % i for i in range(WIDE)]]
    gathers = [txn for txn in desk.txns if txn.label == "gather"]
    assert len(gathers) == 1 + WIDE // EVENTS_AT_ONCE
    for txn in gathers[1:]:
        assert sum(op.stop - op.start for op in txn.then if isinstance(op, Range)) <= EVENTS_AT_ONCE


@given(st.lists(st.tuples(st.text(max_size=3), st.integers(0, 1_500)), max_size=8))
def test_portions_are_the_whole_in_order(needs: list[tuple[str, int]]) -> None:
    whole = tuple((name, 0, count) for name, count in needs)
    read: list[tuple[str, int]] = []
    rest = whole
    while rest:
        ask, following = portion(rest)
        assert sum(stop - start for _, start, stop in ask) <= EVENTS_AT_ONCE
        assert following != rest
        read += [(name, i) for name, start, stop in ask for i in range(start, stop)]
        rest = following
    assert read == [(name, i) for name, count in needs for i in range(count)]


def test_what_is_wanted_are_the_names_that_fired_it() -> None:
    record = JoinRecord(call("last"), (Need("a", 1), Need("b", 2), Need("c", 1)), 2, ROOT_CALL)
    assert wanted(record, (b"c", b"b", b"a")) == (("b", 0, 2), ("c", 0, 1))
    assert wanted(record, None) == (("a", 0, 1), ("b", 0, 2), ("c", 0, 1))
