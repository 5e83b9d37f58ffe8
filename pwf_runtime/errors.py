"""Every error the library raises, in one tree. The branch says what the caller can do about it."""

from __future__ import annotations

from typing import Any


class PwfError(Exception):
    """The root of the tree."""


class UsageError(PwfError):
    """Mend the input: what was asked for cannot be meant. Nothing was done."""


class DataError(UsageError):
    """A payload cannot be encoded, or does not have the shape that the task asks for."""


class RunConflict(UsageError):
    """This ``run_id`` is taken by a run with another task or other data."""


class SignalConflict(UsageError):
    """This ``signal_id`` is taken by a signal to the same run with another event or other data."""


class RunEnded(UsageError):
    """The run has ended, and nothing can be brought to it any more."""


class DecodeError(PwfError):
    """Bytes that came in cannot be read. ``body`` keeps them."""

    def __init__(self, message: str, body: bytes) -> None:
        super().__init__(message)
        self.body = body


class Unavailable(PwfError):
    """Try again: a server cannot be reached, and what was asked may or may not have been done."""


class StoreUnavailable(Unavailable):
    """Redis cannot be reached or did not answer in time."""


class TransportUnavailable(Unavailable):
    """RabbitMQ cannot be reached or closed the connection."""


class WaitTimeout(PwfError, TimeoutError):
    """The run has not ended yet; it goes on. Wait again, or look at it with ``describe``."""


class RunDamaged(PwfError):
    """Mend or end this run: what the store holds of it cannot be worked with. All others go on.

    ``replies``: where several transactions were asked for at once, the reply of each, or its ``RunDamaged``.
    """

    def __init__(self, run_id: str, what: str) -> None:
        super().__init__(
            f"run {run_id!r} is damaged: {what}; mend it in the store, or end the run with `pwf cancel {run_id}`"
        )
        self.run_id, self.what = run_id, what
        self.replies: list[Any] = []


class ServerRefused(PwfError):
    """Give up: the server is there but refuses (wrong password, missing right, a setting that loses data)."""
