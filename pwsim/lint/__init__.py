"""Mistakes in a workflow that can be seen without running it: ``pwsim lint``.

The tasks are read as Python's syntax trees, with the objects that their names stand for; nothing of theirs is executed.
A rule speaks only where it is certain: names that only a run knows are patterns (``f"task_{n}_done"``) or nothing at
all, and where a task is called that was not given, somebody else may emit and wait. A line with ``# pwsim: ignore`` is
left alone.
"""

from __future__ import annotations

import linecache
from collections.abc import Sequence

from pwf_runtime.workflow import Workflow

from .reading import read
from .rules import RULES, Finding, Whole

IGNORE = "# pwsim: ignore"

__all__ = ["Finding", "lint"]


def lint(apps: Sequence[Workflow]) -> list[Finding]:
    """What is wrong with the tasks of these services, by file and line."""
    whole = Whole([read(task) for app in apps for task in app.tasks.values()])
    found = dict.fromkeys(finding for rule in RULES for finding in rule(whole))
    kept = [finding for finding in found if IGNORE not in linecache.getline(finding.file, finding.line)]
    return sorted(kept, key=lambda finding: (finding.file, finding.line, finding.rule))
