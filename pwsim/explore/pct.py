"""Priorities instead of coin tosses: finds a bug that needs ``depth`` ordered events with a known least chance.

Each process has a priority, and the one with the highest that can do something does it; at ``depth - 1`` steps drawn
beforehand the process that would be next falls below all others. Among n processes and k steps a bug of that depth is
found by one schedule with a chance of at least 1 / (n k^(depth-1)) (Burckhardt et al., A Randomized Scheduler with
Probabilistic Guarantees of Finding Bugs, ASPLOS 2010).
"""

from __future__ import annotations

from random import Random

from ..world.world import Action
from .random import Order, Ordering


def pct(depth: int) -> Ordering:
    """The ordering of this depth, from 1."""

    def draw(rng: Random, steps: int) -> Order:
        return _Priorities(rng, depth, steps)

    return draw


class _Priorities:
    def __init__(self, rng: Random, depth: int, steps: int) -> None:
        self._rng = rng
        self._falls = {rng.randrange(steps): -1 - i for i in range(depth - 1)}
        self._priorities: dict[int, float] = {}

    def __call__(self, actions: list[Action], step: int) -> int:
        number = self._highest(actions)
        if step in self._falls:
            self._priorities[actions[number][2]] = self._falls[step]
            number = self._highest(actions)
        return number

    def _highest(self, actions: list[Action]) -> int:
        best, number = float("-inf"), 0
        for i, (_, _, process, _) in enumerate(actions):
            if process not in self._priorities:
                self._priorities[process] = self._rng.random()
            if self._priorities[process] > best:
                best, number = self._priorities[process], i
        return number
