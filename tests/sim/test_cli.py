"""The command ``pwsim``: what each subcommand prints, and its exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pwsim import scenario as scenarios
from pwsim.cli import main

from .failures import AT_ONCE, EARLY, TWICE, fault_of, played, scenario, step_of

RUN = ("run", "pwsim.planted.workflows:fan", "--start", "begin=3", "--max-faults", "1", "--runs", "5")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _json(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_a_command_says_in_its_own_help_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["explain", "--help"])
    assert "\nSay why a call ran.\n" in capsys.readouterr().out


# ── run ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_that_finds_nothing_says_its_bound(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(RUN) == 0
    assert capsys.readouterr().out.startswith("pass: ")


def test_a_run_that_finds_something_prints_it_and_saves_what_replays_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RUN, "--planted", "no-dedupe"]) == 1
    out = capsys.readouterr().out
    replay = next(line for line in out.splitlines() if line.startswith("replay: pwsim "))
    assert main([*replay.split()[2:], "--strict"]) == 1
    assert out.splitlines()[0] == capsys.readouterr().out.splitlines()[0]


@pytest.mark.parametrize("planted", ["", "no-dedupe"])
def test_the_json_of_a_run_has_the_keys_of_the_contract(planted: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = main([*RUN, "--planted", planted, "--json"])
    found = _json(capsys)
    assert {"verdict", "runs", "steps", "states", "seconds", "crash_points", "violations"} <= set(found)
    assert found["crash_points"].keys() == {"hit", "defined"}  # type: ignore[attr-defined]
    assert found["verdict"] == ("violation" if code else "pass")
    for violation in found["violations"]:  # type: ignore[attr-defined]
        assert violation.keys() == {"law", "sentence", "faults", "replay"}


@pytest.mark.parametrize(
    "wrong",
    [
        ["run", "no_such_module:app", "--start", "x"],
        ["run", "pwsim.planted.workflows:fan"],
        ["run", "pwsim.planted.workflows:fan", "--start", "begin=3", "--planted", "nothing"],
        ["run", "empty-folder.toml"],
        ["replay", "nothing.toml"],
        ["show", "nothing.toml"],
    ],
)
def test_what_was_asked_wrongly_is_said_in_one_line(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(wrong) == 2
    out = capsys.readouterr()
    assert out.err.startswith("pwsim: ")
    assert not out.out


def test_a_workflow_that_does_not_work_without_any_fault_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    """It breaks no law of the library, and its author will want to know."""
    assert (
        main(["run", "pwsim.planted.workflows:chain", "--start", "poison=1", "--max-faults", "0", "--runs", "1"]) == 0
    )
    assert "note that without any fault, poison died of " in capsys.readouterr().out


def test_a_folder_of_scenarios_is_replayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenario(tmp_path, name="one")
    scenario(tmp_path, "", "begin #1 / commit / after", name="two")
    assert main(["run", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("no law is broken") == 2
    scenario(tmp_path, *TWICE, name="three")
    assert main(["run", str(tmp_path), "--html", str(tmp_path / "pages")]) == 1
    assert {page.name for page in (tmp_path / "pages").iterdir()} == {"one.html", "two.html", "three.html"}


def test_several_pages_do_not_fit_into_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenario(tmp_path, name="one")
    scenario(tmp_path, name="two")
    assert main(["run", str(tmp_path), "--html", "page.html"]) == 2
    assert "name a folder" in capsys.readouterr().err


# ── replay ──────────────────────────────────────────────────────────────────────────────────────


def test_a_strict_replay_wants_the_same_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = scenario(tmp_path)
    path.write_text(path.read_text().replace('trace = "', 'trace = "0'))
    assert main(["replay", str(path)]) == 0
    assert main(["replay", str(path), "--strict"]) == 1
    assert "the trace differs from the one recorded" in capsys.readouterr().out


def test_a_replay_says_which_faults_no_longer_match(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = scenario(tmp_path, "", "begin > other #1 / commit / after")
    assert main(["replay", str(path)]) == 0
    assert "no longer matched: begin > other #1 / commit / after" in capsys.readouterr().out
    assert main(["replay", str(path), "--json"]) == 0
    assert _json(capsys)["unmatched"] == ["begin > other #1 / commit / after"]


def test_what_was_expected_and_did_not_happen_is_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(scenario(tmp_path, expect="L1"))]) == 1
    assert "expected: L1" in capsys.readouterr().out


def test_a_replay_can_be_written_as_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(scenario(tmp_path, *TWICE)), "--html", "deep/x.html", "--json"]) == 1
    out = capsys.readouterr()
    assert json.loads(out.out)["verdict"] == "violation", "what is said about the page does not disturb the JSON"
    assert Path("deep/x.html").read_text().startswith("<!doctype html>")


# ── show ────────────────────────────────────────────────────────────────────────────────────────


def test_show_is_the_timeline_in_full(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(scenario(tmp_path, *TWICE))]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 50
    assert not any("more steps" in line for line in lines)
    assert lines[-1] == "     ▶ L1 is broken: begin committed 2 times"


def test_show_step_is_the_state_after_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    claimed = step_of(played(*EARLY), "begin", "claim")
    assert main(["show", str(scenario(tmp_path, *EARLY)), "--step", str(claimed)]) == 0
    out = capsys.readouterr().out
    assert "fan/1  begin #1  claim (attempt 1)" in out
    assert "begin  ready, attempt 1, lease fan/1 until 10.000s, data 3" in out


@pytest.mark.parametrize("number", ["-1", "1000"])
def test_a_step_that_is_not_there_is_named(number: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(scenario(tmp_path)), f"--step={number}"]) == 2
    assert f"--step {number}: there are steps 1 to" in capsys.readouterr().err


# ── diff ────────────────────────────────────────────────────────────────────────────────────────


def test_diff_shows_both_ways_from_where_they_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = scenario(tmp_path, *TWICE, name="a"), scenario(tmp_path, *EARLY, name="b")
    assert main(["diff", str(a), str(b)]) == 1
    lines = capsys.readouterr().out.splitlines()
    struck = fault_of(played(*TWICE))
    assert lines[0].startswith(f"the same up to step {struck - 1}, of ")
    assert lines[lines.index(f"from step {struck} in {a}") + 1].endswith("fan/1  begin #1  ✗ stalls before run")
    assert lines[lines.index(f"from step {struck} in {b}") + 1].endswith("fan/1  begin #1  run (calls 3; joins 1)")


def test_diff_of_the_same_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(scenario(tmp_path))
    assert main(["diff", path, path]) == 0
    assert capsys.readouterr().out.startswith("the same in all ")


# ── explain ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("call", ["begin > gather", "gather"])
def test_explain_takes_a_path_or_its_end(call: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(scenario(tmp_path)), call]) == 0
    out = capsys.readouterr().out
    assert out.startswith("begin > gather\n\ncreated by a join that had all it waits for")
    assert "committed by attempt 1, delivery 1" in out


def test_explain_says_which_calls_there_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(scenario(tmp_path)), "end"]) == 2
    assert "there is no such call; there are 'begin', 'begin > part[0]'" in capsys.readouterr().err


# ── shrink ──────────────────────────────────────────────────────────────────────────────────────

TOO_MANY = ("no-dedupe", "start of run #1 / start / reply-lost", *TWICE[1:], "begin > gather #1 / gather / requeue")


def test_shrink_writes_the_smaller_scenario_to_standard_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["shrink", str(scenario(tmp_path, *TOO_MANY))]) == 0
    out = capsys.readouterr()
    assert out.err.startswith("faults 3 -> 1, ")
    (tmp_path / "small.toml").write_text(out.out)
    small = scenarios.load(tmp_path / "small.toml")
    assert (small.faults, small.expect, small.planted) == (TWICE[1:], "L1", "no-dedupe")
    assert main(["replay", "--strict", str(tmp_path / "small.toml")]) == 1


def test_shrink_can_write_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shrink", str(scenario(tmp_path, *TOO_MANY)), "-o", "small.toml"]) == 0
    assert not capsys.readouterr().out
    assert scenarios.load("small.toml").faults == TWICE[1:]


def test_what_breaks_no_law_cannot_be_shrunk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shrink", str(scenario(tmp_path))]) == 2
    assert "no law is broken" in capsys.readouterr().err


def test_a_failure_that_needs_no_fault_shrinks_to_none(tmp_path: Path) -> None:
    path = scenario(tmp_path, AT_ONCE[0], "begin #1 / receive / duplicate")
    assert main(["shrink", str(path), "-o", "small.toml"]) == 0
    assert scenarios.load("small.toml").faults == ()
