"""The only importer of the time. Drivers read a clock; the core gets ``now_ms`` as an argument."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    def now_ms(self) -> int:
        """Milliseconds since the epoch, or since the start of a simulated world."""
        ...


class SystemClock:
    """The machine's wall clock: times it gives are compared between machines, so keep them in step (NTP)."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000
