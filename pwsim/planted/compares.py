"""Every compare of every transaction, taken out: what each is there for.

A compare that can be taken out without any law noticing is either not needed or not tested. So each is taken out in
turn, and must be convicted on one of ``TRIALS``, or stand in ``REDUNDANT`` with the reason why it is kept all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from pwf_runtime.core import keys as k
from pwf_runtime.core.model import CallRecord, Failure, JoinRecord, Message, NewCall, Outbox, Outcome
from pwf_runtime.core.states import Reached
from pwf_runtime.core.steps import Commit, Steps
from pwf_runtime.core.txn import Expire, Is, Put, Txn
from pwf_runtime.workflow import Workflow

from ..campaign import Campaign, Report, Violation
from ..program import Program, Protocol
from . import workflows

RUNS = 100


class Compare(Struct, frozen=True):
    """The ``index``-th compare of the transaction that the method ``step`` builds; ``about``: what it compares."""

    step: str
    index: int
    about: str

    def __str__(self) -> str:
        return f"{self.step}: {self.about}"


# ── which there are ───────────────────────────────────────────────────────────────────────────


def compares() -> Iterator[Compare]:
    """Every compare there is, found by building each transaction once. Guards of a settle count as one."""
    for step, txn in _samples().items():
        for index, compare in enumerate(txn.compare):
            yield Compare(step, index, _about(compare))


_CALL = "CALL"


def _samples() -> dict[str, Txn]:
    steps, message, join = Steps(1, 1), Message("run", _CALL, "queue.task"), "JOIN"
    record = CallRecord("queue.task", b"", "", 0, expires=join)
    joined = JoinRecord(NewCall("queue.task", b""), (), 1, "")
    return {
        "claim": steps.claim(message, "t"),
        "renew": steps.renew(message, "t"),
        "commit": steps.commit(message, 1, record, Outcome(), 0).txn,
        "look": steps.look(message, Outbox((), (), ())),
        "settle": steps.settle(message, (Is(k.mark(join, "name"), k.MARKED),)),
        "fail": steps.fail(message, 1, Failure("", ""), None, missing=k.join_record(join)),
        "undeliverable": steps.undeliverable(message, Failure("", ""), dead=True),
        "satisfy": steps.satisfy(message, Reached(join, "name", 1, 1, False)),
        "fire": steps.fire(message, join, joined, 1, 0),
        "start": steps.start(message, b"", b"", 0),
        "complete": steps.complete("run", 0, 0),
        "confirm": steps.confirm("run"),
    }


def _about(compare: Any) -> str:
    """Such as ``c:CALL:s is ready``: what is compared, and with what."""
    if hasattr(compare, "lease"):
        return f"lease of {compare.lease} is {'free' if compare.token is None else 'mine'}"
    if not hasattr(compare, "value"):
        return f"{compare.field} is there"
    return f"{compare.field} is {'missing' if compare.value is None else compare.value.decode()}"


# ── taking one out ────────────────────────────────────────────────────────────────────────────


class Cancels(Steps):
    """Stands in for an operator: the commit of a task named ``cancel`` also cancels its run, as ``pwf cancel`` does."""

    def commit(self, message: Message, attempt: int, record: CallRecord, outcome: Outcome, now_ms: int) -> Commit:
        commit = super().commit(message, attempt, record, outcome, now_ms)
        if not message.task.endswith(".cancel"):
            return commit
        cancel = (Put(k.STATUS, k.CANCELLED), Put(k.FINISHED, b"%d" % now_ms), Expire(self.retention_ms))
        return replace(commit, txn=replace(commit.txn, then=(*cancel, *commit.txn.then)))


def weakened(compare: Compare) -> Protocol:
    """Production's protocol without this compare."""
    method: Callable[..., Any] = getattr(Cancels, compare.step)

    def weak(self: Steps, *args: Any, **kwargs: Any) -> Txn | Commit:
        built = method(self, *args, **kwargs)
        if isinstance(built, Commit):
            return replace(built, txn=_without(built.txn, compare))
        return _without(built, compare)

    return Protocol(steps=type(f"Weak_{compare.step}_{compare.index}", (Cancels,), {compare.step: weak}))


def _without(txn: Txn, compare: Compare) -> Txn:
    last = len(txn.compare) if compare.step == "settle" and compare.index else compare.index + 1
    return replace(txn, compare=(*txn.compare[: compare.index], *txn.compare[last:]))


# ── convicting ────────────────────────────────────────────────────────────────────────────────


class Trial(Struct, frozen=True):
    """A workflow, its first task with its data, families of faults, and how many of these in the default order.

    So many ``runs`` are begun, and ``signals`` are sent to the first.
    """

    app: Workflow
    task: str
    data: int
    families: str | None = None
    faults: int = 1
    runs: int = 1
    signals: tuple[tuple[str, Any], ...] = ()

    def report(self, protocol: Protocol, strategy: str, schedules: int = RUNS) -> Report:
        """What a campaign finds: ``faults`` in the default order, or so many random schedules."""
        starts = [(self.task, self.data + number) for number in range(self.runs)]
        program = Program([self.app], starts, protocol=protocol, signals=self.signals)
        return Campaign(program, strategy=strategy, faults=self.families, max_faults=self.faults, runs=schedules).run()


TRIALS = (
    Trial(workflows.chain, "leave", 1),
    Trial(workflows.many, "remember", 1, "stall,slow", 2),
    Trial(workflows.many, "regret", 1),
    Trial(workflows.fan, "begin", 2),
    Trial(workflows.fan, "begin", 2, "rollback"),
    Trial(workflows.chain, "poison", 1),
    Trial(workflows.chain, "misdirect", 1, "crash,requeue,stall,duplicate"),
    Trial(workflows.flaky, "attempt", 1),
    Trial(workflows.many, "choose", 1),
    Trial(workflows.many, "race", 1),
    Trial(workflows.many, "race", 1, "rollback"),
    Trial(workflows.many, "repeat", 3, "rollback"),
    Trial(workflows.many, "expect", 1),
    Trial(workflows.fan, "begin", 1, "stall,rollback", 2),
)


def convict(compare: Compare) -> Violation | None:
    """The first violation that taking this compare out leads to."""
    protocol = weakened(compare)
    for trial in TRIALS:
        for strategy in ("faults", "random"):
            report = trial.report(protocol, strategy)
            if report.violations:
                return report.violations[0]
    return None


REDUNDANT: dict[str, str] = {
    "commit: j:JOIN:s is armed": (
        "whoever fires a join also removes the call that would end it, in the same transaction, so that call's state "
        "and attempt are compared in vain already; kept so that a join's state is never overwritten blindly"
    ),
    "undeliverable: lease of CALL is free": (
        "a call is given up after ten vain publishes, and one that somebody holds has been delivered: its queue would "
        "have to be there for one message and not for ten others, which no trial does"
    ),
    "satisfy: j:JOIN:s is armed": (
        "a mark on a join that is over changes nothing, since firing compares the same and a joined call reads only "
        "the marks that fired it; kept because it saves the vain attempt to fire"
    ),
}
"""Compares that no law misses, and why they are kept."""
