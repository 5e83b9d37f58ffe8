"""Deliveries, retries, outboxes: whatever carries a single task, and how it went wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from pwf_runtime.core import keys as k
from pwf_runtime.core.delivery import DeliveryMachine
from pwf_runtime.core.effects import Ack, IndexRemove, Publish
from pwf_runtime.core.inputs import Entries, Indexed, Published, TaskDone
from pwf_runtime.core.machine import Row, Step
from pwf_runtime.core.model import Event, Message
from pwf_runtime.core.retry import Retry
from pwf_runtime.core.states import Claim, Publishing, Running, Work
from pwf_runtime.core.steps import Snapshot, Steps
from pwf_runtime.core.sweep import Publishing as Sweeping
from pwf_runtime.core.sweep import Reading, SweepMachine, Swept
from pwf_runtime.core.txn import Held, Txn

from ..planted import workflows
from ..planted.base import First, Loose, first
from ..program import Protocol
from .base import Shape


class AcksEarly(Loose):
    """Celery's default: a message is acked when its task has been begun, and a worker that is killed takes it along."""

    def _run(self, claim: Claim, events: tuple[Event, ...]) -> Step:
        return first(Ack(), super()._run(claim, events))


class DoneIsDone(Loose):
    """Celery's deduplication of redelivered tasks: one that is recorded as done is acked, although the worker that did
    it died before it dispatched the rest of the chain."""

    def _as_found(self, message: Message, token: str, found: Snapshot, now_ms: int) -> Step:
        if found.state == k.COMMITTED:
            return self._ack(message)
        return super()._as_found(message, token, found, now_ms)


class RequeuesAtOnce(DeliveryMachine):
    """Celery's ``reject_on_worker_lost``, taskiq's poison message: what failed is delivered again at once, for ever."""

    def __init__(self, steps: Steps, policies: Mapping[str, Retry]) -> None:
        at_once: dict[str, Any] = {"max_attempts": 10**9, "first_delay": 0.0}
        super().__init__(steps, {task: replace(policy, **at_once) for task, policy in policies.items()})


class RunsBeside(Steps):
    """Visibility timeouts, engine restarts: whoever gets the message runs it, while another still does."""

    def claim(self, message: Message, token: str, due_ms: int | None = None) -> Txn:
        txn = super().claim(message, token, due_ms)
        free = Held(message.call_id, None)
        return replace(txn, compare=tuple([compare for compare in txn.compare if compare != free]))


class DropsTheSecond(DeliveryMachine):
    """The first message wins: one whose task somebody else has is dropped. It was the only copy, for the other's worker
    was killed."""

    def _park(self, message: Message, token: str, due_ms: int) -> Step:
        return self._ack(message)


class ShowsBeforeItIsStored(Loose):
    """An outbox that sends before its transaction has committed: whoever gets the message finds nothing."""

    def _ran(self, state: Running, done: TaskDone, now_ms: int) -> Step:
        step = super()._ran(state, done, now_ms)
        run_id, children = state.claim.message.run_id, step[0].outbox.children
        messages = tuple([Message(run_id, child.call_id, child.task) for child in children])
        return first(Publish(messages), step) if messages else step


class MarksSentBeforeItIs(Loose):
    """An outbox that is marked as dispatched before the broker has its messages."""

    def _onward(self, work: Work) -> Step:
        step = super()._onward(work)
        if not isinstance(step[1], Publish):
            return step
        return first(self.steps.settle(work.message, work.guards), step)


class TakesThenSends(SweepMachine):
    """A delayed message is taken out of where it waits before it is in the queue."""

    TABLE = (
        *[row if row.state is not Reading else row._replace(to=(First, Swept)) for row in SweepMachine.TABLE],
        Row(First, Indexed, "_taken", (Sweeping,)),
    )

    def _read(self, state: Reading, entries: Entries, now_ms: int) -> Step:
        step = super()._read(state, entries, now_ms)
        if not isinstance(step[0], Sweeping):
            return step
        return first(IndexRemove("timers", step[0].members), step)

    def _taken(self, state: First, _done: Indexed, _now_ms: int) -> Step:
        return state.state, state.effect


