"""Fixtures that every test folder may use: the real servers, started on demand, once a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.redis import RedisServer


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
