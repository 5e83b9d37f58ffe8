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
            yield self._later(node)
            return
        choices = [
            (number, fault) for number in _reduced(world, actions) for fault in self._faults(node, actions[number])
        ]
        step = world.step
        for i, (number, fault) in enumerate(choices):
            own = world if i == len(choices) - 1 else world.copy()  # the last may have the world that is left over
            violation = apply(own, actions[number], fault.mode if fault is not None else None)
            left, faults = (node.left, node.faults) if fault is None else (node.left - 1, (*node.faults, fault))
            yield Node(own, left, faults, (node.choices, (step, number)), violation)

    def _faults(self, node: Node, action: Action) -> list[Fault | None]:
        """What may strike at an action; ``None``: nothing does."""
        at = node.world.point(action) if node.left and action[2] != len(node.world.processes) - 1 else None
        struck = [Fault(at[0], mode) for mode in at[1] if mode in self.modes] if at is not None else []
        return [*struck, None]

    def _later(self, node: Node) -> Node:
        """Time passes, or it has come to its end."""
        world = node.world
        violation = None if world.advance() else finish(world)
        return Node(world, node.left, node.faults, node.choices, violation)


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
