"""A simulated task that calls the real world is stopped before anything is sent, and named.

A client without a stand-in would be called for each of thousands of schedules. The interpreter tells of a connection
before it is made (an audit event), and while a task runs for a simulation, it is refused. Not seen are connections that
a library makes in C, past Python's sockets, or in threads of its own.
"""

from __future__ import annotations

import functools
import linecache
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import FrameType
from typing import Any

from pwf_runtime.errors import UsageError
from pwf_runtime.signature import innermost
from pwf_runtime.workflow import AnyTask

_REFUSED = {
    "socket.connect": "opens a connection to",
    "socket.sendto": "sends to",
    "socket.sendmsg": "sends to",
    "socket.getaddrinfo": "opens a connection to",  # that is what somebody looks up an address for
    "socket.gethostbyname": "looks up",
}


class Refused(UsageError):
    """A task wanted to call the real world. Whatever it makes of that, ``guarded`` raises it again."""


class Guard:
    """While it is entered, what runs in its context opens no connection. ``task`` is whose code that is."""

    def __init__(self, task: AnyTask) -> None:
        self.task = task
        self.refused: Refused | None = None

    def refuse(self, does: str, address: object, frame: FrameType | None) -> Refused:
        self.refused = self.refused or Refused(
            f"task {self.task.full_name!r} {does} {_shown(address)} while it is simulated: {self._place(frame)}. "
            f"Nothing was sent. Give it a stand-in for its client, in a conftest.py or with setup=, and wrap that in "
            f"pwsim.probe(...); or, if what it calls is a stand-in itself, say network=True"
        )
        return self.refused

    def _place(self, frame: FrameType | None) -> str:
        """The line of the task's own function that led here."""
        code = getattr(innermost(self.task.fn), "__code__", None)
        while frame is not None and frame.f_code is not code:
            frame = frame.f_back
        if frame is None:
            return f"somewhere below {self.task.name}"
        file, line = frame.f_code.co_filename, frame.f_lineno
        return f"{Path(file).name}:{line}, in {frame.f_code.co_name}: {linecache.getline(file, line).strip()}"


_guard: ContextVar[Guard | None] = ContextVar("pwsim guard", default=None)


@contextmanager
def guarded(task: AnyTask) -> Iterator[None]:
    """Run a task's code. Raises ``Refused`` at the end if it wanted to call the real world."""
    _listen()
    guard = Guard(task)
    token = _guard.set(guard)
    try:
        yield
    finally:
        _guard.reset(token)
    if guard.refused is not None:
        raise guard.refused


def _heard(event: str, args: tuple[Any, ...]) -> None:
    if event not in _REFUSED:
        return
    guard = _guard.get()
    if guard is not None:
        address = args[:2] if event.startswith("socket.get") else args[1]
        raise guard.refuse(_REFUSED[event], address, sys._getframe())


@functools.cache
def _listen() -> None:
    """Hear of connections, from now on: such a hook cannot be taken away, and one is enough."""
    sys.addaudithook(_heard)


def _shown(address: object) -> str:
    if isinstance(address, tuple) and len(address) >= 2:
        return f"{address[0]}:{address[1]}"
    return str(address)
