"""What ``exhaustive`` is compared with: the same search without any reduction. Every action, fault and difference."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Any, TypeAlias

from pwsim.laws import Violated
from pwsim.program import Program
from pwsim.runner import LAWS, apply, finish
from pwsim.world.process import Process
from pwsim.world.world import World

Known: TypeAlias = Callable[[World], Hashable]


class State:
    """A world, how many faults may still strike, and the law that is broken in it."""

    def __init__(self, known: Known, world: World, left: int, law: str = "") -> None:
        self.world, self.left, self.law = world, left, law
        self.key = hash((known(world), left, law))
        self.is_end = False
        self.following: list[State] = []


def every_state(program: Program, modes: frozenset[str], max_faults: int, known_by: Known | None = None) -> list[State]:
    """Every state there is, each with what follows it. Worlds are known by all of them, or as ``known_by`` says."""
    known_by = known_by or exact
    start = State(known_by, World(program, LAWS), max_faults)
    seen, waiting = {start.key: start}, [start]
    while waiting:
        state = waiting.pop()
        for each in _following(known_by, state, modes):
            known = seen.setdefault(each.key, each)
            if known is each:
                waiting.append(each)
            state.following.append(known)
    return list(seen.values())


def _following(known: Known, state: State, modes: frozenset[str]) -> Iterator[State]:
    if state.law:
        return
    actions = state.world.enabled()
    for action in actions:
        yield _next(known, state, action, None)
        at = state.world.point(action)
        if at is not None and state.left and action[2] != len(state.world.processes) - 1:
            yield from (_next(known, state, action, mode) for mode in at[1] if mode in modes)
    if not actions:
        world = state.world.copy()
        if world.advance():
            yield State(known, world, state.left)
            return
        state.is_end = True
        if (violation := finish(world)) is not None:
            yield State(known, world, state.left, violation.law)


def _next(known: Known, state: State, action: Any, mode: str | None) -> State:
    world = state.world.copy()
    violation: Violated | None = apply(world, action, mode)
    return State(known, world, state.left - (mode is not None), violation.law if violation is not None else "")


# ── what there is of a world ──────────────────────────────────────────────────────────────────


def exact(world: World) -> Hashable:
    """All of it that can matter, by its name and at its time. Only the numbers of steps and slots are left out."""
    runs = [
        (run_id, frozenset(run.fields.items()), frozenset(run.leases.items()), run.expires_ms)
        for run_id, run in world.store.runs.items()
    ]
    indexes = [(name, frozenset(entries.items())) for name, entries in world.store.indexes.items() if entries]
    queues = [tuple([(item.body, item.redelivered) for item in queued]) for queued in world.broker.queues.values()]
    places = sorted(
        [item.place for queued in world.broker.queues.values() for item in queued]
        + [tag for held in world.broker.unacked.values() for tag in held]
    )
    waiting = [tuple([places.index(item.place) for item in queued]) for queued in world.broker.queues.values()]
    return (
        world.clock.time_ms,
        tuple(runs),
        frozenset(indexes),
        tuple(queues),
        tuple(waiting) if world.broker.returns == "place" else None,
        tuple([_process(world, process, places) for process in world.processes]),
        world.history.content(),
        world.modes_struck,
        tuple(world.to_start),
        tuple(world.to_signal),
        repr(sorted(world.told.items())),
        tuple(world.to_mark),
        repr(world.ledger),
        (world._recoveries, world.idle, world._owners if world.program.remembers_past else None),
        _past(world),
    )


def _process(world: World, process: Process, places: list[int]) -> Hashable:
    slots = [
        (
            id(slot.machine),
            slot.state,
            slot.effect,
            (slot.part, slot.reordered, slot.unroutable, slot.struck, slot.asleep_until, len(slot.inner)),
            repr(slot.answer),
            (slot.attempt, slot.claimed_ms, slot.token, slot.outcome, slot.woke, slot.lost_after),
            None if slot.delivery is None else slot.delivery.channel == process.channel,
        )
        for slot in process.slots.values()
    ]
    by_place = world.broker.returns == "place"
    unacked = world.broker.unacked.get(process.channel, {})
    back = [(queue, item.body, places.index(tag) if by_place else 0) for tag, (queue, item) in unacked.items()]
    return process.frozen_until, tuple(slots), tuple(back)


def _past(world: World) -> Hashable:
    past, rest = [], world.past
    while rest is not None:
        rest, store, history = rest
        past.append((frozenset(store.runs.items()), repr(store.indexes), history.content()))
    return tuple(past)


def outcome_of(world: World) -> Hashable:
    """What came of a world that has ended: what was committed and returned, how often, and what is left."""
    calls = [(call.path, call.commits, call.settled, call.dead, call.outcome) for call in world.history.calls.values()]
    joins = [(join.path, join.fired, join.expired) for join in world.history.joins.values()]
    indexes = [(name, frozenset(entries)) for name, entries in world.store.indexes.items() if entries]
    ended = (frozenset(world.history.status.items()), frozenset(world.history.results.items()))
    return hash(
        (frozenset(calls), frozenset(joins), frozenset(indexes), ended, repr(world.ledger), world.broker.is_empty())
    )
