"""What an outer pytest was asked for does not reach the ones inside."""

from __future__ import annotations

import pytest

from pwsim.plugin.settings import OPTIONS


@pytest.fixture(autouse=True)
def _nothing_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for option in OPTIONS:
        monkeypatch.delenv(option.variable, raising=False)
