"""Workers are killed all the time, a server goes away in the middle, and every run ends as if nothing had happened."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from pwf_runtime.client import Client, connect
from pwf_runtime.config import Settings
from pwf_runtime.core import keys as k
from tests.servers.rabbitmq import RabbitMQServer
from tests.servers.redis import RedisServer

from .processes import END_S, Servers, WorkerProcess, eventually, workers
from .registrations import end_of, start_of

RUNS = 50
ALL_S = 300.0
KILLING_S = 15.0
LEAST_KILLS = 10
LEASE_S = 2.0
OPTIONS = ("--lease", f"{LEASE_S:g}", "--concurrency", "3")
NEVER_S = 3600
"""The recovery scan is kept out: it would hide a message that somebody lost."""
MODULE = "tests.integration.registrations"
APPS = ("users", "users", "documents", "documents")


def kill_in_turn(running: list[WorkerProcess], done: Callable[[], bool]) -> None:
    """Each worker about once a second, and started again at once."""
    chance = random.Random(7)
    kills, end = 0, time.monotonic() + KILLING_S
    while kills < LEAST_KILLS or (not done() and time.monotonic() < end):
        time.sleep(chance.uniform(0.1, 0.4))
        victim = running[kills % len(running)]
        victim.kill()
        victim.start()
        kills += 1


def all_ended(client: Client) -> bool:
    return not [run for run in client.admin.runs(RUNS * 2) if run.status == "running"]


def check_what_is_left(servers: Servers, redis_url: str) -> None:
    """Results, and nothing else: no message, no timer, no lease, no field of a call."""
    for queue in ("kill_users", "kill_documents"):
        eventually(lambda queue=queue: servers.depth(queue) == 0, END_S)
    with redis.Redis.from_url(redis_url) as db:
        kept = {b"pwf:finished", b"pwf:markers"}
        eventually(lambda: {key for key in db.scan_iter() if not key.startswith(b"pwf:{")} <= kept, END_S)
        eventually(lambda: not list(db.scan_iter("pwf:{*}:l:*")), END_S)
        for key in db.scan_iter("pwf:{*}"):
            assert {field.decode() for field in db.hkeys(key)} <= set(k.SUMMARY)
            assert db.ttl(key) > 0


def run_registrations(
    servers: Servers,
    folder: Path,
    disturb: Callable[[], None] | None,
    *,
    kill: bool = True,
    recovery_s: int = NEVER_S,
) -> None:
    commands = [[f"{MODULE}:{app}", *OPTIONS, "--recovery", str(recovery_s)] for app in APPS]
    with (
        workers(servers, folder, commands) as running,
        connect((), servers.amqp_url, servers.redis_url, settings=Settings(timeout=20.0)) as client,
    ):
        begun = time.monotonic()
        runs = client.publish_many([("kill_users.register_user", start_of(n), f"run-{n}") for n in range(RUNS)])
        trouble = threading.Thread(target=disturb) if disturb else None
        if trouble:
            trouble.start()
        if kill:
            kill_in_turn(running, (lambda: False) if disturb else lambda: all_ended(client))
        if trouble:
            trouble.join(ALL_S)
        for number, run in enumerate(runs):
            outcome = run.wait(max(1.0, begun + ALL_S - time.monotonic()))
            assert (outcome.status, outcome.result) == ("completed", end_of(number)), outcome
        check_what_is_left(servers, servers.redis_url)


def test_workers_are_killed_every_second(servers: Servers, tmp_path: Path) -> None:
    run_registrations(servers, tmp_path, None)


def test_rabbitmq_goes_away_and_comes_back(servers: Servers, tmp_path: Path, rabbitmq_server: RabbitMQServer) -> None:
    def disturb() -> None:
        time.sleep(1.0)
        rabbitmq_server.stop()
        time.sleep(1.0)
        rabbitmq_server.start()

    run_registrations(servers, tmp_path, disturb, kill=False)


def test_rabbitmq_is_killed_while_workers_are(
    servers: Servers, tmp_path: Path, rabbitmq_server: RabbitMQServer
) -> None:
    def disturb() -> None:
        time.sleep(1.0)
        rabbitmq_server.sync()
        rabbitmq_server.kill()
        time.sleep(0.5)
        rabbitmq_server.start()

    run_registrations(servers, tmp_path, disturb, recovery_s=3)


@pytest.mark.parametrize("kill", [False, True])
def test_redis_is_killed_and_comes_back(
    servers: Servers, tmp_path: Path, redis_server: RedisServer, kill: bool
) -> None:
    def disturb() -> None:
        time.sleep(1.0)
        redis_server.kill()
        time.sleep(1.5)
        redis_server.start()

    run_registrations(servers, tmp_path, disturb, kill=kill)
