"""What happened in a world, as an observer of the store sees it: calls, joins, events, and who did what.

The laws are checked against this, not against what the machines believe. It is kept from the transactions that were
really performed (their operations and replies), so a broken protocol cannot talk its way out of it. A small history is
a value that worlds share, and what happens next makes another; a large one belongs to one world. Either way a world
goes on with what ``observe`` gives it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import TypeAlias

from pwf_runtime.core import keys as k
from pwf_runtime.core.model import CallRecord, JoinRecord, Outcome
from pwf_runtime.core.txn import Append, Delete, Op, Put, Txn, TxnReply
from pwf_runtime.core.wire import decode_event, decode_join, decode_record

from . import memo as memory
from .memo import Memo

CallKey: TypeAlias = tuple[str, str]
"""(run_id, call_id)"""


class CallView:
    """A call, as seen from outside. A signal is one, too, which commits when it is created."""

    __slots__ = ("attempt", "commits", "dead", "due_ms", "key", "outcome", "path", "record", "settled")

    def __init__(self, key: CallKey, path: str, record: CallRecord) -> None:
        self.key = key
        self.path = path
        self.record = record
        self.attempt = 0  # the latest that was granted; so many were
        self.commits = 0
        self.outcome: Outcome | None = None  # what was committed, once it was
        self.settled = False
        self.dead = False
        self.due_ms = 0  # not before: a delay, or when to try again

    @property
    def is_signal(self) -> bool:
        return is_signal(self.record)

    def copy(self) -> CallView:
        new = CallView(self.key, self.path, self.record)
        new.attempt, new.commits, new.outcome = self.attempt, self.commits, self.outcome
        new.settled, new.dead, new.due_ms = self.settled, self.dead, self.due_ms
        return new

    def content(self) -> Hashable:
        progress = self.attempt, self.commits, self.settled, self.dead, self.due_ms
        return self.key, self.path, self.record, self.outcome, progress


def is_signal(record: CallRecord) -> bool:
    """Whether it is the record of a signal's call."""
    return record.task.partition(".")[2].startswith(k.OWN)


class JoinView:
    """A join, as seen from outside."""

    __slots__ = ("expired", "fired", "key", "path", "record")

    def __init__(self, key: tuple[str, str], record: JoinRecord) -> None:
        self.key = key
        self.record = record
        self.path = ""  # of the call that it fires
        self.fired = 0
        self.expired = False

    @property
    def waits_outside(self) -> bool:
        """Whether it may still fire, and on a signal."""
        return not self.fired and not self.expired and any(need.outside for need in self.record.needs)

    def copy(self) -> JoinView:
        new = JoinView(self.key, self.record)
        new.path = self.path
        new.fired, new.expired = self.fired, self.expired
        return new

    def content(self) -> Hashable:
        return self.key, self.path, self.record, self.fired, self.expired


class Change:
    """What one transaction brought about."""

    __slots__ = (
        "again",
        "armed",
        "committed",
        "created",
        "emitted",
        "failed",
        "fired",
        "granted",
        "settled",
        "status",
        "was",
    )

    def __init__(self) -> None:
        self.created: list[CallView] = []
        self.again: list[CallView] = []  # those of them that had been created before
        self.emitted: list[str] = []
        self.armed: list[JoinView] = []
        self.fired: list[JoinView] = []
        self.committed: CallView | None = None
        self.failed: CallView | None = None
        self.granted: CallView | None = None
        self.settled: CallView | None = None
        self.status: tuple[str, bytes] | None = None
        self.was: bytes | None = None  # the status before


PARTS = 5
"""As so many parts a call counts in the size of a history."""

_READS = frozenset({"look", "gather", "recall", "renew", "probe", "scan", "confirm", "address"})
"""Transactions that change nothing which a law could be about."""
_SIGNALS = frozenset({"signal", "revive"})
"""Transactions that create a signal's call, committed."""


