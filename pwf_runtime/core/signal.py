"""The machine that sends a signal: an event from outside into one run.

A signal is a call that is born committed: one transaction creates it with its event and with what is left to do, which
is to look for joins that wait; then its message is published, and whoever gets that goes on as from any commit that
somebody else has made. So whoever dies on the way, the sender too, leaves a call to which all guarantees apply.

The run keeps what it received, so that the same signal again is one signal, also when its call has long settled. A run
that is stranded is revived in the same transaction. It is listed as open before that, as at its start, and once more
after it, since a store that fell back in between has forgotten the first time. A run that has ended otherwise receives
nothing.
"""

from __future__ import annotations

from typing import ClassVar, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from . import keys as k
from .delivery import ROUTE_RETRY_MS
from .effects import OPEN, TIMERS, IndexAdd, IndexRemove, Publish
from .ids import signal_call
from .inputs import Indexed, Published
from .machine import Machine, Row, Step
from .model import Message, Signal, Timer
from .steps import Steps
from .txn import TxnReply
from .wire import decode_signal, encode


class Sending(Struct, frozen=True, gc=False):
    """What is sent to which run. ``listed``: the run was listed as open, to be revived."""

    run_id: str
    signal: Signal
    listed: bool = False

    @property
    def call_id(self) -> str:
        return signal_call(self.signal.signal_id)

    def message(self, task: bytes) -> Message:
        """It goes to the queue of the run's first ``task``."""
        queue = task.decode().partition(".")[0]
        return Message(self.run_id, self.call_id, f"{queue}.{k.OWN}{self.signal.event}")


class Addressing(Struct, frozen=True, gc=False):
    """Reading whether there is such a run, and whether it has the signal."""

    sending: Sending


class Listing(Struct, frozen=True, gc=False):
    """The run is stranded: listing it as open."""

    sending: Sending
    task: bytes


class Signalling(Struct, frozen=True, gc=False):
    """Creating the signal's call; if the run is stranded, it goes on with that."""

    sending: Sending
    message: Message


class Relisting(Struct, frozen=True, gc=False):
    """The call is there: listing its run as open once more, where that was or may have been revived."""

    message: Message
    created: bool


class Publishing(Struct, frozen=True, gc=False):
    """Publishing the signal's message."""

    message: Message
    created: bool


class Waiting(Struct, frozen=True, gc=False):
    """No queue took the message: setting a timer that publishes it again."""

    message: Message
    created: bool


class Closing(Struct, frozen=True, gc=False):
    """The run was listed, and is not to be revived: taking it off the list again."""

    run_id: str
    end: End


class Confirming(Struct, frozen=True, gc=False):
    """Looking whether it is still ended: another signal may have revived it meanwhile."""

    run_id: str
    end: End


class Reopening(Struct, frozen=True, gc=False):
    """It is not: adding it to the open ones again."""

    end: End


class Signalled(Struct, frozen=True, gc=False):
    """The run has the signal. ``created``: by this sending; ``routed``: the queue of its first task exists."""

    created: bool
    routed: bool = True


class Conflict(Struct, frozen=True, gc=False):
    """The run has another signal of this id: ``there``."""

    there: Signal


class Refused(Struct, frozen=True, gc=False):
    """There is no such run (``status`` ""), or it has ended so."""

    status: str


End: TypeAlias = Signalled | Conflict | Refused

ADDRESSED = (Signalling, Listing, Relisting, Closing, Signalled, Conflict, Refused)
"""Where what is found of the run leads."""


