"""Numbers of things, in words."""

from __future__ import annotations


def counted(number: int, thing: str) -> str:
    """So many of them: ``1 fault``, ``26,774 schedules``."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"
