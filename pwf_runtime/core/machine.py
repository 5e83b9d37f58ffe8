"""What every machine of this floor is: a table from (state, input) to the method that answers.

A behaviour is a row. An input that no row expects raises, and so does an answer that the row does not allow: nothing
passes silently. The diagrams in the documentation are drawn from these tables.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, TypeAlias

from msgspec import Struct

from .effects import Effect
from .inputs import Input

Step: TypeAlias = tuple[Any, Effect | None]
"""The next state, and the effect to perform in it; ``None``: the machine is done."""


class Row(NamedTuple):
    """In ``state``, ``input`` is answered by ``method``, which leads to one of ``to``."""

    state: type[Struct]
    input: type[Struct]
    method: str
    to: tuple[type[Struct], ...]


class MissingTransition(Exception):
    """The machine got an input that its state does not expect, or went where its table does not lead."""


class Machine:
    """Subclasses give ``TABLE`` and its methods ``(state, input, now_ms) -> Step``. Instances hold settings only."""

    TABLE: ClassVar[tuple[Row, ...]]

    def __init__(self) -> None:
        self._rows: dict[tuple[type, type], tuple[Callable[[Any, Any, int], Step], frozenset[type]]] = {
            (row.state, row.input): (getattr(self, row.method), frozenset(row.to)) for row in self.TABLE
        }

    def step(self, state: Any, input: Input, now_ms: int) -> Step:
        """Answer ``input``, which a driver got for the effect asked for in ``state``."""
        row = self._rows.get((type(state), type(input)))
        if row is None:
            raise MissingTransition(f"{type(state).__name__} does not expect {type(input).__name__}")
        step = row[0](state, input, now_ms)
        if type(step[0]) not in row[1]:
            raise MissingTransition(f"{type(state).__name__} may not lead to {type(step[0]).__name__}")
        return step
