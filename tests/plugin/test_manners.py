"""The plugin among others: what it costs those who do not use it, and with xdist, without a cache, in the summary."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

import pwsim.plugin.fixture  # noqa: F401  # so that it is not loaded anew for each pytest inside

from . import run, write

pytest_plugins = ["pytester"]

TWO = """
def test_one(pwsim): pwsim.explore(app, start=START)
def test_two(pwsim): pwsim.explore(app, start=START)
"""


def test_a_suite_that_does_not_use_it_loads_nothing_of_it(pytester: pytest.Pytester) -> None:
    """Neither the simulator nor what it stands on, nor a client of a server, nor hypothesis."""
    pytester.makepyfile(
        "import sys\n"
        "def test_it(): assert not {'pwsim.testing', 'pwsim.program', 'pwf_runtime', 'msgspec', 'pika', 'redis'} & "
        "set(sys.modules)"
    )
    done = _in_a_process(pytester, "-p", "no:hypothesispytest", "-p", "no:hypothesis")
    assert done.ret == 0, done.outlines
    assert "pwsim:" not in done.stdout.str()


def test_a_simulation_loads_no_client_of_a_server_and_no_hypothesis(pytester: pytest.Pytester) -> None:
    write(
        pytester,
        "import sys\ndef test_it(pwsim):\n    pwsim.explore(app, start=START)\n"
        "    assert not {'pika', 'redis', 'hypothesis', 'pwsim.strategies'} & set(sys.modules)",
    )
    done = _in_a_process(pytester, "-p", "no:hypothesispytest")
    assert done.ret == 0, done.outlines


LOADED = """
import sys, time
began = time.process_time()
import pytest
then = time.process_time()
import pwsim.plugin
print((time.process_time() - then) / (then - began))
"""


def test_it_is_loaded_in_a_fraction_of_the_time_that_pytest_takes() -> None:
    """In CPU, the best of five."""
    command = [sys.executable, "-c", LOADED]
    shares = [float(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(5)]
    assert min(shares) < 0.5


def test_the_fixture_of_another_name_is_left_alone(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(request): assert 'pwsim' not in request.fixturenames")
    done = run(pytester, code=0)
    assert "pwsim: " not in done.stdout.str(), "there is no summary of simulations where there are none"


def test_it_may_be_loaded_twice_under_the_name_of_its_entry_point(pytester: pytest.Pytester) -> None:
    """A conftest that names it does no harm where it is installed."""
    pytester.makeconftest("pytest_plugins = ['pwsim.plugin']")
    write(pytester, TWO)
    run(pytester, code=0)


def test_the_summary_counts_all_simulations(pytester: pytest.Pytester) -> None:
    write(pytester, TWO)
    done = run(pytester, code=0)
    schedules, hit, defined = _summary(done)
    assert "pwsim: 2 simulations, " in done.stdout.str()
    assert schedules > 80
    assert hit == defined > 0


def test_workers_of_xdist_send_their_totals_home(pytester: pytest.Pytester) -> None:
    pytest.importorskip("xdist")
    write(pytester, TWO)
    alone = _summary(_in_a_process(pytester))
    done = _in_a_process(pytester, "-n", "2")
    assert done.ret == 0, done.outlines
    assert _summary(done) == alone


def test_workers_of_xdist_keep_each_failure_in_its_own_file(pytester: pytest.Pytester) -> None:
    pytest.importorskip("xdist")
    write(pytester, TWO.replace("start=START", "start=START, planted='parked-call-forgotten'"))
    done = _in_a_process(pytester, "-n", "2")
    assert done.ret == 1
    done.stdout.fnmatch_lines_random(
        [f"FAILED test_shop.py::test_{name} - L4: order is ready*" for name in ("one", "two")]
    )
    assert len(list(pytester.path.glob(".pwsim/failures/*.toml"))) == 2
    assert not list(pytester.path.glob(".pwsim/failures/*.tmp"))


def test_nothing_is_kept_in_the_cache(pytester: pytest.Pytester) -> None:
    """``-p no:cacheprovider`` loses nothing: failures are tried first all the same."""
    write(pytester, "def test_it(pwsim): pwsim.explore(app, start=START, planted='parked-call-forgotten')")
    run(pytester, "-p", "no:cacheprovider", code=1)
    done = run(pytester, "-p", "no:cacheprovider", code=1)
    done.stdout.fnmatch_lines(["pwsim: 1 simulation, 1 schedule; *"])
    assert not (pytester.path / ".pytest_cache").exists()


def test_a_simulation_that_ran_out_of_time_is_counted(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pwsim.campaign.time", SimpleNamespace(monotonic=count().__next__))  # each look takes a second
    write(pytester, TWO)
    run(pytester, "--pwsim-budget", "20", code=0).stdout.fnmatch_lines(
        ["pwsim: 2 simulations, *; 2 ended by the budget, before the bound"]
    )


def _summary(done: pytest.RunResult) -> tuple[int, int, int]:
    """Schedules, and crash points hit and defined."""
    (line,) = [line for line in done.outlines if line.startswith("pwsim: ")]
    numbers = [int(word.replace(",", "")) for word in line.replace(";", " ").split() if word.replace(",", "").isdigit()]
    return numbers[1], numbers[2], numbers[3]


def _in_a_process(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    root = Path(__file__).resolve().parents[2]
    paths = [str(root), os.environ.get("PYTHONPATH", "")]
    pytester._monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    return pytester.runpytest_subprocess("-p", "pwsim.plugin", *options)
