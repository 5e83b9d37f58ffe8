"""A real Redis for tests: append-only file, no snapshots, the default the documentation recommends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from . import missing
from .ports import free_port

START_S = 60.0


class RedisServer:
    """One ``redis-server`` process. It keeps its port and its data over ``kill`` and ``restart``."""

    def __init__(self, *options: str) -> None:
        """``options`` go to the command line, such as ``"--maxmemory", "10mb"``."""
        program = shutil.which("redis-server")
        if program is None:
            missing("redis-server")
        self._program = program
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.folder = Path(tempfile.mkdtemp(prefix="pwf-redis-"))
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None, "start it first"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it and wait until it answers; nothing to do when it is running."""
        if self.running:
            return
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, *self._settings(), *self._options], stdout=log, stderr=log, cwd=self.folder
            )
        deadline = time.monotonic() + START_S
        while not self._answers():
            if not self.running or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"redis-server did not start on port {self.port}:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL: what a power cut or the OOM killer does to a process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """It runs no more, and its connections stay: a machine that hangs, or a network that swallows."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)  # it may still answer until then

    def resume(self) -> None:
        """It runs again, if it was paused."""
        if self.running:
            assert self._process is not None
            self._process.send_signal(signal.SIGCONT)

    def restart(self) -> None:
        self.kill()
        self.start()

    def stop(self) -> None:
        """End it and remove its folder. It cannot be started again."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def flush(self) -> None:
        """Remove all data (the script cache stays)."""
        with self.client() as client:
            client.flushall()

    def client(self) -> redis.Redis:
        """A client of its own, to look behind the store's back. Close it."""
        return redis.Redis(port=self.port, host="127.0.0.1", socket_timeout=START_S, retry=Retry(NoBackoff(), 0))

    @property
    def _log(self) -> Path:
        return self.folder / "log"

    def _settings(self) -> list[str]:
        return [
            *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)),
            *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
        ]

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.AuthenticationError:  # it answers, if only to those who know the password
            return True
        except redis.RedisError:  # not listening yet, or still loading its file
            return False
