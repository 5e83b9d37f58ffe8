"""``pwf`` as its users start it: subprocesses, ended by the process id of what was started here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.servers.rabbitmq import patient_depth

ROOT = Path(__file__).parents[2]
START_S = 60.0
END_S = 60.0


class Servers:
    """Where the servers are, as an environment for subprocesses."""

    def __init__(self, amqp_url: str, redis_url: str) -> None:
        self.amqp_url, self.redis_url = amqp_url, redis_url
        self.environ = {**os.environ, "PWF_AMQP_URL": amqp_url, "PWF_REDIS_URL": redis_url}

    def depth(self, queue: str) -> int | None:
        """How many messages wait in ``queue``; ``None`` if there is no such queue."""
        return patient_depth(self.amqp_url, queue)

    def pwf(self, *arguments: str, timeout: float = END_S) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        command = [sys.executable, "-m", "pwf_runtime", *arguments]
        return subprocess.run(
            command, cwd=ROOT, env=self.environ, capture_output=True, text=True, timeout=timeout, check=False
        )


class WorkerProcess:
    """``pwf worker`` with its stderr in ``log``."""

    def __init__(self, servers: Servers, log: Path, *arguments: str) -> None:
        self._servers, self._log, self._arguments = servers, log, arguments
        self.process: subprocess.Popen[bytes]
        self.start()

    def start(self) -> None:
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pwf_runtime", "worker", *self._arguments],
                cwd=ROOT,
                env=self._servers.environ,
                stderr=log,
                stdout=log,
                stdin=subprocess.DEVNULL,
            )

    @property
    def lines(self) -> list[str]:
        return self._log.read_text(errors="replace").splitlines()

    def wait_until_ready(self) -> None:
        eventually(lambda: "ready" in self.lines or self.process.poll() is not None, START_S)
        assert "ready" in self.lines, "\n".join(self.lines)

    def kill(self) -> None:
        """SIGKILL, as the OOM killer does."""
        self.process.kill()
        self.process.wait(END_S)

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(END_S)


@contextmanager
def workers(servers: Servers, folder: Path, commands: Sequence[Sequence[str]]) -> Iterator[list[WorkerProcess]]:
    started: list[WorkerProcess] = []
    try:
        for number, command in enumerate(commands):
            started.append(WorkerProcess(servers, folder / f"worker-{number}.log", *command))
        for each in started:
            each.wait_until_ready()
        yield started
    finally:
        for each in started:
            each.kill()


def eventually(check: Callable[[], Any], timeout: float) -> Any:
    """What ``check`` returns, once it is true."""
    deadline = time.monotonic() + timeout
    while not (found := check()):
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)
    return found
