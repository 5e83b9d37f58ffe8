"""Timers: due ones are published, then removed, and only those that were read."""

from __future__ import annotations

import pytest

from pwf_runtime.core import keys as k
from pwf_runtime.core import states as s
from pwf_runtime.core.effects import DEAD, TIMERS, UNREADABLE, IndexAdd, IndexRemove
from pwf_runtime.core.ids import ROOT_CALL
from pwf_runtime.core.inputs import Damaged, Published
from pwf_runtime.core.model import Message, NewCall, Outcome, Timer
from pwf_runtime.core.steps import Steps
from pwf_runtime.core.sweep import ROUTES, Burying, Delaying, Noting, Publishing, Reading, Removing, SweepMachine, Swept
from pwf_runtime.core.txn import Txn
from pwf_runtime.core.wire import decode_failure, decode_timer, encode

from .desk import LEASE_MS, RUN, Desk, child


def timer(call_id: str = ROOT_CALL, token: str = "t", task: str = "q.first", tries: int = 0) -> Timer:
    return Timer(RUN, call_id, task, token, tries)


def set_timer(desk: Desk, timer: Timer, due: int) -> None:
    desk.store.index_add(TIMERS, [(encode(timer), due)])


def desk_with(*timers: tuple[Timer, int]) -> Desk:
    """A run has begun; these timers are due so many milliseconds from now."""
    desk = Desk({"first": Outcome()})
    desk.begin("first")
    for each, after in timers:
        set_timer(desk, each, desk.clock.ms + after)
    return desk


def test_what_is_due_is_published_then_removed() -> None:
    """In this order: a sweeper that dies in between leaves a timer that is swept again."""
    desk = desk_with((timer(), 0))
    hand = desk.sweep()
    assert hand.finish() == Swept(1)
    assert hand.states == [Reading, Publishing, Removing, Swept]
    assert desk.queues["q"] == [Message(RUN, ROOT_CALL, "q.first")]
    assert not desk.timers()


def test_the_timers_of_one_call_are_one_message() -> None:
    """Else each retry of a call would have as many messages as the last one, times the sweepers that met."""
    doubles = [(timer(token=str(i)), -i) for i in range(5)]
    elsewhere = Timer("another run", ROOT_CALL, "q.first", "t")
    desk = desk_with(*doubles, (timer("other"), 0), (elsewhere, 0))
    assert desk.sweep().finish() == Swept(7)
    wanted = {Message(RUN, ROOT_CALL, "q.first"), Message(RUN, "other", "q.first"), elsewhere.message}
    assert (len(desk.queues["q"]), set(desk.queues["q"])) == (3, wanted)
    assert not desk.timers()


def test_the_timers_of_one_call_that_no_queue_takes_are_one_with_the_most_tries() -> None:
    desk = desk_with(*[(timer(task="nowhere.x", token=f"had {tries}", tries=tries), 0) for tries in (2, 0, 1)])
    desk.sweep().finish()
    assert list(desk.timers()) == [timer(task="nowhere.x", token="had 2", tries=3)]


def test_what_is_not_due_stays() -> None:
    desk = desk_with((timer(), 1))
    hand = desk.sweep()
    assert hand.finish() == Swept(0)
    assert hand.states == [Reading, Swept]
    assert len(desk.timers()) == 1
    assert not desk.queues["q"]


def test_no_more_than_asked_for_the_earliest_first() -> None:
    desk = desk_with(*[(timer(f"call {i}"), -i) for i in range(5)])
    assert desk.sweep(limit=2).finish() == Swept(2)
    assert [message.call_id for message in desk.queues["q"]] == ["call 4", "call 3"]  # type: ignore[union-attr]
    assert {each.call_id for each in desk.timers()} == {"call 0", "call 1", "call 2"}


def test_a_call_that_was_parked_again_meanwhile_keeps_its_timer() -> None:
    """Removal by identity. Found by simulation: a blind one loses a call that was parked again in between."""
    desk = desk_with((timer(token="old"), 0))
    hand = desk.sweep().until(Removing)
    set_timer(desk, timer(token="new"), desk.clock.ms)
    hand.finish()
    assert [each.token for each in desk.timers()] == ["new"]


def test_who_parks_a_call_has_a_timer_of_its_own() -> None:
    """Two parks can share a millisecond; they cannot share a token."""
    desk = Desk({"first": Outcome()})
    message = desk.begin("first")
    desk.deliver(message).until(s.Running)
    for token in ("one", "other"):
        desk.deliver(message, token).finish()
    assert len(desk.timers()) == 2
    assert len(set(desk.timers().values())) == 1


def test_two_sweepers_may_publish_twice_and_lose_nothing() -> None:
    desk = desk_with((timer(), 0))
    one, other = desk.sweep().until(Publishing), desk.sweep().until(Publishing)
    one.finish()
    other.finish()
    assert len(desk.queues["q"]) == 2
    desk.drain()
    assert (len(desk.ran), desk.field(k.STATUS)) == (1, k.COMPLETED)


def test_the_removal_names_what_was_read() -> None:
    desk = desk_with((timer("a"), 0), (timer("b"), 0))
    hand = desk.sweep().until(Removing)
    assert isinstance(hand.effect, IndexRemove)
    assert set(hand.effect.members) == {encode(timer("a")), encode(timer("b"))}


# ── what no queue takes ───────────────────────────────────────────────────────────────────────


def lost_desk() -> Desk:
    """A call waits for a queue that does not exist."""
    desk = Desk({"first": Outcome(calls=(NewCall("nowhere.x", b""),))})
    desk.deliver(desk.begin("first")).finish()
    return desk


