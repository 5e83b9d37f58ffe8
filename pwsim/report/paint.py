"""Lines on a terminal, in colour only where somebody looks on and ``NO_COLOR`` does not ask for none (no-color.org)."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable
from typing import TextIO

WIDEST = 120
"""No view is laid out wider than this; a narrower terminal gets a narrower one."""

RED, BOLD_RED, BOLD = "31", "1;31", "1"


def width() -> int:
    """How wide lines may be."""
    return min(WIDEST, shutil.get_terminal_size((WIDEST, 40)).columns)


def is_wanted(stream: TextIO) -> bool:
    """Whether this stream is to get colours."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def show(lines: Iterable[str]) -> None:
    """Print lines: the ones about faults in red, the one about the broken law in bold red."""
    colour = is_wanted(sys.stdout)
    for line in lines:
        print(_styled(line) if colour else line)


def _styled(line: str) -> str:
    style = RED if "✗" in line else BOLD_RED if "▶" in line else ""
    return f"\x1b[{style}m{line}\x1b[0m" if style else line
