"""Several worker processes under one parent: ``pwf worker ... --processes N``.

The parent starts itself again N times, starts anew what dies unexpectedly, hands SIGTERM on and ends with its children.
Two pipes tie each child to it: over one the child says ``ready``; the other only ends, when the parent does, however
it died, and then the child stops as if by SIGTERM. Children have sessions of their own, so that Ctrl-C in a terminal
reaches the parent alone, and each child is told once.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic, sleep

log = logging.getLogger("pwf")

OK, FAILED, USAGE = 0, 1, 2
REFUSED = 3
"""How a supervised child ends when a server refused it: starting it again would not help."""
READY = b"ready\n"
LOOK_S = 0.05
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 10.0
STEADY_S = 10.0
AFTER_GRACE_S = 10.0


class Child:
    """One worker process and its two pipes."""

    def __init__(self, command: Sequence[str]) -> None:
        stop_read, self._stop_write = os.pipe()
        self._ready_read, ready_write = os.pipe()
        os.set_blocking(self._ready_read, False)
        self.ready = False
        self.begun = monotonic()
        self.process = subprocess.Popen(
            [*command, "--supervised", f"{stop_read},{ready_write}"],
            pass_fds=(stop_read, ready_write),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(stop_read)
        os.close(ready_write)

    def look(self) -> int | None:
        """Its exit code, once it has ended."""
        if not self.ready:
            with suppress(BlockingIOError):
                self.ready = os.read(self._ready_read, len(READY)) == READY
        return self.process.poll()

    def terminate(self) -> None:
        with suppress(ProcessLookupError):
            self.process.terminate()

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()

    def forget(self) -> None:
        os.close(self._stop_write)
        os.close(self._ready_read)


class Supervisor:
    """Keeps ``count`` children of ``command`` running until a signal comes or one is refused."""

    def __init__(self, command: Sequence[str], count: int, grace: float, on_ready: Callable[[], None]) -> None:
        self._command = command
        self._grace = grace
        self._on_ready = on_ready
        self._was_ready = False
        self._children: list[Child | None] = [None] * count
        self._again_at = [0.0] * count
        self._failures = [0] * count
        self._signals = 0

    def run(self) -> int:
        """The exit code to end with."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        code = OK
        while not self._signals and code == OK:
            for place in range(len(self._children)):
                code = code or self._look_at(place)
            if not self._was_ready and all(child is not None and child.ready for child in self._children):
                self._was_ready = True
                self._on_ready()
            sleep(LOOK_S)
        return max(code, self._end())

    def _on_signal(self, _number: int, _frame: object) -> None:
        self._signals += 1

    def _look_at(self, place: int) -> int:
        child = self._children[place]
        if child is None:
            if monotonic() >= self._again_at[place]:
                self._children[place] = Child(self._command)
            return OK
        code = child.look()
        if code is None:
            return OK
        self._children[place] = None
        child.forget()
        if code in (REFUSED, USAGE):  # it has said why
            return FAILED if code == REFUSED else USAGE
        self._failures[place] = 0 if monotonic() - child.begun > STEADY_S else self._failures[place] + 1
        pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(self._failures[place], 10))
        self._again_at[place] = monotonic() + pause
        log.error("worker process %d ended with %d; starting another in %.1f s", child.process.pid, code, pause)
        return OK

    def _end(self) -> int:
        children = [child for child in self._children if child is not None]
        for child in children:
            child.terminate()
        deadline = monotonic() + self._grace + AFTER_GRACE_S
        signals = max(self._signals, 1)
        while any(child.look() is None for child in children):
            if self._signals > signals or monotonic() > deadline:
                for child in children:
                    child.kill()
                return FAILED
            sleep(LOOK_S)
        return OK if all(child.look() == OK for child in children) else FAILED


def tie_to_parent(pipes: str, stop: Callable[[], None]) -> Callable[[], None]:
    """In a child: call ``stop`` when the parent is gone. Returns what tells the parent that this one is ready."""
    stop_read, ready_write = (int(pipe) for pipe in pipes.split(","))

    def watch() -> None:
        os.read(stop_read, 1)  # nothing is ever written: it ends with the parent
        stop()

    threading.Thread(target=watch, name="pwf-parent", daemon=True).start()
    return lambda: void(os.write(ready_write, READY))


def void(_value: object) -> None:
    """For a lambda that must return nothing."""


def command_line(arguments: Sequence[str]) -> list[str]:
    """How to start this program again."""
    return [sys.executable, "-m", "pwf_runtime", *arguments]
