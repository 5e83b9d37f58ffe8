"""RabbitMQ through pika.

Rules:

- One daemon thread does all I/O, with a ``SelectConnection`` for publishing and one for consuming on one loop. The
  asynchronous connection, because confirms and acks must be in flight by the hundred (measured: 1,600 publishes a
  second one at a time, 17,000 with 256 in flight); a thread of its own, so that heartbeats go on whatever the tasks do.
- Any thread may call; it only appends to a list and wakes the loop, once per batch. The lock is never held while
  anything foreign is called.
- A queue is durable and by default a quorum queue: it survives the loss of a node, and here it is no slower.
- ``x-delivery-limit`` is set to a number that is never reached. RabbitMQ 4 otherwise *drops* a message after 20
  deliveries; we count attempts ourselves. Not -1, its word for "none": before 4.0 any number below 1 drops at once. And
  not by version: a queue declared on 3.x must stay declarable after the upgrade.
- The loop thread must not die while the transport is open: an error nobody foresaw is logged, all that was under way is
  ``Lost``, and everything is built anew.
- pika's own log is silent unless somebody gave the logger ``pika`` a level; see ``amqp_wire.quiet_pika``.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

import pika
import pika.exceptions
from pika.adapters.select_connection import IOLoop
from pika.adapters.utils.connection_workflow import AMQPConnectorException

from ..doctor import Finding
from ..errors import TransportUnavailable, UsageError
from .amqp_consumer import Consumer
from .amqp_link import Link
from .amqp_publisher import Publisher
from .amqp_wire import in_words, quiet_pika
from .base import Delivery, Down, Lost, Publication, Refused, Sink, TransportEvent, Up

QueueType: TypeAlias = Literal["quorum", "classic"]
NEVER_REACHED = 2**31 - 1
OLDEST = (3, 10)
LOOK_S = 5.0  # how long a tool waits for its own connection

_log = logging.getLogger(__name__)


class RabbitMQTransport:
    """See ``base.Transport``. ``blocked_timeout_s``: how long a memory or disk alarm may hold publishes up."""

    def __init__(
        self,
        url: str,
        *,
        queue_type: QueueType = "quorum",
        heartbeat_s: int = 30,
        blocked_timeout_s: float = 300.0,
    ) -> None:
        self._url = url
        self._parameters = parameters(url, heartbeat_s, blocked_timeout_s)
        self._arguments = queue_arguments(queue_type)
        self._lock = threading.Lock()
        self._pid = 0
        self._sink: Sink | None = None
        self._thread: threading.Thread | None = None
        self._consume: tuple[tuple[str, ...], int] = ((), 1)
        # Guarded by the lock: what the loop is asked to do.
        self._publications: list[Publication] = []
        self._acks: list[Delivery] = []
        self._awake = False
        self._stopping = False
        self._close_within_s: float | None = None
        self._done = False
        # The loop thread's own.
        self._loop: Any = None
        self._publisher: Publisher
        self._consumer: Consumer | None = None
        self._events: list[TransportEvent] = []
        self._up = False
        self._refused = False
        self._last_reason = ""

    @property
    def blocked(self) -> str:
        """Why RabbitMQ takes no publishes at the moment (``low on memory``); empty if it does. They wait meanwhile."""
        return self._publisher.blocked if self._loop is not None else ""

    def start(self, sink: Sink, consume: Sequence[str] = (), prefetch: int = 64) -> None:
        if self._thread is not None or not 1 <= prefetch <= 65535:
            raise UsageError(f"start a transport once, with a prefetch from 1 to 65535 (not {prefetch})")
        quiet_pika()
        self._sink, self._consume, self._pid = sink, (tuple(consume), prefetch), os.getpid()
        self._build()
        self._thread = threading.Thread(target=self._run, name="pwf-rabbitmq", daemon=True)
        self._thread.start()

    def publish(self, publications: Sequence[Publication]) -> None:
        if self._sink is None:
            raise UsageError("start the transport before publishing: nobody would hear the answer")
        self._check_process()
        with self._lock:
            if not self._done:
                self._publications.extend(publications)
                self._wake()
                return
        if publications:
            self._sink([Lost(each.ticket) for each in publications])

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        self._check_process()
        with self._lock:
            self._acks.extend(deliveries)
            self._wake()

    def stop_consuming(self) -> None:
        with self._lock:
            self._stopping = True
            self._wake()

    def close(self, timeout: float = 5.0) -> None:
        thread = self._thread
        if thread is None or self._pid != os.getpid():  # the connection of a forked parent is not ours to close
            return
        with self._lock:
            if self._close_within_s is None:
                self._close_within_s = timeout
            self._wake()
        if thread is not threading.current_thread():
            thread.join(timeout + 2.0)

    def depth(self, queue: str) -> int | None:
        """How many messages wait in ``queue``, not counting those handed over; ``None`` if there is no such queue."""
        return depth(self._url, queue)

    # Asking the loop: with the lock held.

    def _wake(self) -> None:
        if not self._awake and not self._done and self._loop is not None:
            self._awake = True
            self._loop.add_callback_threadsafe(self._drain)

    def _check_process(self) -> None:
        if self._pid and self._pid != os.getpid():
            raise UsageError(f"this transport belongs to process {self._pid}: make a new one after the fork")

    # The loop thread.

    def _build(self) -> None:
        queues, prefetch = self._consume
        loop = IOLoop()
        with self._lock:
            self._loop = loop
            self._publisher = Publisher(loop, self._parameters, self)
            if queues:
                epoch = self._consumer.epoch if self._consumer else 0
                self._consumer = Consumer(loop, self._parameters, self, queues, prefetch, self._arguments, epoch)
            self._awake = False

    def _links(self) -> list[Link]:
        return [self._publisher, *([self._consumer] if self._consumer else [])]

    def _run(self) -> None:
        while not self._done:
            try:
                for link in self._links():
                    link.connect()
                with self._lock:
                    self._wake()  # whatever was asked for before there was a loop
                self._loop.start()
            except Exception as error:
                _log.exception("the RabbitMQ connection failed in an unforeseen way; building it anew")
                self._start_over(error)
        self._flush()
        self._wind_down()

    def _start_over(self, error: Exception) -> None:
        for link in self._links():
            link.abort()
        self.link_lost(f"internal error: {in_words(error)}")
        self._flush()
        self._wind_down()
        time.sleep(1.0)
        if self._close_within_s is None:
            self._build()
        else:
            self._end()

    def _wind_down(self) -> None:
        """Let pika close the sockets of what was aborted, then close the loop."""
        self._loop.call_later(0.1, self._loop.stop)
        with suppress(Exception):
            self._loop.start()
        self._loop.close()

    def _drain(self) -> None:
        with self._lock:
            publications, self._publications = self._publications, []
            acks, self._acks = self._acks, []
            stopping, close_within_s = self._stopping, self._close_within_s
            self._awake = False
        if self._consumer is not None:
            with self._consumer.io.corked():
                self._consumer.ack(acks)
                if stopping:
                    self._consumer.stop()
        if publications:
            with self._publisher.io.corked():
                self._publisher.publish(publications)
        if close_within_s is not None:
            self._close_links(close_within_s)

    def _close_links(self, timeout_s: float) -> None:
        self._loop.call_later(timeout_s, self._abort_links)
        for link in self._links():
            link.close()
        self.link_closed()  # both may have ended long ago

    def _abort_links(self) -> None:
        for link in self._links():
            link.abort()
        self._end()

    def _end(self) -> None:
        with self._lock:
            self._done = True
            unheard, self._publications = self._publications, []
        for each in unheard:
            self.say(Lost(each.ticket))
        self._loop.stop()

    def _flush(self) -> None:
        events, self._events = self._events, []
        if events and self._sink is not None:
            try:
                self._sink(events)
            except Exception:
                _log.exception("the sink of a transport must not raise; %d events are lost", len(events))

    # What the links say (``amqp_link.Owner``).

    def say(self, event: TransportEvent) -> None:
        """Tell the sink, together with whatever else this turn of the loop brings."""
        if not self._events:
            self._loop.call_later(0, self._flush)
        self._events.append(event)

    def link_ready(self) -> None:
        for link in self._links():
            link.hurry()
        if not self._up and all(link.ready for link in self._links()):
            self._up = True
            self._last_reason = ""
            self.say(Up())

    def link_lost(self, reason: str) -> None:
        if self._up or reason != self._last_reason:  # once, not at every try or by both links
            self.say(Down(reason))
        self._up = False
        self._last_reason = reason

    def link_refused(self, reason: str) -> None:
        if not self._refused:
            self._refused = True
            self.say(Refused(reason))
            for link in self._links():
                link.close()

    def link_closed(self) -> None:
        if self._close_within_s is not None and all(link.ended for link in self._links()):
            self._end()


def masked(url: str) -> str:
    """The URL without its password."""
    return re.sub(r"(//[^:@/]*):[^@]*@", r"\1:***@", url)


def parameters(url: str, heartbeat_s: int = 30, blocked_timeout_s: float = 300.0) -> Any:
    """pika's parameters; what the URL itself says (``?heartbeat=10``) goes first.

    Raises:
        UsageError: the URL cannot be read.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("amqp", "amqps") or not parts.hostname:
            raise ValueError("it has no host, or does not begin with amqp:// or amqps://")
        found = pika.URLParameters(url)
    except (ValueError, TypeError) as error:
        example = "amqp://user:password@host:5672/vhost"
        raise UsageError(f"cannot read the RabbitMQ URL {masked(url)!r}: {error}; for example {example}") from None
    if found.heartbeat is None:
        found.heartbeat = heartbeat_s
    if found.blocked_connection_timeout is None:
        found.blocked_connection_timeout = blocked_timeout_s
    found.client_properties = {"connection_name": "pwf"}
    return found


