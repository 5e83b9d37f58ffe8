"""Faults: what can go wrong, where, and how a person writes it down.

A fault is addressed by what it hits, never by the number of a step: ``register > verify #1 / commit / after`` is "in
the first delivery of that call, after the effect *commit* was done, its worker dies". Such an address still means the
same when another fault is taken out or unrelated code changes.

``after`` and ``before`` the next effect differ only in what others may do in between; both are kept, because a person
thinks in both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from msgspec import Struct

from pwf_runtime.errors import UsageError

# ── modes: what happens at an effect ──────────────────────────────────────────────────────────

BEFORE = "before"  #         the worker dies; the effect is not done
AFTER = "after"  #           the effect is done, then the worker dies without having heard of it
REPLY_LOST = "reply-lost"  # the effect is done, its answer is lost, and the worker does it again
REQUEUE = "requeue"  #       before it, the worker's connection drops: all it has unacked is delivered anew; it goes on
STALL = "stall"  #           before it, the worker freezes beyond its lease and its connection drops; later it goes on
DUPLICATE = "duplicate"  #   the broker hands the message over and keeps a copy

FAMILIES: dict[str, tuple[str, ...]] = {
    "crash": (BEFORE, AFTER),
    "reply-lost": (REPLY_LOST,),
    "requeue": (REQUEUE,),
    "stall": (STALL,),
    "duplicate": (DUPLICATE,),
}
"""What ``--faults`` names: families that are switched on and off together."""

MODES: dict[str, tuple[str, ...]] = {
    "receive": (DUPLICATE,),
    "run": (BEFORE, AFTER, REQUEUE, STALL),
    "ack": (BEFORE, AFTER, REQUEUE, STALL),
    "": (BEFORE, AFTER, REPLY_LOST, REQUEUE, STALL),
}
"""The modes that an effect has, by its name; "" stands for all others."""

CLIENT_MODES = (BEFORE, AFTER, REPLY_LOST)
"""What can happen to the effects of a client: it holds no lease and no delivery."""


class Point(Struct, frozen=True):
    """A place where a fault can strike: an effect of one delivery of a call.

    ``call`` is the call's path from the run's first call; ``delivery`` counts its deliveries from 1; ``effect`` is
    the effect's name and ``occurrence`` its number among equal ones in this delivery, from 1.
    """

    call: str
    delivery: int
    effect: str
    occurrence: int = 1

    def __str__(self) -> str:
        nth = f"@{self.occurrence}" if self.occurrence > 1 else ""
        return f"{self.call} #{self.delivery} / {self.effect}{nth}"


class Fault(Struct, frozen=True):
    """A mode at a point. Its text form is ``str(fault)``; ``parse`` reads it back."""

    point: Point
    mode: str

    def __str__(self) -> str:
        return f"{self.point} / {self.mode}"


_FAULT = re.compile(r"(?P<call>.+) #(?P<delivery>\d+) / (?P<effect>[^@]+?)(@(?P<occurrence>\d+))? / (?P<mode>[a-z-]+)")
_ALL_MODES = tuple(mode for modes in FAMILIES.values() for mode in modes)


def parse(text: str) -> Fault:
    """Read an address such as ``a > b #1 / commit / after``.

    Raises:
        UsageError: it is none; the message shows the form.
    """
    match = _FAULT.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{text!r} is no address of a fault: write it as 'a > b #1 / commit / after'")
    if match["mode"] not in _ALL_MODES:
        raise UsageError(f"{text!r}: there is no mode {match['mode']!r}; there are {', '.join(_ALL_MODES)}")
    point = Point(match["call"], int(match["delivery"]), match["effect"], int(match["occurrence"] or 1))
    return Fault(point, match["mode"])


def families(names: str | Iterable[str] | None) -> frozenset[str]:
    """The modes of some families, given as ``"crash,requeue"`` or a list; ``None``: of all.

    Raises:
        UsageError: there is no such family.
    """
    if names is None:
        return frozenset(_ALL_MODES)
    wanted = names.split(",") if isinstance(names, str) else list(names)
    modes: list[str] = []
    for name in filter(None, (name.strip() for name in wanted)):
        if name not in FAMILIES:
            raise UsageError(f"there is no fault family {name!r}; there are {', '.join(FAMILIES)}")
        modes += FAMILIES[name]
    return frozenset(modes)


def modes_at(effect: str, *, client: bool = False) -> tuple[str, ...]:
    """The modes that can strike at an effect of this name."""
    if client:
        return CLIENT_MODES
    return MODES.get(effect, MODES[""])


def describe(faults: Sequence[Fault]) -> str:
    """In words, for a sentence: what was done to whom."""
    return ", and ".join(_words(fault) for fault in faults) if faults else "no fault at all"


_WORDS = {
    BEFORE: "the worker dies before",
    AFTER: "the worker dies after",
    REPLY_LOST: "the answer is lost (and it is done again) of",
    REQUEUE: "the connection drops before",
    STALL: "the worker stalls beyond its lease before",
    DUPLICATE: "the broker delivers a second copy at",
}


def _words(fault: Fault) -> str:
    return f"{_WORDS[fault.mode]} {fault.point.effect!r} of {fault.point.call} (delivery {fault.point.delivery})"
