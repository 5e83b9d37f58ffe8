"""Every order and every set of up to k faults of workers and servers, each state once.

Faults of clients are left to the other strategies: a run that is begun twice has a second copy of everything, side by
side with the first, which multiplies the states and tells little.

Reductions, which drop only orders that lead to the same states:

- a step that no other process can tell from its absence is not interleaved with theirs but taken first, with its
  faults: a task that runs, an ack, a timer that is set, a joined call that reads its events, the claim of a call of
  which there is no other message;
- of several idle workers of one queue only the first is given something to do.
"""

from __future__ import annotations

from collections.abc import Iterator

from pwf_runtime.core import keys as k
from pwf_runtime.core.effects import Ack, RunTask
from pwf_runtime.core.states import Claiming, Gathering, Parking

from ..faults import Fault
from ..laws import Violated
from ..program import Program
from ..runner import LAWS, Result, apply, finish
from ..schedule import Schedule
from ..world.fingerprint import fingerprint
from ..world.process import Slot
from ..world.world import PERFORM, Action, World
from .search import search


class Node:
    """A world on the way: how it was reached, how many faults may still strike, what law is broken in it."""

    __slots__ = ("choices", "faults", "left", "violation", "world")

    def __init__(
        self, world: World, left: int, faults: tuple[Fault, ...], choices: object, violation: Violated | None
    ) -> None:
        self.world = world
        self.left = left
        self.faults = faults
        self.choices = choices  # (choices before, (step, number)), newest first, or None
        self.violation = violation

    def result(self) -> Result:
        return Result(self.world, Schedule(self.faults, _deviations(self.choices)), self.violation, 1)


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
    for node in search(start, expand, lambda node: (fingerprint(node.world), node.left, node.violation is not None)):
        yield node.result()


class _Expand:
    """The worlds that one step leads to."""

    def __init__(self, modes: frozenset[str]) -> None:
        self.modes = modes

    def __call__(self, node: Node) -> Iterator[Node]:
        world = node.world
        if node.violation is not None:
            return
        actions = world.enabled()
        if not actions:
            following = world.copy()
            if following.advance():
                yield Node(following, node.left, node.faults, node.choices, None)
            else:
                violation = finish(following)
                if violation is not None:
                    yield Node(following, node.left, node.faults, node.choices, violation)
            return
        for number in _reduced(world, actions):
            action = actions[number]
            choices = (node.choices, (world.step, number))
            if node.left and action[2] != len(world.processes) - 1:
                at = world.point(action)
                for mode in at[1] if at is not None else ():
                    if mode in self.modes and at is not None:
                        faults = (*node.faults, Fault(at[0], mode))
                        yield self._step(node, action, mode, node.left - 1, faults, choices)
            yield self._step(node, action, None, node.left, node.faults, choices)

    def _step(
        self, node: Node, action: Action, mode: str | None, left: int, faults: tuple[Fault, ...], choices: object
    ) -> Node:
        world = node.world.copy()
        return Node(world, left, faults, choices, apply(world, action, mode))


def _reduced(world: World, actions: list[Action]) -> list[int]:
    """The numbers of the actions that are worth choosing among."""
    given: set[tuple[int, str]] = set()
    numbers = []
    for number, (_, kind, index, detail) in enumerate(actions):
        process = world.processes[index]
        if kind == PERFORM:
            if _is_private(world, process.slots[detail]):
                return [number]
        elif not process.slots and process.queue:
            if (kind, process.queue) in given:
                continue
            given.add((kind, process.queue))
        numbers.append(number)
    return numbers


def _is_private(world: World, slot: Slot) -> bool:
    """Whether it makes no difference to anybody else when this slot's next effect happens."""
    effect, state = slot.effect, slot.state
    if slot.inner or slot.answer is not None:
        return False
    if type(effect) in (RunTask, Ack):
        return True
    if type(state) is Parking:
        return True
    if type(state) is Gathering:
        run = world.store.runs.get(slot.run_id)
        attempt = k.attempt(slot.call_id)
        return run is not None and run.fields.get(attempt) == b"%d" % state.claim.attempt
    return type(state) is Claiming and _is_only_message(world, slot)


def _is_only_message(world: World, slot: Slot) -> bool:
    """Whether nothing but this slot's delivery will ever lead to its call: no other message, timer, or publisher."""
    call = world.history.calls.get((slot.run_id, slot.call_id))
    if call is None or world.will_return(slot):
        return False
    if call.record.join:
        return not any(busy is not slot and busy.is_publishing for p in world.processes for busy in p.slots.values())
    parent = world.history.calls.get((slot.run_id, call.record.parent))
    return parent is not None and parent.settled
