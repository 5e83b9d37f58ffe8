"""A schedule is a value: the faults that strike and where the order parts from the default one.

It says all that makes one execution of a program differ from another, so whoever has the program and the schedule has
the execution. The only importer of ``random``.
"""

from __future__ import annotations

from random import Random

from msgspec import Struct

from .faults import Fault


class Schedule(Struct, frozen=True):
    """``deviations``: at this step, this number in the list of enabled actions was chosen, not the default."""

    faults: tuple[Fault, ...] = ()
    deviations: tuple[tuple[int, int], ...] = ()


def chance(seed: int, number: int) -> Random:
    """The chance of schedule ``number`` of a campaign: its own, so that each can be repeated alone."""
    return Random(f"{seed}/{number}")
