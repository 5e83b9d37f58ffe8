"""Words, exit codes and errors of the command line that need no server."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pwf_runtime.cli import FAILED, USAGE, main
from pwf_runtime.commands import load_app
from pwf_runtime.errors import UsageError
from pwf_runtime.supervise import Supervisor

WAIT_S = 60.0
NOWHERE = ("--amqp", "amqp://127.0.0.1:1", "--redis", "redis://127.0.0.1:1")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["worker", "examples.bulk"], "write MODULE:APP"),
        (["worker", "examples.nothing:app"], "there is no module 'examples.nothing'"),
        (["worker", "examples.bulk:nothing"], "its workflows are: app"),
        (["worker", "examples.bulk:START"], "has a int there, not a Workflow"),
        (["worker", "examples.bulk:app", "--lease", "0"], "lease=0.0: must be a number from 0.1"),
        (["worker", "examples.bulk:app", "--processes", "0"], "give 1 or more"),
        (["worker", "examples.bulk:app", "--amqp", "http://x"], "is no URL of RabbitMQ"),
        (["runs", "--amqp", "amqp://x", "--redis", "x"], "is no URL of Redis"),
        (["publish", "users", "1", *NOWHERE], "write QUEUE.TASK"),
        (["publish", "users.x", "{", *NOWHERE], "is no JSON"),
    ],
)
def test_what_is_asked_wrongly_ends_with_2_and_says_so(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == USAGE
    assert text in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["no-such-command"], ["show"], ["worker", "a:b", "--queue-type", "fast"]])
def test_an_unknown_word_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == USAGE
    assert "usage: pwf" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["runs"],
        ["show", "x"],
        ["explain", "x"],
        ["cancel", "x"],
        ["dead", "list"],
        ["doctor"],
        ["relist"],
        ["publish", "q.t", "1"],
    ],
)
def test_servers_that_are_down_end_with_1_soon(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    begun = time.monotonic()
    assert main([*arguments, *NOWHERE]) == FAILED
    assert time.monotonic() - begun < WAIT_S
    said = capsys.readouterr()
    assert "127.0.0.1:1" in said.err + said.out


def test_urls_that_are_missing_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PWF_AMQP_URL", raising=False)
    assert main(["runs"]) == USAGE
    assert "set PWF_AMQP_URL" in capsys.readouterr().err


def test_a_module_that_cannot_be_imported_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_flow.py").write_text("import no_such_thing\n")
    (tmp_path / "failing_flow.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(UsageError, match="importing broken_flow failed: No module named 'no_such_thing'"):
        load_app("broken_flow:app")
    with pytest.raises(UsageError, match="importing failing_flow failed: ZeroDivisionError"):
        load_app("failing_flow:app")


def test_modules_are_found_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_flow.py").write_text("from pwf_runtime import Workflow\napp = Workflow('mine')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(tmp_path)])
    assert load_app("my_flow:app").name == "mine"


def test_the_module_and_a_worker_without_servers() -> None:
    """A worker whose servers are down says so and goes on trying, until it is told to stop."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pwf_runtime", "worker", "examples.bulk:app", *NOWHERE],
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stderr is not None
    try:
        assert "cannot reach 127.0.0.1:1" in process.stderr.readline()
        assert process.poll() is None
        process.terminate()
        _, rest = process.communicate(timeout=WAIT_S)
        assert process.returncode == 0
        assert "ready" not in rest
    finally:
        process.kill()
        process.wait()


# ── the supervisor ────────────────────────────────────────────────────────────────────────────

CHILD = """
import os, signal, sys
stop, ready = map(int, sys.argv[-1].split(","))
{before}
os.write(ready, b"ready\\n")
os.read(stop, 1)
"""


def run_supervisor(tmp_path: Path, before: str, count: int = 2) -> subprocess.Popen[str]:
    """A supervisor of children that run ``before`` and then wait, in a process of its own."""
    program = (
        "import sys; from pwf_runtime.supervise import Supervisor\n"
        f"command = [sys.executable, '-c', {CHILD.format(before=before)!r}]\n"
        f"sys.exit(Supervisor(command, {count}, 1.0, lambda: print('ready', flush=True)).run())"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )


def test_a_supervisor_starts_anew_what_dies_and_is_ready_when_all_are(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    # exactly one child makes the directory and dies of it, however the two interleave
    before = (
        f"marks = {str(marks)!r}; open(marks + '/' + str(os.getpid()), 'w').close()\n"
        f"try: os.mkdir({str(tmp_path / 'died')!r})\n"
        "except FileExistsError: pass\n"
        "else: os.kill(os.getpid(), 9)"
    )
    process = run_supervisor(tmp_path, before)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert len(os.listdir(marks)) == 3
        process.terminate()
        process.wait(WAIT_S)
        # the children of this test do not handle SIGTERM, so they did not end well
        assert process.returncode == FAILED
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]


@pytest.mark.parametrize(("code", "expected"), [(3, FAILED), (2, USAGE)])
def test_a_refused_child_ends_them_all(tmp_path: Path, code: int, expected: int) -> None:
    process = run_supervisor(tmp_path, f"sys.exit({code})")
    try:
        assert process.wait(WAIT_S) == expected
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]


def test_children_end_with_their_parent_however_it_dies(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    before = f"open({str(pids)!r}, 'a').write(str(os.getpid()) + chr(10))"
    process = run_supervisor(tmp_path, before)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.kill()
    process.wait()
    process.stdout.close()
    children = [int(line) for line in pids.read_text().split()]
    deadline = time.monotonic() + WAIT_S
    while any(Path(f"/proc/{pid}").exists() and "Z" not in _state(pid) for pid in children):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def test_a_supervisor_takes_at_least_one_child() -> None:
    assert Supervisor(["x"], 1, 1.0, lambda: None)
