"""Beginning a run: listed, created, published, in this order; the same again is the same run, another is a conflict."""

from __future__ import annotations

import pytest

from pwf_runtime.core import keys as k
from pwf_runtime.core.delivery import ROUTE_RETRY_MS
from pwf_runtime.core.effects import OPEN, IndexAdd, IndexRemove, Publish
from pwf_runtime.core.ids import ROOT_CALL
from pwf_runtime.core.model import Message, Outcome, Timer
from pwf_runtime.core.start import Begun, Closing, Conflict, Opening, Publishing, Starting, Waiting
from pwf_runtime.core.txn import Txn

from .desk import RUN, Desk, call

MESSAGE = Message(RUN, ROOT_CALL, "q.first")


def desk_of() -> Desk:
    return Desk({"first": Outcome(calls=(call("second"),)), "second": Outcome(), "other": Outcome()})


def test_a_run_is_listed_then_created_then_listed_then_published() -> None:
    """L8; and whoever dies on the way leaves nothing that counts, or a run that the recovery scan finds."""
    desk = desk_of()
    hand = desk.start("first", b"data")
    effects = [type(hand.effect)]
    while hand.effect is not None:
        hand.go()
        effects.append(type(hand.effect))
    assert effects == [IndexAdd, Txn, IndexAdd, Publish, type(None)]
    assert hand.state == Begun(MESSAGE, created=True)
    assert desk.members(OPEN) == [RUN.encode()]
    assert desk.queues["q"] == [MESSAGE]
    assert (desk.field(k.STATUS), desk.number(k.OPEN)) == (k.RUNNING, 1)


def test_the_same_again_is_the_same_run() -> None:
    """While its first call is open its message is published again: whoever created it may have died before."""
    desk = desk_of()
    desk.start("first", b"data").finish()
    before = desk.fields()
    again = desk.start("first", b"data")
    assert again.finish() == Begun(MESSAGE, created=False)
    assert Publishing in again.states
    assert desk.fields() == before
    assert desk.queues["q"] == [MESSAGE, MESSAGE]


def test_a_run_whose_first_call_is_done_is_not_published_again() -> None:
    desk = desk_of()
    desk.deliver(desk.begin("first")).finish()
    again = desk.start("first")
    assert again.finish() == Begun(MESSAGE, created=False)
    assert again.states == [Opening, Starting, Begun]
    assert [message.call_id for message in desk.queues["q"]] != [ROOT_CALL]  # type: ignore[union-attr]


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize(
    ("task", "data", "reason"),
    [
        ("other", b"data", "run 'run' exists and was begun with task 'q.first', not 'q.other'"),
        ("first", b"else", "run 'run' exists and was begun with other data"),
    ],
)
def test_another_task_or_other_data_is_a_conflict(task: str, data: bytes, reason: str, ended: bool) -> None:
    desk = desk_of()
    desk.start("first", b"data").finish()
    if ended:
        desk.drain()
    before = desk.fields()
    state = desk.start(task, data).finish()
    assert isinstance(state, Conflict)
    assert state.reason == reason
    assert desk.fields() == before
    assert desk.members(OPEN) == ([] if ended else [RUN.encode()])


def test_the_same_again_after_its_end_is_found_and_not_left_among_the_open_ones() -> None:
    """L7: it was listed as open before anybody could know that it has ended."""
    desk = desk_of()
    desk.begin_and_drain("first")
    again = desk.start("first")
    again.go()
    assert desk.members(OPEN) == [RUN.encode()]
    again.until(Closing)
    assert isinstance(again.effect, IndexRemove)
    assert again.finish() == Begun(MESSAGE, created=False)
    assert desk.members(OPEN) == []
    assert not desk.queues["q"]


@pytest.mark.parametrize("stop", [Starting, Publishing])
def test_who_dies_before_publishing_is_made_good_by_beginning_again(stop: type) -> None:
    desk = desk_of()
    desk.start("first").until(stop).lose() if stop is Starting else desk.start("first").until(stop)
    assert not desk.queues["q"]
    assert desk.start("first").finish() == Begun(MESSAGE, created=False)
    desk.drain()
    assert desk.field(k.STATUS) == k.COMPLETED


def test_a_lost_reply_creates_no_second_run() -> None:
    desk = desk_of()
    hand = desk.start("first").until(Starting).lose()
    before = desk.fields()
    hand.finish()
    assert desk.fields() == before
    desk.drain()
    assert [ran.message.task for ran in desk.ran] == ["q.first", "q.second"]


def test_a_first_task_without_a_queue_waits_for_it() -> None:
    """A confirmed publish to no queue is not sent: a timer tries again, and the caller is told."""
    desk = desk_of()
    del desk.queues["q"]
    hand = desk.start("first")
    assert hand.finish() == Begun(MESSAGE, created=True, routed=False)
    assert Waiting in hand.states
    assert desk.timers() == {Timer(RUN, ROOT_CALL, "q.first", "start", tries=1): desk.clock.ms + ROUTE_RETRY_MS}
    desk.queues["q"] = []
    desk.drain()
    assert desk.field(k.STATUS) == k.COMPLETED


def test_waiting_again_is_the_same_timer() -> None:
    desk = desk_of()
    del desk.queues["q"]
    desk.start("first").finish()
    desk.clock.ms += 5
    desk.start("first").finish()
    assert list(desk.timers().values()) == [desk.clock.ms + ROUTE_RETRY_MS]