def queue_arguments(queue_type: QueueType) -> dict[str, Any]:
    """Named also for classic queues, because a vhost may have another default."""
    if queue_type == "quorum":
        return {"x-queue-type": "quorum", "x-delivery-limit": NEVER_REACHED}
    if queue_type == "classic":
        return {"x-queue-type": "classic"}
    raise UsageError(f"queue_type is {queue_type!r}: use 'quorum' (survives the loss of a node) or 'classic'")


def depth(url: str, queue: str) -> int | None:
    """Over a connection of its own, for tools and tests: how many messages wait; ``None`` if there is no such queue.

    Raises:
        TransportUnavailable: the server cannot be reached.
    """
    connection = _short_connection(url)
    try:
        return int(connection.channel().queue_declare(queue, passive=True).method.message_count)
    except pika.exceptions.ChannelClosedByBroker as error:
        if error.reply_code == 404:
            return None
        raise TransportUnavailable(f"RabbitMQ does not tell about {queue!r}: {error.reply_text}") from error
    finally:
        connection.close()


def check(url: str) -> list[Finding]:
    """For ``pwf doctor``: can we log in, and is the server one that we know?"""
    try:
        connection = _short_connection(url)
    except (TransportUnavailable, UsageError) as error:
        return [Finding("fail", "rabbitmq connection", str(error))]
    try:
        # pika's blocking connection does not show what its inner one knows; if that moves, the version is unknown.
        server = getattr(getattr(connection, "_impl", None), "server_properties", {})
        return [
            Finding("ok", "rabbitmq connection", f"logged in at {masked(url)}"),
            _judge_version(str(server.get("version", "unknown"))),
        ]
    finally:
        connection.close()


def _judge_version(version: str) -> Finding:
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if not numbers:
        return Finding("warn", "rabbitmq version", "the server does not say; 3.10 or newer is expected")
    if numbers < OLDEST:
        return Finding("warn", "rabbitmq version", f"{version} is older than 3.10, the oldest tried: upgrade")
    return Finding("ok", "rabbitmq version", version)


def _short_connection(url: str) -> Any:
    quiet_pika()
    found = parameters(url)
    found.socket_timeout = found.stack_timeout = LOOK_S
    try:
        return pika.BlockingConnection(found)
    except (pika.exceptions.AMQPError, AMQPConnectorException, OSError) as error:
        raise TransportUnavailable(f"cannot use RabbitMQ at {found.host}:{found.port}: {in_words(error)}") from error
