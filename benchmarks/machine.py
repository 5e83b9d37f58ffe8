"""The machine and the servers that a benchmark runs on, and the CPU that processes have used.

On Linux, since that is read from /proc. What must not live here: a workload.
"""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from msgspec import Struct

from tests.servers.rabbitmq import RabbitMQServer
from tests.servers.redis import RedisServer

ROOT = Path(__file__).parents[1]


class Servers(Struct, frozen=True):
    """A RabbitMQ and a Redis of our own: the environment that leads to them, and their processes."""

    environ: dict[str, str]
    rabbitmq: int
    redis: int


@contextmanager
def servers() -> Iterator[Servers]:
    """Both on this machine; Redis with its append-only file, synced each second."""
    with tempfile.TemporaryDirectory(prefix="pwf-bench-") as home:
        data, broker = RedisServer(), RabbitMQServer(Path(home))
        try:
            data.start()
            broker.start()
            environ = {**os.environ, "PWF_AMQP_URL": broker.url, "PWF_REDIS_URL": data.url}
            yield Servers(environ, broker.pid, data.pid)
        finally:
            broker.close()
            data.stop()


def described() -> str:
    """Also how busy it is with other things: to be asked before the work begins."""
    load = f"load {os.getloadavg()[0]:.1f} before"
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {load}"


def cpu_s(pid: int) -> float:
    """Of a process and all that descend from it and still live, up to now."""
    total = 0.0
    with suppress(FileNotFoundError, ProcessLookupError):  # one that has ended meanwhile
        user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        total = (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
        for thread in Path(f"/proc/{pid}/task").iterdir():
            total += sum(cpu_s(int(child)) for child in (thread / "children").read_text().split())
    return total
