"""``pwsim lint`` names each kind of mistake with file, line, function, value and remedy, and is silent in doubt."""

from __future__ import annotations

import importlib
import itertools
import json
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from pwsim.cli import main
from pwsim.lint import Finding, lint
from pwsim.lint.names import ANY_NAME, HOLE, Count, Name

NUMBERS = itertools.count()
HEAD = """\
from pwf_runtime import *
from pwf_runtime import Workflow
app = Workflow("orders")
"""
HEAD_LINES = len(HEAD.splitlines())

Lint = Callable[[str], list[Finding]]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes a module and returns its name."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(code: str) -> str:
        name = f"linted_{next(NUMBERS)}"
        (tmp_path / f"{name}.py").write_text(HEAD + textwrap.dedent(code))
        importlib.invalidate_caches()
        return name

    return write


@pytest.fixture
def found(module: Callable[[str], str]) -> Lint:
    """What is found in a module with one service, ``app``."""
    return lambda code: lint([importlib.import_module(module(code)).app])


def rules(findings: list[Finding]) -> list[str]:
    return [finding.rule for finding in findings]


# ── each mistake is named ─────────────────────────────────────────────────────────────────────


def test_a_join_on_a_misspelt_event_is_named_on_both_sides(found: Lint) -> None:
    never_emitted, never_awaited = sorted(
        found("""
            @app.task
            def begin(data):
                return [call(check, data), join(done, on=["email_verifed"])]

            @app.task
            def check(data):
                return emit("email_verified", data)

            @app.task
            def done(events): ...
        """),
        key=lambda finding: finding.line,
    )
    assert (never_emitted.rule, never_awaited.rule) == ("never-emitted", "never-awaited")
    assert never_emitted.line == HEAD_LINES + 4
    assert never_emitted.task == "orders.begin"
    assert "begin()" in never_emitted.message
    assert "did you mean 'email_verified'?" in never_emitted.message
    assert "if it comes from outside, write signal('email_verifed')" in never_emitted.message
    assert "check() emits 'email_verified'" in never_awaited.message


def test_a_signal_is_emitted_by_nobody(found: Lint) -> None:
    """Neither that nor how often it is awaited is a mistake; what else is, is found beside it."""
    assert not found("""
        @app.task
        def begin(data):
            return [call(check, data), join(done, on=["checked", signal("approved"), signal("signed", 2)])]

        @app.task
        def check(data):
            return emit("checked", data)

        @app.task
        def done(events):
            return publish_on_events("done", 1, signal(name="again", count=3))
    """)
    (finding,) = found("""
        @app.task
        def begin(data):
            return join(done, on=[signal("approved"), "misspelt"])

        @app.task
        def done(events): ...
    """)
    assert (finding.rule, "'misspelt'" in finding.message) == ("never-emitted", True)


@pytest.mark.parametrize(
    ("call", "value"),
    [
        ('call("chek", data)', "'orders.chek'"),
        ('call("orders.chek", data)', "'orders.chek'"),
        ('publish_next("check", 1, "chek", 2)', "'orders.chek'"),
        ('join("chek", on=["x"])', "'orders.chek'"),
        ('fork([call(check, 1)], then="chek")', "'orders.chek'"),
        ('call("order.check", data)', "'order.check'"),
        ("call(helper, data)", "helper"),
    ],
)
def test_a_call_to_a_task_that_nobody_registered_is_named(found: Lint, call: str, value: str) -> None:
    finding = next(
        finding
        for finding in found(f"""
            def helper(data): ...

            @app.task
            def begin(data):
                return [{call}, emit("x")]

            @app.task
            def check(data): ...
        """)
        if finding.rule == "no-such-task"
    )
    assert "begin() calls" in finding.message
    assert value in finding.message
    assert finding.line == HEAD_LINES + 6


@pytest.mark.parametrize(
    ("calls", "join"),
    [
        ("call(part, i) for i in range(3)", 'on={"part": 4}'),
        ("call(part, i) for i in range(N)", 'on={"part": N + 1}'),
        ("call(part, i) for i in range(data)", 'on={"part": data + 1}'),
        ("call(part, i) for i in data", 'on={"part": len(data) + 1}'),
        ("call(part, i) for i in (1, 2)", 'on=["part", "part", "part"]'),
        ("call(numbered, i) for i in range(3)", 'on=[f"part_{i}" for i in range(4)]'),
        ("call(numbered, i) for i in range(1, N)", 'on=[f"part_{i}" for i in range(N)]'),
    ],
)
def test_a_fork_whose_join_counts_one_too_many_is_named(found: Lint, calls: str, join: str) -> None:
    found_here = found(f"""
        N = 3
        @app.task
        def begin(data):
            return [*[{calls}], join(done, {join})]

        @app.task
        def part(data):
            return emit("part", data)

        @app.task
        def numbered(data):
            return emit(f"part_{{data}}", data)

        @app.task
        def done(events): ...
    """)
    finding = next(finding for finding in found_here if finding.rule == "too-many")
    assert finding.line == HEAD_LINES + 5
    assert "begin() waits for" in finding.message


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("now = time.time()", "the clock (time.time)"),
        ("now = datetime.datetime.now()", "the clock (datetime.datetime.now)"),
        ("number = random.random()", "chance (random.random)"),
        ("number = random.Random().random()", "chance (random.Random)"),
        ("key = uuid.uuid4()", "chance (uuid.uuid4)"),
        ("host = socket.gethostname()", "the machine it runs on (socket.gethostname)"),
        ("peer = socket.create_connection((data, 80))", "a socket"),
        ('home = os.environ["HOME"]', "the machine it runs on (os.environ)"),
        ("threading.Thread(target=print).start()", "threads"),
        ("SEEN.append(data)", "changes the global 'SEEN'"),
        ("CACHE[data] = 1", "changes the global 'CACHE'"),
        ("global COUNT; COUNT = 1", "changes the global 'COUNT'"),
        ("now = read_clock()", "the clock (time.time)"),
    ],
)
def test_a_task_that_is_no_function_of_its_input_is_named(found: Lint, line: str, what: str) -> None:
    (finding,) = found(f"""
        import datetime, os, random, socket, threading, time, uuid
        SEEN, CACHE, COUNT = [], {{}}, 0

        @app.task
        def begin(data, ctx):
            {line}

        def read_clock():
            return time.time()
    """)
    assert finding.rule == "impure"
    assert what in finding.message
    assert finding.message.startswith("begin() is no function of its input")


