"""Work on several processes at once: each is a fork, so it has the program as it is and needs nothing sent to it.

Only values come back (counts, points, schedules); a world does not cross a process. A child that dies is an error.
"""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def fan_out(jobs: int, work: Callable[[int], T]) -> list[T]:
    """``[work(0), work(1), ... work(jobs - 1)]``, each in a forked process of its own.

    Raises:
        RuntimeError: a child died or raised; says what.
    """
    children = [_fork(work, job) for job in range(jobs)]
    outcomes = [_collect(pid, reader) for pid, reader in children]  # of all, before anything is raised
    for failed, value in outcomes:
        if failed:
            raise RuntimeError(f"a process of the campaign failed: {value}")
    return [value for _, value in outcomes]


def _fork(work: Callable[[int], Any], job: int) -> tuple[int, int]:
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the child uses no thread of its parent's
        pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader
    code = 1
    try:
        os.close(reader)
        with os.fdopen(writer, "wb") as pipe:
            pickle.dump(_guarded(work, job), pipe)
        code = 0
    finally:
        os._exit(code)


def _guarded(work: Callable[[int], Any], job: int) -> tuple[bool, Any]:
    try:
        return False, work(job)
    except BaseException as error:
        return True, f"{type(error).__name__}: {error}"


def _collect(pid: int, reader: int) -> tuple[bool, Any]:
    with os.fdopen(reader, "rb") as pipe:
        sent = pipe.read()
    _, status = os.waitpid(pid, 0)
    if status or not sent:
        return True, f"it ended with status {os.waitstatus_to_exitcode(status)}"
    outcome: tuple[bool, Any] = pickle.loads(sent)  # written by our own child, a moment ago
    return outcome
