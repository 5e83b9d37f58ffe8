"""The contract of a store.

Two halves. ``txns`` is the whole protocol of runs (see ``core/txn.py``). The three ``index_`` methods keep small
entries sorted by a score, shared by all runs: timers, open runs, dead calls. Every method is safe to call twice with
the same arguments, because a reply can be lost after the work was done.

One test body, ``tests/contract/test_store.py``, holds every implementation to this.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..core.txn import Txn, TxnReply


class Store(Protocol):
    def txns(self, txns: Sequence[Txn]) -> list[TxnReply]:
        """Perform each transaction atomically, all in one round trip where the store has such a thing.

        Other clients may get in between two of them. Replies come in the order asked.

        Raises:
            StoreUnavailable: no answer; any of them may or may not have been done.
        """
        ...

    def index_add(self, index: str, entries: Sequence[tuple[bytes, int]]) -> None:
        """Add ``(member, score)`` pairs; a member that is there gets the new score."""
        ...

    def index_read(self, index: str, upto: int, limit: int) -> list[tuple[bytes, int]]:
        """Up to ``limit`` entries with score <= ``upto``, by (score, member) ascending."""
        ...

    def index_remove(self, index: str, members: Sequence[bytes]) -> None:
        """Remove exactly these members; a missing one is no error."""
        ...

    def index_size(self, index: str) -> int:
        """How many members it has."""
        ...

    def close(self) -> None:
        """Give up connections. A closed store is not used again."""
        ...
