"""Visit every state that can be reached: the search behind ``exhaustive``, and behind models of other protocols.

Depth first, because only the path to one state has to be kept at a time. It is generic, so that it can be tried on
models whose number of states others have published.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TypeVar

S = TypeVar("S")


def search(
    initial: S,
    successors: Callable[[S], Iterable[S]],
    key: Callable[[S], Hashable],
    rank: Callable[[S], int] = lambda state: 0,
) -> Iterator[S]:
    """Each state that can be reached from ``initial``, once. States with the same ``key`` are the same.

    ``rank``: how much may still happen to a state (faults that are left, say): of equal states the one of the highest
    rank stands for all, for whatever can follow one of the others can follow it, too. No successor has a higher rank
    than its state. States of a rank wait until all above it are visited.
    """
    seen = {key(initial): rank(initial)}
    waiting: dict[int, list[tuple[Hashable, S]]] = {rank(initial): [(key(initial), initial)]}
    for highest in range(rank(initial), -1, -1):
        stack = waiting.pop(highest, [])
        while stack:
            mark, state = stack.pop()
            if seen[mark] > highest:
                continue  # it has been met with more to come since
            yield state
            for following in successors(state):
                mark, its = key(following), rank(following)
                if seen.get(mark, -1) < its:
                    seen[mark] = its
                    (stack if its == highest else waiting.setdefault(its, [])).append((mark, following))
