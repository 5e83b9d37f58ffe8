"""The link that consumes. All of this runs on the I/O thread.

Acks are where a mistake costs most: one unknown or repeated tag makes the broker close the channel and deliver all of
it again. So every ack is checked against what this very channel (``epoch``) handed over and has not acked yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from .amqp_link import Link, Owner
from .amqp_wire import in_words
from .base import Delivery


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
        channel.basic_qos(prefetch_count=self._prefetch, callback=lambda _frame: self._declare_idle(channel))

    def _doing(self) -> str:
        waiting = ", ".join(repr(self._queues[tag]) for tag in sorted(self._idle))
        return f"to declaring and consuming {waiting} (if this stays so, delete the queue: its work is found again)"

    def _declare_idle(self, channel: Any) -> None:
        if channel is not self._channel:
            return
        if self._stopped:
            self._set_ready()
            return
        for tag in sorted(self._idle):
            consume = partial(self._consume, channel, tag)
            channel.queue_declare(self._queues[tag], durable=True, arguments=self._arguments, callback=consume)

    def _consume(self, channel: Any, tag: str, _frame: Any) -> None:
        if self._stopped:
            self._consuming(tag)
        elif tag not in channel.consumer_tags:  # it is when two queues were lost in quick succession
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
        self._watch_set_up(self._channel)
        self._fail(reason, partial(self._declare_idle, self._channel))

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
