"""What is searched: the mark, the arguments, the environment and the command line; pages and replays."""

from __future__ import annotations

import pytest

import pwsim.plugin.fixture  # noqa: F401  # so that it is not loaded anew for each pytest inside

from . import run, write

pytest_plugins = ["pytester"]

SHOW = "def test_it(pwsim):\n    report = pwsim.explore(app, start=START{})\n    print('BOUND', report.bound)\n"


def bound(pytester: pytest.Pytester, *options: str, arguments: str = "", mark: str = "") -> str:
    write(pytester, mark + SHOW.format(arguments))
    done = run(pytester, "-s", *options, code=0)
    (line,) = [line for line in done.outlines if "BOUND" in line]
    return line.partition("BOUND ")[2]


def test_the_mark_says_how_to_search(pytester: pytest.Pytester) -> None:
    assert "10 random schedules (seed 0)" in bound(pytester)


def test_the_nearer_mark_counts(pytester: pytest.Pytester) -> None:
    assert "7 random schedules (seed 0)" in bound(pytester, mark="@pytest.mark.pwsim(runs=7)\n")


def test_arguments_beat_the_mark(pytester: pytest.Pytester) -> None:
    assert "5 random schedules (seed 3)" in bound(pytester, arguments=", runs=5, seed=3")


def test_the_command_line_beats_arguments(pytester: pytest.Pytester) -> None:
    options = ("--pwsim-runs", "6", "--pwsim-seed", "4")
    assert "6 random schedules (seed 4)" in bound(pytester, *options, arguments=", runs=5, seed=3")


