"""The link that publishes, with confirms. All of this runs on the I/O thread.

A publication is waiting, then flying, then answered. Nothing leaves ``_waiting`` or ``_flying`` without an answer: what
is in them when the channel is lost is ``Lost``.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from typing import Any

from pika import BasicProperties, spec
from pika.exceptions import ShortStringTooLong

from .amqp_link import Link, Owner
from .base import Confirmed, Lost, Publication

_log = logging.getLogger(__name__)


class Publisher(Link):
    """Publishes to queues by their names, each publish answered once."""

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
