"""From the number of an attempt to what follows when it fails: a delay, or the end."""

from __future__ import annotations

from msgspec import Struct

from .ids import fraction


class Retry(Struct, frozen=True, gc=False, kw_only=True):
    """How often and when a call is tried again.

    An attempt counts when it is claimed, not when it raises: a task that kills its worker each time
    ends too. Delays are in seconds: ``first_delay`` after the first attempt, then ``factor`` times as long each
    time, at most ``max_delay``, and spread by up to ``jitter`` (a share of the delay, 0 to 1) either way.
    The spread is fixed by the call and the attempt, so that a simulation repeats it.
    """

    max_attempts: int = 10
    first_delay: float = 1.0
    factor: float = 2.0
    max_delay: float = 300.0
    jitter: float = 0.1

    def __post_init__(self) -> None:
        for name, least in (("max_attempts", 1), ("first_delay", 0), ("factor", 1), ("max_delay", 0)):
            value = getattr(self, name)
            if not value >= least:
                raise ValueError(f"Retry({name}={value!r}): must be {least} or more")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"Retry(jitter={self.jitter!r}): a share of the delay, so from 0 to 1")

    def delay_ms(self, attempt: int, call_id: str) -> int:
        """Milliseconds to wait after ``attempt`` (from 1) has failed."""
        growth = self.factor ** min(attempt - 1, 64)
        delay = min(self.first_delay * growth, self.max_delay)
        spread = 1 + self.jitter * (2 * fraction(call_id, attempt) - 1)
        return round(delay * spread * 1000)

    def exhausted(self, attempt: int) -> bool:
        """Whether no further attempt may follow ``attempt``."""
        return attempt >= self.max_attempts


DEFAULT = Retry()
UNKNOWN_TASK = Retry(max_attempts=10, first_delay=1.0, factor=2.0, max_delay=60.0)
"""For a task that no worker of the queue has: patient enough for a rolling deploy, and not for ever."""
