"""The rule for a machine without a server: skip on a laptop, fail in CI."""

from __future__ import annotations

import pytest

from . import missing
from .redis import RedisServer


@pytest.mark.parametrize("ci", [None, ""])
def test_a_missing_server_skips(monkeypatch: pytest.MonkeyPatch, ci: str | None) -> None:
    if ci is None:
        monkeypatch.delenv("CI", raising=False)
    else:
        monkeypatch.setenv("CI", ci)
    with pytest.raises(pytest.skip.Exception, match="some-server is not installed"):
        missing("some-server")


def test_a_missing_server_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="some-server is not installed"):
        missing("some-server")


def test_a_machine_without_redis_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(pytest.skip.Exception, match="redis-server"):
        RedisServer()
