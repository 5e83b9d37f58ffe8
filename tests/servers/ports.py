"""Ports of our own on loopback, for servers that are started, killed and started again, and for nobody at all.

A server needs its port back after a restart, so a port must be nobody else's in the meantime either: it is taken from
below the range from which the kernel serves those who ask for any port, and given out once in a process.
"""

from __future__ import annotations

import secrets
import socket
from contextlib import suppress

FIRST, LAST = 20_000, 32_000  # Linux serves from 32768 upwards, others from 49152
_given: set[int] = set()


def free_port() -> int:
    """A port on which nobody listens, and that was never given out before."""
    while True:
        port = FIRST + secrets.randbelow(LAST - FIRST)
        if port not in _given:
            _given.add(port)
            with suppress(OSError), socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
                return port
