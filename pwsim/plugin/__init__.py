"""The pytest plugin: the fixture ``pwsim``, scenario files as tests, failures tried first, a line in the summary.

It is loaded by every pytest in whose environment the package is installed, so it must cost a suite that does not use it
nothing: this module imports pytest and the standard library, the simulator is loaded by the first test that asks for
it, and no hook does anything for a test that does not.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from . import settings, totals

if TYPE_CHECKING:
    from .fixture import Simulator
    from .scenarios import ScenarioFile

_SIMULATOR: pytest.StashKey[Simulator] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("pwsim", "simulation of workflows (pwsim)")
    for option in settings.OPTIONS:
        group.addoption(option.flag, type=option.type, metavar=option.metavar, default=None, help=option.help)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", settings.MARKER)
    config.stash[totals.KEY] = totals.Totals()


@pytest.fixture
def pwsim(request: pytest.FixtureRequest) -> Iterator[Simulator]:
    """Simulates workflows: ``pwsim.explore(app, start=[("task", data)])`` fails the test if a law is broken."""
    from .fixture import Simulator

    simulator = request.node.stash[_SIMULATOR] = Simulator(request.node)
    yield simulator
    simulator.close()


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> ScenarioFile | None:
    """Scenario files in a folder ``scenarios`` (or below one), and those named on the command line."""
    if file_path.suffix != ".toml":
        return None
    if "scenarios" not in file_path.parts and not parent.session.isinitpath(file_path):
        return None
    from .scenarios import ScenarioFile, is_scenario

    return ScenarioFile.from_parent(parent, path=file_path) if is_scenario(file_path) else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure of a simulation is shown as itself, without a traceback through the simulator."""
    report = yield
    simulator = item.stash.get(_SIMULATOR, None)
    if simulator is not None and call.when == "call":
        simulator.tested(report, call.excinfo)
    return report


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    for line in config.stash[totals.KEY].lines(settings.REPLAY.value(config)):
        terminalreporter.write_line(line)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist sends its totals home."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["pwsim"] = session.config.stash[totals.KEY].as_dict()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """And here, in the main process, they arrive. A worker that crashed sends none."""
    sent = getattr(node, "workeroutput", {}).get("pwsim")
    if sent is not None:
        node.config.stash[totals.KEY].add(sent)
