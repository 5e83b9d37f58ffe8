"""The system is down for a time: "what if three days pass here?"

Such a fault is named by how long it lasts, ``days-3`` or ``hours-5``, so that its address says all there is to say. It
strikes the whole system and not one worker; what it does to a world stands in ``world.strikes``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta

from pwf_runtime.errors import UsageError

UNITS = {"days": 86_400, "hours": 3_600, "minutes": 60, "seconds": 1}
"""In seconds, the longest first."""

_MODE = re.compile(rf"(?P<unit>{'|'.join(UNITS)})-(?P<number>[1-9]\d{{0,5}})")
_MOST = timedelta(days=999_999)


def is_pause(mode: str) -> bool:
    """Whether this mode of fault is one."""
    return _MODE.fullmatch(mode) is not None


def among(modes: Iterable[str]) -> tuple[str, ...]:
    """Those of ``modes`` that are pauses, in an order of their own."""
    return tuple(sorted(filter(is_pause, modes)))


def length_ms(mode: str) -> int:
    """How long a pause lasts; 0: this mode is none."""
    match = _MODE.fullmatch(mode)
    return UNITS[match["unit"]] * int(match["number"]) * 1000 if match is not None else 0


def in_words(mode: str) -> str:
    """Such as "3 days"."""
    unit, _, number = mode.partition("-")
    return f"{number} {unit if number != '1' else unit.removesuffix('s')}"


def mode_of(length: timedelta) -> str:
    """The mode that lasts so long, in the largest unit that says it exactly.

    Raises:
        UsageError: it is no length, or not one of whole seconds.
    """
    if not isinstance(length, timedelta) or not timedelta(seconds=1) <= length <= _MOST or length.microseconds:
        raise UsageError(f"pause={length!r}: give whole seconds, from one on, such as timedelta(days=3)")
    seconds = round(length.total_seconds())
    unit, size = next((unit, size) for unit, size in UNITS.items() if not seconds % size)
    if (number := seconds // size) > 999_999:
        raise UsageError(f"pause={length!r}: longer than that, give whole minutes, hours or days")
    return f"{unit}-{number}"