class SignalMachine(Machine):
    """Sends signals. ``begin`` takes the run and the signal."""

    TABLE: ClassVar[tuple[Row, ...]] = (
        Row(Addressing, TxnReply, "_addressed", ADDRESSED),
        Row(Listing, Indexed, "_listed", (Signalling,)),
        Row(Signalling, TxnReply, "_signalled", (Publishing, *ADDRESSED)),
        Row(Relisting, Indexed, "_relisted", (Publishing,)),
        Row(Publishing, Published, "_published", (Signalled, Waiting)),
        Row(Waiting, Indexed, "_waited", (Signalled,)),
        Row(Closing, Indexed, "_closed", (Confirming,)),
        Row(Confirming, TxnReply, "_confirmed", (Reopening, Signalled, Conflict, Refused)),
        Row(Reopening, Indexed, "_reopened", (Signalled, Conflict, Refused)),
    )

    def __init__(self, steps: Steps) -> None:
        super().__init__()
        self.steps = steps

    def begin(self, run_id: str, signal: Signal) -> Step:
        sending = Sending(run_id, signal)
        return Addressing(sending), self.steps.address(run_id, sending.call_id)

    def _addressed(self, state: Addressing, reply: TxnReply, now_ms: int) -> Step:
        return self._as_found(state.sending, reply, now_ms)

    def _as_found(self, sending: Sending, reply: TxnReply, now_ms: int) -> Step:
        """Go on from what is there of the run."""
        ((status, task, received, call),) = reply.replies
        if received is not None:
            there = decode_signal(received)
            if not there.is_same(sending.signal):
                return self._end(sending, status, Conflict(there))
            if call is not None and status == k.RUNNING:  # whoever created it may have died before publishing
                return self._relist(sending.message(task), False, now_ms)
            return self._end(sending, status, Signalled(False))
        if status == k.RUNNING:
            return self._signal(sending, task, revive=False)
        if status != k.STRANDED:
            return self._end(sending, status, Refused((status or b"").decode()))
        if sending.listed:
            return self._signal(sending, task, revive=True)
        return Listing(replace(sending, listed=True), task), IndexAdd(OPEN, ((sending.run_id.encode(), now_ms),))

    def _signal(self, sending: Sending, task: bytes, *, revive: bool) -> Step:
        message = sending.message(task)
        return Signalling(sending, message), self.steps.signal(message, sending.signal, task, revive=revive)

    def _end(self, sending: Sending, status: bytes | None, end: End) -> Step:
        if sending.listed and status != k.RUNNING:
            return Closing(sending.run_id, end), IndexRemove(OPEN, (sending.run_id.encode(),))
        return end, None

    def _listed(self, state: Listing, _done: Indexed, _now_ms: int) -> Step:
        return self._signal(state.sending, state.task, revive=True)

    def _signalled(self, state: Signalling, reply: TxnReply, now_ms: int) -> Step:
        message = state.message
        if not reply.held:
            return self._as_found(state.sending, reply, now_ms)
        if state.sending.listed:
            return self._relist(message, True, now_ms)
        return Publishing(message, True), Publish((message,))

    def _relist(self, message: Message, created: bool, now_ms: int) -> Step:
        return Relisting(message, created), IndexAdd(OPEN, ((message.run_id.encode(), now_ms),))

    def _relisted(self, state: Relisting, _done: Indexed, _now_ms: int) -> Step:
        return Publishing(state.message, state.created), Publish((state.message,))

    def _published(self, state: Publishing, published: Published, now_ms: int) -> Step:
        message = state.message
        if not published.unroutable:
            return Signalled(state.created), None
        timer = Timer(message.run_id, message.call_id, message.task, "signal", tries=1)
        return Waiting(message, state.created), IndexAdd(TIMERS, ((encode(timer), now_ms + ROUTE_RETRY_MS),))

    def _waited(self, state: Waiting, _done: Indexed, _now_ms: int) -> Step:
        return Signalled(state.created, routed=False), None

    def _closed(self, state: Closing, _done: Indexed, _now_ms: int) -> Step:
        return Confirming(state.run_id, state.end), self.steps.confirm(state.run_id)

    def _confirmed(self, state: Confirming, reply: TxnReply, now_ms: int) -> Step:
        if not reply.held:
            return state.end, None
        return Reopening(state.end), IndexAdd(OPEN, ((state.run_id.encode(), now_ms),))

    def _reopened(self, state: Reopening, _done: Indexed, _now_ms: int) -> Step:
        return state.end, None
