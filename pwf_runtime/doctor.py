"""What ``pwf doctor`` says about a server, as values.

Each shell (``store/redis.py``, ``transport/rabbitmq.py``) looks at its own server and returns findings; whoever shows
them decides how. A finding that is not ``ok`` names the remedy, because its reader is about to apply it.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

Level: TypeAlias = Literal["ok", "warn", "fail"]


class Finding(Struct, frozen=True):
    """One thing looked at. ``fail``: work can be lost or cannot be done; ``warn``: know this, or could not check."""

    level: Level
    subject: str
    """What was looked at, in a few words that stay the same from run to run: ``redis maxmemory-policy``."""
    message: str
    """What was found, and what to do about it."""