def test_what_no_queue_takes_is_put_off_ever_longer_and_then_dead() -> None:
    desk, waits = lost_desk(), []
    while desk.timers():
        ((entry, due),) = desk.timers().items()
        waits.append((entry.tries, due - desk.clock.ms))
        desk.clock.ms = due
        assert desk.sweep().finish() == Swept(1)
    assert [tries for tries, _ in waits] == list(range(1, ROUTES.max_attempts))
    assert [wait for _, wait in waits[1:]] == [ROUTES.delay_ms(n, child("c0")) for n in range(2, ROUTES.max_attempts)]
    assert (desk.field(k.state(child("c0"))), desk.number(k.DEAD_COUNT)) == (k.DEAD, 1)
    assert desk.members(DEAD) == [encode((RUN, child("c0")))]
    failure = decode_failure(desk.fields()[k.failure(child("c0"))])
    assert failure.kind == "Unroutable"
    assert "queue 'nowhere' does not exist" in failure.message


def test_a_queue_that_appears_in_time_gets_the_message() -> None:
    desk = lost_desk()
    for _ in range(4):
        desk.clock.ms = min(desk.timers().values())
        desk.sweep().finish()
    desk.queues["nowhere"] = []
    desk.clock.ms = min(desk.timers().values())
    desk.sweep().finish()
    assert desk.take(queue="nowhere").call_id == child("c0")
    assert not desk.timers()
    assert desk.number(k.DEAD_COUNT) == 0


def test_a_call_that_another_sweep_gave_up_and_did_not_list_is_listed() -> None:
    """Else it would be dead, and nobody would see it."""
    desk = lost_desk()
    while max(each.tries for each in desk.timers()) + 1 < ROUTES.max_attempts:
        desk.clock.ms = min(desk.timers().values())
        desk.sweep().finish()
    desk.clock.ms = min(desk.timers().values())
    desk.perform(desk.sweep().until(Noting).effect)  # and here it dies
    assert desk.number(k.DEAD_COUNT) == 1
    assert desk.members(DEAD) == []
    desk.sweep().finish()
    assert desk.members(DEAD) == [encode((RUN, child("c0")))]
    assert desk.number(k.DEAD_COUNT) == 1
    assert not desk.timers()


def test_some_are_taken_and_some_are_not() -> None:
    """Only what came back is put off; the entries that were read are removed either way."""
    desk = desk_with((timer(), 0), (timer("a", task="nowhere.a"), 0), (timer("b", task="nowhere.b"), 0))
    hand = desk.sweep()
    assert hand.finish() == Swept(3)
    assert hand.states == [Reading, Publishing, Noting, Noting, Delaying, Removing, Swept]
    assert {(each.call_id, each.tries) for each in desk.timers()} == {("a", 1), ("b", 1)}
    assert len(desk.queues["q"]) == 1


def test_the_new_timer_is_set_before_the_old_one_is_removed() -> None:
    desk = lost_desk()
    desk.clock.ms += 60_000
    desk.sweep().until(Removing)
    assert sorted(each.tries for each in desk.timers()) == [1, 2]


def test_the_dead_and_those_that_go_on_in_one_sweep() -> None:
    last = ROUTES.max_attempts - 1
    desk = lost_desk()
    set_timer(desk, timer(child("c0"), task="nowhere.x", tries=last), desk.clock.ms)
    set_timer(desk, timer("other", task="nowhere.x", tries=0), desk.clock.ms)
    hand = desk.sweep()
    hand.finish()
    assert [Burying in hand.states, Delaying in hand.states] == [True, True]
    assert desk.members(DEAD) == [encode((RUN, child("c0")))]


@pytest.mark.parametrize("why", ["somebody has it", "it is settled"])
def test_a_call_that_is_not_given_up_is_not_listed_as_dead(why: str) -> None:
    """The last try of a copy that is superfluous: the call was delivered by another message."""
    desk = desk_with((timer(tries=ROUTES.max_attempts - 1), 0))
    hand = desk.sweep().until(Publishing)
    if why == "somebody has it":
        desk.deliver(Message(RUN, ROOT_CALL, "q.first")).until(s.Running)
    else:
        desk.deliver(Message(RUN, ROOT_CALL, "q.first")).until(s.Completing)
    hand.answer(Published((Message(RUN, ROOT_CALL, "q.first"),)))
    hand.finish()
    assert desk.members(DEAD) == []
    assert desk.number(k.DEAD_COUNT) == 0
    desk.clock.ms += LEASE_MS


def test_an_entry_that_is_no_timer_is_set_aside_and_holds_nothing_up() -> None:
    desk = desk_with((timer(), 0))
    desk.store.index_add(TIMERS, [(b"nonsense", 0)])
    assert desk.sweep().finish() == Swept(2)
    assert desk.members(UNREADABLE) == [b"nonsense"]
    assert desk.members(TIMERS) == []
    assert len(desk.queues["q"]) == 1


def test_a_damaged_run_holds_up_no_timer_of_another() -> None:
    """Two messages that no queue takes; the store cannot note it of the first."""
    machine, broken, other = SweepMachine(Steps(LEASE_MS, 1)), timer("broken", tries=1), timer("other", tries=1)
    noting = Noting((b"a", b"b"), (broken, other))
    state, effect = machine.step(noting, Damaged(RUN, "what"), 0)
    assert (type(state), state.at) == (Noting, 1)
    assert isinstance(effect, Txn)
    state, effect = machine.step(state, Damaged(RUN, "what"), 0)
    assert state == Delaying((b"a", b"b"))
    assert isinstance(effect, IndexAdd)
    assert [decode_timer(member).call_id for member, _ in effect.entries] == ["broken", "other"]
