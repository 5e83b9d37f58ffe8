"""What holds for every test folder: examples that are the same each time, and real servers, started on demand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.servers.rabbitmq import RabbitMQServer
from tests.servers.redis import RedisServer

settings.register_profile(
    "same each time", derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("same each time")  # on the slowest machine, too; --hypothesis-profile=default draws anew


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    server = RedisServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """An empty Redis; running again if the test before killed it."""
    redis_server.start()
    redis_server.flush()
    return redis_server.url


@pytest.fixture(scope="session")
def rabbitmq_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQServer]:
    server = RabbitMQServer(tmp_path_factory.mktemp("rabbitmq"))
    server.start()
    yield server
    server.close()


@pytest.fixture
def amqp_url(rabbitmq_server: RabbitMQServer) -> str:
    """A RabbitMQ, running again if the test before killed it. It is shared: give each test queues of its own names."""
    rabbitmq_server.start()
    return rabbitmq_server.url
