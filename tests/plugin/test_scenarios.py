"""Scenario files are tests: in folders named so, if they are ours, and they say in a sentence why they fail."""

from __future__ import annotations

from pathlib import Path

import pytest

import pwsim.plugin.fixture  # noqa: F401  # so that it is not loaded anew for each pytest inside

from . import run, write

pytest_plugins = ["pytester"]

CRASH = """
version = 1
apps = ["shop:app"]
start = [{ task = "order", data = '{"card": "4000"}' }]
faults = ["order #1 / claim / after"]
"""
PLANTED = CRASH + 'planted = "parked-call-forgotten"\n'


def scenario(pytester: pytest.Pytester, text: str, path: str = "tests/scenarios/regressions/parked.toml") -> Path:
    write(pytester, "def test_it(): pass")
    file = pytester.path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_a_scenario_that_passes_is_a_test_that_passes(pytester: pytest.Pytester) -> None:
    scenario(pytester, CRASH)
    done = run(pytester, "-v", code=0)
    done.stdout.fnmatch_lines(
        ["tests/scenarios/regressions/parked.toml::parked PASSED*", "pwsim: 1 simulation, 1 schedule; crash points*"]
    )


def test_a_scenario_that_breaks_a_law_fails_with_the_sentence(pytester: pytest.Pytester) -> None:
    scenario(pytester, PLANTED)
    done = run(pytester, code=1)
    done.stdout.fnmatch_lines(
        [
            "*scenario parked*",
            "L4: order is ready *, when the worker dies after 'claim' of order *",
            "replay: pwsim replay tests/scenarios/regressions/parked.toml",
        ]
    )
    assert "Traceback" not in done.stdout.str()


def test_a_scenario_may_expect_that_a_law_is_broken(pytester: pytest.Pytester) -> None:
    scenario(pytester, PLANTED + 'expect = "L4"\n')
    run(pytester, code=0)


def test_another_law_than_the_expected_one_fails(pytester: pytest.Pytester) -> None:
    scenario(pytester, PLANTED + 'expect = "L3"\n')
    run(pytester, code=1).stdout.fnmatch_lines(["L4: order is ready *"])


def test_an_expected_violation_that_does_not_come_fails(pytester: pytest.Pytester) -> None:
    scenario(pytester, CRASH + 'expect = "L4"\n')
    run(pytester, code=1).stdout.fnmatch_lines(
        ['parked: it expects that L4 is broken, and no law is; if that is mended, say expect = "pass"']
    )


def test_a_scenario_whose_faults_are_met_no_more_fails(pytester: pytest.Pytester) -> None:
    scenario(pytester, CRASH.replace("order #1", "odrer #1"))
    run(pytester, code=1).stdout.fnmatch_lines(
        ["vacuous: none of its faults is met any more: odrer #1 / claim / after"]
    )


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        ('apps = ["shop:ap"]', "'shop:ap': 'ap' is no Workflow of shop (it has: app)"),
        ("apps = 3", "*parked.toml: *"),
        ("apps = [", "*parked.toml: no TOML: *"),
    ],
)
def test_what_is_wrong_in_a_scenario_is_told(pytester: pytest.Pytester, broken: str, sentence: str) -> None:
    scenario(pytester, CRASH.replace('apps = ["shop:app"]', broken))
    run(pytester, code=1).stdout.fnmatch_lines([sentence])


def test_files_of_others_are_left_alone(pytester: pytest.Pytester) -> None:
    scenario(pytester, 'title = "a scenario of something else"\n')
    scenario(pytester, CRASH, "tests/data/not_in_a_folder_of_scenarios.toml")
    done = run(pytester, code=0)
    done.assert_outcomes(passed=1)


def test_a_scenario_named_on_the_command_line_is_run_wherever_it_is(pytester: pytest.Pytester) -> None:
    scenario(pytester, CRASH, "data/parked.toml")
    run(pytester, "data/parked.toml", code=0).assert_outcomes(passed=1)


def test_workflows_may_stand_beside_the_scenarios(pytester: pytest.Pytester) -> None:
    """In the folder that has the folder ``scenarios``."""
    scenario(pytester, CRASH.replace("shop:app", "beside:app"))
    (pytester.path / "shop.py").rename(pytester.path / "tests" / "beside.py")
    run(pytester, "tests", code=0).assert_outcomes(passed=1)
