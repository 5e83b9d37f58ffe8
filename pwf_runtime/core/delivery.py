"""The state machine of one delivery: from a message that was handed over to its ack.

Theory of operation
-------------------
A message is a hint that a call may be ready. The machine *claims* the call (a lease, and the next attempt number),
has the task *run*, and *commits* its outcome: one transaction that makes it the call's for ever and creates all that
follows from it. What it created is then brought about by steps that are each safe to repeat: joins that have enough
are *satisfied* and *fired*, children are *published*, and when all of it is confirmed the call *settles* (is
forgotten) and the delivery is *acked*. Whoever dies on the way leaves an unacked delivery behind; the next worker
claims in vain, finds the commit, and goes on from there.

Whenever a compare fails, the answer is a snapshot of the call, and ``_as_found`` goes on from what is there, whoever
did it. That one function is the whole of recovery.

Rules of this file
------------------
- ``TABLE`` is the machine: for a state and an input, the method that answers and the states it may lead to. A pair
  that is not in it raises ``MissingTransition``; so does a method that leads elsewhere (see ``machine``).
- Between the effect of one state and that of the next the process may die. No method may rely on anything but its
  arguments.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from . import keys as k
from .effects import DEAD, FINISHED, OPEN, TIMERS, Ack, IndexAdd, IndexRemove, Publish, RunTask
from .inputs import Acked, Indexed, Published, TaskDone, TaskFailed
from .joins import over, portion, reached, received, wanted
from .machine import Machine, Row, Step
from .model import Event, Failure, Message, Outcome, Timer
from .retry import UNKNOWN_TASK, Retry
from .states import (
    Acking,
    Burying,
    Claim,
    Claiming,
    Committing,
    Completing,
    Confirming,
    Delaying,
    Done,
    Failing,
    Firing,
    Gathering,
    Listing,
    Looking,
    Noting,
    Parking,
    Publishing,
    Recalling,
    Relisting,
    Running,
    Satisfying,
    Settling,
    Unlisting,
    Work,
)
from .steps import Snapshot, Steps, read_snapshot
from .txn import Is, Txn, TxnReply
from .wire import decode_join, decode_new_call, decode_outbox, decode_record, encode, number

ROUTE_RETRY_MS = 1_000
"""How soon a message that no queue took is published again, at first."""

GRANTED = (Running, Gathering, Committing, Failing)
"""Where a granted claim leads."""
FOUND = (*GRANTED, Claiming, Looking, Parking, Burying, Completing, Listing, Unlisting, Acking)
"""Where ``_as_found`` may lead."""
ONWARD = (Satisfying, Publishing, Delaying, Settling)
"""Where a commit goes on, depending on what it has to bring about."""

TABLE: tuple[Row, ...] = (
    Row(Claiming, TxnReply, "_claimed", FOUND),
    Row(Gathering, TxnReply, "_gathered", (Gathering, Running, Failing)),
    Row(Running, TaskDone, "_ran", (Committing,)),
    Row(Running, TaskFailed, "_raised", (Failing,)),
    Row(Committing, TxnReply, "_committed", (*ONWARD, *FOUND)),
    Row(Failing, TxnReply, "_failed", FOUND),
    Row(Looking, TxnReply, "_looked", (*ONWARD, *FOUND)),
    Row(Satisfying, TxnReply, "_satisfied", (Recalling, Looking, *ONWARD)),
    Row(Recalling, TxnReply, "_recalled", (Firing, *ONWARD)),
    Row(Firing, TxnReply, "_fired", ONWARD),
    Row(Publishing, Published, "_published", (Noting, Delaying, Settling)),
    Row(Noting, TxnReply, "_noted", (Noting, Delaying)),
    Row(Delaying, Indexed, "_delayed", (Settling,)),
    Row(Settling, TxnReply, "_settled", FOUND),
    Row(Completing, TxnReply, "_completed", (Listing, Acking)),
    Row(Listing, Indexed, "_listed", (Unlisting,)),
    Row(Unlisting, Indexed, "_unlisted", (Confirming,)),
    Row(Confirming, TxnReply, "_confirmed", (Relisting, Acking)),
    Row(Relisting, Indexed, "_relisted", (Claiming,)),
    Row(Parking, Indexed, "_parked", (Acking,)),
    Row(Burying, Indexed, "_buried", (Acking,)),
    Row(Acking, Acked, "_acked", (Done,)),
)


class DeliveryMachine(Machine):
    """Answers what follows from a state and an input. Holds settings only, so one instance serves every delivery.

    ``policies``: for each task this worker has, by full name, how it is retried. A task that is not among them is
    not run: its call is put off, and is dead after a while (see ``retry.UNKNOWN_TASK``).
    """

    TABLE = TABLE

    def __init__(self, steps: Steps, policies: Mapping[str, Retry]) -> None:
        super().__init__()
        self.steps = steps
        self.policies = policies

    def begin(self, message: Message, token: str, redelivered_ms: int | None = None) -> Step:
        """A message was delivered. ``token`` is drawn for this delivery and for no other.

        ``redelivered_ms``: it was delivered before, and this is the time now. Whoever had it may have died just after
        taking its run off the open ones, without seeing that the store had fallen back: so the run is listed first.
        """
        if redelivered_ms is not None:
            return Relisting(message, token), IndexAdd(OPEN, ((message.run_id.encode(), redelivered_ms),))
        return Claiming(message, token), self.steps.claim(message, token)

    # ── claim ─────────────────────────────────────────────────────────────────────────────────

    def _claimed(self, state: Claiming, reply: TxnReply, now_ms: int) -> Step:
        if not reply.held:
            return self._as_found(state.message, state.token, read_snapshot(reply.replies), now_ms)
        attempt, (record, *counts) = reply.replies[1], reply.replies[2]
        claim = Claim(state.message, state.token, attempt, decode_record(record), *map(number, counts))
        return self._granted(claim, now_ms)

    def _granted(self, claim: Claim, now_ms: int) -> Step:
        if claim.record.expires:
            data = claim.record.data
            outcome = Outcome(calls=(decode_new_call(data),) if data else ())
            return self._commit(claim, outcome, now_ms)
        policy = self.policies.get(claim.record.task)
        if policy is None:
            return self._without_task(claim, now_ms)
        if claim.tries > policy.max_attempts:
            return self._fail(claim, _never_answered(policy.max_attempts), policy, now_ms)
        if claim.record.join:
            return Gathering(claim), self.steps.gather(claim.message, claim.record.join, ranked=claim.record.ranked)
        return self._run(claim, ())

    def _gathered(self, state: Gathering, reply: TxnReply, now_ms: int) -> Step:
        claim, rest, events = state.claim, state.wanted, state.events
        if rest is None:
            (record,), got = reply.replies
            ranked = claim.record.ranked
            if record is None:
                return self._bereft(claim, k.join_record(claim.record.join), now_ms)
            join = decode_join(record)
            if (len(got) if ranked else got) < join.at_least:
                return self._bereft(claim, k.item(k.got(claim.record.join), join.at_least - 1), now_ms)
            rest = wanted(join, got if ranked else None)
        else:
            for (name, start, stop), values in zip(state.asked, reply.replies, strict=True):
                if len(values) < stop - start:
                    return self._bereft(claim, k.item(k.events(name), stop - 1), now_ms)
                events += tuple([received(name, value) for value in values])
        if not rest:
            return self._run(claim, events)
        ask, rest = portion(rest)
        return Gathering(claim, rest, ask, events), self.steps.read_events(claim.message, ask)

    def _bereft(self, claim: Claim, missing: str, now_ms: int) -> Step:
        """A field that my call needs is gone: somebody else finished it, or the store fell back. Then it is not mine to
        fail, and what is there leads on. Else the store is damaged, and it must not be tried for ever."""
        return self._fail(claim, _EVENTS_MISSING, self.policies[claim.record.task], now_ms, missing)

    def _run(self, claim: Claim, events: tuple[Event, ...]) -> Step:
        return Running(claim), RunTask(claim.message, claim.attempt, claim.token, claim.record.data, events)

    def _as_found(self, message: Message, token: str, found: Snapshot, now_ms: int) -> Step:
        """Go on from what is there: the call may be anybody's and in any state."""
        if found.state is None:
            return self._gone(message, token, found.status, found.open, found.armed, now_ms)
        if found.state == k.COMMITTED:
            assert found.outbox is not None, "a committed call keeps its outbox until it settles"
            return self._look(Work(message, token, decode_outbox(found.outbox)))
        if found.state == k.DEAD:
            return self._bury(message, now_ms)
        if found.status != k.RUNNING:
            return self._unlist(message, token)
        if found.holder is not None:
            holder, left_ms = found.holder
            if holder == token and found.record is not None:  # my own claim, its answer lost on the way
                counts = (found.uncounted, found.strangers)
                claim = Claim(message, token, found.attempt, decode_record(found.record), *counts)
                return self._granted(claim, now_ms)
            return self._park(message, token, now_ms + left_ms)
        if found.due_ms is not None and found.due_ms > now_ms:
            return self._park(message, token, found.due_ms)
        return Claiming(message, token, found.due_ms), self.steps.claim(message, token, found.due_ms)

    def _gone(self, message: Message, token: str, status: bytes | None, open_: int, armed: int, now_ms: int) -> Step:
        """The call is settled. If it was the run's last, see to it that the run ends."""
        if status == k.RUNNING and open_ == 0:
            return Completing(message, token), self.steps.complete(message.run_id, armed, now_ms)
        if status in (k.COMPLETED, k.STRANDED):
            return self._list(message, token, now_ms)
        if status != k.RUNNING:
            return self._unlist(message, token)
        return self._ack(message)

    # ── run, commit, fail ─────────────────────────────────────────────────────────────────────

    def _ran(self, state: Running, done: TaskDone, now_ms: int) -> Step:
        return self._commit(state.claim, done.outcome, now_ms)

    def _commit(self, claim: Claim, outcome: Outcome, now_ms: int) -> Step:
        commit = self.steps.commit(claim.message, claim.attempt, claim.record, outcome, now_ms)
        return Committing(claim, commit.outbox, commit.leaf), commit.txn

    def _committed(self, state: Committing, reply: TxnReply, now_ms: int) -> Step:
        claim = state.claim
        if not reply.held:
            return self._stale(claim, read_snapshot(reply.replies), now_ms)
        if state.leaf:
            open_, (armed,) = reply.replies[-2:]
            return self._gone(claim.message, claim.token, k.RUNNING, open_, number(armed), now_ms)
        outbox = state.outbox
        looked = 2 * len(outbox.emitted) + sum([len(armed.needs) for armed in outbox.armed])
        todo = reached(outbox, reply.replies[len(reply.replies) - looked :], fresh=True)
        return self._onward(Work(claim.message, claim.token, outbox, todo))

    def _raised(self, state: Running, failed: TaskFailed, now_ms: int) -> Step:
        policy = self.policies[state.claim.record.task]
        return self._fail(state.claim, failed.failure, policy, now_ms)

    def _fail(self, claim: Claim, failure: Failure, policy: Retry, now_ms: int, missing: str | None = None) -> Step:
        due_ms = None
        if not failure.final and not policy.exhausted(claim.tries):
            due_ms = now_ms + policy.delay_ms(claim.tries, claim.message.call_id)
        failing = Failing(claim, failure, due_ms, missing)
        return failing, self.steps.fail(claim.message, claim.attempt, failure, due_ms, missing=missing)

    def _without_task(self, claim: Claim, now_ms: int) -> Step:
        """This worker does not have the task: not the call's fault, so it costs it no attempt."""
        failure, strangers, due_ms = _unknown_task(claim.record.task, self.policies), claim.strangers + 1, None
        if not UNKNOWN_TASK.exhausted(strangers):
            due_ms = now_ms + UNKNOWN_TASK.delay_ms(strangers, claim.message.call_id)
        counts = (claim.uncounted + 1, strangers)
        return Failing(claim, failure, due_ms), self.steps.fail(
            claim.message, claim.attempt, failure, due_ms, without_task=counts
        )

    def _failed(self, state: Failing, reply: TxnReply, now_ms: int) -> Step:
        claim, message = state.claim, state.claim.message
        if not reply.held:
            found = read_snapshot(reply.replies)
            if found.state == k.READY and found.attempt == claim.attempt:  # what it lacked is there again
                return self._as_found(message, claim.token, found, now_ms)
            return self._stale(claim, found, now_ms)
        if state.due_ms is None:
            return self._bury(message, now_ms)
        return self._park(message, state.claim.token, state.due_ms)

    def _stale(self, claim: Claim, found: Snapshot, now_ms: int) -> Step:
        """My attempt may not write any more. A later attempt has a delivery of its own, so mine is superfluous."""
        if found.state == k.READY and found.attempt > claim.attempt:
            return self._ack(claim.message)
        if found.state == k.READY and found.attempt == claim.attempt:  # the run was cancelled, or the join is over
            return self._ack(claim.message)
        return self._as_found(claim.message, claim.token, found, now_ms)

    # ── what follows from a commit ────────────────────────────────────────────────────────────

    def _onward(self, work: Work) -> Step:
        """The next thing that the commit has to bring about."""
        if work.todo:
            return Satisfying(work), self.steps.satisfy(work.message, work.todo[0])
        messages = [
            Message(work.message.run_id, child.call_id, child.task)
            for child in (*work.outbox.children, *work.joined)
            if not child.due_ms
        ]
        if messages:
            return Publishing(work), Publish(tuple(messages))
        return self._delay(work, ())

    def _look(self, work: Work) -> Step:
        return Looking(work), self.steps.look(work.message, work.outbox)

    def _looked(self, state: Looking, reply: TxnReply, now_ms: int) -> Step:
        work = state.work
        if not reply.held:
            return self._as_found(work.message, work.token, read_snapshot(reply.replies), now_ms)
        todo = reached(work.outbox, reply.replies, fresh=False)
        return self._onward(replace(work, todo=todo, joined=(), guards=()))

    def _satisfied(self, state: Satisfying, reply: TxnReply, _now_ms: int) -> Step:
        work = state.work
        reached = work.todo[0]
        if reply.held:
            marks = reply.replies[1]
        else:
            (join_state, joined, mark), marks = reply.replies
            if join_state != k.ARMED_STATE:
                return self._onward(over(work, join_state, _task(joined)))
            if mark is None:  # the store fell back behind the events that I saw
                return self._look(work)
        work = replace(work, guards=(*work.guards, Is(k.mark(reached.join, reached.name), k.MARKED)))
        if marks < reached.at_least:
            return self._onward(replace(work, todo=work.todo[1:]))
        return Recalling(work, marks), self.steps.recall(work.message, reached.join)

    def _recalled(self, state: Recalling, reply: TxnReply, now_ms: int) -> Step:
        work, marks = state.work, state.marks
        ((record,),) = reply.replies
        if record is None:  # gone with its run
            return self._onward(over(work, None, ""))
        fire = self.steps.fire(work.message, work.todo[0].join, decode_join(record), marks, now_ms)
        return Firing(work, record, marks), fire

    def _fired(self, state: Firing, reply: TxnReply, _now_ms: int) -> Step:
        task = decode_join(state.join).then.task
        if reply.held:
            return self._onward(over(state.work, k.FIRED, task))
        ((join_state, joined),) = reply.replies
        if join_state == k.ARMED_STATE:  # somebody marked another name meanwhile: count again
            return self._onward(state.work)
        return self._onward(over(state.work, join_state, task if joined is not None else ""))

    def _published(self, state: Publishing, published: Published, _now_ms: int) -> Step:
        lost = tuple([message for message in published.unroutable if isinstance(message, Message)])
        if not lost:
            return self._delay(state.work, ())
        timers = tuple([Timer(m.run_id, m.call_id, m.task, state.work.token, tries=1) for m in lost])
        return Noting(state.work, lost, timers), self._note(lost[0])

    def _noted(self, state: Noting, _reply: TxnReply, now_ms: int) -> Step:
        rest = state.unroutable[1:]
        if rest:
            return Noting(state.work, rest, state.timers), self._note(rest[0])
        again = tuple([(encode(timer), now_ms + ROUTE_RETRY_MS) for timer in state.timers])
        return self._delay(state.work, again)

    def _delayed(self, state: Delaying, _done: Indexed, _now_ms: int) -> Step:
        return self._settle(state.work)

    def _settled(self, state: Settling, reply: TxnReply, now_ms: int) -> Step:
        work = state.work
        if not reply.held:
            return self._as_found(work.message, work.token, read_snapshot(reply.replies), now_ms)
        _, open_, (armed,) = reply.replies
        return self._gone(work.message, work.token, k.RUNNING, open_, number(armed), now_ms)

    # ── the end of a run ──────────────────────────────────────────────────────────────────────

    def _completed(self, state: Completing, reply: TxnReply, now_ms: int) -> Step:
        if not reply.held and reply.replies[0][0] == k.RUNNING:  # something is open after all
            return self._ack(state.message)
        return self._list(state.message, state.token, now_ms)

    def _listed(self, state: Listing, _done: Indexed, _now_ms: int) -> Step:
        return self._unlist(state.message, state.token)

    def _unlisted(self, state: Unlisting, _done: Indexed, _now_ms: int) -> Step:
        return Confirming(state.message, state.token), self.steps.confirm(state.message.run_id)

    def _confirmed(self, state: Confirming, reply: TxnReply, now_ms: int) -> Step:
        if not reply.held:
            return self._ack(state.message)
        entry = (state.message.run_id.encode(), now_ms)
        return Relisting(state.message, state.token), IndexAdd(OPEN, (entry,))

    def _relisted(self, state: Relisting, _done: Indexed, _now_ms: int) -> Step:
        return Claiming(state.message, state.token), self.steps.claim(state.message, state.token)

    # ── the end of a delivery ─────────────────────────────────────────────────────────────────

    def _parked(self, state: Parking, _done: Indexed, _now_ms: int) -> Step:
        return self._ack(state.message)

    def _buried(self, state: Burying, _done: Indexed, _now_ms: int) -> Step:
        return self._ack(state.message)

    def _acked(self, state: Acking, _done: Acked, _now_ms: int) -> Step:
        return Done(state.message), None

    # ── effects that several methods ask for ──────────────────────────────────────────────────

    def _delay(self, work: Work, again: tuple[tuple[bytes, int], ...]) -> Step:
        run = work.message.run_id
        delayed = [
            (encode(Timer(run, child.call_id, child.task, "")), child.due_ms)
            for child in work.outbox.children
            if child.due_ms
        ]
        if delayed or again:
            return Delaying(work), IndexAdd(TIMERS, (*delayed, *again))
        return self._settle(work)

    def _settle(self, work: Work) -> Step:
        return Settling(work), self.steps.settle(work.message, work.guards)

    def _note(self, message: Message) -> Txn:
        return self.steps.undeliverable(message, unroutable(message), dead=False)

    def _park(self, message: Message, token: str, due_ms: int) -> Step:
        timer = Timer(message.run_id, message.call_id, message.task, token)
        return Parking(message), IndexAdd(TIMERS, ((encode(timer), due_ms),))

    def _bury(self, message: Message, now_ms: int) -> Step:
        return Burying(message), IndexAdd(DEAD, ((encode((message.run_id, message.call_id)), now_ms),))

    def _list(self, message: Message, token: str, now_ms: int) -> Step:
        return Listing(message, token), IndexAdd(FINISHED, ((message.run_id.encode(), now_ms),))

    def _unlist(self, message: Message, token: str) -> Step:
        return Unlisting(message, token), IndexRemove(OPEN, (message.run_id.encode(),))

    def _ack(self, message: Message) -> Step:
        return Acking(message), Ack()


def _task(record: bytes | None) -> str:
    """The task of a call, by its record; "" if there is none."""
    return decode_record(record).task if record is not None else ""


# ── failures that no task raised ──────────────────────────────────────────────────────────────


_EVENTS_MISSING = Failure("EventsMissing", "the events that fired this call's join are not in the store any more")


def _unknown_task(task: str, policies: Mapping[str, Retry]) -> Failure:
    queue, _, name = task.partition(".")
    known = ", ".join(sorted(known.partition(".")[2] for known in policies)) or "none"
    return Failure(
        "UnknownTask",
        f"no task {name!r} is registered by this worker of {queue!r} (it has: {known}); "
        "deploy a worker that has it, or mend the name where it is called",
    )


def _never_answered(attempts: int) -> Failure:
    return Failure(
        "NeverAnswered",
        f"all {attempts} attempts were claimed and none ended: their workers died or lost their leases",
        final=True,
    )


def unroutable(message: Message) -> Failure:
    """The broker has no queue for this message."""
    return Failure(
        "Unroutable",
        f"queue {message.queue!r} does not exist, so {message.task!r} cannot be delivered; "
        "start a worker of that service, or mend the name where it is called",
    )
