"""What a machine may ask of a driver.

A driver performs an effect until it has an answer: when the outcome is unknown (a lost reply, a closed
connection) it performs the same effect again. Every effect is therefore safe to perform twice.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from .model import Event, Marker, Message
from .txn import Txn


class RunTask(Struct, frozen=True, gc=False):
    """Run the user's function, holding the lease with ``token``. Answer: ``TaskDone`` or ``TaskFailed``."""

    message: Message
    attempt: int
    token: str
    data: bytes
    events: tuple[Event, ...]


class Publish(Struct, frozen=True, gc=False):
    """Publish messages, and answer ``Published`` only when the broker has confirmed every one of them.

    Only AFTER the transaction that created their calls.
    """

    messages: tuple[Message | Marker, ...]


class IndexAdd(Struct, frozen=True, gc=False):
    """Add entries ``(member, score)`` to an index, or move them to the new score. Answer: ``Indexed``.

    A timer is added BEFORE the delivery that asked for it is acked.
    """

    index: str
    entries: tuple[tuple[bytes, int], ...]


class IndexRead(Struct, frozen=True, gc=False):
    """Up to ``limit`` entries with a score up to and including ``upto``, least first. Answer: ``Entries``."""

    index: str
    upto: int
    limit: int


class IndexRemove(Struct, frozen=True, gc=False):
    """Remove members; a missing one is no error. Answer: ``Indexed``."""

    index: str
    members: tuple[bytes, ...]


class Ack(Struct, frozen=True, gc=False):
    """Tell the broker that the delivery is dealt with. Answer: ``Acked``, also when the channel is gone.

    Only AFTER the call is settled, or something else (a timer, another holder) will bring it back.
    """


Effect: TypeAlias = Txn | RunTask | Publish | IndexAdd | IndexRead | IndexRemove | Ack

# The indexes: sorted by time, shared by all runs.
TIMERS = "timers"  #     Timer -> when it is due
OPEN = "open"  #         run_id -> when it began
FINISHED = "finished"  # run_id -> when it ended; trimmed after retention
DEAD = "dead"  #         Dead -> when it died
UNREADABLE = "unreadable"  # a body that does not decode, kept as it came
MARKERS = "markers"  #   queue -> when its last marker was sent
