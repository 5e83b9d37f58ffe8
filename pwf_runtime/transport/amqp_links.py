"""The two connections of a RabbitMQ transport: one publishes, one consumes. All of this runs on the I/O thread.

Two, because a broker short of memory or disk stops reading from connections that publish: on a shared one the acks,
which are what frees it, would wait behind the publishes.

A link connects, opens one channel, sets it up, and does so again whenever any of that is lost, each time a little later
(``pause_s``). It must never give up silently and never raise into pika's loop.
"""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

from pika import BasicProperties, SelectConnection, spec
from pika.exceptions import ChannelClosedByBroker, ConnectionWrongStateError, ShortStringTooLong

from .amqp_wire import CorkedIO, in_words, reply
from .base import Confirmed, Delivery, Lost, Publication, TransportEvent

_log = logging.getLogger(__name__)
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
        self._loop.call_later(SET_UP_S, partial(self._check_set_up, channel))
        self._set_up(channel)

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
            self._fail(f"RabbitMQ at {self._where} refuses the login: {text}", self.connect, mendable=not known)

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


class Publisher(Link):
    """Publishes with confirms. A publication is waiting, then flying, then answered."""

    def __init__(self, loop: Any, parameters: Any, owner: Owner) -> None:
        super().__init__(loop, parameters, owner)
        self._blocked = ""
        self._waiting: deque[Publication] = deque()  # more than a moment only while the broker blocks us
        self._flying: dict[int, int] = {}  # the channel's publish number -> ticket
        self._returned: set[int] = set()  # numbers that came back as unroutable; their confirm is still to come
        self._number = 0
        self._lowest = 1  # no number below is flying

    @property
    def blocked(self) -> str:
        """Why the broker takes no publishes just now; empty if it does."""
        return self._blocked if self.ready else ""

    def publish(self, publications: Sequence[Publication]) -> None:
        if not self.ready:
            for each in publications:
                self._owner.say(Lost(each.ticket))
            return
        self._waiting.extend(publications)
        self._send()

    def close(self) -> None:
        if self.blocked:
            self.abort()  # a blocked broker does not read our goodbye
        else:
            super().close()

    def _connection_made(self, connection: Any) -> None:
        self._blocked = ""
        connection.add_on_connection_blocked_callback(self._on_blocked)
        connection.add_on_connection_unblocked_callback(self._on_unblocked)

    def _set_up(self, channel: Any) -> None:
        self._number, self._lowest = 0, 1
        channel.add_on_return_callback(self._on_return)
        channel.confirm_delivery(self._on_confirm, callback=lambda _frame: self._set_ready())

    def _doing(self) -> str:
        return "to the request for confirms"

    def _send(self) -> None:
        while self._waiting and not self.blocked:
            each = self._waiting[0]
            # The number comes back with a returned message; it and "persistent" are all that a message carries.
            properties = BasicProperties(delivery_mode=2, message_id=str(self._number + 1))
            try:
                self._channel.basic_publish("", each.queue, each.body, properties, mandatory=True)
            except (ShortStringTooLong, UnicodeEncodeError):  # no queue can have such a name
                self._owner.say(Confirmed(each.ticket, returned=True))
            else:
                self._number += 1
                self._flying[self._number] = each.ticket
            self._waiting.popleft()

    def _on_return(self, _channel: Any, _method: Any, properties: Any, _body: bytes) -> None:
        self._returned.add(int(properties.message_id))

    def _on_confirm(self, frame: Any) -> None:
        method = frame.method
        last: int = method.delivery_tag
        numbers: Sequence[int] = (last,)
        if method.multiple:
            numbers = range(self._lowest, last + 1)
            self._lowest = last + 1
        stored = isinstance(method, spec.Basic.Ack)
        for number in numbers:
            ticket = self._flying.pop(number, None)
            if ticket is not None:
                self._owner.say(self._answer(number, ticket) if stored else Lost(ticket))

    def _answer(self, number: int, ticket: int) -> Confirmed:
        if number not in self._returned:
            return Confirmed(ticket)
        self._returned.remove(number)
        return Confirmed(ticket, returned=True)

    def _on_blocked(self, _connection: Any, frame: Any) -> None:
        self._blocked = str(frame.method.reason) or "no reason given"
        _log.warning("RabbitMQ blocks publishing (%s); publishes wait until it has room again", self._blocked)

    def _on_unblocked(self, _connection: Any, _frame: Any) -> None:
        self._blocked = ""
        _log.warning("RabbitMQ takes publishes again")
        if self.ready:
            with self.io.corked():
                self._send()

    def _forget(self) -> None:
        lost = [*self._flying.values(), *(each.ticket for each in self._waiting)]
        self._flying.clear()
        self._waiting.clear()
        self._returned.clear()
        for ticket in lost:
            self._owner.say(Lost(ticket))


