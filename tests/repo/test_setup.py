"""Setting up says what is missing, and what to do about it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from . import ROOT

PATIENCE_S = 900


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A copy of what sets up, and beside it a folder ``bin`` with a few plain tools and no Python, server or apt."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "bin").mkdir()
    for tool in ("dirname", "cksum", "grep", "id", "rm"):
        found = shutil.which(tool)
        assert found is not None
        (tmp_path / "bin" / tool).symlink_to(found)
    return tmp_path


def run(folder: Path, script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": str(folder / "bin"), **environment}
    command = ["/bin/sh", str(folder / "scripts" / script)]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE_S)


def test_without_a_python_it_says_which_one_to_install(bare: Path) -> None:
    done = run(bare, "venv.sh")
    assert done.returncode == 1
    assert "Python 3.11 or newer was not found" in done.stderr
    assert not (bare / ".venv").exists()


def test_a_python_that_is_too_old_is_passed_over(bare: Path) -> None:
    old = bare / "bin" / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")  # what sys.exit(sys.version_info < (3, 11)) does there
    old.chmod(0o755)
    assert "Python 3.11 or newer was not found" in run(bare, "venv.sh").stderr


def test_a_python_that_was_asked_for_is_named_when_it_will_not_do(bare: Path) -> None:
    assert "not found as python2.7" in run(bare, "venv.sh", PYTHON="python2.7").stderr


@pytest.mark.parametrize(("ci", "code"), [("", 0), ("true", 1)])
def test_missing_servers_are_named_and_fail_only_in_ci(bare: Path, ci: str, code: int) -> None:
    done = run(bare, "install-servers.sh", CI=ci)
    assert done.returncode == code
    assert "Not installed: rabbitmq-server redis-server chromium chromium-driver" in done.stderr
    assert "apt install" in done.stderr


@pytest.fixture
def apt(bare: Path) -> Path:
    """An ``apt-get`` beside it that notes what it is asked for, and whether services may start, and makes empty
    programs. While there is a file ``locked``, it says what it says when another one has its lists; sleeping removes
    the file."""
    policy, log, folder = bare / "policy-rc.d", bare / "log", bare / "bin"
    script = bare / "scripts" / "install-servers.sh"
    script.write_text(script.read_text().replace("/usr/sbin/policy-rc.d", str(policy)))
    fakes = {
        "id": "echo 1000",
        "sudo": 'shift\n"$@"',
        "env": 'shift\n"$@"',
        "true": "exit 0",
        "sleep": f"rm -f {bare / 'locked'}",
        "apt-get": f"""
            if [ -e {bare / "locked"} ]; then
              echo 'E: Could not get lock /var/lib/apt/lists/lock. It is held by process 1 (apt-get)'
              exit 100
            fi
            echo "$1" >>{log}
            [ "$1" = install ] || exit 0
            for package in "$@"; do :; done
            services=allowed
            [ -x {policy} ] && ! {policy} && services=forbidden
            echo "$package $services" >>{log}
            case $package in
              rabbitmq-server) made='rabbitmq-server epmd' ;;
              chromium-driver) made=chromedriver ;;
              *) made=$package ;;
            esac
            for program in $made; do echo '#!/bin/sh' >{folder}/$program; chmod 755 {folder}/$program; done""",
    }
    for name, text in fakes.items():
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    for tool in ("chmod", "mktemp", "seq", "tail", "tee"):
        (folder / tool).symlink_to(str(shutil.which(tool)))
    return bare


@pytest.mark.parametrize("at_first", ["free", "locked"])
def test_where_it_may_it_installs_what_is_missing_without_starting_services(apt: Path, at_first: str) -> None:
    """And waits for another ``apt-get`` that has the lists of packages."""
    (apt / at_first).touch()
    done = run(apt, "install-servers.sh", CI="true")
    assert done.returncode == 0, done.stdout + done.stderr
    wanted = ["rabbitmq-server", "redis-server", "chromium", "chromium-driver"]
    installed = [line for package in wanted for line in ("install", f"{package} forbidden")]
    assert (apt / "log").read_text().splitlines() == ["update", *installed]
    assert not (apt / "policy-rc.d").exists()


def test_nothing_is_done_twice() -> None:
    """What is set up already is left alone, without a word: the environment that runs this test, for one."""
    if not (ROOT / ".venv" / ".installed").is_file():
        pytest.skip("this environment was not made by scripts/venv.sh")
    done = subprocess.run(
        ["/bin/sh", str(ROOT / "scripts" / "venv.sh")],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
