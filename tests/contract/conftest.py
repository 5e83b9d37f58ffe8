"""Fixtures of the contract tests of stores; the arms themselves are in ``stores.py``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from . import stores


@pytest.fixture(params=["memory", "fakeredis", pytest.param("redis", marks=pytest.mark.servers)])
def arm(request: pytest.FixtureRequest) -> Iterator[stores.Arm]:
    """An empty store of each kind."""
    if request.param == "memory":
        yield from stores.memory()
    elif request.param == "fakeredis":
        yield from stores.imitation()
    else:
        yield from stores.real(request.getfixturevalue("redis_url"))
