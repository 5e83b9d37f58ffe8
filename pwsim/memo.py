"""What pure code has answered once it need not be asked again.

Thousands of schedules of one program are mostly the same few steps in other orders: of the answers of machines, of the
store and of the history to the same questions over nine in ten have been given before. So runs and histories are values
here, shared between worlds and never changed, and each answer is kept with its question. What is not kept is what tells
schedules apart: who holds which delivery, what waits in which queue, and when.

One memo belongs to one program. It is as good without: nothing but time depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pwf_runtime.core.machine import Machine, Step
from pwf_runtime.core.txn import TxnReply
from pwf_runtime.store.memory import Run

if TYPE_CHECKING:
    from .history import Change, History

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

LIMIT = 100_000


class Bounded(dict[K, V], Generic[K, V]):
    """A dict that forgets everything when it is full, rather than grow for ever."""

    def keep(self, key: K, value: V) -> V:
        if len(self) >= LIMIT:
            self.clear()
        self[key] = value
        return value


class Memo:
    """The answers of one program's machines, its store's transactions, and what its histories became."""

    def __init__(self) -> None:
        self.runs: Bounded[Hashable, Run] = Bounded()
        """Each run that a store has held, by its content."""
        self.transactions: Bounded[Hashable, tuple[TxnReply, Run]] = Bounded()
        self.histories: Bounded[Hashable, History] = Bounded()
        """Each history there has been, by its content."""
        self.observations: Bounded[Hashable, tuple[History, Change]] = Bounded()
        self._begun: Bounded[Hashable, Step] = Bounded()
        self._steps: Bounded[Hashable, tuple[Any, Step]] = Bounded()

    def begin(self, machine: Any, *asked: Hashable) -> Step:
        """``machine.begin(*asked)``."""
        known = self._begun.get((machine, asked))
        return known if known is not None else self._begun.keep((machine, asked), machine.begin(*asked))

    def step(self, machine: Machine, state: Any, answer: Any, now_ms: int) -> Step:
        """``machine.step(state, answer, now_ms)``. States are known by identity: they all come from here."""
        key = (machine, id(state), answer, now_ms)
        try:
            known = self._steps.get(key)
        except TypeError:  # some few answers hold what cannot be hashed
            return machine.step(state, answer, now_ms)
        if known is None:
            known = self._steps.keep(key, (state, machine.step(state, answer, now_ms)))  # the id lives with its state
        return known[1]


def same(table: Bounded[Any, V], content: Hashable, made: Callable[[], V]) -> V:
    """The value of this content: the one that is known, or else a new one."""
    known = table.get(content)
    return known if known is not None else table.keep(content, made())