class DropsTheUnroutable(Loose):
    """A publish is confirmed although no queue took it, and counts as sent."""

    def _published(self, state: Publishing, _published: Published, now_ms: int) -> Step:
        return super()._published(state, Published(), now_ms)


SHAPES = (
    Shape(
        "early-ack-loses-a-killed-task",
        "a message is acked before its task is done; the worker is killed and the task is lost",
        "an ack is the last thing that happens, after the call has settled",
        ("https://github.com/celery/celery/issues/5106", "https://github.com/celery/celery/issues/3541"),
        law="L8",
        faults=0,
        model=Protocol(delivery=AcksEarly),
    ),
    Shape(
        "deduplicated-task-forgets-its-chain",
        "a redelivered task is recognised as done and acked, and what should follow from it was never sent",
        "a call is committed with its outbox; whoever finds it committed brings about the rest, and only then acks",
        ("https://github.com/celery/celery/pull/10159",),
        law="L8",
        faults=1,
        model=Protocol(delivery=DoneIsDone),
    ),
    Shape(
        "requeued-at-once-for-ever",
        "a task that always fails is put back at once, again and again, and eats a worker",
        "attempts are counted where they are claimed; a growing delay between them, then the call is dead",
        (
            "https://github.com/celery/celery/issues/9082",
            "https://github.com/taskiq-python/taskiq-aio-pika/issues/35",
        ),
        law="L4",
        faults=0,
        model=Protocol(delivery=RequeuesAtOnce),
        apps=(workflows.chain,),
        start=("poison", 1),
    ),
    Shape(
        "task-runs-beside-itself",
        "a message comes a second time while its task runs, and it is run beside itself",
        "a claim holds a lease that its worker renews; who finds it held sets a timer and acks",
        (
            "https://github.com/celery/celery/issues/2599",
            "https://github.com/hatchet-dev/hatchet/issues/1022",
            "https://github.com/hatchet-dev/hatchet/issues/552",
        ),
        law="L5",
        faults=1,
        model=Protocol(steps=RunsBeside),
        families="duplicate",
    ),
    Shape(
        "first-message-wins",
        "a message is dropped because another worker has its task, and that worker was killed",
        "before such a message is acked, a timer is set at the end of the other's lease",
        ("https://github.com/dbos-inc/dbos-transact-py/issues/804", "https://github.com/celery/celery/issues/5106"),
        law="L4",
        faults=1,
        model=Protocol(delivery=DropsTheSecond),
    ),
    Shape(
        "shown-before-it-is-stored",
        "a message is sent before the transaction that it belongs to has committed, or although it never does",
        "what follows from a task is published after its commit, from what the commit stored",
        ("https://github.com/MassTransit/MassTransit/issues/3791",),
        law="L8",
        faults=0,
        model=Protocol(delivery=ShowsBeforeItIsStored),
    ),
    Shape(
        "marked-as-sent-before-it-is",
        "an outbox forgets its messages before the broker has them; a crash in between loses them",
        "a call settles when everything that it brings about is confirmed",
        (
            "https://github.com/MassTransit/MassTransit/issues/4990",
            "https://github.com/Particular/docs.particular.net/issues/1816",
        ),
        law="L4",
        faults=1,
        model=Protocol(delivery=MarksSentBeforeItIs),
    ),
    Shape(
        "delayed-message-lost-on-its-way",
        "a delayed message is taken from where it waits before it is in the queue, and the process dies in between",
        "a timer is removed after its message is confirmed, and only if it is still the one that was read",
        ("https://github.com/Bogdanp/dramatiq/issues/431", "https://github.com/Bogdanp/dramatiq/issues/461"),
        law="L4",
        faults=1,
        model=Protocol(sweep=TakesThenSends),
        apps=(workflows.chain,),
        start=("linger", 1),
    ),
    Shape(
        "unroutable-and-confirmed",
        "the queue does not exist; the broker confirms all the same, and the message is gone",
        "publishes are mandatory; one that comes back is noted on its call and tried again, then dead",
        ("https://github.com/pika/pika/issues/457", "https://github.com/pika/pika/issues/748"),
        law="L4",
        faults=1,
        model=Protocol(delivery=DropsTheUnroutable),
        apps=(workflows.chain,),
        start=("leave", 1),
        families="publish",
    ),
)
