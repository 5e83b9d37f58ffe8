"""Virtual time: it stands still until nothing else can happen."""

from __future__ import annotations


class VirtualClock:
    """Milliseconds since the start of the world."""

    __slots__ = ("time_ms",)

    def __init__(self, time_ms: int = 0) -> None:
        self.time_ms = time_ms

    def now_ms(self) -> int:
        return self.time_ms
