"""The production memory store, with what a world needs on top: it can be copied."""

from __future__ import annotations

from pwf_runtime.core.txn import Txn, TxnReply
from pwf_runtime.store.memory import MemoryStore, Run

from .clock import VirtualClock


class SimStore(MemoryStore):
    """A store in virtual time."""

    performed: tuple[Txn, TxnReply] | None = None
    """The latest transaction that was really performed, whatever a driver makes of it."""

    def _perform(self, txn: Txn) -> TxnReply:
        reply = super()._perform(txn)
        self.performed = (txn, reply)
        return reply

    def expire(self) -> None:
        """Remove now what has run out; else that is seen with the next transaction."""
        self._expire(self.clock.now_ms())

    def copy(self, clock: VirtualClock) -> SimStore:
        new = SimStore(clock)
        for run_id, run in self.runs.items():
            copied = new.runs[run_id] = Run()
            copied.fields = dict(run.fields)
            copied.leases = dict(run.leases)
            copied.expires_ms = run.expires_ms
        new.indexes = {index: dict(entries) for index, entries in self.indexes.items()}
        new._expiring = list(self._expiring)
        return new
