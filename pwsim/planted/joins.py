"""Joins: counting, looking and firing, each wrong in its own way."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from pwf_runtime.core import keys as k
from pwf_runtime.core.joins import ALL
from pwf_runtime.core.machine import Step
from pwf_runtime.core.model import CallRecord, JoinRecord, Message, Outcome
from pwf_runtime.core.states import Gathering, Reached, Running, Satisfying, Work
from pwf_runtime.core.steps import Commit, Steps
from pwf_runtime.core.txn import Append, Get, Is, Length, Op, Put, Range, Txn, TxnReply
from pwf_runtime.core.wire import decode_waiter, encode

from ..program import Protocol
from . import workflows
from .base import First, Loose, Planted, first
from .claims import without

_ARMED = k.ARMED_STATE


class CountsOnly(Steps):
    def satisfy(self, message: Message, reached: Reached) -> Txn:
        return without(super().satisfy(message, reached), Is(k.mark(reached.join, reached.name), None))


class NeverLooksBack(Steps):
    def commit(self, message: Message, attempt: int, record: CallRecord, outcome: Outcome, now_ms: int) -> Commit:
        commit = super().commit(message, attempt, record, outcome, now_ms)
        looks = sum(len(armed.needs) for armed in commit.outbox.armed)
        then = commit.txn.then[: len(commit.txn.then) - looks]
        return replace(commit, txn=replace(commit.txn, then=then), outbox=replace(commit.outbox, armed=()))


class CountsArrivals(CountsOnly):
    """The first event of a name meets any one need, and the second another: joins wait for numbers, not for names."""

    def commit(self, message: Message, attempt: int, record: CallRecord, outcome: Outcome, now_ms: int) -> Commit:
        commit = super().commit(message, attempt, record, outcome, now_ms)
        needs = {armed.join_id: len(armed.needs) for armed in commit.outbox.armed}
        extra: list[Op] = []
        for op in commit.txn.then:
            if isinstance(op, Append) and op.list.startswith("w:"):
                waiter = decode_waiter(op.value)
                more = range(2, needs.get(waiter.join_id, 1) + 1)
                extra += [Append(op.list, encode(replace(waiter, count=nth))) for nth in more]
        return replace(commit, txn=replace(commit.txn, then=(*extra, *commit.txn.then)))


class _CountIgnored(Steps):
    """One event of a name is as good as many."""

    def commit(self, message: Message, attempt: int, record: CallRecord, outcome: Outcome, now_ms: int) -> Commit:
        commit = super().commit(message, attempt, record, outcome, now_ms)
        return replace(commit, txn=replace(commit.txn, then=tuple([_of_one(op) for op in commit.txn.then])))


def _of_one(op: Op) -> Op:
    if isinstance(op, Append) and op.list.startswith("w:"):
        return replace(op, value=encode(replace(decode_waiter(op.value), count=1)))
    return op


class _ReadThenWritten(Loose):
    """Reads how many names are marked, and then writes that it is one more."""

    def _onward(self, work: Work) -> Step:
        step = super()._onward(work)
        if not isinstance(step[0], Satisfying):
            return step
        return first(Txn("look", work.message.run_id, then=(Length(k.got(work.todo[0].join)),)), step)

    def _resumed(self, state: First, reply: Any, now_ms: int) -> Step:
        satisfying, txn = super()._resumed(state, reply, now_ms)
        assert isinstance(txn, Txn), "it was about to satisfy"
        mark, append = txn.then
        assert isinstance(append, Append), "a mark is appended to what the join has"
        length = Put(k.length(append.list), b"%d" % reply.replies[0])
        return satisfying, replace(txn, then=(length, append, mark))


class _Recounts(Loose):
    """Marks its name, and then looks how many are marked: two last arrivals both see all of them."""

    def _satisfied(self, state: Satisfying, reply: TxnReply, now_ms: int) -> Step:
        if not reply.held:
            return super()._satisfied(state, reply, now_ms)
        join, run_id = state.work.todo[0].join, state.work.message.run_id
        return First((state, reply), None), Txn("look", run_id, then=(Length(k.got(join)),))

    def _resumed(self, state: First, reply: Any, now_ms: int) -> Step:
        satisfying, marked = state.state
        replies = (marked.replies[0], reply.replies[0])
        return super()._satisfied(satisfying, TxnReply(True, replies), now_ms)


class _FiresAnyhow(Steps):
    def fire(self, message: Message, join: str, record: JoinRecord, marks: int, now_ms: int) -> Txn:
        return without(super().fire(message, join, record, marks, now_ms), Is(k.join_state(join), _ARMED))


class _FiresLate(_FiresAnyhow):
    def satisfy(self, message: Message, reached: Reached) -> Txn:
        return without(super().satisfy(message, reached), Is(k.join_state(reached.join), _ARMED))


class _EmitsBeforeCommit(Loose):
    """Events are appended in a transaction of their own; whoever does it again appends them again."""

    def _ran(self, state: Running, done: Any, now_ms: int) -> Step:
        committing, txn = super()._ran(state, done, now_ms)
        assert isinstance(txn, Txn), "what a task returned is committed"
        emits = tuple([op for op in txn.then if isinstance(op, Append) and op.list.startswith("e:")])
        rest = tuple([op for op in txn.then if op not in emits])
        return first(Txn("emit", txn.run_id, then=emits), (committing, replace(txn, then=rest)))


class _ReadsAll(Steps):
    def read_events(self, message: Message, wanted: tuple[tuple[str, int, int], ...]) -> Txn:
        return replace(
            super().read_events(message, wanted),
            then=tuple([Range(k.events(name), start, ALL) for name, start, _ in wanted]),
        )


class _OutOfOrder(Loose):
    def _gathered(self, state: Gathering, reply: TxnReply, now_ms: int) -> Step:
        step = super()._gathered(state, reply, now_ms)
        if not isinstance(step[0], Gathering):
            return step
        gathering = replace(step[0], asked=step[0].asked[::-1])
        return gathering, self.steps.read_events(gathering.claim.message, gathering.asked)


class _FiredByOthers(Steps):
    """Whoever fired a join will surely have published its call."""

    def satisfy(self, message: Message, reached: Reached) -> Txn:
        txn = super().satisfy(message, reached)
        get, marks = txn.otherwise
        assert isinstance(get, Get), "a vain mark reads the join's state, its call and the mark"
        state, _joined, mark = get.fields
        return replace(txn, otherwise=(Get((state, "nothing", mark)), marks))


BUGS = (
    Planted(
        "join-by-counter",
        "a join counts arrivals without marking which name was counted",
        law="L3",
        faults=1,
        protocol=Protocol(steps=CountsOnly),
    ),
    Planted(
        "late-join-never-looks-back",
        "a join that is declared after its events does not look for them",
        law="L3",
        faults=0,
        protocol=Protocol(steps=NeverLooksBack),
        apps=(workflows.late,),
        start=("hurry", 1),
    ),
    Planted(
        "same-name-twice",
        "two events of one name satisfy two needs of different names",
        law="L3",
        faults=0,
        protocol=Protocol(steps=CountsArrivals),
        apps=(workflows.many,),
        start=("confuse", 1),
    ),
    Planted(
        "need-count-ignored",
        "one event satisfies a need of two",
        law="L3",
        faults=0,
        protocol=Protocol(steps=_CountIgnored),
        apps=(workflows.many,),
        start=("repeat", 2),
    ),
    Planted(
        "join-read-then-written",
        "a join's count is read in one step and written in another, so two arrivals can count as one",
        law="L3",
        faults=0,
        protocol=Protocol(delivery=_ReadThenWritten),
    ),
    Planted(
        "two-last-arrivals",
        "a join is fired by everybody who sees that all its names are there",
        law="L3",
        faults=0,
        protocol=Protocol(steps=_FiresAnyhow, delivery=_Recounts),
    ),
    Planted(
        "fires-after-its-time",
        "a join whose time is over still takes events, and fires",
        law="L3",
        faults=0,
        protocol=Protocol(steps=_FiresLate),
        apps=(workflows.many,),
        start=("expect", 1),
    ),
    Planted(
        "event-counted-twice",
        "events are appended before the commit, so that another attempt appends them again",
        law="L2",
        faults=0,
        protocol=Protocol(delivery=_EmitsBeforeCommit),
        apps=(workflows.many,),
        start=("repeat", 2),
    ),
    Planted(
        "joined-call-gets-all-events",
        "a joined call receives every event of a name, not the first that its join needed",
        law="L3",
        faults=0,
        protocol=Protocol(steps=_ReadsAll),
        apps=(workflows.many,),
        start=("repeat", 3),
    ),
    Planted(
        "events-out-of-order",
        "a joined call receives its events in another order than its join declared",
        law="L3",
        faults=0,
        protocol=Protocol(delivery=_OutOfOrder),
    ),
    Planted(
        "fired-by-others-not-published",
        "who finds a join fired does not publish its call, although who fired it may have died",
        law="L4",
        faults=1,
        protocol=Protocol(steps=_FiredByOthers),
        families="crash",
    ),
)