def test_the_environment_says_the_same_as_the_command_line(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PWSIM_RUNS", "8")
    monkeypatch.setenv("PWSIM_SEED", "9")
    assert "8 random schedules (seed 9)" in bound(pytester, arguments=", runs=5")
    assert "6 random schedules (seed 9)" in bound(pytester, "--pwsim-runs", "6")


def test_a_variable_that_is_no_number_is_named(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PWSIM_RUNS", "many")
    write(pytester, SHOW.format(""))
    run(pytester, code=1).stdout.fnmatch_lines(["PWSIM_RUNS='many': random schedules per simulation *"])


def test_exhaustion_tries_every_order(pytester: pytest.Pytester) -> None:
    """States on the way do not count as ends of a run, so what is demanded of every schedule still holds."""
    write(
        pytester,
        "from pwf_runtime import Workflow, emit\nsmall = Workflow('small')\n@small.task\ndef only(data):\n"
        "    bank.charge('4000')\n    return emit('done')\n"
        "def test_it(pwsim):\n    report = pwsim.explore(small, start=(only, 1), max_faults=3)\n"
        "    print('BOUND', report.bound)\n    assert report.committed('only') == 1\n"
        "    assert report.effects['charge'] >= 1\n    report.assert_once('charge')",
    )
    done = run(pytester, "-s", "--pwsim-exhaust", "1", code=1)
    done.stdout.fnmatch_lines(["*all orders and up to 1 fault *", "effects: charge was called twice *"])


def test_exhaustion_without_faults_is_asked_for_and_so_not_vacuous(pytester: pytest.Pytester) -> None:
    write(
        pytester,
        "def test_it(pwsim):\n    report = pwsim.explore(app, start=('ship', 1))\n"
        "    assert report.committed('ship') == 1\n    print('BOUND', report.bound)",
    )
    done = run(pytester, "-s", "--pwsim-exhaust", "0", code=0)
    done.stdout.fnmatch_lines(["*BOUND 2 workers per service: all orders and up to 0 faults *"])


def test_schedules_are_shared_out_over_processes(pytester: pytest.Pytester) -> None:
    """And counted, wherever they were played."""
    write(
        pytester,
        "def test_it(pwsim):\n    report = pwsim.explore(app, start=START, strategy='random', runs=40)\n"
        "    assert report.committed('ship') == 1 and report.results == ['shipped']\n"
        "    print('COUNT', report.runs, sum(n.schedules for n in report.effects['charge'].seen.values()))",
    )
    lines = [line for jobs in "12" for line in run(pytester, "-s", "--pwsim-jobs", jobs, code=0).outlines]
    assert len({line for line in lines if "COUNT" in line}) == 1


FAILS = "def test_it(pwsim): pwsim.explore(app, start=START, planted='parked-call-forgotten')"


def kept(pytester: pytest.Pytester) -> str:
    (path,) = pytester.path.glob(".pwsim/failures/*.toml")
    return str(path.relative_to(pytester.path))


def test_a_failure_is_kept_and_tried_first(pytester: pytest.Pytester) -> None:
    write(pytester, FAILS)
    done = run(pytester, code=1)
    assert "pwsim: 1 simulation, 1 schedule" not in done.stdout.str()
    text = (pytester.path / kept(pytester)).read_text()
    assert 'faults = [\n    "order #1 / claim / after",\n]' in text
    assert 'apps = ["shop:app"]' in text
    assert 'planted = "parked-call-forgotten"' in text
    run(pytester, code=1).stdout.fnmatch_lines(["L4: order is ready *", "pwsim: 1 simulation, 1 schedule; *"])


def test_a_failure_is_forgotten_when_the_test_passes(pytester: pytest.Pytester) -> None:
    write(pytester, FAILS)
    run(pytester, code=1)
    write(pytester, FAILS.replace("planted", "planted='', invariant=lambda end: end.faults is not None) #"))
    run(pytester, code=0)
    assert not list(pytester.path.glob(".pwsim/failures/*"))


def test_a_demand_that_failed_is_tried_first_too(pytester: pytest.Pytester) -> None:
    write(pytester, "def test_it(pwsim): pwsim.explore(app, start=START).assert_once('charge')")
    run(pytester, code=1)
    kept(pytester)
    run(pytester, "--pwsim-runs", "0", code=1).stdout.fnmatch_lines(["effects: charge was called twice *"])


def test_two_simulations_of_a_test_keep_their_failures_apart(pytester: pytest.Pytester) -> None:
    write(
        pytester,
        "def test_it(pwsim):\n    for _ in range(2):\n        with pytest.raises(pwsim.Failure):\n            "
        + FAILS.partition(": ")[2]
        + "\n    assert 0",
    )
    run(pytester, code=1)
    assert len(list(pytester.path.glob(".pwsim/failures/*.toml"))) == 2


def test_a_kept_file_that_cannot_be_read_is_none(pytester: pytest.Pytester) -> None:
    write(pytester, FAILS)
    run(pytester, code=1)
    (pytester.path / kept(pytester)).write_text("version = 99")
    run(pytester, code=1).stdout.fnmatch_lines(["L4: order is ready *"])


def test_the_replay_line_replays(pytester: pytest.Pytester) -> None:
    """With the test's own invariants, which no file has."""
    write(pytester, "def test_it(pwsim): pwsim.explore(app, start=START, invariant=lambda e: e.effects['charge'] < 2)")
    done = run(pytester, code=1)
    (line,) = [line for line in done.outlines if line.startswith("replay: pytest ")]
    done = run(pytester, *line.removeprefix("replay: pytest ").split(), code=1)
    done.stdout.fnmatch_lines(
        ["invariant: *when the worker dies after 'call charge' of order > pay *", "pwsim: 1 simulation, 1 schedule; *"]
    )


def test_a_replay_is_for_tests_that_begin_alike(pytester: pytest.Pytester) -> None:
    write(pytester, FAILS + "\ndef test_other(pwsim): pwsim.explore(app, start=('pay', {'card': '1'}))")
    run(pytester, code=1)
    file = kept(pytester)
    run(pytester, "--pwsim-replay", file, code=1).stdout.fnmatch_lines(["pwsim: 2 simulations, 2 schedules; *"])
    done = run(pytester, "--pwsim-replay", file, "-k", "other", code=0)
    done.stdout.fnmatch_lines([f"pwsim: {file} was not replayed: no test that ran begins as it does"])


def test_a_replay_whose_faults_are_met_no_more_fails(pytester: pytest.Pytester) -> None:
    write(pytester, FAILS)
    run(pytester, code=1)
    file = pytester.path / kept(pytester)
    text = file.read_text().replace("order #1", "order #9").replace('planted = "parked-call-forgotten"', "")
    (pytester.path / "old.toml").write_text(text)
    run(pytester, "--pwsim-replay", "old.toml", code=1).stdout.fnmatch_lines(
        ["vacuous: none of its faults is met any more: order #9 / claim / after"]
    )


def test_a_replay_without_a_file_is_told(pytester: pytest.Pytester) -> None:
    write(pytester, FAILS)
    run(pytester, "--pwsim-replay", "none.toml", code=1).stdout.fnmatch_lines(["none.toml: No such file*"])


def test_a_page_is_written_for_a_failure(pytester: pytest.Pytester) -> None:
    write(pytester, FAILS)
    done = run(pytester, "--pwsim-html", "pages", code=1)
    (page,) = (pytester.path / "pages").glob("*.html")
    done.stdout.fnmatch_lines([f"page: pages/{page.name}"])
    assert "L4" in page.read_text()


def test_no_page_is_written_for_a_pass(pytester: pytest.Pytester) -> None:
    write(pytester, SHOW.format(""))
    run(pytester, "--pwsim-html", "pages", code=0)
    assert not (pytester.path / "pages").exists()
