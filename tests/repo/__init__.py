"""Tests of the repository itself: imports go down only, the documentation is true, style holds."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("pwf_runtime", "pwsim")
LISTED = ("git", "-c", "safe.directory=*", "ls-files", "-z")
"""The command for the names of the files here, each ended by a zero byte; whoever owns them, as in a container."""


def tracked(*patterns: str) -> list[Path]:
    """The files of the repository (none of what was made or installed beside them) that match git's ``patterns``."""
    names = subprocess.run([*LISTED, "--", *patterns], cwd=ROOT, check=True, capture_output=True)
    paths = [ROOT / name for name in names.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


def sources(*folders: str) -> list[Path]:
    return tracked(*[f"{folder}/*.py" for folder in folders or SOURCES])


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()
