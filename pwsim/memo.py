"""What pure code has answered once it need not be asked again.

Thousands of schedules of one program are mostly the same few steps in other orders: of the answers of machines, of the
store and of the history to the same questions over nine in ten have been given before. So small runs and histories are
values here, shared between worlds and never changed, and each answer is kept with its question. What is not kept is
what tells schedules apart: who holds which delivery, what waits in which queue, and when.

One memo belongs to one program. It is as good without: nothing but time depends on it.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from pwf_runtime.core.effects import Effect, Publish
from pwf_runtime.core.machine import Machine, Step
from pwf_runtime.core.txn import Txn, TxnReply
from pwf_runtime.store.memory import Run

if TYPE_CHECKING:
    from .history import Change, History

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
Content: TypeAlias = Hashable

LIMIT = 500_000
"""A memo that would hold more parts than so many (fields, events, operations) forgets all: some 100 MB."""
SMALL = 300
"""A run or a history of more parts is not shared but changed in place, by its only world: it would cost more to keep
than to make, and a run that never ends would fill the memory with its past."""


class Memo:
    """The answers of one program's machines, its store's transactions, and what its histories became."""

    def __init__(self) -> None:
        self.runs: dict[Content, Run] = {}
        """Each run that a store has held."""
        self.transactions: dict[tuple[Run, Txn, int], tuple[TxnReply, Run]] = {}
        self.histories: dict[Content, History] = {}
        """Each history there has been."""
        self.observations: dict[Hashable, tuple[History, Change]] = {}
        self.forms: dict[Hashable, Any] = {}
        """What a search knows runs, histories and states by (see ``world.fingerprint``)."""
        self._begun: dict[Hashable, Step] = {}
        self._steps: dict[Hashable, tuple[Any, Step]] = {}
        self._weight = 0

    def keep(self, table: dict[K, V], key: K, value: V, weight: int = 1) -> V:
        """Keep a value in one of the tables. ``weight``: of how many parts it is."""
        self._weight += weight
        if self._weight > LIMIT:
            self._forget(weight)
        table[key] = value
        return value

    def _forget(self, weight: int) -> None:
        tables: tuple[dict[Any, Any], ...] = (self.runs, self.transactions, self.histories, self.observations)
        for table in (*tables, self.forms, self._begun, self._steps):
            table.clear()
        self._weight = weight

    def begin(self, machine: Any, *asked: Hashable) -> Step:
        """``machine.begin(*asked)``."""
        known = self._begun.get((machine, asked))
        return known if known is not None else self.keep(self._begun, (machine, asked), machine.begin(*asked))

    def step(self, machine: Machine, state: Any, answer: Any, now_ms: int) -> Step:
        """``machine.step(state, answer, now_ms)``. States are known by identity: they all come from here."""
        key = (machine, id(state), answer, now_ms)
        try:
            known = self._steps.get(key)
        except TypeError:  # some few answers hold what cannot be hashed
            return machine.step(state, answer, now_ms)
        if known is None:
            step = machine.step(state, answer, now_ms)
            known = self.keep(
                self._steps, key, (state, step), _weight(step[1])
            )  # an id is its state's while that lives
        return known[1]


def _weight(effect: Effect | None) -> int:
    if isinstance(effect, Txn):
        return 1 + len(effect.then)
    return 1 + len(effect.messages) if isinstance(effect, Publish) else 1
