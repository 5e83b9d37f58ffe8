"""Identities that are derived, never drawn.

A call's id is a function of its parent and its position in what the parent returned. A parent that
is processed again therefore names the same children, and whoever creates or publishes them a
second time can be recognised. Ids have a fixed length whatever the depth of the graph.
"""

from __future__ import annotations

from hashlib import blake2b

_SIZE = 8  # bytes: 64 bits tell the calls of ONE run apart; as text exactly 16 characters


def derive(parent: str, position: str) -> str:
    """The id of what stands at ``position`` (such as ``"c0"`` or ``"j1"``) below ``parent``."""
    return blake2b(f"{parent}/{position}".encode(), digest_size=_SIZE).hexdigest()


ROOT_CALL = derive("", "root")
"""The id of every run's first call (ids need to be unique within a run only)."""


def signal_call(signal_id: str) -> str:
    """The id of the call that a signal is. No call has this parent, so it is no other call's id."""
    return derive("~signal", signal_id)


def fraction(*parts: object) -> float:
    """A number in [0, 1) that is fixed by ``parts``: jitter without chance."""
    digest = blake2b("/".join(map(str, parts)).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") / 2**32
