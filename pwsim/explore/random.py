"""Random orders and random faults, with *swarm*: each schedule switches whole fault families off.

Switching families off finds what a mixture hides (Groce et al., Swarm Testing, ISSTA 2012): a schedule of nothing but
stalls gets further than one in which each stall is soon followed by a crash.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from ..faults import FAMILIES, Fault
from ..laws import Watch
from ..program import Program
from ..runner import LAWS, Result, apply, finish
from ..schedule import Schedule, chance
from ..world.world import World


def explore(program: Program, modes: frozenset[str], max_faults: int, *, seed: int, first: int = 0) -> Iterator[Result]:
    """Schedules ``first``, ``first + 1``, ... of this seed, without end."""
    points = _steps(program)
    while True:
        yield play(program, modes, max_faults, chance(seed, first), points)
        first += 1


def _steps(program: Program) -> int:
    world = World(program, Watch(()))
    finish(world)
    return world.step


def play(program: Program, modes: frozenset[str], max_faults: int, rng: Random, points: int) -> Result:
    """One random schedule. ``points``: how many steps a run has, to spread the faults over all of it."""
    world = World(program, LAWS)
    allowed = _swarm(modes, rng)
    wanted = rng.randint(0, max_faults) if allowed else 0
    faults: list[Fault] = []
    deviations: list[tuple[int, int]] = []
    likely = 1.5 * wanted / points
    violation = None
    while violation is None:
        actions = world.enabled()
        if not actions:
            if world.advance():
                continue
            break
        number = rng.randrange(len(actions)) if len(actions) > 1 else 0
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
    if violation is None:
        violation = finish(world)
    return Result(world, Schedule(tuple(faults), tuple(deviations)), violation, world.step)


def _swarm(modes: frozenset[str], rng: Random) -> frozenset[str]:
    """The modes of the families that this schedule leaves on; one in sixteen has none."""
    if rng.random() < 1 / 16:
        return frozenset()
    on = [mode for family in FAMILIES.values() if rng.random() < 0.5 for mode in family]
    return modes & frozenset(on) or modes
