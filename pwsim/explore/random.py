"""Random orders and random faults, with *swarm*: each schedule switches whole fault families off.

Switching families off finds what a mixture hides (Groce et al., Swarm Testing, ISSTA 2012): a schedule of nothing but
stalls gets further than one in which each stall is soon followed by a crash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import TypeAlias

from ..faults import Fault, by_family
from ..laws import Watch
from ..program import Program
from ..runner import LAWS, Result, apply, finish
from ..schedule import Schedule, chance
from ..world.world import SIGNAL, Action, World

Order: TypeAlias = Callable[[list[Action], int], int]
"""Chooses: the number of an action among those enabled at a step."""

Ordering: TypeAlias = Callable[[Random, int], Order]
"""Draws an order for one schedule of about so many steps."""


def uniform(rng: Random, _steps: int) -> Order:
    """Each enabled action is as likely as the others."""
    return lambda actions, _step: rng.randrange(len(actions)) if len(actions) > 1 else 0


def explore(
    program: Program,
    modes: frozenset[str],
    max_faults: int,
    *,
    seed: int,
    first: int = 0,
    stride: int = 1,
    ordering: Ordering = uniform,
) -> Iterator[Result]:
    """Schedules ``first``, ``first + stride``, ... of this seed, without end."""
    world = World(program, Watch(()))
    finish(world)
    steps = max(world.step, 2)
    while True:
        yield play(program, modes, max_faults, chance(seed, first), steps, ordering)
        first += stride


def play(
    program: Program, modes: frozenset[str], max_faults: int, rng: Random, steps: int, ordering: Ordering
) -> Result:
    """One random schedule. ``steps``: how many a run without faults has, to spread the faults over all of it."""
    world = World(program, LAWS)
    allowed = _swarm(modes, rng)
    wanted = rng.randint(0, max_faults) if allowed else 0
    order = _patient(ordering(rng, steps), rng) if program.signals else ordering(rng, steps)
    faults: list[Fault] = []
    deviations: list[tuple[int, int]] = []
    likely = 1.5 * wanted / steps
    while True:
        actions = world.enabled()
        if not actions:
            if world.advance():
                continue
            violation = finish(world)
            break
        number = order(actions, world.step)
        action = actions[number]
        if len(actions) > 1 and action != min(actions):
            deviations.append((world.step, number))
        mode = None
        if len(faults) < wanted and rng.random() < likely:
            at = world.point(action)
            possible = [mode for mode in at[1] if mode in allowed] if at is not None else []
            if at is not None and possible:
                mode = rng.choice(possible)
                faults.append(Fault(at[0], mode))
        violation = apply(world, action, mode)
        if violation is not None:
            break
    return Result(world, Schedule(tuple(faults), tuple(deviations)), violation, world.step, drawn=True)


def _patient(order: Order, rng: Random) -> Order:
    """In half of the schedules a signal waits until nothing else goes on: a run must wait or strand for it."""
    if rng.random() < 0.5:
        return order

    def later(actions: list[Action], step: int) -> int:
        others = [number for number, action in enumerate(actions) if action[1] != SIGNAL]
        if not others:
            return order(actions, step)
        return others[order([actions[number] for number in others], step)]

    return later


def _swarm(modes: frozenset[str], rng: Random) -> frozenset[str]:
    """The modes of the families that this schedule leaves on; one in sixteen has none."""
    if rng.random() < 1 / 16:
        return frozenset()
    on = [family for family in by_family(modes) if rng.random() < 0.5]
    return frozenset().union(*on) or modes
