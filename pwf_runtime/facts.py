"""What happened to the calls of a run, kept with the run: who claimed, committed, failed, took over, settled, and when.

What must live here: how these facts are noted and read. What must never: a change of what machines do. They are off
unless ``Settings.history`` says how many of a run are kept; then the engine hands its delivery machine to ``keep``, and
that is all that production code knows of it.

A fact rides in the transaction that makes it true, as one more operation, whose reply the machine does not see: it
costs no round trip, and there is no fact of what did not happen. A fact that is noted twice (a lost answer, a failure
noted again) harms nobody. The oldest are removed as new ones come; a run's end keeps them as long as its result.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct, msgpack
from msgspec.structs import replace

from .clock import Clock
from .core import keys as k
from .core.delivery import DeliveryMachine
from .core.ids import ROOT_CALL
from .core.states import Claiming, Committing, Failing, Looking, Running, Settling
from .core.txn import Append, Delete, Keep, Op, Txn, TxnReply

LIST = "h"
"""The run's list that holds them."""
AHEAD = 8
"""How many entries of other workers may have come, unheard of, since the latest of one's own."""
MOST_RUNS = 10_000
NOTED = {"claim": Claiming, "commit": Committing, "fail": Failing, "look": Looking, "settle": Settling}
"""The transactions that are facts: by their labels, and the states that wait for them."""


class Fact(Struct, frozen=True, array_like=True):
    """``what`` was done to a call, in its ``attempt`` (0: none, or not known yet), by the delivery with this ``token``.

    ``look``: another delivery's commit was taken over. ``note``: of a commit, ``leaf`` if the call ended with it; of a
    failure, its kind. ``data``: what the run was begun with, at the commit of its first call.
    """

    time_ms: int
    what: str
    call_id: str
    task: str
    attempt: int
    token: str
    note: str = ""
    data: bytes = b""

    @property
    def worker(self) -> str:
        """The process: tokens are a process's name and a number."""
        return self.token.partition("-")[0]


encode_fact = msgpack.Encoder().encode
decode_fact = msgpack.Decoder(Fact).decode


def keep(machine: DeliveryMachine, clock: Clock, limit: int) -> None:
    """From now on, note facts in the machine's transactions, and keep the latest ``limit`` of each run."""
    notes = _Notes(clock, limit)
    begin, step = machine.begin, machine.step

    def noting_begin(*arguments: Any) -> Any:
        state, effect = begin(*arguments)
        return state, notes.added(state, effect)

    def noting_step(state: Any, input: Any, now_ms: int) -> Any:
        after, effect = step(state, notes.removed(state, input), now_ms)
        if type(state) is Running and type(effect) is Txn:
            notes.failure = getattr(input, "failure", None)
        return after, notes.added(after, effect)

    machine.begin = noting_begin  # type: ignore[assignment, method-assign]
    machine.step = noting_step  # type: ignore[method-assign]


class _Notes:
    """Adds operations to transactions, and takes their replies away again. Used on the engine's thread only."""

    def __init__(self, clock: Clock, limit: int) -> None:
        self.failure: Any = None
        self._clock = clock
        self._limit = limit
        self._extra: dict[str, int] = {}  # token -> operations that were added to what it waits for
        self._length: dict[str, int] = {}  # run -> how many facts it had when last heard of

    def added(self, state: Any, effect: Any) -> Any:
        """The effect with the fact in it."""
        if type(effect) is not Txn:
            return effect
        if effect.label == "complete":
            return replace(effect, then=tuple([self._kept(op, effect.run_id) for op in effect.then]))
        if NOTED.get(effect.label) is not type(state):
            return effect
        fact = self._fact(effect.label, state)
        old = self._length.get(effect.run_id, 0) - self._limit
        more: tuple[Op, ...] = (Append(LIST, encode_fact(fact)),)
        if old >= 0:
            more = (Delete(tuple([k.item(LIST, i) for i in range(max(0, old - AHEAD), old + 1)])), *more)
        self._extra[fact.token] = len(more)
        return replace(effect, then=(*effect.then, *more))

    def removed(self, state: Any, input: Any) -> Any:
        """The answer without the fact's replies."""
        if type(input) is not TxnReply or type(state) not in NOTED.values():
            return input
        holder = _holder(state)
        extra = self._extra.pop(holder.token, 0)
        if not extra or not input.held:
            return input
        if len(self._length) >= MOST_RUNS:
            self._length.clear()
        self._length[holder.message.run_id] = input.replies[-1]
        return replace(input, replies=input.replies[:-extra])

    def _fact(self, what: str, state: Any) -> Fact:
        holder = _holder(state)
        message, attempt, note, data = holder.message, getattr(holder, "attempt", 0), "", b""
        if type(state) is Committing:
            note = "leaf" if state.leaf else ""
            data = state.claim.record.data if message.call_id == ROOT_CALL else b""
        elif type(state) is Failing:
            note = "dead" if state.due_ms is None else "again"
            if self.failure is not None:
                note, self.failure = f"{note}, {self.failure.kind}", None
        return Fact(self._clock.now_ms(), what, message.call_id, message.task, attempt, holder.token, note, data)

    def _kept(self, op: Op, run_id: str) -> Op:
        """A run's end keeps its facts as well."""
        if type(op) is not Keep:
            return op
        length = self._length.pop(run_id, self._limit)
        items = [k.item(LIST, i) for i in range(max(0, length - self._limit), length + AHEAD)]
        return replace(op, fields=(*op.fields, k.length(LIST), *items))


def _holder(state: Any) -> Any:
    """What of a state knows its message and its token."""
    return getattr(state, "claim", None) or getattr(state, "work", None) or state


def read(fields: dict[str, bytes]) -> list[Fact]:
    """The facts among a run's fields, in the order in which they were noted."""
    prefix = f"{LIST}:"
    found = {int(name[len(prefix) :]): value for name, value in fields.items() if name.startswith(prefix)}
    return [decode_fact(found[number]) for number in sorted(found)]
