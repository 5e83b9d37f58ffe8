"""Effects in the wrong order: each is right by itself and comes a step too early or too late."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from pwf_runtime.core import keys as k
from pwf_runtime.core.delivery import ONWARD
from pwf_runtime.core.effects import OPEN, TIMERS, Ack, IndexAdd, IndexRemove, Publish
from pwf_runtime.core.inputs import Entries, Indexed, Input, Published, TaskDone
from pwf_runtime.core.joins import joined_call
from pwf_runtime.core.machine import Row, Step
from pwf_runtime.core.model import Message, Timer
from pwf_runtime.core.start import Opening, Starting, StartMachine
from pwf_runtime.core.states import (
    Completing,
    Delaying,
    Firing,
    Listing,
    Parking,
    Publishing,
    Recalling,
    Running,
    Satisfying,
    Work,
)
from pwf_runtime.core.steps import Steps
from pwf_runtime.core.sweep import Noting, Reading, SweepMachine, Swept
from pwf_runtime.core.sweep import Publishing as SweepPublishing
from pwf_runtime.core.txn import Expire, Get, Length, Txn, TxnReply
from pwf_runtime.core.wire import decode_join, encode

from ..program import Protocol
from . import workflows
from .base import First, Loose, Planted, first


class _AckBeforeCommit(Loose):
    def _ran(self, state: Running, done: TaskDone, now_ms: int) -> Step:
        return first(Ack(), super()._ran(state, done, now_ms))


class _AckBeforePublish(Loose):
    def _committed(self, state: Any, reply: TxnReply, now_ms: int) -> Step:
        step = super()._committed(state, reply, now_ms)
        return first(Ack(), step) if isinstance(step[0], ONWARD) else step


class _AckBeforeSettle(Loose):
    def _settle(self, work: Work) -> Step:
        return first(Ack(), super()._settle(work))


class _PublishBeforeCommit(Loose):
    def _ran(self, state: Running, done: TaskDone, now_ms: int) -> Step:
        step = super()._ran(state, done, now_ms)
        run_id, children = state.claim.message.run_id, step[0].outbox.children
        messages = tuple([Message(run_id, child.call_id, child.task) for child in children])
        return first(Publish(messages), step) if messages else step


class _PublishBeforeFire(Loose):
    def _recalled(self, state: Recalling, reply: TxnReply, now_ms: int) -> Step:
        step = super()._recalled(state, reply, now_ms)
        if not isinstance(step[0], Firing):
            return step
        joined = Message(
            state.work.message.run_id,
            joined_call(state.work.todo[0].join),
            decode_join(step[0].join).then.task,
        )
        return first(Publish((joined,)), step)


class _SettleBeforePublish(Loose):
    def _onward(self, work: Work) -> Step:
        step = super()._onward(work)
        return first(self.steps.settle(work.message, work.guards), step) if isinstance(step[0], Publishing) else step


class _SettleBeforeSatisfy(Loose):
    def _onward(self, work: Work) -> Step:
        step = super()._onward(work)
        if not isinstance(step[0], Satisfying) or work.guards:
            return step
        return first(self.steps.settle(work.message, ()), step)


class _SettleBeforeTimer(Loose):
    def _delay(self, work: Work, again: tuple[tuple[bytes, int], ...]) -> Step:
        step = super()._delay(work, again)
        return first(self.steps.settle(work.message, work.guards), step) if isinstance(step[0], Delaying) else step


class _FireBeforeMark(Loose):
    """Looks how many names are marked, and fires if mine is the last one; the mark comes after."""

    def _onward(self, work: Work) -> Step:
        step = super()._onward(work)
        if not isinstance(step[0], Satisfying):
            return step
        join = work.todo[0].join
        return first(Txn("look", work.message.run_id, then=(Length(k.got(join)), Get((k.join_record(join),)))), step)

    def _resumed(self, state: First, reply: Input, now_ms: int) -> Step:
        step = super()._resumed(state, reply, now_ms)
        if not isinstance(reply, TxnReply) or len(reply.replies) != 2:
            return step
        marks, (record,) = reply.replies
        work = step[0].work
        if record is None or marks + 1 < decode_join(record).at_least:
            return step
        return first(self.steps.fire(work.message, work.todo[0].join, decode_join(record), marks, now_ms), step)


class _TimerAfterAck(Loose):
    def _park(self, message: Message, token: str, due_ms: int) -> Step:
        return first(Ack(), super()._park(message, token, due_ms))


class _BlindTimers(Loose):
    """A parked call's timer has no token, so one entry cannot be told from the next."""

    def _park(self, message: Message, token: str, due_ms: int) -> Step:
        timer = Timer(message.run_id, message.call_id, message.task, "")
        return Parking(message), IndexAdd(TIMERS, ((encode(timer), due_ms),))


