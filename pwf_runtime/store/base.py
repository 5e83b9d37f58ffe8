"""The contract of a store.

Two halves. ``txns`` is the whole protocol of runs (see ``core/txn.py``). The three ``index_`` methods keep small
entries sorted by a score, shared by all runs: timers, open runs, dead calls. Every method is safe to call twice with
the same arguments, because a reply can be lost after the work was done.

One test body, ``tests/contract/test_store.py``, holds every implementation to this.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from ..core.txn import Txn, TxnReply
from ..errors import RunDamaged


class Store(Protocol):
    def txns(self, txns: Sequence[Txn]) -> list[TxnReply]:
        """Perform each transaction atomically, all in one round trip where the store has such a thing.

        Other clients may get in between two of them. Replies come in the order asked. So are they done, but one whose
        compares fail may be tried once more after the others: what one batch asks of one run must not depend on order.

        Raises:
            StoreUnavailable: no answer; any of them may or may not have been done.
            RunDamaged: what is kept of some run cannot be worked with, such as text where a number should be. The
                others were done all the same; the error's ``replies`` tell of each.
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

    def run_ids(self) -> Iterator[str]:
        """The id of each run that has fields, at least once. Others may come and go while one reads.

        Raises StoreUnavailable, also in the middle.
        """
        ...

    def close(self) -> None:
        """Give up connections. A closed store is not used again."""
        ...


def whole(replies: list[TxnReply | RunDamaged]) -> list[TxnReply]:
    """The replies, if no run is damaged; else raises the first damage, with all of them."""
    damaged = next((reply for reply in replies if isinstance(reply, RunDamaged)), None)
    if damaged is None:
        return replies  # type: ignore[return-value]
    damaged.replies = replies
    raise damaged


def no_number(field: str) -> str:
    """What is wrong with a field that holds something else."""
    return f"the field {field!r} holds no number"
