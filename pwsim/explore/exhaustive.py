"""Every order and every set of up to k faults of workers and servers, each state once.

Faults of clients are left to the other strategies: a run that is begun twice has a second copy of everything, side by
side with the first, which multiplies the states and tells little.

What keeps the states few:

- worlds with the same future are one state (``world.fingerprint``), and of those that differ only in how many faults
  may still strike, the one with the most stands for all (``search``);
- a step that every schedule may as well take first is taken first (``forced``), and what it leads to is a state only
  where there is something to choose;
- of several idle workers of one queue only the first is given something to do.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from .. import faults as f
from ..faults import Fault
from ..laws import Violated
from ..program import Program
from ..runner import LAWS, Result, apply, finish
from ..schedule import Schedule
from ..world.fingerprint import fingerprint
from ..world.world import PERFORM, Action, World
from .forced import forced
from .search import search


class Node:
    """A world on the way: how it was reached, how many faults may still strike, what law is broken in it, and whose
    effect was the last step, if nothing struck there. ``actions``: what may happen, where nothing is forced."""

    __slots__ = ("actions", "choices", "faults", "latest", "left", "violation", "world")

    def __init__(
        self,
        world: World,
        left: int,
        faults: tuple[Fault, ...],
        choices: object,
        violation: Violated | None,
        latest: int | None = None,
    ) -> None:
        self.world = world
        self.left = left
        self.faults = faults
        self.choices = choices  # (choices before, (step, number)), newest first, or None
        self.violation = violation
        self.latest = latest
        self.actions: list[Action] | None = None

    def result(self) -> Result:
        """The schedule is spelled out for a violation only: it is as long as the way here."""
        made = _deviations(self.choices) if self.violation is not None else ()
        return Result(self.world, Schedule(self.faults, made), self.violation, 1)


def _deviations(choices: object) -> tuple[tuple[int, int], ...]:
    made: list[tuple[int, int]] = []
    while isinstance(choices, tuple):
        choices, choice = choices
        made.append(choice)
    return tuple(reversed(made))


def explore(program: Program, modes: frozenset[str], max_faults: int) -> Iterator[Result]:
    """One result per distinct state. A result without a violation is a state on the way, not a whole schedule."""
    expand = _Expand(modes)
    start = Node(World(program, LAWS), max_faults, (), None, None)
    with _uncollected():
        for node in search(start, expand, _key, lambda node: node.left):
            yield node.result()


@contextmanager
def _uncollected() -> Iterator[None]:
    """Nothing in a world refers to it, so those that nobody needs go by themselves. All that wait would only be walked
    through again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _key(node: Node) -> tuple[int, bool]:
    return fingerprint(node.world), node.violation is not None


class _Expand:
    """The states that one step, and what is forced after it, leads to."""

    def __init__(self, modes: frozenset[str]) -> None:
        self.modes = modes

    def __call__(self, node: Node) -> Iterator[Node]:
        world = node.world
        if node.violation is not None:
            return
        actions = world.enabled() if node.actions is None else node.actions
        if not actions:
            yield from self._later(node)
            return
        choices = [
            (number, fault) for number in _among(world, actions) for fault in self._faults(node, actions[number])
        ]
        for i, (number, fault) in enumerate(choices):
            own = world if i == len(choices) - 1 else world.copy()  # the last may have the world that is left over
            yield from self._onward(self._step(node, own, actions, number, fault))

    def _step(self, node: Node, world: World, actions: list[Action], number: int, fault: Fault | None) -> Node:
        choices = (node.choices, (world.step, number))
        latest = _struck_at(world, actions[number]) if node.left else None
        violation = apply(world, actions[number], fault.mode if fault is not None else None)
        if fault is None:
            return Node(world, node.left, node.faults, choices, violation, latest)
        return Node(world, node.left - 1, (*node.faults, fault), choices, violation)

    def _onward(self, node: Node) -> Iterator[Node]:
        """Where forced steps lead from here, without faults, and with each that may strike on the way."""
        while node.violation is None:
            world = node.world
            actions = world.enabled()
            number = forced(world, actions, node.left, self.modes)
            if number is None:
                node.actions = actions
                break
            for fault in self._faults(node, actions[number]):
                if fault is not None:
                    yield from self._onward(self._step(node, world.copy(), actions, number, fault))
            node = self._step(node, world, actions, number, None)
        yield node

    def _faults(self, node: Node, action: Action) -> list[Fault | None]:
        """What may strike at an action; ``None``: nothing does. A worker that dies before it, having just done the one
        before, is one that died after that."""
        at = node.world.point(action) if node.left and action[2] != len(node.world.processes) - 1 else None
        if at is None:
            return [None]
        modes = self.modes - {f.BEFORE} if action[2] == node.latest and f.AFTER in self.modes else self.modes
        return [*[Fault(at[0], mode) for mode in at[1] if mode in modes], None]

    def _later(self, node: Node) -> Iterator[Node]:
        """Time passes, or it has come to its end."""
        if node.world.advance():
            yield from self._onward(Node(node.world, node.left, node.faults, node.choices, None))
        elif (violation := finish(node.world)) is not None:
            yield Node(node.world, node.left, node.faults, node.choices, violation)


def _struck_at(world: World, action: Action) -> int | None:
    """Whose effect the action is, if a fault can strike there."""
    return action[2] if action[1] == PERFORM and world.point(action) is not None else None


def _among(world: World, actions: list[Action]) -> list[int]:
    """The numbers of the actions that are worth choosing among: what is given to one idle worker need not be given to
    another of its queue, since nothing tells them apart."""
    given: set[tuple[int, str]] = set()
    numbers = []
    for number, (_, kind, index, _) in enumerate(actions):
        process = world.processes[index]
        if kind != PERFORM and not process.slots and process.queue:
            if (kind, process.queue) in given:
                continue
            given.add((kind, process.queue))
        numbers.append(number)
    return numbers
