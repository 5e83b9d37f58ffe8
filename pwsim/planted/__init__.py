"""Protocols that are broken on purpose: for each, the law that must convict it.

A checker that has never convicted anything proves nothing. Each bug is a subclass of production code that changes one
thing, so that it goes on being a variant of what is really run. *Sound* variants change something that must not
matter, and must stay silent.
"""

from __future__ import annotations

from pwf_runtime.errors import UsageError

from ..program import Protocol
from . import claims, golden, joins, order, servers, signals, sound
from .base import Conviction, Planted, convict

PLANTED: dict[str, Planted] = {
    planted.name: planted
    for module in (order, claims, joins, signals, servers, golden, sound)
    for planted in module.BUGS
}

__all__ = ["PLANTED", "Conviction", "Planted", "convict", "protocol_of"]


def protocol_of(name: str) -> Protocol:
    """The protocol with this planted bug; "" is production's.

    Raises:
        UsageError: there is no such bug.
    """
    if not name:
        return Protocol()
    if name not in PLANTED:
        raise UsageError(f"there is no planted bug {name!r}; there are {', '.join(PLANTED)}")
    return PLANTED[name].protocol
