"""Programs to be simulated by the tests of this folder, and ways to look at a whole world."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from itertools import islice
from typing import Any

from pwf_runtime import Action, Context, Event, Retry, Workflow, call, emit, fork, join, result
from pwf_runtime.workflow import Workflow as _Workflow
from pwsim.explore import random as at_random
from pwsim.faults import Fault, families, parse
from pwsim.laws import Watch
from pwsim.planted import workflows
from pwsim.program import Program
from pwsim.runner import Result, apply, play
from pwsim.schedule import Schedule, chance
from pwsim.world.world import World

rich = Workflow("rich")
"""A fork within a join, a delay, a retry, a timeout that is not met, another service, and steps."""
other = Workflow("other")


@rich.task
def begin(data: int) -> list[Action]:
    return [
        call("other.far", data),
        call(flaky, data),
        call(later, data, delay=3.0),
        fork([call(leaf, 1), call(leaf, 2)], then=call(joined, data)),
        join(finish, data, on=["far", "flaky", "later"], timeout=600.0, on_timeout=never),
    ]


@other.task
def far(data: int) -> Action:
    return emit("far", data)


@rich.task(retry=Retry(max_attempts=6, first_delay=1.0))
def flaky(data: int, ctx: Context) -> Action:
    if ctx.attempt == 1:
        raise ConnectionError("not at once")
    return emit("flaky", data)


@rich.task
def later(data: int, ctx: Context) -> Action:
    return emit("later", ctx.step("remembered", lambda: data))


@rich.task
def leaf(data: int) -> Action:
    return result(data)


@rich.task
def joined(data: int, events: list[Event]) -> Action:
    return result([event.data for event in events])


@rich.task
def finish(data: int, events: list[Event]) -> Action:
    return result(sum(event.data for event in events))


@rich.task
def never(data: int) -> Action:
    return result("late")


EXAMPLES: dict[str, tuple[list[str], str]] = {
    "registration": (["users", "documents"], "register_user"),
    "original_style": (["users", "documents"], "register_user"),
    "bulk": (["app"], "start"),
    "conditional": (["app"], "review"),
    "ping_pong": (["ping", "pong"], "hit"),
}


def example(name: str, **options: Any) -> Program:
    """The program of ``examples/NAME.py``."""
    module = import_module(f"examples.{name}")
    apps, task = EXAMPLES[name]
    return Program([getattr(module, app) for app in apps], [(task, module.START)], **options)


def fan(parts: int = 2, **options: Any) -> Program:
    return Program([workflows.fan], [("begin", parts)], **options)


def chain(task: str = "leave", **options: Any) -> Program:
    """``leave``: two calls, one after the other; or another task of that workflow."""
    return Program([workflows.chain], [(task, 1)], **options)


def rich_program(**options: Any) -> Program:
    return Program([rich, other], [("begin", 1)], **options)


def program_of(app: _Workflow, task: str = "a", data: Any = 1, **options: Any) -> Program:
    return Program([app], [(task, data)], **options)


# ── playing ───────────────────────────────────────────────────────────────────────────────────


def prepared(program: Program, faults: str = "all") -> tuple[Program, frozenset[str]]:
    """A program for faults of these families, and their modes."""
    modes = families(faults)
    program.expects(modes)
    return program, modes


def random_results(program: Program, count: int, *, faults: str = "all", seed: int = 0) -> Iterator[Result]:
    """So many random schedules of up to three faults."""
    program, modes = prepared(program, faults)
    return islice(at_random.explore(program, modes, 3, seed=seed), count)


def struck(program: Program, *faults: str, **options: Any) -> Result:
    """The schedule of exactly these faults; each must strike."""
    parsed = tuple(map(parse, faults))
    program.expects(frozenset(fault.mode for fault in parsed))
    result = play(program, Schedule(parsed), **options)
    assert not result.unmatched(), f"not met: {result.unmatched()}"
    return result


def wander(program: Program, seed: int, *, faults: str = "all", chance_of_fault: float = 0.05) -> Iterator[World]:
    """A random execution, shown before each of its steps: whatever is drawn happens, and no law watches."""
    program, modes = prepared(program, faults)
    rng, world, left = chance(seed, 0), World(program, Watch(())), 4
    while world.step < 600:
        yield world
        actions = world.enabled()
        if not actions:
            if not world.advance():
                return
            continue
        action = rng.choice(actions)
        at = world.point(action)
        possible = [mode for mode in at[1] if mode in modes] if at is not None else []
        mode = rng.choice(possible) if possible and left and rng.random() < chance_of_fault else None
        left -= mode is not None
        violation = apply(world, action, mode)
        assert violation is None, violation


def whole(world: World) -> Any:
    """All that a world consists of, as a value."""
    slots = [
        (
            process.name,
            process.channel,
            process.frozen_until,
            owner,
            {**vars(slot), "machine": type(slot.machine), "forms": {}},
        )
        for process in world.processes
        for owner, slot in process.slots.items()
    ]
    runs = {
        run_id: (sorted(run.fields.items()), sorted(run.leases.items()), run.expires_ms)
        for run_id, run in world.store.runs.items()
    }
    calls = [
        (key, call.path, call.commits, call.settled, call.dead, call.attempt, call.outcome)
        for key, call in world.history.calls.items()
    ]
    joins = [(key, join.fired, join.expired) for key, join in world.history.joins.items()]
    return repr(
        (
            world.step,
            world.clock.time_ms,
            runs,
            world.store.indexes,
            world.broker.queues,
            world.broker.unacked,
            slots,
            calls,
            joins,
            world.history.events,
            world.history.status,
            world.ledger,
            world.to_start,
            world.to_mark,
            world.trace,
        )
    )


def faults_of(result: Result) -> tuple[Fault, ...]:
    return result.schedule.faults
