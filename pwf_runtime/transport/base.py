"""The contract of a transport.

A transport moves opaque bodies through named queues. It may deliver one twice, late or out of order, never
silently not at all: a body is the broker's problem from ``Confirmed`` until its delivery is acked.

Everything a transport has to say arrives through ``sink``, a function given at the start, which may be called on any
thread with a list of ``TransportEvent`` and must return at once. Every method here may be called from any thread,
returns without waiting for the broker, and is accepted while the connection is down.

One test body, ``tests/contract/test_transport.py``, holds every implementation to this.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from msgspec import Struct


class Delivery(Struct, frozen=True):
    """A body handed over. ``channel`` and ``tag`` together name it for the ack.

    ``channel`` counts up with each (re)opened channel: an ack for an earlier one is dropped, because all of that
    channel's deliveries come back anyhow, and acking them on a newer channel would close it.
    """

    queue: str
    body: bytes
    channel: int
    tag: int
    redelivered: bool = False


class Confirmed(Struct, frozen=True):
    """The broker has this publish safely. ``returned``: no queue took it (it does not exist), so it is NOT stored."""

    ticket: int
    returned: bool = False


class Lost(Struct, frozen=True):
    """The outcome of this publish is unknown and will stay so (connection closed, or nacked): publish it again."""

    ticket: int


class Up(Struct, frozen=True):
    """Connected and, where asked for, consuming. Said at each (re)connection."""


class Down(Struct, frozen=True):
    """The connection is gone; reconnecting goes on in the background. ``reason`` is for people."""

    reason: str


class Refused(Struct, frozen=True):
    """The server is there but refuses what trying again cannot mend: a wrong password, a missing vhost, a queue that
    exists with other settings. Nothing more comes: close, and show ``reason``, which says what to do.

    Only said before the first ``Up``. What has worked once may come back (a password being changed, a server still
    starting), so from then on the same trouble is a ``Down``.
    """

    reason: str


TransportEvent: TypeAlias = Delivery | Confirmed | Lost | Up | Down | Refused
Sink: TypeAlias = Callable[[Sequence[TransportEvent]], None]


class Publication(Struct, frozen=True):
    """One body for one queue. ``ticket`` comes back in ``Confirmed`` or ``Lost``; draw a fresh one for each try."""

    ticket: int
    queue: str
    body: bytes


class Transport(Protocol):
    def start(self, sink: Sink, consume: Sequence[str] = (), prefetch: int = 64) -> None:
        """Connect in the background, declare the queues in ``consume`` (durable) and consume them.

        At most ``prefetch`` deliveries *of each queue* are unacked at a time (quorum queues know no limit across
        queues). Says ``Up`` when ready. No method of an open transport calls ``sink`` itself: callers may hold locks.

        Raises:
            UsageError: started twice, or ``prefetch`` is less than 1.
        """
        ...

    def publish(self, publications: Sequence[Publication]) -> None:
        """Publish persistently. Each ticket is answered once: ``Confirmed`` or ``Lost``.

        While the connection is down the answer is ``Lost`` without delay, and so it is after ``close``.

        Raises:
            UsageError: not started yet, so there is nobody to answer.
        """
        ...

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Deal these deliveries done. Those of an earlier channel, or dealt done before, are dropped silently."""
        ...

    def stop_consuming(self) -> None:
        """No new deliveries; those handed over can still be acked."""
        ...

    def close(self, timeout: float = 5.0) -> None:
        """Send the acks given so far, close the connection; the broker takes back what was not acked.

        Publishes not confirmed yet are ``Lost``. Closing twice is no error.
        """
        ...
