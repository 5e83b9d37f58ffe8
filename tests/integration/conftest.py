"""Every test of this folder talks to real servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from .processes import Servers


@pytest.fixture
def servers(amqp_url: str, redis_url: str) -> Servers:
    return Servers(amqp_url, redis_url)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.servers)
