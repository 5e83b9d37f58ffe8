"""Golden scenarios: each file under ``scenarios/`` is played, and must come to what it expects by the trace it records.

After a change that is meant to change traces: ``PWSIM_REWRITE=1 pytest tests/sim/test_scenarios.py``, then read the
difference. What a file *expects* is never rewritten.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from pwsim.commands.common import prepare
from pwsim.runner import Result, play
from pwsim.scenario import Scenario, dump, load
from tests.repo import ROOT

FOLDER = ROOT / "scenarios"
FILES = sorted(FOLDER.rglob("*.toml"))
REWRITE = os.environ.get("PWSIM_REWRITE") == "1"


def name(path: Path) -> str:
    return path.relative_to(FOLDER).with_suffix("").as_posix()


def played(scenario: Scenario) -> Result:
    return play(prepare(scenario), scenario.schedule())


@pytest.mark.parametrize("path", FILES, ids=name)
def test_it_comes_to_what_it_expects_by_the_same_steps(path: Path) -> None:
    scenario = load(path)
    result = played(scenario)
    assert (result.violation.law if result.violation else "pass") == scenario.expect, result.violation
    assert not result.unmatched(), "an address that nothing meets any more: mend it, or the scenario shows nothing"
    if REWRITE:
        path.write_text(dump(replace(scenario, trace=result.fingerprint())), encoding="utf-8")
        return
    assert scenario.trace == result.fingerprint(), (
        "the steps have changed; if that was meant: PWSIM_REWRITE=1, and read the difference"
    )


def test_every_file_says_what_it_is_about_and_is_written_as_we_write_it() -> None:
    for path in FILES:
        scenario = load(path)
        assert scenario.about.endswith("."), f"{name(path)}: `about` says in a sentence what happens"
        assert dump(scenario) == path.read_text("utf-8"), f"{name(path)}: write it with PWSIM_REWRITE=1"


def test_only_regressions_may_expect_that_a_law_is_broken() -> None:
    """What is known and not mended is named as that, and its file fails as soon as it is mended."""
    known = {name(path) for path in FILES if load(path).expect != "pass"}
    assert all(path.startswith("regressions/") for path in known)
    assert all("KNOWN" in load(FOLDER / f"{path}.toml").about for path in known)


def test_every_folder_of_the_readme_has_scenarios() -> None:
    folders = {path.parent.name for path in FILES}
    assert folders == {"seed", "crashes", "joins", "leases", "retries", "regressions"}
    readme = (FOLDER / "README.md").read_text("utf-8")
    assert all(f"`{folder}/`" in readme for folder in folders)


def test_traces_do_not_depend_on_where_the_code_lies(tmp_path: Path) -> None:
    """Else no file would replay on another machine. Those with a traceback are the ones to try."""
    for package in ("pwf_runtime", "pwsim", "examples", "scenarios"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pwsim", "replay", "--strict"]
    for path in ("retries/fails-once", "seed/bulk"):
        file = tmp_path / "scenarios" / f"{path}.toml"
        done = subprocess.run([*command, str(file)], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_pytest_collects_them_as_it_would_a_user_s() -> None:
    """Each file is a test, with the plugin as it is installed."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "pwsim.plugin", "-p", "no:cacheprovider", str(FOLDER)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert f"{len(FILES)} passed" in done.stdout
