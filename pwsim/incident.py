"""From what happened in production to a schedule that does it again.

An incident's file holds *facts*: who claimed, committed, failed, took over and settled which call, in which order (see
``pwf_runtime.facts``, ``pwf export``). ``enact`` walks through a world, step by step, and lets things happen in the
order of the facts: what is a fact whose time has not come waits, while something else can happen; a worker gets what
its counterpart got. Where a delivery's facts end in the middle and another takes its call over, its worker dies, at the
place that the facts point to:

- after a claim: when the task has run (whatever it did outside may have happened), or, if that worker was heard of
  after that, it stalls beyond its lease;
- after a commit: before it settles, if a call that it created was claimed by then; else right after the commit;
- after a look at somebody else's commit: before it settles.

The result is a schedule like any other: faults by address, and deviations from the default order. It is a best effort:
facts say nothing of parked or doubled messages, of acks, or of a task's own trouble, which the user's code would have
to repeat. ``Enacted.missing`` says which facts did not come about.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from msgspec import Struct

from pwf_runtime.core.txn import TxnReply

from . import faults as f
from .laws import Violated
from .program import Program
from .runner import LAWS, apply
from .schedule import Schedule
from .world.naming import effect_of
from .world.process import Process, Slot
from .world.world import DELIVER, PERFORM, Action, World

MOST_STEPS = 20_000


class Fact(Struct, frozen=True, array_like=True):
    """A row of an incident's file. ``at_ms``: since the first; ``delivery`` tells those of one worker apart."""

    at_ms: int
    what: str
    worker: str
    delivery: str
    call_id: str
    task: str
    attempt: int
    note: str = ""

    @property
    def key(self) -> tuple[str, str]:
        return self.what, self.call_id

    @property
    def by(self) -> tuple[str, str]:
        return self.worker, self.delivery


class Enacted(NamedTuple):
    """A schedule, and the facts that did not come about in it."""

    schedule: Schedule
    missing: tuple[Fact, ...]


class Death(NamedTuple):
    """How a delivery ends: with this fault, at its next effect of this name."""

    effect: str
    mode: str


def deaths(facts: Sequence[Fact]) -> dict[tuple[str, str], Death]:
    """The deliveries that ended in the middle, and how."""
    last = {fact.by: number for number, fact in enumerate(facts)}
    found: dict[tuple[str, str], Death] = {}
    for by, number in last.items():
        fact = facts[number]
        following = [later for later in facts[number + 1 :] if later.call_id == fact.call_id]
        if not following or fact.what not in ("claim", "commit", "look") or fact.note == "leaf":
            continue
        if fact.what == "claim":
            taken_over = facts.index(following[0], number)
            lives = any(later.worker == fact.worker for later in facts[taken_over + 1 :])
            found[by] = Death("run", f.STALL if lives else f.AFTER)
        elif fact.what == "look" or _published(facts, number, following[0]):
            found[by] = Death("settle", f.BEFORE)
        else:
            found[by] = Death("commit", f.AFTER)
    return found


def _published(facts: Sequence[Fact], committed: int, taken_over: Fact) -> bool:
    """Whether what the commit created was seen by others before the call was taken over: a first claim of a call."""
    known = {fact.call_id for fact in facts[: committed + 1]}
    until = facts.index(taken_over, committed)
    return any(fact.what == "claim" and fact.call_id not in known for fact in facts[committed + 1 : until])


def enact(program: Program, facts: Sequence[Fact]) -> Enacted:
    """The schedule in which the facts come about, as far as it is found."""
    program.expects(frozenset())
    return _Enacting(program, facts).run()


