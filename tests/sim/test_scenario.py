"""Scenario files: what is written is read back, what is wrong is named with file and key, and it replays anywhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pwf_runtime.errors import UsageError
from pwsim.faults import parse
from pwsim.runner import play
from pwsim.scenario import Scenario, StartEntry, dump, load
from pwsim.schedule import Schedule
from pwsim.targets import load_apps

ROOT = Path(__file__).resolve().parents[2]
FAN = "pwsim.planted.workflows:fan"
PLAIN = Scenario((FAN,), (StartEntry("begin", "2"),))

# ── round trip ────────────────────────────────────────────────────────────────────────────────

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scenarios = st.builds(
    Scenario,
    apps=st.lists(texts, min_size=1, max_size=3).map(tuple),
    start=st.lists(st.builds(StartEntry, texts, texts), min_size=1, max_size=3).map(tuple),
    workers=st.integers(1, 9),
    prefetch=st.integers(1, 9),
    recovery=st.booleans(),
    faults=st.lists(texts, max_size=4).map(tuple),
    deviations=st.lists(st.tuples(st.integers(0, 999), st.integers(0, 99)), max_size=4).map(tuple),
    planted=texts,
    expect=texts.filter(bool),
    trace=texts,
    about=texts,
)


@given(scenarios)
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, scenario: Scenario) -> None:
    """Whatever people write in it: quotes, newlines, control characters."""
    path = tmp_path_factory.getbasetemp() / "scenario.toml"
    path.write_text(dump(scenario), encoding="utf-8", newline="")
    assert load(path) == scenario


def test_a_file_is_as_a_person_would_write_it() -> None:
    scenario = Scenario(
        (FAN,),
        (StartEntry("begin", '{"n": 2}'),),
        faults=("begin #1 / commit / after",),
        deviations=((12, 1), (13, 0)),
        expect="L3",
        about='a "quoted" word',
    )
    assert dump(scenario) == (
        "version = 1\n"
        'about = "a \\"quoted\\" word"\n'
        'apps = ["pwsim.planted.workflows:fan"]\n'
        'start = [{ task = "begin", data = "{\\"n\\": 2}" }]\n'
        "workers = 2\n"
        "faults = [\n"
        '    "begin #1 / commit / after",\n'
        "]\n"
        "deviations = [[12, 1], [13, 0]]\n"
        'expect = "L3"\n'
    )


def test_what_is_not_said_is_the_default(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text(f'apps = ["{FAN}"]\nstart = [{{ task = "begin" }}]\n')
    assert load(path) == Scenario((FAN,), (StartEntry("begin", "null"),))
    assert load(str(path)).workers == 2


# ── what is wrong ─────────────────────────────────────────────────────────────────────────────

HEAD = f'apps = ["{FAN}"]\nstart = [{{ task = "begin", data = "2" }}]\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("apps = [", "no TOML"),
        ("\x00", "no TOML"),
        ("", "apps"),
        (f'apps = ["{FAN}"]', "start"),
        ('apps = "x"\nstart = []', "$.apps"),
        (HEAD + 'workers = "two"', "$.workers"),
        (HEAD + "workers = 2.5", "$.workers"),
        (HEAD + "fault = []", "fault"),
        (HEAD + "faults = [1]", "$.faults[0]"),
        (HEAD + "deviations = [[1, 2, 3]]", "$.deviations[0]"),
        (HEAD + 'deviations = [["a", 1]]', "$.deviations[0][0]"),
        (HEAD + "expect = 3", "$.expect"),
        (f'apps = ["{FAN}"]\nstart = [{{ data = "2" }}]', "$.start[0]"),
        (f'apps = ["{FAN}"]\nstart = [{{ task = "begin", date = "2" }}]', "date"),
        (HEAD + "version = 2", "version 2; this pwsim reads version 1"),
        (HEAD + 'version = "1"', "version '1'"),
    ],
)
def test_an_error_names_the_file_and_the_key(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)


def test_a_file_that_is_not_there_or_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing\.toml: No such file"):
        load(tmp_path / "nothing.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"binary\.toml: no TOML"):
        load(tmp_path / "binary.toml")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"start": (StartEntry("begin", "{"),)}, "start: data of 'begin': '{' is no JSON"),
        ({"start": (StartEntry("begn", "2"),)}, "there is no task 'fan.begn' to begin with; there are fan.begin"),
        ({"planted": "nonsense"}, "there is no planted bug 'nonsense'"),
        ({"workers": 0}, "workers=0"),
        ({"apps": ()}, "at least one Workflow"),
        ({"apps": ("no_such_module:app",)}, "'no_such_module:app': there is no module 'no_such_module'"),
        ({"apps": ("pwsim.planted.workflows",)}, "write it as MODULE:APP"),
        ({"apps": ("pwsim.planted.workflows:fun",)}, "'fun' is no Workflow of pwsim.planted.workflows (it has: chain"),
        ({"apps": ("pwsim.faults:parse",)}, "'parse' is no Workflow of pwsim.faults (it has: none)"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_can(change: dict[str, Any], said: str) -> None:
    values = {name: getattr(PLAIN, name) for name in PLAIN.__struct_fields__}
    with pytest.raises(UsageError) as caught:
        Scenario(**{**values, **change}).program()
    assert said in str(caught.value)


def test_a_fault_that_is_no_address_is_refused() -> None:
    with pytest.raises(UsageError, match="'begin / commit' is no address of a fault"):
        Scenario((FAN,), PLAIN.start, faults=("begin / commit",)).schedule()


def test_an_error_inside_the_module_that_is_loaded_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing import of the user's is not mistaken for a missing module."""
    (tmp_path / "needs_something.py").write_text("import something_missing\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="something_missing"):
        load_apps(["needs_something:app"])


# ── playing ───────────────────────────────────────────────────────────────────────────────────


def test_a_scenario_says_all_that_it_takes_to_play_it(tmp_path: Path) -> None:
    scenario = Scenario(
        (FAN,),
        (StartEntry("begin", "3"),),
        workers=3,
        prefetch=2,
        faults=("begin #1 / commit / stall", "begin > part[1] #1 / receive / duplicate"),
        deviations=((14, 1), (20, 1)),
        planted="join-by-counter",
    )
    path = tmp_path / "s.toml"
    path.write_text(dump(scenario))
    read = load(path)
    program = read.program()
    assert (program.workers, program.prefetch) == (3, 2)
    assert read.schedule() == Schedule(tuple(map(parse, scenario.faults)), scenario.deviations)
    one, again = play(program, read.schedule()), play(scenario.program(), scenario.schedule())
    assert one.fingerprint() == again.fingerprint()


def test_another_process_replays_it_to_the_same_trace(tmp_path: Path) -> None:
    scenario = Scenario((FAN,), (StartEntry("begin", "2"),), faults=("begin #1 / run / stall",))
    result = play(scenario.program(), scenario.schedule())
    path = tmp_path / "s.toml"
    path.write_text(dump(scenario) + f'trace = "{result.fingerprint()}"\n')
    command = [sys.executable, "-m", "pwsim", "replay", "--strict", str(path)]
    for seed in ("0", "12345"):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={"PYTHONHASHSEED": seed})
        assert done.returncode == 0, done.stdout + done.stderr
    path.write_text(dump(scenario) + 'trace = "another"\n')
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
