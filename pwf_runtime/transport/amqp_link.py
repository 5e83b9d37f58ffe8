"""One connection of a RabbitMQ transport, kept alive. All of this runs on the I/O thread.

A transport has two of them, one that publishes and one that consumes, because a broker short of memory or disk stops
reading from connections that publish: on a shared one the acks, which are what frees it, would wait with the publishes.

A link connects, opens one channel, sets it up, and does so again whenever any of that is lost or takes too long, each
time after a longer pause (``pause_s``). It must never give up silently and never raise into pika's loop.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

from pika import SelectConnection
from pika.exceptions import ChannelClosedByBroker, ConnectionWrongStateError

from .amqp_wire import CorkedIO, in_words, remedied, reply
from .base import TransportEvent

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0
SET_UP_S = 20.0  # from an open channel to ready
STEADY_S = 10.0  # a link that was ready for this long starts again with the first pause


def pause_s(failures: int, chance: float) -> float:
    """How long to wait before try number ``failures``; ``chance`` in [0, 1) keeps many workers from coming at once."""
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures, 16)) * (0.5 + chance / 2)


class Owner(Protocol):
    """What a link tells the transport."""

    def say(self, event: TransportEvent) -> None: ...
    def link_ready(self) -> None: ...
    def link_lost(self, reason: str) -> None: ...
    def link_refused(self, reason: str) -> None: ...
    def link_closed(self) -> None: ...


class Link:
    """One connection with one channel, kept alive."""

    def __init__(self, loop: Any, parameters: Any, owner: Owner) -> None:
        self.io = CorkedIO(loop)
        self.ready = False
        self.ended = False
        self._loop = loop
        self._parameters = parameters
        self._owner = owner
        self._where = f"{parameters.host}:{parameters.port}"
        self._connection: Any = None
        self._channel: Any = None
        self._closing = False
        self._was_ready = False
        self._ready_since = 0.0
        self._failures = 0
        self._again: Callable[[], None] | None = None  # what the pause is there for

    def connect(self) -> None:
        if self._closing:
            return
        self._connection = SelectConnection(
            self._parameters,
            on_open_callback=self._connection_open,
            on_open_error_callback=self._connection_failed,
            on_close_callback=self._connection_closed,
            custom_ioloop=self.io,
        )

    def close(self) -> None:
        """Say goodbye to the broker; ``link_closed`` follows, at once if there is no connection."""
        self._closing = True
        if self._connection is None or self._connection.is_closed:
            self._end()
            return
        if self._connection.is_open or not self.io.linked:
            with suppress(ConnectionWrongStateError):  # it is closing already
                self._connection.close()
        else:  # pika trips over its own feet when it closes a connection in the middle of the handshake
            self.io.abort("closed")

    def abort(self) -> None:
        """As ``close``, without waiting for the broker."""
        self._closing = True
        self._drop()
        self.io.abort("closed")

    def hurry(self) -> None:
        """Whatever waits for its next try: do it now, the server is back."""
        again, self._again = self._again, None
        if again is not None:
            again()

    # What kinds of link differ in.

    def _set_up(self, channel: Any) -> None:
        raise NotImplementedError

    def _forget(self) -> None:
        """The channel is gone, and with it all that was under way on it."""
        raise NotImplementedError

    def _doing(self) -> str:
        """What the set-up may be waiting for, in words."""
        raise NotImplementedError

    def _connection_made(self, connection: Any) -> None:
        """Before the channel is opened."""

    # From here on: what pika calls.

    def _connection_open(self, connection: Any) -> None:
        self._connection_made(connection)
        self._open_channel()

    def _open_channel(self) -> None:
        if self._connection.is_open and not self._closing:
            self._connection.channel(on_open_callback=self._channel_open)

    def _channel_open(self, channel: Any) -> None:
        channel.add_on_close_callback(self._channel_closed)
        self._channel = channel
        self._watch_set_up(channel)
        self._set_up(channel)

    def _watch_set_up(self, channel: Any) -> None:
        self._loop.call_later(SET_UP_S, partial(self._check_set_up, channel))

    def _check_set_up(self, channel: Any) -> None:
        # Seen with 3.10: a quorum queue declared within the second before a kill -9 never answers a consumer again.
        if channel is self._channel and not self.ready:
            self.io.abort(f"no answer within {SET_UP_S:.0f} s {self._doing()}")

    def _set_ready(self) -> None:
        self.ready = self._was_ready = True
        self._ready_since = time.monotonic()
        self._owner.link_ready()

    def _channel_closed(self, channel: Any, error: BaseException) -> None:
        if channel is not self._channel:
            return
        self._drop()
        if isinstance(error, ChannelClosedByBroker):  # else the connection is closing, which has its own call
            mendable = error.reply_code not in (403, 406)
            self._fail(self._channel_trouble(error), self._open_channel, mendable)

    def _channel_trouble(self, error: Any) -> str:
        return f"RabbitMQ closed the channel: {in_words(error)}"

    def _connection_failed(self, _connection: Any, error: BaseException) -> None:
        if self._closing:
            self._end()
            return
        answer = reply(error)
        if answer is None:
            self._fail(f"cannot reach {self._where}: {in_words(error)}", self.connect)
        else:
            code, text = answer
            known = code in (403, 530) and "limit" not in text  # a limit on connections may have room again
            said = f"RabbitMQ at {self._where} refuses the login: {remedied(text)}"
            self._fail(said, self.connect, mendable=not known)

    def _connection_closed(self, _connection: Any, error: BaseException) -> None:
        self._drop()
        if self._closing:
            self._end()
        else:
            self._fail(f"connection to {self._where} lost: {in_words(error)}", self.connect)

    def _drop(self) -> None:
        self.ready = False
        self._channel = None
        self._forget()

    def _end(self) -> None:
        if not self.ended:
            self.ended = True
            self._drop()
            self._owner.link_closed()

    def _fail(self, reason: str, again: Callable[[], None], mendable: bool = True) -> None:
        if self._closing:
            return
        if not mendable and not self._was_ready:
            self._owner.link_refused(reason)
            return
        if self._ready_since and time.monotonic() - self._ready_since > STEADY_S:
            self._failures = 0
        self._ready_since = 0.0
        self._owner.link_lost(reason)
        self._again = again
        self._loop.call_later(pause_s(self._failures, random.random()), partial(self._after_pause, again))
        self._failures += 1

    def _after_pause(self, again: Callable[[], None]) -> None:
        if self._again is again:  # else it was hurried
            self.hurry()