class History:
    """Everything that happened so far."""

    def __init__(self, memo: Memo) -> None:
        self.memo = memo
        self._is_shared = False
        self.calls: dict[CallKey, CallView] = {}
        self.joins: dict[tuple[str, str], JoinView] = {}
        self.events: dict[tuple[str, str], list[tuple[bytes, str]]] = {}
        self.status: dict[str, bytes] = {}
        self.results: dict[str, bytes] = {}
        """What runs returned, kept beyond their retention."""
        self.home: dict[str, str] = {}
        """The queue of each run's first task: names of that service are shown without it."""

    @classmethod
    def empty(cls, memo: Memo) -> History:
        """Nothing has happened yet."""
        return cls(memo)._filed()

    @property
    def is_shared(self) -> bool:
        """Whether other worlds may have it, so that it does not change."""
        return self._is_shared

    def fork(self) -> History:
        """The history of another world from here on."""
        return self if self._is_shared else self._copy()

    def _copy(self) -> History:
        new = History(self.memo)
        new.calls = {key: call.copy() for key, call in self.calls.items()}
        new.joins = {key: join.copy() for key, join in self.joins.items()}
        new.events = {key: list(events) for key, events in self.events.items()}
        new.status, new.home, new.results = dict(self.status), dict(self.home), dict(self.results)
        return new

    def content(self) -> Hashable:
        """All that it tells, in order: histories of the same content are the same."""
        return (
            tuple([call.content() for call in self.calls.values()]),
            tuple([join.content() for join in self.joins.values()]),
            tuple([(key, *events) for key, events in self.events.items()]),
            tuple(self.status.items()),
            tuple(self.results.items()),
            tuple(self.home.items()),
        )

    def _filed(self) -> History:
        """If it is small, the one of its content that all worlds share."""
        size = PARTS * len(self.calls) + len(self.joins) + sum(map(len, self.events.values()))
        if size > memory.SMALL:
            return self
        content = self.content()
        known = self.memo.histories.get(content)
        if known is None:
            self._is_shared = True
            known = self.memo.keep(self.memo.histories, content, self, size)
        return known

    def without(self, run_id: str) -> History:
        """The history in which this run never was."""
        new = self._copy()
        new.calls = {key: call for key, call in new.calls.items() if key[0] != run_id}
        new.joins = {key: join for key, join in new.joins.items() if key[0] != run_id}
        new.events = {key: events for key, events in new.events.items() if key[0] != run_id}
        new.status.pop(run_id, None)
        return new._filed()

    def path(self, run_id: str, call_id: str) -> str:
        """The call as people know it: the tasks from the run's first call down to it."""
        call = self.calls.get((run_id, call_id))
        return call.path if call is not None else f"unknown call {call_id}"

    def observe(
        self, txn: Txn, reply: TxnReply, call_id: str, outcome: Outcome | None
    ) -> tuple[History, Change | None]:
        """What a transaction makes of it that was performed for ``call_id``, about to commit ``outcome`` if it does."""
        if not reply.held or txn.label in _READS:
            return self, None
        if not self._is_shared:
            return self, self._take_in(txn, call_id, outcome)
        key = (self, txn, reply, call_id, outcome)
        known = self.memo.observations.get(key)
        if known is None:
            new = self._copy()
            change = new._take_in(txn, call_id, outcome)
            new = new._filed()
            if not new._is_shared:
                return new, change
            known = self.memo.keep(self.memo.observations, key, (new, change))
        return known

    def _take_in(self, txn: Txn, call_id: str, outcome: Outcome | None) -> Change:
        change = Change()
        call = self.calls.get((txn.run_id, call_id))
        if txn.label == "claim":
            assert call is not None
            call.attempt += 1  # counted here: what the protocol counts may be wrong
            change.granted = call
            return change
        if txn.label == "commit" and call is not None:
            call.commits += 1
            if call.commits == 1:
                call.outcome = outcome
            change.committed = call
        if txn.label == "fail":
            change.failed = call
        self._apply(txn, txn.then, change)
        if txn.label in _SIGNALS:
            change.committed = signal = self.calls[txn.run_id, call_id]
            signal.commits, signal.outcome = 1 + (call.commits if call is not None else 0), outcome
        return change

    def _apply(self, txn: Txn, ops: tuple[Op, ...], change: Change) -> None:
        run_id = txn.run_id
        records: list[tuple[str, CallRecord]] = []
        due: list[tuple[str, int]] = []
        for op in ops:
            kind = type(op)
            if kind is Put:
                self._put(run_id, op, records, change)  # type: ignore[arg-type]
                if op.field.endswith(":u"):  # type: ignore[union-attr]
                    due.append((op.field[2:-2], int(op.value)))  # type: ignore[union-attr]
            elif kind is Append:
                if op.list.startswith("e:"):  # type: ignore[union-attr]
                    stored = decode_event(op.value)  # type: ignore[union-attr]
                    self.events.setdefault((run_id, op.list[2:]), []).append((stored.data, stored.call_id))  # type: ignore[union-attr]
                    change.emitted.append(op.list[2:])  # type: ignore[union-attr]
            elif kind is Delete:
                call = self.calls.get((run_id, op.fields[0][2:-2]))  # type: ignore[union-attr]
                if call is not None and op.fields[0] == k.state(call.key[1]):  # type: ignore[union-attr]
                    call.settled = True
                    change.settled = call
        if records or change.armed:
            change.again = [self.calls[run_id, call_id] for call_id, _ in records if (run_id, call_id) in self.calls]
            change.created = self._name(run_id, records, change.armed)
        for call_id, due_ms in due:
            if (call := self.calls.get((run_id, call_id))) is not None:
                call.due_ms = due_ms

    def _put(self, run_id: str, op: Put, records: list[tuple[str, CallRecord]], change: Change) -> None:
        field = op.field
        what, _, rest = field.partition(":")
        if what == "c" and rest.endswith(":r"):
            records.append((rest[:-2], decode_record(op.value)))
        elif what == "c" and op.value == k.DEAD:
            self.calls[run_id, rest[:-2]].dead = True
        elif what == "j":
            join_id, _, part = rest.partition(":")
            if part == "r":
                join = JoinView((run_id, join_id), decode_join(op.value))
                self.joins[join.key] = join
                change.armed.append(join)
            elif part == "s" and op.value == k.FIRED:
                join = self.joins[run_id, join_id]
                join.fired += 1
                change.fired.append(join)
            elif part == "s" and op.value == k.EXPIRED:
                self.joins[run_id, join_id].expired = True
        elif field == k.RESULT:
            self.results[run_id] = op.value
        elif field == k.STATUS:
            change.was = self.status.get(run_id)
            self.status[run_id] = op.value
            change.status = (run_id, op.value)

    def _name(self, run_id: str, records: list[tuple[str, CallRecord]], armed: list[JoinView]) -> list[CallView]:
        """Give each new call its path, and each new join that of the call which it will fire.

        Siblings of the same task are told apart by number: ``compute[3]``. A joined call is a sibling, too.
        """
        names = [self._name_of(run_id, record) for _, record in records]
        names += [self._short(run_id, join.record.then.task) for join in armed]
        total, seen = Counter(names), Counter[str]()
        for i, name in enumerate(names):
            if total[name] > 1:
                names[i] = f"{name}[{seen[name]}]"
                seen[name] += 1
        created = []
        for (call_id, record), name in zip(records, names, strict=False):
            join = self.joins.get((run_id, record.join)) if record.join else None
            path = join.path if join is not None else self._below(run_id, record.parent, name)
            view = self.calls[run_id, call_id] = CallView((run_id, call_id), path, record)
            created.append(view)
        for join, name in zip(armed, names[len(records) :], strict=True):
            join.path = self._below(run_id, join.record.parent, name)
        return created

    def _below(self, run_id: str, parent: str, name: str) -> str:
        if parent:
            return f"{self.path(run_id, parent)} > {name}"
        return name if run_id == DEFAULT_RUN else f"{run_id}: {name}"

    def _name_of(self, run_id: str, record: CallRecord) -> str:
        name = self._short(run_id, record.task)
        if is_signal(record):
            return f"signal {record.data.decode()}"
        return f"timeout of {record.task.partition('.')[2]}" if record.expires else name

    def _short(self, run_id: str, full_name: str) -> str:
        queue, _, task = full_name.partition(".")
        home = self.home.setdefault(run_id, queue)
        return task if queue == home else full_name


DEFAULT_RUN = "run"
"""The run that needs no name in a path, because mostly there is only one."""
