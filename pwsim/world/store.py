"""The production memory store, with what a world needs on top: it is copied at every turn.

A run that is in a store is never changed. A transaction is performed by the production code on a copy of it, once; what
it replied and what the run became is remembered, for every world with such a run.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pwf_runtime.core.txn import Txn, TxnReply
from pwf_runtime.store.memory import MemoryStore, Run

from ..memo import Memo, same
from .clock import VirtualClock

_NOTHING = Run()


class SimStore(MemoryStore):
    """A store in virtual time."""

    performed: tuple[Txn, TxnReply] | None = None
    """The latest transaction that was really performed, whatever a driver makes of it."""

    def __init__(self, clock: VirtualClock, memo: Memo) -> None:
        super().__init__(clock)
        self.memo = memo

    def copy(self, clock: VirtualClock) -> SimStore:
        new = SimStore(clock, self.memo)
        new.runs = self.runs.copy()
        new.indexes = {index: entries.copy() for index, entries in self.indexes.items()}
        new._expiring = self._expiring[:]
        return new

    @contextmanager
    def changing(self, run_id: str) -> Iterator[Run]:
        """A run to be changed by hand. Raises KeyError when there is none such."""
        run = _copied(self.runs[run_id])
        yield run
        self.runs[run_id] = self._shared(run)

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
            known = self.memo.transactions.keep(key, self._perform_first(run, txn))
        reply, following = known
        if self.runs.get(txn.run_id, _NOTHING) is not following:
            self._put(txn.run_id, following)
        self.performed = (txn, reply)
        return reply

    def expire(self) -> None:
        """Remove now what has run out; else that is seen with the next transaction."""
        self._expire(self.clock.now_ms())

    def _perform_first(self, run: Run, txn: Txn) -> tuple[TxnReply, Run]:
        if run is not _NOTHING:
            self.runs[txn.run_id] = _copied(run)
        reply = super()._perform(txn)
        made = self.runs.get(txn.run_id)
        return reply, self._shared(made) if made is not None else _NOTHING

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
        self.runs = {run_id: self._shared(run) for run_id, run in self.runs.items()}

    def _shared(self, run: Run) -> Run:
        content = frozenset(run.fields.items()), frozenset(run.leases.items()), run.expires_ms
        return same(self.memo.runs, content, lambda: run)


def _copied(run: Run) -> Run:
    new = Run()
    new.fields, new.leases, new.expires_ms = run.fields.copy(), run.leases.copy(), run.expires_ms
    return new
