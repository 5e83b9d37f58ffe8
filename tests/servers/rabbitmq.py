"""A RabbitMQ of our own: started, stopped and killed by tests, unseen by whatever else runs on the machine.

All it binds is on loopback and on free ports: AMQP, the Erlang distribution and ``epmd``. The latter would otherwise be
started by the server as a daemon that outlives it; here it is our child, and so ours to end. The node's data, logs,
cookie and settings stay in ``home``, so a restart finds its data again and nothing reads ``/etc/rabbitmq``.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from contextlib import suppress
from pathlib import Path

from pwf_runtime.errors import TransportUnavailable
from pwf_runtime.transport.rabbitmq import depth

from . import missing
from .ports import free_port

START_TIMEOUT_S = 180
STOP_TIMEOUT_S = 60
CTL_TIMEOUT_S = 120
# Debian's own scripts: the wrappers in /usr/sbin insist on root or on the user rabbitmq.
SCRIPTS = "/usr/lib/rabbitmq/bin"
SETTINGS = """\
listeners.tcp.local = 127.0.0.1:{port}
loopback_users.guest = true
log.file.level = warning
"""


def find(program: str) -> str | None:
    return shutil.which(program, path=SCRIPTS) or shutil.which(program)


def patient_depth(url: str, queue: str) -> int | None:
    """``depth``, and once more while a busy server does not answer it in its time."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            return depth(url, queue)
        except TransportUnavailable:
            if time.monotonic() > deadline:
                raise


class RabbitMQServer:
    """One node. ``port`` and data stay the same over ``stop`` or ``kill`` and the next ``start``."""

    def __init__(self, home: Path) -> None:
        if not find("rabbitmq-server") or not shutil.which("epmd"):
            missing("RabbitMQ (rabbitmq-server, epmd)")
        self.home = home
        self.port = free_port()
        self._env = self._write_settings()
        self._epmd: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/%2F"

    @property
    def pid(self) -> int:
        """Of the script that started the node; the node descends from it."""
        assert self._server is not None, "start it first"
        return self._server.pid

    def start(self) -> None:
        """Start the node, unless it runs, and wait until it takes AMQP connections (about 4 s)."""
        if self._server is not None and self._server.poll() is None:
            return
        if self._epmd is None:
            self._epmd = self._spawn("epmd", "epmd", "-address", "127.0.0.1", "-port", self._env["ERL_EPMD_PORT"])
        self._server = self._spawn("server", str(find("rabbitmq-server")))
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._listens():
            if self._server.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"RabbitMQ did not start:\n{self._output()}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Shut down cleanly: the node says goodbye to its clients and syncs its data."""
        if self._server is not None:
            self._server.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._server.wait(STOP_TIMEOUT_S)
        self.kill()

    def kill(self) -> None:
        """SIGKILL to all of the node's processes at once, as the kernel does when memory runs out."""
        if self._server is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait(STOP_TIMEOUT_S)
            self._server = None
            self._wait_for_the_port()

    def close(self) -> None:
        """End all that was started here; the data go with ``home``."""
        self.kill()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait(STOP_TIMEOUT_S)
            self._epmd = None

    def sync(self) -> None:
        """Have it write down which queues there are. It does so by itself, but a node that is killed before may lose a
        queue with all that it confirmed for it (seen with 3.10)."""
        self.ctl("eval", "[dets:sync(Table) || Table <- dets:all()], mnesia:sync_log().")

    def ctl(self, *arguments: str) -> str:
        """Run ``rabbitmqctl`` on this node (about 1 s) and return what it says."""
        command = [str(find("rabbitmqctl")), "--node", self._env["RABBITMQ_NODENAME"], "--quiet", *arguments]
        done = subprocess.run(command, env=self._env, check=True, capture_output=True, text=True, timeout=CTL_TIMEOUT_S)
        return done.stdout

    def _spawn(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        with (self.home / f"{name}.out").open("ab") as out:
            return subprocess.Popen(
                command, env=self._env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )

    def _listens(self) -> bool:
        # The listener opens last in the boot, but an early client may still be shown the door: ask for the greeting.
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5) as probe:
            probe.sendall(b"AMQP\x00\x00\x09\x01")
            return probe.recv(1) == b"\x01"
        return False

    def _wait_for_the_port(self) -> None:
        # What we waited for is the script; the node itself, its child, may need a moment more to die.
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while self._listens() and time.monotonic() < deadline:
            time.sleep(0.01)

    def _output(self) -> str:
        return (self.home / "server.out").read_text(errors="replace")[-4000:]

    def _write_settings(self) -> dict[str, str]:
        (self.home / "plugins").write_text("[].\n")
        (self.home / "rabbitmq.conf").write_text(SETTINGS.format(port=self.port))
        loopback_only = "-kernel inet_dist_use_interface {127,0,0,1}"
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(self.home),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(free_port()),
            "RABBITMQ_NODENAME": f"pwf-{uuid.uuid4().hex[:8]}@localhost",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(self.home / "data"),
            "RABBITMQ_LOG_BASE": str(self.home / "log"),
            "RABBITMQ_CONFIG_FILE": str(self.home / "rabbitmq"),
            "RABBITMQ_CONF_ENV_FILE": str(self.home / "no-such-file"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.home / "plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": loopback_only,
            # Two busy-waiting schedulers per node would steal the machine from the tests.
            "RABBITMQ_SERVER_ERL_ARGS": "+sbwt none +sbwtdcpu none +sbwtdio none +S 2:2",
        }
