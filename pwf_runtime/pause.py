"""How long to wait before something that failed is tried again: ever longer, up to a bound.

Nothing in here waits or reads a clock: time arrives as an argument, in seconds of any clock that never goes back.
"""

from __future__ import annotations

FIRST_S = 0.1
LONGEST_S = 2.0
NEVER = float("inf")


class Pause:
    """``at``: when it is over; ``NEVER`` while it does not run."""

    __slots__ = ("at", "length_s")

    def __init__(self) -> None:
        self.at = NEVER
        self.length_s = FIRST_S

    def begin(self, now: float) -> None:
        """The first of a series."""
        self.length_s = FIRST_S
        self.at = now + FIRST_S

    def lengthen(self, now: float) -> None:
        """One more, twice as long as the last."""
        self.length_s = min(2 * self.length_s, LONGEST_S)
        self.at = now + self.length_s

    def end(self) -> None:
        self.at = NEVER

    def is_over(self, now: float) -> bool:
        return self.at <= now

    @property
    def runs(self) -> bool:
        return self.at != NEVER
