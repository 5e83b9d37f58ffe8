"""The edge to pika: joined writes, errors in words, quiet logs. Knows nothing of publishes, acks or reconnecting.

Joined writes: pika makes one ``send`` per frame, three per message, which is most of what a small message costs.
``CorkedIO`` stands between pika and its socket through pika's documented stream interface (``nbio_interface``) and
sends what was written while corked as one piece. Nothing private is touched; if pika should stop using that interface,
corking does nothing and everything still works.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pika.adapters.utils.connection_workflow import AMQPConnectorStackTimeout
from pika.adapters.utils.nbio_interface import AbstractStreamProtocol, AbstractStreamTransport
from pika.adapters.utils.selector_ioloop_adapter import SelectorIOServicesAdapter


class CorkedIO(SelectorIOServicesAdapter):  # type: ignore[misc]  # pika is untyped
    """pika's I/O services for one connection at a time, with a cork."""

    def __init__(self, loop: Any) -> None:
        super().__init__(loop)
        self._stream: _CorkedStream | None = None

    def create_streaming_connection(
        self,
        protocol_factory: Callable[[], Any],
        sock: Any,
        on_done: Callable[[Any], None],
        ssl_context: Any = None,
        server_hostname: str | None = None,
    ) -> Any:
        def linked(result: Any) -> None:
            # pika wants back the protocol that it made, not our wrapper around it.
            on_done((self._stream, result[1].inner) if isinstance(result, tuple) else result)

        return super().create_streaming_connection(
            lambda: _Protocol(protocol_factory(), self._adopt), sock, linked, ssl_context, server_hostname
        )

    def _adopt(self, stream: _CorkedStream) -> None:
        self._stream = stream

    @contextmanager
    def corked(self) -> Iterator[None]:
        """What is written inside leaves as one piece at the end."""
        stream = self._stream
        if stream is None:
            yield
            return
        stream.cork()
        try:
            yield
        finally:
            stream.uncork()

    @property
    def linked(self) -> bool:
        """There is a stream for pika to talk on."""
        return self._stream is not None and not self._stream.ended

    def abort(self, reason: str) -> None:
        """Drop the connection without a goodbye; pika then reports it lost for ``reason``."""
        if self._stream is not None and not self._stream.ended:
            self._stream.fate = ConnectionAbortedError(reason)
            self._stream.abort()


class _Protocol(AbstractStreamProtocol):  # type: ignore[misc]
    """Passes everything on to pika's connection, but hands it a stream that can be corked."""

    def __init__(self, inner: Any, adopt: Callable[[_CorkedStream], None]) -> None:
        self.inner = inner
        self._adopt = adopt
        self._stream: _CorkedStream | None = None

    def connection_made(self, transport: Any) -> None:
        self._stream = _CorkedStream(transport)
        self._adopt(self._stream)
        self.inner.connection_made(self._stream)

    def connection_lost(self, error: BaseException | None) -> None:
        if self._stream is not None:
            self._stream.ended = True
            error = error or self._stream.fate  # pika must find a reason where it did not hang up itself
        self.inner.connection_lost(error)

    def eof_received(self) -> Any:
        return self.inner.eof_received()

    def data_received(self, data: bytes) -> None:
        self.inner.data_received(data)


class _CorkedStream(AbstractStreamTransport):  # type: ignore[misc]
    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._corked = False
        self._held: list[bytes] = []
        self.ended = False
        self.fate: Exception | None = None

    def cork(self) -> None:
        self._corked = True

    def uncork(self) -> None:
        self._corked = False
        if self._held:
            joined = b"".join(self._held)
            self._held.clear()
            self._inner.write(joined)

    def write(self, data: bytes) -> None:
        if self._corked:
            self._held.append(data)
        else:
            self._inner.write(data)

    def abort(self) -> None:
        self._inner.abort()

    def get_protocol(self) -> Any:
        return self._inner.get_protocol()

    def get_write_buffer_size(self) -> int:
        return int(self._inner.get_write_buffer_size()) + sum(map(len, self._held))


def in_words(error: Any) -> str:
    """What is wrong, without the class names and the tuples that pika wraps around it."""
    error = _innermost(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:1].lower() + error.strerror[1:]
    if isinstance(error, AMQPConnectorStackTimeout):
        return "it does not answer as RabbitMQ does: is that the right port?"
    code_and_text = reply(error)
    if code_and_text:
        return remedied(code_and_text[1])
    lost = re.fullmatch(r"Stream connection lost: \w+\((?:\d+, )?['\"](.*)['\"]\)", str(error), re.DOTALL)
    return lost[1] if lost else str(error) or type(error).__name__


def remedied(text: str) -> str:
    """What the broker said when it refused a login, and what to do."""
    vhost = re.search(r"vhost '?([^' ]+)'? not found", text)
    if vhost:
        return f"{text}: mend the vhost in its URL, or make it with `rabbitmqctl add_vhost {vhost[1]}`"
    if "access to vhost" in text:
        return f"{text}: mend the vhost in its URL, or grant it with `rabbitmqctl set_permissions`"
    if text.startswith("ACCESS_REFUSED - Login"):
        return f"{text.partition('. For details')[0]}: mend the user name or password in its URL"
    return text


def reply(error: Any) -> tuple[int, str] | None:
    """The code and text with which the broker itself closed a connection or channel, if it did.

    pika guesses ("probable authentication error") from the stage at which the stream ended, which is also what a server
    that is just going down looks like. Only what the broker said counts.
    """
    if hasattr(error, "reply_code") and hasattr(error, "reply_text"):
        return int(error.reply_code), str(error.reply_text)
    said = re.search(r"ClosedByBroker: \((\d+)\) ['\"](.*)['\"]", str(error), re.DOTALL)
    return (int(said[1]), said[2]) if said else None


def _innermost(error: Any) -> Any:
    while True:
        last = getattr(error, "exceptions", ())[-1:]
        nested = [*last, getattr(error, "exception", None), *getattr(error, "args", ())]
        inner = next((each for each in nested if isinstance(each, BaseException)), None)
        if inner is None:
            return error
        error = inner


def quiet_pika() -> None:
    """Let pika log nothing, unless somebody has set its level: all that it reports is said in our own words.

    pika writes several errors with tracebacks for each failed attempt to connect. To see them, give the logger ``pika``
    a level before or after this.
    """
    logger = logging.getLogger("pika")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)