# ── and nothing else is ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "body",
    [
        "return [emit(data), join(done, on=[data])]",  # names that only a run knows
        'return [emit(f"x_{data}"), join(done, on=["x_1", "x_2"])]',
        'return [emit("x_1"), join(done, on=[f"x_{i}" for i in data])]',
        'return [emit(PREFIX + "_1"), join(done, on=["x_1"])]',
        'return [emit("a"), join(done, on=["a", "b"], at_least=1)]',  # b is for later
        'return [call(data["next"]), emit("x")]',  # any task, which may await it
        'return [call("other.task"), join(done, on=["from_other"])]',  # a service that was not given
        'return [*[call(part) for _ in data], join(done, on={"part": len(data)})]',
        'return [*[call(part) for _ in range(data - 1)], emit("part"), join(done, on={"part": data})]',
        'return [*[call(part) for x in data if x], join(done, on={"part": 2})]',
        'for x in data["items"]: yield_ = call(part)\n    return join(done, on={"part": data["n"] + 1})',
        'return [call(begin), emit("part"), join(done, on={"part": 3})]',  # it loops, and emits once more each time
        'return ctx.step("now", lambda: time.time())',
        "return result(random.Random(data).random())",
        "seen = []; seen.append(data)",
        "return result(TABLE[data])",
        "now = time.time()  # pwsim: ignore",
    ],
)
def test_in_doubt_nothing_is_said(found: Lint, body: str) -> None:
    wanted = found(f"""
import random, time
PREFIX, TABLE = "x", {{}}

@app.task
def begin(data, ctx):
    {body}

@app.task
def part(data):
    return [emit("part"), join(done, on=["part"])]

@app.task
def done(events): ...
""")
    assert wanted == []


@pytest.mark.parametrize(
    "target",
    [
        "examples.registration:users,examples.registration:documents",
        "examples.original_style:users,examples.original_style:documents",
        "examples.bulk:app",
        "examples.ping_pong:ping,examples.ping_pong:pong",
        "examples.conditional:app",
        "pwsim.generated:red,pwsim.generated:blue",
    ],
)
def test_what_is_right_stays_silent(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", target]) == 0
    assert capsys.readouterr().out.startswith("nothing found in ")


def test_one_service_alone_may_be_joined_by_another(capsys: pytest.CaptureFixture[str]) -> None:
    """``users`` waits for an event of ``documents``, which was not given."""
    assert main(["lint", "examples.registration:users"]) == 0


# ── the command ───────────────────────────────────────────────────────────────────────────────


def test_a_finding_is_a_line_to_click_on_and_an_object_for_machines(
    module: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    name = module("""
        @app.task
        def begin(data):
            return call("finish", data)
    """)
    assert main(["lint", f"{name}:app"]) == 1
    line = capsys.readouterr().out.splitlines()[0]
    assert line.endswith(
        f"{name}.py:{HEAD_LINES + 4}: no-such-task: begin() calls 'orders.finish', which 'orders' does "
        "not have: there are begin"
    )
    assert main(["lint", "--json", f"{name}:app"]) == 1
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert finding["rule"] == "no-such-task"
    assert finding["line"] == HEAD_LINES + 4
    assert finding["task"] == "orders.begin"
    assert set(finding) == {"rule", "file", "line", "task", "message"}


def test_a_target_that_is_none_is_a_question_asked_wrongly(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", "examples.bulk:nothing"]) == 2
    assert "'nothing' is no Workflow" in capsys.readouterr().err


def test_nothing_of_the_users_is_run(found: Lint) -> None:
    assert (
        found("""
        @app.task
        def begin(data):
            raise SystemExit("I was run")
    """)
        == []
    )
    assert "I was run" not in sys.modules


# ── names ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("a", "b", "may_be"),
    [
        ("x", "x", True),
        ("x", "y", False),
        (f"x_{HOLE}", "x_1", True),
        (f"x_{HOLE}", "y_1", False),
        (f"{HOLE}_done", "x_done", True),
        (f"{HOLE}_done", "x_gone", False),
        (f"a{HOLE}b{HOLE}c", "a1b2c", True),
        (f"a{HOLE}b{HOLE}c", "a12c", False),
        (f"ab{HOLE}", "a", False),
        (f"ab{HOLE}bc", "abc", False),
        (f"x_{HOLE}", f"x_1{HOLE}", True),
        (f"x_{HOLE}", f"y_{HOLE}", False),
        (HOLE, "anything", True),
    ],
)
def test_names_may_be_the_same_or_not(a: str, b: str, may_be: bool) -> None:
    assert Name(a).may_be(Name(b)) is may_be
    assert Name(b).may_be(Name(a)) is may_be


def test_a_count_exceeds_another_only_for_certain() -> None:
    assert Count("n", 1).exceeds(Count("n", 0))
    assert not Count("n", 1).exceeds(Count("m", 0))
    assert not Count("", 9).exceeds(Count("m", 0))
    assert str(Count("n", -1)) == "n - 1"
    assert str(ANY_NAME) == "*"
