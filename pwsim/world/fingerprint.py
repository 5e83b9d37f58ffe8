"""What two worlds must have in common to have the same future: the key under which a search knows them.

Left out is

- what only names things or orders them by default: owners, steps, counts of deliveries, the tokens of claims (kept is
  who holds a lease, and whose timer is whose), and which of several workers of a queue is which;
- how late it is: times count from now. Not where the recovery scan runs, which asks how old things are, nor where
  signals come at their times. How often time
  has passed since a law could last see anything is kept, so that a run that waits for ever is not taken for one state;
- what nothing asks for any more: when a run began, which attempt of a settled call it was;
- which of the settled calls of a run a message or a worker is about that will find nothing left of it;
- of the compares with which a call will settle those that hold: what they are about is final.

The last two, and some of a slot's fields, lean on what production's transactions do (see ``forms``) where nothing that
has ended goes on (``Program.is_final``); elsewhere they are told apart. And where a store may fall back, worlds differ
in every name, too, and in what the store was before.

Kept is what the laws remember.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from operator import itemgetter
from typing import Any

from pwf_runtime.core.effects import TIMERS
from pwf_runtime.store.memory import Run

from .. import faults as f
from .forms import (
    history_form,
    is_out_of_date,
    message_form,
    plain,
    run_form,
    slot_form,
    state_form,
    timer_of,
    unmet,
)
from .process import Process, Slot
from .store import SimStore
from .world import World


def fingerprint(world: World) -> int:
    """A 64-bit hash of it: among a million worlds two different ones collide with a chance of some 3 in 10^8."""
    return hash(_Look(world).seen())


class _Look:
    """One look at a world, with what several parts of it need."""

    def __init__(self, world: World) -> None:
        program = world.program
        self.world, self.program, self.memo = world, program, program.memo
        self.now_ms = world.clock.time_ms
        self.ages = program.recovers or bool(program.signals)
        self.from_ms = 0 if self.ages else self.now_ms
        self.plainly = not program.is_final
        self.history, self.waits, settled = self._history()
        self.settled = frozenset() if self.plainly else settled
        self.live = {slot.token for process in world.processes for slot in process.slots.values() if slot.token}

    def seen(self) -> Hashable:
        world = self.world
        return (
            tuple([self._run(run_id, run) for run_id, run in world.store.runs.items()]),
            self._indexes(),
            tuple([self._queue(queue) for queue in world.broker.queues]),
            tuple(sorted([(process.queue, hash(self._process(process))) for process in world.processes])),
            self.history,
            tuple([(key, due - self.from_ms) for key, due in self.waits if due > self.now_ms]),
            world.modes_struck & f.ASKED_ABOUT,
            tuple(world.to_start),
            frozenset(world.to_signal),
            frozenset([(call_id, type(state)) for call_id, state in world.told.items()]),
            tuple(world.to_mark),
            _hashable(world.ledger),
            world.idle,
            (self.now_ms, world._recoveries) if self.ages else None,
            self._literally() if self.program.remembers_past else None,
        )

    def _history(self) -> tuple[int, tuple[tuple[Hashable, int], ...], frozenset[tuple[str, str]]]:
        history = self.world.history
        return self._kept(history, history.is_shared, lambda: history_form(history))  # type: ignore[no-any-return]

    def _kept(self, value: Hashable, is_shared: bool, form: Callable[[], Any]) -> Any:
        """What is made of a value; kept with it, if worlds share it, so that nobody changes it."""
        known = self.memo.forms.get(value) if is_shared else None
        if known is None:
            known = form()
            if is_shared:
                self.memo.keep(self.memo.forms, value, known)
        return known

    # ── the store ─────────────────────────────────────────────────────────────────────────────

    def _run(self, run_id: str, run: Run) -> Hashable:
        form, times = self._run_form(self.world.store, run_id, run)
        leases = [
            (lease, end - self.from_ms, token in self.live)
            for lease, (token, end) in run.leases.items()
            if end > self.now_ms
        ]
        ends = None if run.expires_ms is None else run.expires_ms - self.from_ms
        return run_id, form, tuple([(what, at - self.from_ms) for what, at in times]), frozenset(leases), ends

    def _run_form(self, store: SimStore, run_id: str, run: Run) -> tuple[int, tuple[tuple[str, int], ...]]:
        is_shared = not store.is_large(run_id)
        return self._kept(run, is_shared, lambda: run_form(run, ages=self.ages))  # type: ignore[no-any-return]

    def _indexes(self) -> Hashable:
        """The timers in the order in which they are read; of the others the recovery scan asks since when."""
        timers: list[Hashable] = []
        others: list[Hashable] = []
        for name, entries in self.world.store.indexes.items():
            if name == TIMERS:
                found = sorted([self._timer(*each) for each in entries.items()], key=itemgetter(0))
                timers = [form for _, form in found]
            elif entries:
                others.append((name, frozenset(entries.items() if self.ages else entries)))
        return tuple(timers), frozenset(others)

    def _timer(self, member: bytes, due_ms: int) -> tuple[tuple[Any, ...], Hashable]:
        """Where it comes among the others (as encoded, except for its token), and what is known of it."""
        timer = timer_of(member)
        rest = timer.tries, timer.token in self.live, due_ms - self.from_ms
        names = timer.run_id, timer.call_id, timer.task
        order = due_ms, *[(len(name), name) for name in names], *rest
        call = timer.run_id if names[:2] in self.settled else names[:2]
        return order, (call, timer.task, rest)

    # ── the broker and who takes from it ──────────────────────────────────────────────────────

    def _queue(self, queue: str) -> Hashable:
        return tuple(
            [(message_form(item.body, self.settled), item.redelivered) for item in self.world.broker.queues[queue]]
        )

    def _process(self, process: Process) -> Hashable:
        """A worker: its slots, and what would go back to the queues without it, in this order."""
        unacked = self.world.broker.unacked.get(process.channel)
        if not process.slots and not unacked and process.frozen_until is None:
            return None
        frozen = None if process.frozen_until is None else process.frozen_until - self.from_ms
        slots = tuple([self._slot(slot) for slot in process.slots.values()])
        if not unacked:
            return frozen, slots
        owners = {s.delivery.tag: i for i, s in enumerate(process.slots.values()) if s.delivery is not None}
        back = [
            (
                owners[tag] if tag in owners else message_form(item.body, self.settled),
                queue,
                self._place(queue, item.place),
            )
            for tag, (queue, item) in unacked.items()
        ]
        return frozen, slots, tuple(back)

    def _place(self, queue: str, place: int) -> int:
        """Behind how many others of its queue it would come back, if that depends on where it was."""
        broker = self.world.broker
        if broker.returns != "place":
            return 0
        unacked = [item.place for held in broker.unacked.values() for of, item in held.values() if of == queue]
        return sum([other < place for other in [item.place for item in broker.queues[queue]] + unacked])

    def _slot(self, slot: Slot) -> Hashable:
        key = slot.run_id, slot.call_id
        is_settled = key in self.settled
        form = slot.forms.get(is_settled)
        if form is None:
            form = slot.forms[is_settled] = slot_form(
                slot, self._about(slot), plainly=self.plainly, is_settled=is_settled
            )
        run = self.world.store.runs.get(slot.run_id)
        held = run.leases.get(slot.call_id) if run is not None else None
        holds = slot.token != "" and held is not None and held[0] == slot.token and held[1] > self.now_ms
        compares = unmet(slot, run) if not self.plainly and not is_settled else ()
        asleep = None if slot.asleep_until is None else slot.asleep_until - self.from_ms
        since, name = self.now_ms - slot.asked_ms, slot.token if self.program.remembers_past else None
        return form, name, holds, compares, since, asleep, self._attempt(slot, holds), self._timers(slot)

    def _about(self, slot: Slot) -> Hashable:
        """What its state says; production's also tells the effect that it waits for. States live in the program's memo,
        so that the same comes again and again."""
        since_ms = None if self.ages else slot.asked_ms
        if self.plainly:
            return plain((slot.state, slot.effect), since_ms)
        key = id(slot.state), since_ms
        known = self.memo.forms.get(key)
        if known is None or known[0] is not slot.state:
            known = self.memo.keep(self.memo.forms, key, (slot.state, state_form(slot.state, since_ms)))
        return known[1]  # type: ignore[no-any-return]

    def _attempt(self, slot: Slot, holds: bool) -> Hashable:
        """Whether its attempt is the latest, and how long its lease lasts as the laws see it."""
        if not slot.attempt or not (holds or slot.is_running or self.plainly):
            return None
        left_ms = slot.claimed_ms + self.program.steps.lease_ms - self.now_ms
        return is_out_of_date(slot, self.world.history.calls.get((slot.run_id, slot.call_id))), max(left_ms, 0)

    def _timers(self, slot: Slot) -> Hashable:
        """When its timers are due; of a sweep, which of the timers it read are still there."""
        timers = self.world.store.indexes.get(TIMERS) or {}
        if slot.token:
            return tuple([due - self.from_ms for member, due in timers.items() if timer_of(member).token == slot.token])
        return tuple([member in timers for member in getattr(slot.state, "members", ())])

    # ── where nothing is final ────────────────────────────────────────────────────────────────

    def _literally(self) -> Hashable:
        """Every name but those of slots, which stand with them; and what the store may fall back to."""
        world = self.world
        timers = frozenset(world.store.indexes.get(TIMERS, {}).items())
        return _leases(world.store), timers, world._owners, tuple(self._past()), frozenset(world.paths)

    def _past(self) -> Iterator[Hashable]:
        rest = self.world.past
        for _ in range(FURTHEST + 1):
            if rest is None:
                return
            rest, store, history = rest
            yield frozenset([(run_id, self._run_form(store, run_id, run)) for run_id, run in store.runs.items()])
            yield _leases(store)
            yield frozenset([(name, frozenset(entries.items())) for name, entries in store.indexes.items()])
            yield hash(history.content())


def _leases(store: SimStore) -> Hashable:
    return frozenset([(run_id, *held) for run_id, run in store.runs.items() for held in run.leases.items()])


FURTHEST = max(int(mode.partition("-")[2]) for mode in f.ROLLBACK)
"""How many writes a store may fall back by."""


def _hashable(ledger: tuple[object, ...]) -> Hashable:
    """What a task told a probed client may be anything."""
    return repr(ledger) if ledger else None
