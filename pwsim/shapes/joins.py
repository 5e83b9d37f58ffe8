"""Joins, chords, groups, barriers, fan-ins: whatever waits for several, and how it went wrong."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from pwf_runtime import Action, Event, Workflow, call, fork, result
from pwf_runtime.core import keys as k
from pwf_runtime.core.machine import Step
from pwf_runtime.core.model import CallRecord, Failure, Message, Outcome
from pwf_runtime.core.states import Reached, Running
from pwf_runtime.core.steps import Commit, Steps
from pwf_runtime.core.txn import Append, Delete, Get, Is, Op, Txn
from pwf_runtime.core.wire import decode_waiter, encode

from ..planted import workflows
from ..planted.base import Loose, first
from ..program import Protocol
from .base import Shape


class CountsResults(Loose):
    """Celery before 5.7 and Dramatiq's groups: a member's result is counted when it is there, and whoever runs the
    member again has another result to count."""

    def _ran(self, state: Running, done: Any, now_ms: int) -> Step:
        committing, txn = super()._ran(state, done, now_ms)
        assert isinstance(txn, Txn), "what a task returned is committed"
        results = tuple([op for op in txn.then if isinstance(op, Append) and op.list.startswith("e:")])
        if not results:
            return committing, txn
        rest = tuple([op for op in txn.then if op not in results])
        return first(Txn("count", txn.run_id, then=results), (committing, replace(txn, then=rest)))


class DecrementsAgain(Steps):
    """A barrier in Redis: ``DECR``, and the client sends it again when the answer is lost."""

    def satisfy(self, message: Message, reached: Reached) -> Txn:
        txn = super().satisfy(message, reached)
        mark = Is(k.mark(reached.join, reached.name), None)
        return replace(txn, compare=tuple([compare for compare in txn.compare if compare != mark]))


class FiredIsPublished(Steps):
    """Dramatiq's barrier, Celery's chord: whoever finds the counter down at zero leaves the callback to the one who
    brought it there, who died between counting and publishing."""

    def satisfy(self, message: Message, reached: Reached) -> Txn:
        txn = super().satisfy(message, reached)
        get, marks = txn.otherwise
        assert isinstance(get, Get), "a vain mark reads the join's state, its call and the mark"
        state, _joined, mark = get.fields
        return replace(txn, otherwise=(Get((state, "nobody", mark)), marks))


class WaitsFromNowOn(Steps):
    """Inngest's ``waitForEvent``, go-pubsub-workflow's trigger: events that came before it was registered are not
    looked for."""

    def commit(self, message: Message, attempt: int, record: CallRecord, outcome: Outcome, now_ms: int) -> Commit:
        commit = super().commit(message, attempt, record, outcome, now_ms)
        looks = sum(len(armed.needs) for armed in commit.outbox.armed)
        then = commit.txn.then[: len(commit.txn.then) - looks]
        return replace(commit, txn=replace(commit.txn, then=then), outbox=replace(commit.outbox, armed=()))


class ForgetsTheFailed(Steps):
    """Dramatiq's group: the member that fails for good is dropped, and the callback waits for it in silence."""

    def fail(self, message: Message, attempt: int, failure: Failure, due_ms: int | None, **why: Any) -> Txn:
        txn = super().fail(message, attempt, failure, due_ms, **why)
        return replace(txn, then=txn.then[-2:]) if due_ms is None else txn


class IgnoresTheSecond(Steps):
    """Azure's durable functions: the completion of an activity that was run a second time is taken for a duplicate of
    one that never arrived."""

    def commit(self, message: Message, attempt: int, record: CallRecord, outcome: Outcome, now_ms: int) -> Commit:
        if attempt > 1 and record.reports:
            record = replace(record, reports="")
        return super().commit(message, attempt, record, outcome, now_ms)


class PassesEarly(Steps):
    """Conductor's dynamic fork: the join looks at what is there and not at how many there will be."""

    def commit(self, message: Message, attempt: int, record: CallRecord, outcome: Outcome, now_ms: int) -> Commit:
        commit = super().commit(message, attempt, record, outcome, now_ms)
        return replace(commit, txn=replace(commit.txn, then=tuple([_of_one(op) for op in commit.txn.then])))


def _of_one(op: Op) -> Op:
    if isinstance(op, Append) and op.list.startswith("w:"):
        return replace(op, value=encode(replace(decode_waiter(op.value), count=1)))
    return op


