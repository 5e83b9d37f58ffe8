"""Small machines that only a worker has: keep what cannot be read, trim lists of what is gone, renew a lease.

They are machines so that the driver performs them like all others: what the store does not take now, it takes later,
and no body is acked before it is noted.
"""

from __future__ import annotations

from msgspec import Struct, msgpack

from .core.effects import FINISHED, UNREADABLE, Ack, IndexAdd, IndexRead, IndexRemove
from .core.inputs import Acked, Entries, Indexed
from .core.machine import Machine, Row, Step
from .core.model import Message
from .core.steps import Steps
from .core.txn import TxnReply

MAX_REASON_CHARS = 8_000
TRIM_AT_ONCE = 1_000


class Kept(Struct, frozen=True, array_like=True):
    """A body that no worker could deal with: where it came from, as it was, and why. Shown by ``pwf dead list``."""

    queue: str
    body: bytes
    reason: str


encode_kept = msgpack.Encoder().encode
decode_kept = msgpack.Decoder(Kept).decode


class Keeping(Struct, frozen=True):
    """Noting the body."""


class Acking(Struct, frozen=True):
    """Dealing the delivery done: the body is safe elsewhere."""


class Done(Struct, frozen=True):
    """Nothing is left to do for it."""


class KeepMachine(Machine):
    """Notes the body of a delivery that cannot be dealt with, then acks it."""

    TABLE = (
        Row(Keeping, Indexed, "_kept", (Acking,)),
        Row(Acking, Acked, "_acked", (Done,)),
    )

    def begin(self, queue: str, body: bytes, reason: str, now_ms: int) -> Step:
        kept = Kept(queue, body, reason[-MAX_REASON_CHARS:])
        return Keeping(), IndexAdd(UNREADABLE, ((encode_kept(kept), now_ms),))

    def _kept(self, _state: Keeping, _done: Indexed, _now_ms: int) -> Step:
        return Acking(), Ack()

    def _acked(self, _state: Acking, _done: Acked, _now_ms: int) -> Step:
        return Done(), None


class ReadingFinished(Struct, frozen=True):
    """Which runs ended so long ago that nothing of them is left?"""


class Trimming(Struct, frozen=True):
    """Taking them off the list."""

    count: int


class Trimmed(Struct, frozen=True):
    """Done: so many. As many as are read at once: there may be more."""

    count: int


class TrimMachine(Machine):
    """Removes runs from the list of those that have ended when their retention is over."""

    TABLE = (
        Row(ReadingFinished, Entries, "_read", (Trimming, Trimmed)),
        Row(Trimming, Indexed, "_removed", (Trimmed,)),
    )

    def begin(self, upto_ms: int) -> Step:
        return ReadingFinished(), IndexRead(FINISHED, upto_ms, TRIM_AT_ONCE)

    def _read(self, _state: ReadingFinished, entries: Entries, _now_ms: int) -> Step:
        members = tuple([member for member, _ in entries.entries])
        if not members:
            return Trimmed(0), None
        return Trimming(len(members)), IndexRemove(FINISHED, members)

    def _removed(self, state: Trimming, _done: Indexed, _now_ms: int) -> Step:
        return Trimmed(state.count), None


class Renewing(Struct, frozen=True):
    """Holding on to a claim while its task runs."""


class Renewed(Struct, frozen=True):
    """Done. Not ``held``: the lease is lost."""

    held: bool


class RenewMachine(Machine):
    """Renews a lease, once."""

    TABLE = (Row(Renewing, TxnReply, "_renewed", (Renewed,)),)

    def __init__(self, steps: Steps) -> None:
        super().__init__()
        self.steps = steps

    def begin(self, message: Message, token: str) -> Step:
        return Renewing(), self.steps.renew(message, token)

    def _renewed(self, _state: Renewing, reply: TxnReply, _now_ms: int) -> Step:
        return Renewed(reply.held), None
