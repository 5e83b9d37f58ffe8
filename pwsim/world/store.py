"""The production memory store, with what a world needs on top: it is copied at every turn.

A small run is never changed here. A transaction is performed by the production code on a copy of it, once; what it
replied and what the run became is remembered, for every world with such a run. A large run belongs to one world, which
changes it in place.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pwf_runtime.clock import Clock
from pwf_runtime.core.txn import Txn, TxnReply
from pwf_runtime.store.memory import MemoryStore, Run

from .. import memo as memory
from ..memo import Memo

_NOTHING = Run()


class SimStore(MemoryStore):
    """A store in virtual time."""

    performed: tuple[Txn, TxnReply] | None = None
    """The latest transaction that was really performed, whatever a driver makes of it."""

    def __init__(self, clock: Clock, memo: Memo) -> None:
        super().__init__(clock)
        self.memo = memo
        self._large: set[str] = set()

    def copy(self, clock: Clock) -> SimStore:
        new = SimStore(clock, self.memo)
        new.runs = self.runs.copy()
        for run_id in self._large:
            new.runs[run_id] = _copied(self.runs[run_id])
        new._large = self._large.copy()
        new.indexes = {index: entries.copy() for index, entries in self.indexes.items()}
        new._expiring = self._expiring[:]
        return new

    def is_large(self, run_id: str) -> bool:
        """Whether this run changes in place."""
        return run_id in self._large

    def fall_back(self, past: SimStore) -> None:
        """Hold again what it held when ``past`` was copied from it."""
        again = past.copy(self.clock)
        self.runs, self._large, self.indexes, self._expiring = again.runs, again._large, again.indexes, again._expiring

    @contextmanager
    def changing(self, run_id: str) -> Iterator[Run]:
        """A run to be changed by hand. Raises KeyError when there is none such."""
        run = _copied(self.runs[run_id])
        yield run
        self.runs[run_id] = self._filed(run_id, run)

    def evict(self, run_id: str) -> None:
        """Throw a run's fields away; its leases have keys of their own."""
        run = _copied(self.runs.get(run_id, _NOTHING))
        run.fields, run.expires_ms = {}, None
        self._put(run_id, self._filed(run_id, run) if run.leases else _NOTHING)
        self._large &= self.runs.keys()

    def txns(self, txns: Sequence[Txn]) -> list[TxnReply]:
        return [self._perform(txn) for txn in txns]

    def _perform(self, txn: Txn) -> TxnReply:
        now_ms = self.clock.now_ms()
        if self._expiring and self._expiring[0][0] <= now_ms:
            self._expire(now_ms)
        run = self.runs.get(txn.run_id, _NOTHING)
        key = (run, txn, now_ms)
        known = self.memo.transactions.get(key)
        if known is None:
            changes = txn.run_id in self._large
            known = self._perform_first(run, txn)
            if not changes and txn.run_id not in self._large:
                self.memo.keep(self.memo.transactions, key, known)
        reply, following = known
        if self.runs.get(txn.run_id, _NOTHING) is not following:
            self._put(txn.run_id, following)
        self.performed = (txn, reply)
        return reply

    def _perform_first(self, run: Run, txn: Txn) -> tuple[TxnReply, Run]:
        if run is not _NOTHING and txn.run_id not in self._large:
            self.runs[txn.run_id] = _copied(run)
        reply = super()._perform(txn)
        made = self.runs.get(txn.run_id)
        if made is None:
            self._large.discard(txn.run_id)
            return reply, _NOTHING
        return reply, self._filed(txn.run_id, made)

    def expire(self) -> None:
        """Remove now what has run out; else that is seen with the next transaction."""
        self._expire(self.clock.now_ms())

    def _put(self, run_id: str, run: Run) -> None:
        if run is _NOTHING:
            self.runs.pop(run_id, None)
            return
        self.runs[run_id] = run
        ends_ms = run.expires_ms if run.fields else max(end for _, end in run.leases.values())
        if ends_ms is not None:
            heapq.heappush(self._expiring, (ends_ms, run_id))

    def _expire(self, now_ms: int) -> None:
        self.runs = {run_id: _copied(run) for run_id, run in self.runs.items()}
        super()._expire(now_ms)
        self.runs = {run_id: self._filed(run_id, run) for run_id, run in self.runs.items()}
        self._large &= self.runs.keys()

    def _filed(self, run_id: str, run: Run) -> Run:
        """A run that was changed: if it is small, the one of its content that all worlds share."""
        size = len(run.fields) + len(run.leases)
        if size > memory.SMALL:
            self._large.add(run_id)
            return run
        self._large.discard(run_id)
        content = frozenset(run.fields.items()), frozenset(run.leases.items()), run.expires_ms
        known = self.memo.runs.get(content)
        return known if known is not None else self.memo.keep(self.memo.runs, content, run, size)


def _copied(run: Run) -> Run:
    new = Run()
    new.fields, new.leases, new.expires_ms = run.fields.copy(), run.leases.copy(), run.expires_ms
    return new