class Consumer(Link):
    """Declares its queues, consumes them and acks. ``epoch`` counts the channels."""

    def __init__(
        self,
        loop: Any,
        parameters: Any,
        owner: Owner,
        queues: Sequence[str],
        prefetch: int,
        arguments: Mapping[str, Any],
        epoch: int = 0,
    ) -> None:
        super().__init__(loop, parameters, owner)
        self.epoch = epoch
        self._queues = {f"q{index}": queue for index, queue in enumerate(dict.fromkeys(queues))}  # by consumer tag
        self._prefetch = prefetch
        self._arguments = dict(arguments)
        self._idle: set[str] = set()  # consumer tags that are not consuming yet
        self._unacked: dict[int, None] = {}  # delivery tags, in order
        self._stopped = False

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Ack in as few frames as is safe: all up to the first tag that is not done, the rest singly."""
        done = {each.tag for each in deliveries if each.channel == self.epoch}
        done &= self._unacked.keys()  # an unknown tag would make the broker close the channel
        upto = 0
        for tag in self._unacked:
            if tag not in done:
                break
            upto = tag
        if upto:
            self._channel.basic_ack(upto, multiple=True)
        for tag in sorted(done):
            del self._unacked[tag]
            if tag > upto:
                self._channel.basic_ack(tag)

    def stop(self) -> None:
        """Take no more; the channel stays open for acks. What is on its way meanwhile, pika gives back."""
        if self._stopped:
            return
        self._stopped = True
        if self._channel is not None:
            for tag in list(self._channel.consumer_tags):
                self._channel.basic_cancel(tag)

    def _set_up(self, channel: Any) -> None:
        self.epoch += 1
        self._idle = set(self._queues)
        channel.add_on_cancel_callback(self._on_cancelled)
        channel.basic_qos(prefetch_count=self._prefetch, callback=lambda _frame: self._declare_all())

    def _doing(self) -> str:
        waiting = ", ".join(repr(self._queues[tag]) for tag in sorted(self._idle))
        return f"to declaring and consuming {waiting} (if this stays so, delete the queue: its work is found again)"

    def _declare_all(self) -> None:
        if self._stopped:
            self._set_ready()
            return
        for tag in self._queues:
            self._declare(self._channel, tag)

    def _declare(self, channel: Any, tag: str) -> None:
        if channel is self._channel and not self._stopped:
            consume = partial(self._consume, channel, tag)
            channel.queue_declare(self._queues[tag], durable=True, arguments=self._arguments, callback=consume)

    def _consume(self, channel: Any, tag: str, _frame: Any) -> None:
        if not self._stopped:
            message = partial(self._on_message, self._queues[tag])
            channel.basic_consume(
                self._queues[tag], message, consumer_tag=tag, callback=lambda _frame: self._consuming(tag)
            )

    def _consuming(self, tag: str) -> None:
        self._idle.discard(tag)
        if not self._idle and not self.ready:
            self._set_ready()

    def _on_message(self, queue: str, _channel: Any, method: Any, _properties: Any, body: bytes) -> None:
        tag: int = method.delivery_tag
        self._unacked[tag] = None
        self._owner.say(Delivery(queue, body, self.epoch, tag, method.redelivered))

    def _on_cancelled(self, frame: Any) -> None:
        # The queue was deleted, or moved to another node. The channel, and what we have of other queues, stays.
        tag: str = frame.method.consumer_tag
        self._idle.add(tag)
        self.ready = False
        reason = f"RabbitMQ stopped the delivery from {self._queues[tag]!r}: the queue was deleted or has moved"
        self._fail(reason, partial(self._declare, self._channel, tag))

    def _channel_trouble(self, error: Any) -> str:
        text = in_words(error)
        if error.reply_code != 406 or "inequivalent arg" not in text:
            return super()._channel_trouble(error)
        return (
            f"a queue exists with other settings than asked for: {text}. "
            "Either use it as it is (--queue-type classic or quorum), or drain and delete it, and it will be made anew."
        )

    def _forget(self) -> None:
        self._unacked.clear()
