"""Random workflows, as data (see ``pwsim.generated``).

A join mostly comes with whoever emits what it waits for, else hardly any would ever fire.
"""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from ..generated import FOR_GOOD, SERVICES, TASKS, Call, Deed, Emit, Fork, If, Join, Node, Result

EVENTS = ("x", "y", "z")
MAX_CALLS = 8
"""The largest workflow drawn, in calls that are written down (a loop makes more; a fork that was begun is finished)."""
MAX_DEPTH = 4
BRANCHES = 3
"""The most calls, joins and so on that one task returns, and the most members of a fork."""


def workflows(max_calls: int = MAX_CALLS) -> SearchStrategy[Node]:
    """A workflow of up to ``max_calls`` calls, as data: the payload of its first task. See ``pwsim.generated``.

    Forks to any depth, decisions by what events brought, joins that nest and overlap and come before or after their
    events, K of M names, N of one name, names that repeat, timeouts, loops, delays, two services, tasks that fail for a
    while or for good, and joins that nothing will ever fire.
    """
    return _workflow(max_calls)


@st.composite
def _workflow(draw: DrawFn, max_calls: int) -> Node:
    return _Drawing(draw, max_calls).node(0, first=True)


class _Drawing:
    """Draws one workflow. ``left``: how many calls it may still have."""

    def __init__(self, draw: DrawFn, left: int) -> None:
        self.draw = draw
        self.left = left

    def node(self, depth: int, *, first: bool = False, emits: tuple[str, ...] = ()) -> Node:
        """A call. ``emits``: what it has to emit, because somebody waits for it."""
        self.left -= 1
        task = self.draw(_TASKS if not first else _FIRST)
        extra = self.draw(_EXTRAS)
        deeds = [*[Emit(name) for name in emits], *self.deeds(depth)]
        return Node(task, tuple(deeds), n=self.draw(_NUMBERS), **extra)

    def deeds(self, depth: int) -> list[Deed]:
        if self.left <= 0:
            return self.draw(_LEAF_DEEDS)
        makers = self.draw(_KINDS if depth < MAX_DEPTH else _LEAF_KINDS)
        return [deed for kind in makers for deed in self.deed(kind, depth + 1)]

    def deed(self, kind: str, depth: int) -> list[Deed]:
        if kind in ("call", "join", "fork", "if") and self.left <= 0:
            return []
        make: Callable[[int], list[Deed]] = getattr(self, f"_{kind}")
        return make(depth)

    def _emit(self, _depth: int) -> list[Deed]:
        return [Emit(self.draw(_EVENTS))]

    def _result(self, _depth: int) -> list[Deed]:
        return [Result()]

    def _call(self, depth: int) -> list[Deed]:
        return [Call(self.node(depth), self.draw(_DELAYS))]

    def _if(self, depth: int) -> list[Deed]:
        return [If(tuple(self.deeds(depth)), tuple(self.deeds(depth)))]

    def _fork(self, depth: int) -> list[Deed]:
        members = self.draw(_FORKS)
        return [Fork(tuple([self.node(depth) for _ in range(members)]), self.node(depth))]

    def _join(self, depth: int) -> list[Deed]:
        """A join and, mostly, whoever emits what it waits for: this task itself, or calls that it makes."""
        on = self.draw(_NEEDS)
        emitted: list[Deed] = []
        for name, count in on.items():
            for _ in range(count):
                who = self.draw(_EMITTERS)
                if who == "call" and self.left > 0:
                    emitted.append(Call(self.node(depth, emits=(name,)), self.draw(_DELAYS)))
                elif who != "nobody":
                    emitted.append(Emit(name))
        at_least = self.draw(st.none() | st.integers(1, len(on)))
        timeout = self.draw(_TIMEOUTS)
        late = self.node(depth) if timeout is not None and self.draw(st.booleans()) else None
        join = Join(self.node(depth), on, None if at_least == len(on) else at_least, timeout, late)
        return [join, *emitted] if self.draw(st.booleans()) else [*emitted, join]


_FIRST = st.sampled_from(TASKS)
_TASKS = st.sampled_from([*TASKS, *[f"{service}.{task}" for service in SERVICES for task in TASKS[:2]]])
_NUMBERS = st.integers(0, 3)
_EVENTS = st.sampled_from(EVENTS)
_DELAYS = st.sampled_from((0.0, 0.0, 0.0, 0.0, 5.0, 60.0))
_TIMEOUTS = st.sampled_from((None, None, None, None, 5.0, 30.0))
_FORKS = st.integers(0, BRANCHES)
_NEEDS = st.dictionaries(_EVENTS, st.sampled_from((1, 1, 1, 2, 3)), min_size=1, max_size=len(EVENTS))
_EMITTERS = st.sampled_from(("call", "self", "call", "call", "nobody"))
_KINDS = st.lists(st.sampled_from(("emit", "call", "join", "result", "fork", "if", "join")), max_size=BRANCHES)
_LEAF_KINDS = st.lists(st.sampled_from(("emit", "result")), max_size=2)
_LEAF_DEEDS: SearchStrategy[list[Deed]] = st.lists(_EVENTS.map(Emit) | st.just(Result()), max_size=2)
_PLAIN: dict[str, int] = {}
_EXTRAS = st.sampled_from(
    [*[_PLAIN] * 17, {"fails": 1}, {"fails": 1}, {"fails": 2}, {"again": 1}, {"again": 2}, {"fails": FOR_GOOD}]
)
"""Few loop and few fail for good: nested loops multiply, and a dead call leaves the rest of a run untried."""