class StateExpires(Steps):
    """Celery's ``result_expires``: what a chord has counted expires while its members still run."""

    def satisfy(self, message: Message, reached: Reached) -> Txn:
        txn = super().satisfy(message, reached)
        return replace(txn, then=(*txn.then, Delete((k.join_state(reached.join),))))


spread = Workflow("spread")


@spread.task
def scatter(data: int) -> Action:
    """Call ``data`` parts side by side, and sum up what they return."""
    return fork([call(square, i) for i in range(data)], then=total)


@spread.task
def square(data: int) -> Action:
    return result(data * data)


@spread.task
def total(events: list[Event]) -> Action:
    return result(sum(event.data for event in events))


SHAPES = (
    Shape(
        "join-counted-by-results",
        "a member runs again and its second result is counted as well: the join fires early, with one result twice",
        "events belong to a commit, and a call commits once",
        ("https://github.com/celery/celery/issues/5947", "https://github.com/celery/django-celery-results/pull/397"),
        law="L2",
        faults=0,
        model=Protocol(delivery=CountsResults),
        apps=(workflows.many,),
        start=("repeat", 2),
    ),
    Shape(
        "barrier-decremented-twice",
        "the answer to a decrement is lost, the client sends it again: the callback fires with one member missing",
        "what is counted is marked by name under a compare, so counting twice is counting once",
        (
            "https://github.com/Zipstack/unstract/pull/2026",
            "https://github.com/celery/celery/issues/3363",
            "https://github.com/redis/redis-py/issues/261",
        ),
        law="L3",
        faults=1,
        model=Protocol(steps=DecrementsAgain),
        families="reply-lost",
    ),
    Shape(
        "callback-lost-between-counting-and-publishing",
        "the last member counts down to zero, its worker dies before it publishes the callback, and nobody else does",
        "whoever takes over finds the join fired and its call still open, and publishes it again",
        ("https://github.com/celery/celery/issues/5027", "https://github.com/celery/celery/issues/4207"),
        law="L4",
        faults=1,
        model=Protocol(steps=FiredIsPublished),
    ),
    Shape(
        "event-before-the-wait",
        "an event that is sent before somebody waits for it is lost, and the wait never ends",
        "events are kept; a join that is armed looks for those that are there",
        ("https://github.com/inngest/inngest/issues/1433",),
        law="L3",
        faults=0,
        model=Protocol(steps=WaitsFromNowOn),
        apps=(workflows.late,),
        start=("hurry", 1),
    ),
    Shape(
        "member-dies-and-nobody-is-told",
        "one member of a group fails for good; the callback never fires, and nothing says why",
        "a dead call stays, with its error; its run is stopped for that reason and can be redriven",
        (
            "https://github.com/Bogdanp/dramatiq/pull/868",
            "https://github.com/celery/celery/issues/1881",
            "https://github.com/celery/celery/issues/9674",
        ),
        law="L4",
        faults=0,
        model=Protocol(steps=ForgetsTheFailed),
        apps=(workflows.chain,),
        start=("poison", 1),
    ),
    Shape(
        "duplicate-activity-hangs-the-fan-in",
        "an activity is run a second time, its completion is dismissed as a duplicate, and the fan-in waits for ever",
        "the first commit counts, whichever attempt made it",
        (
            "https://github.com/Azure/azure-functions-durable-extension/issues/724",
            "https://github.com/Azure/azure-functions-durable-extension/issues/780",
        ),
        law="L2",
        faults=1,
        model=Protocol(steps=IgnoresTheSecond),
        apps=(spread,),
        start=("scatter", 2),
    ),
    Shape(
        "join-passes-before-all-forks-finish",
        "a join over a number of forks that is decided at run time passes when some have finished",
        "how many are needed is committed together with the calls that bring them",
        (
            "https://github.com/conductor-oss/conductor/issues/18",
            "https://github.com/Netflix/conductor/issues/3317",
        ),
        law="L3",
        faults=0,
        model=Protocol(steps=PassesEarly),
        apps=(workflows.many,),
        start=("repeat", 2),
    ),
    Shape(
        "join-state-expires",
        "what a join has counted so far expires before its last member is done: it never fires",
        "a run's keys get a time to live when it has ended, and not before",
        ("https://github.com/celery/celery/issues/5237", "https://github.com/celery/celery/issues/2911"),
        law="L3",
        faults=0,
        model=Protocol(steps=StateExpires),
    ),
)
