"""The benchmarks run; what they measure is for people to judge."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from benchmarks import peers
from tests.servers.rabbitmq import RabbitMQServer
from tests.servers.redis import RedisServer

from .processes import ROOT


def test_the_comparison_measures_this_project_alone(redis_server: RedisServer, rabbitmq_server: RabbitMQServer) -> None:
    """The fixtures are for machines without servers: the benchmark starts its own."""
    command = [sys.executable, "-m", "benchmarks.peers", "--json", "--small", "--seconds", "1", "--systems", "pwf"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert set(said) == {"machine", "durability", "settings", "skipped", "rows"}
    rate, *others = said["rows"]
    assert rate["name"] == "chains 5 x 4: pwf"
    assert rate["unit"] == "steps/s"
    assert rate["value"] > 0
    assert rate["ratio_to"] == {}
    assert {"us/step", "keys/run", "bytes/run"} <= {row["unit"] for row in others}


def test_what_is_not_installed_is_skipped_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "celery", None)  # as if it were not there
    systems, skipped = peers.installed(["celery"])
    assert systems == {}
    assert skipped == {"celery": "celery is not installed: pip install -e '.[bench]'"}


def test_a_figure_is_set_beside_those_of_the_others() -> None:
    found: peers.Found = {("chains", "steps/s"): {"pwf": [100.0, 300.0], "celery": [50.0]}}
    ours, other = peers.rows(found)
    assert (ours["value"], ours["rounds"], ours["ratio_to"]) == (200.0, 2, {"chains: celery": 4.0})
    assert (other["value"], other["rounds"], other["ratio_to"]) == (50.0, 1, {"chains: pwf": 0.25})
    header, line = peers.table(found, ["pwf", "celery", "taskiq"])
    assert header.split() == ["pwf", "celery", "taskiq"]
    assert line.split() == ["chains", "steps/s", "200", "50.00", "(0.25)", "-"]
