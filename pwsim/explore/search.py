"""Visit every state that can be reached: the search behind ``exhaustive``, and behind models of other protocols.

Depth first, because only the path to one state has to be kept at a time. It is generic, so that it can be tried on
models whose number of states others have published.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TypeVar

S = TypeVar("S")


def search(initial: S, successors: Callable[[S], Iterable[S]], key: Callable[[S], Hashable]) -> Iterator[S]:
    """Each state that can be reached from ``initial``, once. States with the same ``key`` are the same."""
    seen = {key(initial)}
    stack = [initial]
    while stack:
        state = stack.pop()
        yield state
        for following in successors(state):
            mark = key(following)
            if mark not in seen:
                seen.add(mark)
                stack.append(following)