class _RemovesBeforePublish(SweepMachine):
    TABLE = (
        Row(Reading, Entries, "_read", (First, Swept)),
        Row(First, Indexed, "_removed_first", (SweepPublishing,)),
        *SweepMachine.TABLE[1:],
    )

    def _read(self, state: Reading, entries: Entries, now_ms: int) -> Step:
        step = super()._read(state, entries, now_ms)
        if not isinstance(step[0], SweepPublishing):
            return step
        return first(IndexRemove(TIMERS, step[0].members), step)

    def _removed_first(self, state: First, _done: Indexed, _now_ms: int) -> Step:
        return state.state, state.effect


class _UnlistsBeforeComplete(Loose):
    def _gone(self, message: Message, *found: Any) -> Step:
        step = super()._gone(message, *found)
        if not isinstance(step[0], Completing):
            return step
        return first(IndexRemove(OPEN, (message.run_id.encode(),)), step)


class _NeverUnlists(Loose):
    def _listed(self, state: Listing, _done: Indexed, _now_ms: int) -> Step:
        return self._ack(state.message)


class _NeverLists(Loose):
    def _list(self, message: Message, token: str, now_ms: int) -> Step:
        return self._unlist(message, token)


class _NeverBuries(Loose):
    def _bury(self, message: Message, now_ms: int) -> Step:
        return self._ack(message)


class _AckBeforeBury(Loose):
    def _bury(self, message: Message, now_ms: int) -> Step:
        return first(Ack(), super()._bury(message, now_ms))


class _BuriesOnlyItsOwn(SweepMachine):
    """A sweep lists the calls that it has given up itself; another may have been cut off before it did."""

    def _noted(self, state: Noting, reply: TxnReply, now_ms: int) -> Step:
        return super()._noted(state, reply if reply.held else replace(reply, replies=((None,),)), now_ms)


class _KeepsForEver(Steps):
    def complete(self, run_id: str, armed: int, now_ms: int) -> Txn:
        txn = super().complete(run_id, armed, now_ms)
        return replace(txn, then=tuple([op for op in txn.then if not isinstance(op, Expire)]))


class _PublishesBeforeStart(StartMachine):
    TABLE = (
        Row(Opening, Indexed, "_opened", (First,)),
        Row(First, Published, "_published_first", (Starting,)),
        *StartMachine.TABLE[1:],
    )

    def _opened(self, state: Opening, done: Indexed, now_ms: int) -> Step:
        return first(Publish((state.message,)), super()._opened(state, done, now_ms))

    def _published_first(self, state: First, _published: Published, _now_ms: int) -> Step:
        return state.state, state.effect


