"""Two-phase commit: a transaction manager and n resource managers that exchange messages.

The specification is Lamport's and Gray's (Consensus on Transaction Commit, TODS 2006; TwoPhase.tla). The number of its
distinct states is published with the model checker Stateright: 288 with 3 resource managers, 8,832 with 5, 296,448
with 7. A search that misses or repeats states counts others.

A state is an integer of bit fields, so that one is cheap to copy, compare and hash.
"""

from __future__ import annotations

from collections.abc import Iterator

WORKING, PREPARED, COMMITTED, ABORTED = range(4)
INIT = 0
PUBLISHED = {3: 288, 5: 8_832, 7: 296_448}

# Of each resource manager 4 bits: its state (2), whether it has sent "prepared", whether that was received. Below them
# 4 bits of the transaction manager: its state (2), whether "commit" was sent, whether "abort" was.
_COMMIT, _ABORT = 0b0100, 0b1000


class TwoPhaseCommit:
    """The transition system for ``managers`` resource managers."""

    initial = 0

    def __init__(self, managers: int) -> None:
        self.shifts = tuple([4 * (i + 1) for i in range(managers)])
        self._all_received = sum([0b1000 << shift for shift in self.shifts])

    def successors(self, state: int) -> Iterator[int]:
        """Every state that one step leads to."""
        undecided = state & 0b11 == INIT
        if undecided:
            yield state | ABORTED | _ABORT
            if state & self._all_received == self._all_received:
                yield state | COMMITTED | _COMMIT
        for shift in self.shifts:
            manager = state >> shift & 0b1111
            phase = manager & 0b11
            if phase == WORKING:
                yield state | (PREPARED | 0b0100) << shift
                yield state | ABORTED << shift
            if undecided and manager & 0b1100 == 0b0100:
                yield state | 0b1000 << shift
            if state & _COMMIT and phase != COMMITTED:
                yield state & ~(0b11 << shift) | COMMITTED << shift
            if state & _ABORT and phase != ABORTED:
                yield state & ~(0b11 << shift) | ABORTED << shift

    def is_consistent(self, state: int) -> bool:
        """No resource manager has committed while another has aborted."""
        phases = {state >> shift & 0b11 for shift in self.shifts}
        return not {COMMITTED, ABORTED} <= phases