class _Enacting:
    def __init__(self, program: Program, facts: Sequence[Fact]) -> None:
        self.world = World(program, LAWS)
        self.facts = list(facts)
        self.deaths = deaths(facts)
        self.struck: list[f.Fault] = []
        self.deviations: list[tuple[int, int]] = []
        self.places: dict[str, int] = {}  # worker of the incident -> number of the process that plays it
        self.playing: dict[int, tuple[str, str]] = {}  # owner of a slot -> the delivery that it plays

    def run(self) -> Enacted:
        world = self.world
        while world.step < MOST_STEPS:
            actions = world.enabled()
            if not actions:
                if not world.advance():
                    break
                continue
            action = self._choose(actions)
            if action != min(actions):
                self.deviations.append((world.step, actions.index(action)))
            if self._happens(action) is not None:
                break
        return Enacted(Schedule(tuple(self.struck), tuple(self.deviations)), tuple(self.facts))

    # ── what happens next ─────────────────────────────────────────────────────────────────────

    def _choose(self, actions: Sequence[Action]) -> Action:
        """The first, in the default order, that is no fact whose time has not come."""
        in_order = sorted(actions, key=lambda action: action[:3])
        return next((action for action in in_order if self._may(action)), in_order[0])

    def _may(self, action: Action) -> bool:
        _, kind, index, detail = action
        if not self.facts:
            return True
        if kind == PERFORM:
            slot = self.world.processes[index].slots[detail]
            key = (effect_of(slot)[1], slot.call_id)
            if key == self.facts[0].key:
                return True
            if key[0] in ("signal", "revive"):  # no fact itself: it was just before the first of its call
                return self.facts[0].call_id == slot.call_id or not self._next_of(slot.call_id)
            if self._death(slot, key[0]) is not None:  # nobody dies before what it is known to have done
                return not self._is_ahead(self.playing[slot.owner])
            return not any(key == fact.key for fact in self.facts)
        if kind == DELIVER:
            return self._suits(index, detail)
        return True

    def _is_ahead(self, by: tuple[str, str]) -> bool:
        """Whether this delivery still has facts to come."""
        return any(fact.by == by for fact in self.facts)

    def _suits(self, index: int, queue: str) -> bool:
        """Whether this process plays the worker that the head of the queue went to."""
        fact = self._next_of(self._call_at(queue))
        if fact is None or fact.worker not in self.places:
            return index not in self.places.values() or fact is None or not self._is_free(queue)
        return self.places[fact.worker] == index or not self._has_room(self.places[fact.worker])

    def _is_free(self, queue: str) -> bool:
        """Whether some process of the queue plays nobody yet and could take a message."""
        taken = self.places.values()
        processes = enumerate(self.world.processes)
        return any(p.queue == queue and i not in taken and self._has_room(i) for i, p in processes)

    def _has_room(self, index: int) -> bool:
        process = self.world.processes[index]
        return len(process.slots) < process.capacity and process.frozen_until is None

    def _call_at(self, queue: str) -> str:
        message, _, _ = self.world._addressee(queue)
        return getattr(message, "call_id", "")

    def _next_of(self, call_id: str) -> Fact | None:
        return next((fact for fact in self.facts if fact.call_id == call_id), None)

    # ── making it happen ──────────────────────────────────────────────────────────────────────

    def _happens(self, action: Action) -> Violated | None:
        _, kind, index, detail = action
        world, process = self.world, self.world.processes[index]
        if kind == DELIVER:
            fact = self._next_of(self._call_at(detail))
            if fact is not None and index not in self.places.values():
                self.places.setdefault(fact.worker, index)
        if kind != PERFORM:
            return apply(world, action)
        slot = process.slots[detail]
        name, call_id = effect_of(slot)[1], slot.call_id
        mode = self._mode(action, process, slot, name)
        violation = apply(world, action, mode)
        answer = world.trace[-1].answer
        if type(answer) is TxnReply and answer.held:
            number = next((n for n, fact in enumerate(self.facts) if fact.key == (name, call_id)), None)
            if number is not None:
                self.playing[detail] = self.facts.pop(number).by
        return violation

    def _mode(self, action: Action, process: Process, slot: Slot, name: str) -> str | None:
        """The fault that ends this delivery here, if one does."""
        at = self.world.point(action)
        death = self._death(slot, name)
        if death is None or at is None or death.mode not in at[1]:
            return None
        self.struck.append(f.Fault(at[0], death.mode))
        del self.deaths[self._player(slot, name)]
        if death.mode != f.STALL:
            index = self.world.processes.index(process)
            self.places = {worker: place for worker, place in self.places.items() if place != index}
        return death.mode

    def _death(self, slot: Slot, name: str) -> Death | None:
        death = self.deaths.get(self._player(slot, name))
        return death if death is not None and death.effect == name else None

    def _player(self, slot: Slot, name: str) -> tuple[str, str]:
        """The delivery that this slot plays; at a commit that is a fact now, the one whose fact it is."""
        if self.facts and self.facts[0].key == (name, slot.call_id):
            return self.facts[0].by
        return self.playing.get(slot.owner, ("", ""))
