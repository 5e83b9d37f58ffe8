"""What a driver may answer."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from .model import Failure, Marker, Message, Outcome
from .txn import TxnReply


class TaskDone(Struct, frozen=True, gc=False):
    """The user's function returned."""

    outcome: Outcome


class TaskFailed(Struct, frozen=True, gc=False):
    """The user's function raised, timed out, or returned what cannot be sent."""

    failure: Failure


class Published(Struct, frozen=True, gc=False):
    """Every message is confirmed; ``unroutable`` are those that no queue took."""

    unroutable: tuple[Message | Marker, ...] = ()


class Indexed(Struct, frozen=True, gc=False):
    """The index is changed."""


class Entries(Struct, frozen=True, gc=False):
    """What an index holds: ``(member, score)``, least score first."""

    entries: tuple[tuple[bytes, int], ...]


class Acked(Struct, frozen=True, gc=False):
    """Nothing more will be heard of this delivery on this channel."""


class Damaged(Struct, frozen=True, gc=False):
    """What the store holds of this run cannot be worked with. Only machines that look at many runs expect it."""

    run_id: str
    what: str


Input: TypeAlias = TxnReply | Damaged | TaskDone | TaskFailed | Published | Indexed | Entries | Acked
