"""The machine that begins a run: listed as open, then created, then its first message published.

In this order, so that whoever dies on the way leaves behind either nothing that counts or a run that the recovery scan
finds. It is listed once more after it was created: a store that fell back in between has forgotten the first time.
Beginning it again with the same task and data is the same run; with others it is a conflict.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import ClassVar

from msgspec import Struct

from . import keys as k
from .delivery import ROUTE_RETRY_MS
from .effects import OPEN, TIMERS, IndexAdd, IndexRemove, Publish
from .ids import ROOT_CALL
from .inputs import Indexed, Published
from .machine import Machine, Row, Step
from .model import Message, Timer
from .steps import Steps
from .txn import TxnReply
from .wire import encode


class Opening(Struct, frozen=True, gc=False):
    """Listing the run as open."""

    message: Message
    data: bytes


class Starting(Struct, frozen=True, gc=False):
    """Creating it."""

    message: Message
    digest: bytes


class Relisting(Struct, frozen=True, gc=False):
    """Listing it as open once more, now that it is there."""

    message: Message


class Publishing(Struct, frozen=True, gc=False):
    """Publishing its first message."""

    message: Message
    created: bool


class Waiting(Struct, frozen=True, gc=False):
    """No queue took the message: setting a timer that publishes it again."""

    message: Message
    created: bool


class Closing(Struct, frozen=True, gc=False):
    """It had ended before: taking it off the list again."""

    message: Message
    conflict: str


class Confirming(Struct, frozen=True, gc=False):
    """Looking whether it is still ended: a signal may have revived it meanwhile."""

    message: Message
    conflict: str


class Reopening(Struct, frozen=True, gc=False):
    """It is not: adding it to the open ones again."""

    message: Message
    conflict: str


class Begun(Struct, frozen=True, gc=False):
    """The run is there. ``created``: by this start; ``routed``: its queue exists."""

    message: Message
    created: bool
    routed: bool = True


class Conflict(Struct, frozen=True, gc=False):
    """Another run has this id; ``reason`` says in what it differs."""

    message: Message
    reason: str


class StartMachine(Machine):
    """Begins runs. ``begin`` takes the run, the full name of its first task, and that task's data."""

    TABLE: ClassVar[tuple[Row, ...]] = (
        Row(Opening, Indexed, "_opened", (Starting,)),
        Row(Starting, TxnReply, "_started", (Relisting, Publishing, Closing, Conflict, Begun)),
        Row(Relisting, Indexed, "_relisted", (Publishing,)),
        Row(Publishing, Published, "_published", (Begun, Waiting)),
        Row(Waiting, Indexed, "_waited", (Begun,)),
        Row(Closing, Indexed, "_closed", (Confirming,)),
        Row(Confirming, TxnReply, "_confirmed", (Reopening, Begun, Conflict)),
        Row(Reopening, Indexed, "_reopened", (Begun, Conflict)),
    )

    def __init__(self, steps: Steps) -> None:
        super().__init__()
        self.steps = steps

    def begin(self, run_id: str, task: str, data: bytes, now_ms: int) -> Step:
        message = Message(run_id, ROOT_CALL, task)
        return Opening(message, data), IndexAdd(OPEN, ((run_id.encode(), now_ms),))

    def _opened(self, state: Opening, _done: Indexed, now_ms: int) -> Step:
        digest = blake2b(state.data, digest_size=16).digest()
        return Starting(state.message, digest), self.steps.start(state.message, state.data, digest, now_ms)

    def _started(self, state: Starting, reply: TxnReply, now_ms: int) -> Step:
        message = state.message
        if reply.held:
            return Relisting(message), IndexAdd(OPEN, ((message.run_id.encode(), now_ms),))
        ((status, task, digest, root),) = reply.replies
        conflict = _difference(message, state.digest, task.decode(), digest)
        if status != k.RUNNING:
            return Closing(message, conflict), IndexRemove(OPEN, (message.run_id.encode(),))
        if conflict:
            return Conflict(message, conflict), None
        if root is not None:  # whoever created it may have died before publishing
            return Publishing(message, False), Publish((message,))
        return Begun(message, False), None

    def _relisted(self, state: Relisting, _done: Indexed, _now_ms: int) -> Step:
        return Publishing(state.message, True), Publish((state.message,))

    def _published(self, state: Publishing, published: Published, now_ms: int) -> Step:
        message = state.message
        if not published.unroutable:
            return Begun(message, state.created), None
        timer = Timer(message.run_id, message.call_id, message.task, "start", tries=1)
        return Waiting(message, state.created), IndexAdd(TIMERS, ((encode(timer), now_ms + ROUTE_RETRY_MS),))

    def _waited(self, state: Waiting, _done: Indexed, _now_ms: int) -> Step:
        return Begun(state.message, state.created, routed=False), None

    def _closed(self, state: Closing, _done: Indexed, _now_ms: int) -> Step:
        return Confirming(state.message, state.conflict), self.steps.confirm(state.message.run_id)

    def _confirmed(self, state: Confirming, reply: TxnReply, now_ms: int) -> Step:
        if not reply.held:
            return self._over(state.message, state.conflict)
        entry = (state.message.run_id.encode(), now_ms)
        return Reopening(state.message, state.conflict), IndexAdd(OPEN, (entry,))

    def _reopened(self, state: Reopening, _done: Indexed, _now_ms: int) -> Step:
        return self._over(state.message, state.conflict)

    def _over(self, message: Message, conflict: str) -> Step:
        return (Conflict(message, conflict) if conflict else Begun(message, False)), None


def _difference(message: Message, digest: bytes, task: str, digest_there: bytes) -> str:
    """In words, how a run that is there differs from the one to begin; empty: not at all."""
    if task != message.task:
        return f"run {message.run_id!r} exists and was begun with task {task!r}, not {message.task!r}"
    if digest != digest_there:
        return f"run {message.run_id!r} exists and was begun with other data"
    return ""
