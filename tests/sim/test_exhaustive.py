"""The search of all orders leaves out none that shows anything else than those that it tries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import pytest

from pwf_runtime.core import keys as k
from pwf_runtime.core import states as s
from pwf_runtime.core import sweep
from pwf_runtime.core.txn import TxnReply
from pwsim.explore import exhaustive, forced
from pwsim.explore import random as at_random
from pwsim.faults import BEFORE
from pwsim.planted import PLANTED, protocol_of, workflows
from pwsim.program import Program
from pwsim.runner import finish, play
from pwsim.schedule import Schedule
from pwsim.world import fingerprint as prints
from pwsim.world.fingerprint import fingerprint
from pwsim.world.world import World

from .exactly import State, every_state, outcome_of
from .programs import chain, fan, prepared

# ── what is searched ──────────────────────────────────────────────────────────────────────────


def many(task: str, data: int = 1, **options: Any) -> Program:
    return Program([workflows.many], [(task, data)], **options)


def late(**options: Any) -> Program:
    return Program([workflows.late], [("hurry", 1)], **options)


def flaky(**options: Any) -> Program:
    return Program([workflows.flaky], [("waver", 1)], **options)


SMALL: dict[str, tuple[Callable[[], Program], str, int]] = {
    "two calls": (chain, "crash", 2),
    "two calls, lost answers": (chain, "crash,reply-lost", 1),
    "two calls, stalls": (chain, "stall,duplicate,requeue", 1),
    "two calls, one worker": (lambda: chain(workers=1), "crash,stall", 2),
    "two calls, three workers": (lambda: chain(workers=3), "crash", 1),
    "two calls, three workers, stalls": (lambda: chain(workers=3), "stall,duplicate", 1),
    "two calls, two at a time": (lambda: chain(prefetch=2), "crash", 1),
    "two calls, the rest": (chain, "shutdown,slow,publish,lease,deploy,differs", 1),
    "two calls, losses": (lambda: chain(workers=1), "loss", 1),
    "two calls, refusals": (lambda: chain(workers=1), "refused,timeout,limit", 1),
    "two calls, evictions": (chain, "eviction", 1),
    "two calls, the past": (chain, "rollback", 1),
    "two calls, a pause": (lambda: chain(workers=1), "pause", 1),
    "a delay": (lambda: chain("linger"), "crash", 2),
    "a task that always fails": (lambda: chain("poison", workers=1), "crash", 1),
    "a task that nobody has": (lambda: chain("mistype", workers=1), "crash", 0),
    "a queue that is not there": (lambda: chain("misdirect", workers=1), "crash", 0),
    "a late join": (late, "crash", 1),
    "a late join, stalls": (late, "stall,duplicate", 1),
    "a fork": (lambda: fan(2), "", 0),
    "a fork, stalls": (lambda: fan(2), "stall", 1),
    "a fork, one worker": (lambda: fan(2, workers=1), "crash", 1),
    "a fork, two at a time": (lambda: fan(2, prefetch=2), "", 0),
    "two events of one name": (lambda: many("repeat", 2, workers=1), "crash", 1),
    "two of three": (lambda: many("choose", workers=1), "crash", 1),
    "a time that is over": (lambda: many("expect"), "crash", 1),
    "a time that is just over": (lambda: many("race"), "", 0),
    "a signal": (lambda: Program([workflows.outside], [("ask", 1)], workers=1, signals=[("approved", 2)]), "crash", 1),
}


CONVICTED: dict[str, tuple[str, int]] = {
    "ended-run-still-listed": ("", 0),
    "ended-run-kept-for-ever": ("", 0),
    "ack-before-commit": ("", 0),
    "ack-before-publish": ("", 0),
    "ack-before-settle": ("", 0),
    "publish-before-commit": ("", 0),
    "publish-before-fire": ("", 0),
    "publish-before-start": ("", 0),
    "settle-before-publish": ("after", 1),
    "settle-before-satisfy": ("", 0),
    "settle-before-timer": ("after", 1),
    "fire-before-mark": ("", 0),
    "timer-after-ack": ("after", 1),
    "blind-removal-of-a-timer": ("", 0),
    "timer-removed-before-publish": ("after", 1),
    "no-dedupe": ("stall", 1),
    "attempt-not-incremented": ("old-code", 1),
    "parked-call-forgotten": ("old-code", 1),
    "early-delivery-forgotten": ("after", 1),
    "retry-without-timer": ("", 0),
    "poison-task-without-limit": ("", 0),
    "due-time-ignored": ("after", 1),
    "unknown-task-dropped": ("old-code", 1),
    "children-of-a-dead-call-published": ("stall", 1),
    "result-recomputed": ("after", 1),
    "second-attempt-without-data": ("old-code", 1),
    "drawn-child-ids": ("", 0),
    "stale-failure-noted": ("stall", 1),
    "late-join-never-looks-back": ("", 0),
    "same-name-twice": ("", 0),
    "need-count-ignored": ("", 0),
    "join-read-then-written": ("", 0),
    "two-last-arrivals": ("", 0),
    "fires-after-its-time": ("", 0),
    "event-counted-twice": ("", 0),
    "joined-call-gets-all-events": ("", 0),
    "events-out-of-order": ("", 0),
    "unroutable-counted-as-sent": ("", 0),
    "join-state-expires": ("", 0),
    "scan-republishes-for-ever": ("lost", 1),
    "go-pubsub-a-twice": ("", 0),
    "go-pubsub-early-events": ("", 0),
    "go-pubsub-both-branches": ("reply-lost", 1),
    "go-pubsub-unknown-handler": ("", 0),
}
"""Planted bugs, each with the modes of the fewest faults that show it, and how many. Not here: drivers that remember
what a copied world forgets, what only faults of clients show, and what takes more states than a test has time for."""


def small(name: str) -> tuple[Program, frozenset[str], int]:
    make, families, max_faults = SMALL[name]
    return *prepared(make(), families), max_faults


def broken(name: str) -> tuple[Program, frozenset[str], int]:
    planted, (modes, max_faults) = PLANTED[name], CONVICTED[name]
    program, allowed = planted.program(), frozenset(filter(None, modes.split(",")))
    program.expects(allowed)
    program.reference = play(Program(planted.apps, [planted.start]), Schedule()).world.committed_graph()
    program.max_steps = 300
    return program, allowed, max_faults


# ── what it shows ─────────────────────────────────────────────────────────────────────────────


class Found:
    """What a search came to: outcomes, broken laws, what effects were answered, and how many states that took."""

    def __init__(self, ends: set[Any], laws: set[str], facts: set[Any], states: int) -> None:
        self.ends, self.laws, self.facts, self.states = ends, laws, facts, states


def searched(program: Program, modes: frozenset[str], max_faults: int) -> Found:
    ends, laws, states = set(), set(), 0
    with noting() as facts:
        for result in exhaustive.explore(program, modes, max_faults):
            states += 1
            if result.violation is not None:
                laws.add(result.violation.law)
            elif not result.world.enabled() and not result.world.copy().advance():
                ends.add(outcome_of(result.world))
    return Found(ends, laws, facts, states)


def all_there_is(program: Program, modes: frozenset[str], max_faults: int) -> tuple[list[State], Found]:
    with noting() as facts:
        states = every_state(program, modes, max_faults)
    ends = {outcome_of(state.world) for state in states if state.is_end}
    return states, Found(ends, {state.law for state in states if state.law}, facts, len(states))


@pytest.fixture(scope="module", params=SMALL)
def everything(request: pytest.FixtureRequest) -> tuple[str, list[State], Found]:
    """One of the small programs, and all there is of it: made once for the tests that look at it."""
    return request.param, *all_there_is(*small(request.param))


@contextmanager
def noting() -> Iterator[set[Any]]:
    """All that workers are told: of which call, what for, and whether it held or what there was instead. Settled calls
    are one; who adds a timer, runs a task or acks may be told of a call that is settled before or after."""
    facts: set[Any] = set()
    right = World.record

    def record(
        world: World, process: str, path: str, nth: int, effect: str, nr: int, mode: str | None, answer: Any
    ) -> None:
        if mode != BEFORE:
            settled = any(call.path == path and call.settled for call in world.history.calls.values())
            who = "" if effect in ("add to timers", "ack", "run") else "settled" if settled else path
            facts.add((who, effect, _told(answer)))
        right(world, process, path, nth, effect, nr, mode, answer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(World, "record", record)
        yield facts


def _told(answer: Any) -> Any:
    if type(answer) is not TxnReply:
        return type(answer).__name__
    there = answer.replies[0] if answer.replies and not answer.held else None
    if isinstance(there, tuple) and len(there) == 10:  # a snapshot, with who holds the lease
        status, open_, _, state, *_ = there
        return answer.held, status, open_ == b"0", state, answer.replies[1] is None
    return answer.held, there[:1] if isinstance(there, tuple) else None


# ── the reductions ────────────────────────────────────────────────────────────────────────────


def test_leaving_out_orders_leaves_out_nothing_that_comes_of_them(everything: tuple[str, list[State], Found]) -> None:
    """Neither an end, nor a broken law, nor anything that a worker is told in any of them."""
    name, _, every = everything
    found = searched(*small(name))
    assert (found.ends, found.laws) == (every.ends, every.laws)
    assert found.facts == every.facts
    assert found.states < every.states


def test_worlds_that_are_taken_for_the_same_have_the_same_future(everything: tuple[str, list[State], Found]) -> None:
    """Whatever can happen to one of them can happen to the others, and leads to what is taken for the same again."""
    _, states, _ = everything
    assert not told_apart(states)


def told_apart(states: list[State]) -> list[Any]:
    """Fingerprints of worlds that have different futures."""
    mark = {state.key: (fingerprint(state.world), state.left, state.law) for state in states}
    futures: dict[Any, set[Any]] = defaultdict(set)
    for state in states:
        futures[mark[state.key]].add((frozenset(mark[each.key] for each in state.following), state.is_end))
    return [each for each, seen in futures.items() if len(seen) > 1]


@pytest.mark.parametrize("name", CONVICTED)
def test_leaving_out_orders_leaves_out_no_broken_law(name: str) -> None:
    found, (_, every) = searched(*broken(name)), all_there_is(*broken(name))
    assert found.laws == every.laws
    assert PLANTED[name].law in found.laws
    assert found.states <= every.states


# ── reductions that would be wrong are noticed ────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("state", "name"),
    [
        (s.Committing, "a late join"),
        (s.Looking, "two calls, stalls"),
        (s.Satisfying, "a late join"),
        (s.Recalling, "a late join"),
        (s.Firing, "a late join"),
        (s.Settling, "two calls, lost answers"),
        (s.Completing, "two calls, stalls"),
        (sweep.Publishing, "a time that is just over"),
    ],
)
def test_to_force_what_others_can_tell_leaves_something_out(
    state: type, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = forced._is_forced

    def wrong(world: Any, process: Any, slot: Any, left: int) -> bool:
        return type(slot.state) is state or right(world, process, slot, left)

    monkeypatch.setattr(forced, "_is_forced", wrong)
    _, every = all_there_is(*small(name))
    assert searched(*small(name)).facts < every.facts


@pytest.mark.parametrize(
    ("condition", "name"),
    [
        ("_comes_first", "two calls, three workers, stalls"),
        ("_is_only_message", "two calls, three workers, stalls"),
        ("_fails_for_good", "two calls, stalls"),
    ],
)
def test_a_rule_without_its_condition_leaves_something_out(
    condition: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forced, condition, lambda *_: True)
    _, every = all_there_is(*small(name))
    assert searched(*small(name)).facts < every.facts


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("_queue", "two calls, stalls"),
        ("_run", "a task that always fails"),
        ("_indexes", "two calls, stalls"),
        ("_process", "two calls, stalls"),
        ("_about", "two calls, stalls"),
    ],
)
def test_to_leave_out_of_a_fingerprint_what_matters_is_noticed(
    part: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    states, _ = all_there_is(*small(name))
    monkeypatch.setattr(prints._Look, part, lambda *_: None)
    assert told_apart(states)


# ── what a result is ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["two calls, stalls", "a late join", "a time that is over"])
def test_whatever_end_chance_comes_to_the_search_has_found(name: str) -> None:
    """Random schedules with one fault of a worker end in no way that the search of all orders did not see."""
    program, modes, max_faults = small(name)
    ends = searched(program, modes, max_faults).ends
    by_chance = set()
    for result in islice(at_random.explore(program, modes, max_faults, seed=3), 400):
        if not any(fault.point.call.startswith("start of ") for fault in result.schedule.faults):
            by_chance.add(outcome_of(result.world))
    assert by_chance
    assert by_chance <= ends


def test_the_search_goes_on_behind_a_delay() -> None:
    """A call that is due later, or is tried again, is part of every order, too."""
    assert len(searched(chain("linger"), frozenset(), 0).ends) == 1


def test_every_state_on_the_way_is_another_and_more_faults_are_more_states() -> None:
    counts = []
    for max_faults in range(3):
        program, modes = prepared(chain(), "crash")
        counts.append(searched(program, modes, max_faults).states)
    assert counts == [13, 85, 380]  # if it is another number, somebody should know why


def test_a_violation_found_by_the_search_is_played_again_from_its_schedule() -> None:
    program, modes = prepared(chain(protocol=protocol_of("ack-before-publish")), "crash")
    broken = next(r for r in exhaustive.explore(program, modes, 1) if r.violation is not None)
    again = play(program, broken.schedule)
    assert again.violation is not None
    assert again.violation.sentence == broken.violation.sentence  # type: ignore[union-attr]
    assert again.fingerprint() == broken.fingerprint()


def test_clients_are_left_alone() -> None:
    program, modes = prepared(chain(), "crash")
    for result in exhaustive.explore(program, modes, 1):
        assert not any(fault.point.call.startswith("start of ") for fault in result.schedule.faults)


def test_the_end_of_a_run_without_faults_is_the_same_in_every_order() -> None:
    """L6, over all orders: not merely over those that chance tried."""
    program = fan(2)
    graphs = set()
    for result in exhaustive.explore(program, frozenset(), 0):
        if not result.world.enabled() and not result.world.copy().advance():
            assert finish(result.world) is None
            graphs.add(result.world.committed_graph())
            assert result.world.history.status == {"run": k.COMPLETED}
    assert len(graphs) == 1