BUGS = (
    Planted(
        "ended-run-still-listed",
        "a run that has ended is added to the finished ones and not taken off the open ones",
        law="L7",
        faults=0,
        protocol=Protocol(delivery=_NeverUnlists),
        apps=(workflows.chain,),
        start=("leave", 1),
    ),
    Planted(
        "ended-run-kept-for-ever",
        "a run that has ended gets no retention",
        law="L7",
        faults=0,
        protocol=Protocol(steps=_KeepsForEver),
        apps=(workflows.chain,),
        start=("leave", 1),
    ),
    Planted(
        "ended-and-not-listed",
        "a run that has ended is taken off the open ones and not added to the finished ones",
        law="L10",
        faults=0,
        protocol=Protocol(delivery=_NeverLists),
        apps=(workflows.chain,),
        start=("leave", 1),
    ),
    Planted(
        "dead-and-not-listed",
        "a call that has failed for good is not added to the dead ones",
        law="L10",
        faults=0,
        protocol=Protocol(delivery=_NeverBuries),
        apps=(workflows.chain,),
        start=("poison", 1),
    ),
    Planted(
        "ack-before-bury",
        "the delivery of a call that has failed for good is acked before the call is listed as dead",
        law="L10",
        faults=1,
        protocol=Protocol(delivery=_AckBeforeBury),
        apps=(workflows.chain,),
        start=("poison", 1),
    ),
    Planted(
        "given-up-and-not-listed",
        "a call that nobody can be sent is listed as dead only by the sweep that gave it up",
        law="L10",
        faults=1,
        protocol=Protocol(sweep=_BuriesOnlyItsOwn),
        apps=(workflows.chain,),
        start=("misdirect", 1),
    ),
    Planted(
        "ack-before-commit",
        "a delivery is acked when its task has run, before the outcome is committed",
        law="L8",
        faults=0,
        protocol=Protocol(delivery=_AckBeforeCommit),
    ),
    Planted(
        "ack-before-publish",
        "a delivery is acked after its commit, before its children are published",
        law="L8",
        faults=0,
        protocol=Protocol(delivery=_AckBeforePublish),
    ),
    Planted(
        "ack-before-settle",
        "a delivery is acked when its children are published, before its call settles",
        law="L8",
        faults=0,
        protocol=Protocol(delivery=_AckBeforeSettle),
    ),
    Planted(
        "publish-before-commit",
        "children are published when the task has returned them, before they are committed",
        law="L8",
        faults=0,
        protocol=Protocol(delivery=_PublishBeforeCommit),
    ),
    Planted(
        "publish-before-fire",
        "a joined call is published before its join is fired",
        law="L8",
        faults=0,
        protocol=Protocol(delivery=_PublishBeforeFire),
    ),
    Planted(
        "publish-before-start",
        "a run's first message is published before the run is created",
        law="L8",
        faults=0,
        protocol=Protocol(start=_PublishesBeforeStart),
        apps=(workflows.chain,),
        start=("leave", 1),
    ),
    Planted(
        "settle-before-publish",
        "a call is forgotten before its children are published",
        law="L4",
        faults=1,
        protocol=Protocol(delivery=_SettleBeforePublish),
        apps=(workflows.chain,),
        start=("leave", 1),
    ),
    Planted(
        "settle-before-satisfy",
        "a call is forgotten before the joins that wait for its events are marked, so its run may end first",
        law="L4",
        faults=0,
        protocol=Protocol(delivery=_SettleBeforeSatisfy),
    ),
    Planted(
        "settle-before-timer",
        "a call is forgotten before the timers of its delayed children are set",
        law="L4",
        faults=1,
        protocol=Protocol(delivery=_SettleBeforeTimer),
        apps=(workflows.chain,),
        start=("linger", 1),
    ),
    Planted(
        "fire-before-mark",
        "a join is fired by whoever sees that its own name is the last, before that name is marked",
        law="L3",
        faults=0,
        protocol=Protocol(delivery=_FireBeforeMark),
    ),
    Planted(
        "timer-after-ack",
        "a delivery is acked before the timer is set that will bring its call back",
        law="L4",
        faults=1,
        protocol=Protocol(delivery=_TimerAfterAck),
        apps=(workflows.flaky,),
        start=("attempt", 1),
    ),
    Planted(
        "blind-removal-of-a-timer",
        "a timer is removed although its call was parked again since it was read",
        law="L4",
        faults=0,
        protocol=Protocol(delivery=_BlindTimers),
        apps=(workflows.chain,),
        start=("poison", 1),
    ),
    Planted(
        "timer-removed-before-publish",
        "a due timer is removed before its message is published",
        law="L4",
        faults=1,
        protocol=Protocol(sweep=_RemovesBeforePublish),
        apps=(workflows.chain,),
        start=("linger", 1),
    ),
    Planted(
        "unlisted-before-complete",
        "a run is taken off the open ones before it is ended, where no recovery finds it",
        law="L4",
        faults=2,
        protocol=Protocol(delivery=_UnlistsBeforeComplete),
        apps=(workflows.chain,),
        start=("leave", 1),
        families="crash,loss",
    ),
)
