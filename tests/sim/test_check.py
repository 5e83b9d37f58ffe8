"""``pwsim check``: what workers recorded is accepted, and what was tampered with is refused at the right line."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from pwf_runtime import Retry, UsageError, Workflow, call, emit, fork, join, result, trace
from pwf_runtime.client import Client
from pwf_runtime.clock import SystemClock
from pwf_runtime.config import Settings
from pwf_runtime.core import states as s
from pwf_runtime.core.delivery import DeliveryMachine
from pwf_runtime.core.effects import Ack
from pwf_runtime.core.machine import MissingTransition
from pwf_runtime.core.model import Message
from pwf_runtime.store.memory import MemoryStore
from pwf_runtime.transport.memory import MemoryBroker
from pwf_runtime.worker import Worker
from pwsim.check import Checked, Finding, check
from pwsim.cli import main

END_S = 120.0
LEFT = [("traced.nobody_knows", "waiting")]
app = Workflow("traced")


@app.task
def begin(data: int) -> Any:
    members = fork([call(member, n) for n in range(data)], then=call(gather))
    return [members, emit("a"), join(both, on=["a", "b"]), call(stumble), call("traced.nobody_knows")]


@app.task
def member(data: int) -> Any:
    return result(data)


@app.task
def gather(events: list[Any]) -> Any:
    return result([event.data for event in events])


@app.task
def both() -> None:
    return None


@app.task(retry=Retry(max_attempts=2, first_delay=0.01))
def stumble(ctx: Any) -> Any:
    if ctx.attempt == 1:
        raise ValueError("at first")
    return emit("b")


def record(path: Path, *, workers: int = 1, history: int = 0) -> None:
    """A run that meets most kinds of steps; a call of a task that nobody has is left waiting."""
    broker, store = MemoryBroker(), MemoryStore(SystemClock())
    settings = Settings(trace=str(path), history=history)
    working = [Worker(app, store, broker.transport(), settings) for _ in range(workers)]
    for worker in working:
        worker.start(END_S)
    with Client([app], store, broker.transport(), settings) as client:
        run = client.publish("begin", 3)
        end = time.monotonic() + END_S
        while [(each.task, each.state) for each in client.describe(run.id).calls] != LEFT:
            assert time.monotonic() < end, client.describe(run.id)
            time.sleep(0.01)
    for worker in working:
        worker.stop()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trace") / "trace.jsonl"
    record(path, workers=2)
    return path


def lines_of(path: Path) -> list[trace.Line]:
    return [line for _, line in trace.read(path) if isinstance(line, trace.Line)]


def written(folder: Path, lines: Sequence[trace.Line]) -> Path:
    path = folder / "doctored.jsonl"
    path.write_bytes(b"".join([msgspec.json.encode(line) + b"\n" for line in lines]))
    return path


def numbers(lines: Sequence[trace.Line], step: str) -> Iterator[int]:
    return (number for number, line in enumerate(lines) if line.machine == "delivery" and line.step.startswith(step))


def changed(line: trace.Line, change: Callable[[trace.Raw], trace.Raw]) -> trace.Line:
    raw = base64.b64encode(msgspec.msgpack.encode(change(trace.raw_of(line)))).decode()
    return replace(line, raw=raw)


def only(checked: Checked) -> Finding:
    (finding,) = checked.findings
    return finding


# ── what was recorded ─────────────────────────────────────────────────────────────────────────


def test_what_workers_recorded_is_accepted(recorded: Path) -> None:
    checked = check([recorded])
    assert (checked.verdict, checked.findings, checked.cut, checked.processes) == ("pass", [], 0, 2)
    assert checked.steps > 50
    assert {line.machine for line in lines_of(recorded)} >= {"", "delivery", "sweep"}


def test_a_line_tells_people_what_happened(recorded: Path) -> None:
    lines = [line for line in lines_of(recorded) if line.task == "traced.stumble"]
    told = [f"{line.step}: {line.heard}, {line.asks}" for line in lines]
    assert "Running -> Failing: failed: ValueError: at first, fail" in told
    assert "Claiming -> Running: held, RunTask" in told
    assert all(line.run and line.call and line.time_ms for line in lines)


def test_lines_of_several_files_are_those_of_one_system(recorded: Path, tmp_path: Path) -> None:
    lines = lines_of(recorded)
    processes = sorted({line.process for line in lines})
    paths = []
    for process in processes:
        folder = tmp_path / process
        folder.mkdir()
        paths.append(written(folder, [line for line in lines if line.process == process]))
    assert check(paths).findings == []
    commits = [line for line in lines if line.step.startswith("Committing ->")]
    assert {line.process for line in commits} == set(processes), "both had something to do"


def test_facts_that_are_kept_do_not_show_in_a_trace(tmp_path: Path) -> None:
    """They are added outside of the machines, which are what a trace is about."""
    path = tmp_path / "both.jsonl"
    record(path, history=50)
    assert check([path]).findings == []


def test_nothing_is_recorded_unless_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PWF_TRACE", raising=False)
    monkeypatch.chdir(tmp_path)
    worker = Worker(app, MemoryStore(SystemClock()), MemoryBroker().transport())
    assert "step" not in vars(worker._engine._deliveries)
    assert list(tmp_path.iterdir()) == []


def test_the_environment_names_the_file_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PWF_TRACE", str(tmp_path / "by-environment"))
    Worker(app, MemoryStore(SystemClock()), MemoryBroker().transport())
    assert (tmp_path / "by-environment").exists()


def test_a_step_that_fails_is_recorded_with_its_error(tmp_path: Path) -> None:
    steps, path = trace.Steps(1000, 1000), str(tmp_path / "t.jsonl")
    machine = DeliveryMachine(steps, {})
    trace.watch(path, SystemClock(), 1000, [machine])
    state, _ = machine.begin(Message("r", "c", "q.t"), "token")
    with pytest.raises(MissingTransition):
        machine.step(state, trace.inputs.Acked(), 5)
    checked = check([path])
    assert (checked.findings, checked.steps, checked.under_way) == ([], 2, 0)
    assert lines_of(Path(path))[-1].raised.startswith("MissingTransition: Claiming does not expect")


# ── cut lines ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("left", [0.0, 0.2, 0.99])
def test_a_line_that_a_killed_process_did_not_end_is_counted(recorded: Path, tmp_path: Path, left: float) -> None:
    whole = recorded.read_bytes().splitlines(keepends=True)
    path = tmp_path / "cut.jsonl"
    path.write_bytes(b"".join(whole[:-1]) + whole[-1][: int(len(whole[-1]) * left)])
    checked = check([path])
    assert (checked.verdict, checked.cut) == ("pass", 1 if left else 0)


def test_behind_a_cut_line_the_next_one_is_found(tmp_path: Path, recorded: Path) -> None:
    whole = recorded.read_bytes().splitlines(keepends=True)
    path = tmp_path / "cut.jsonl"
    path.write_bytes(b"".join([*whole[:2], whole[5][:100], *whole[2:]]))
    checked = check([path])
    assert (checked.findings, checked.cut, checked.lines) == ([], 1, len(whole) + 1)


def test_more_cut_lines_than_processes_are_none_of_a_kill(tmp_path: Path, recorded: Path) -> None:
    path = tmp_path / "cut.jsonl"
    path.write_bytes(recorded.read_bytes() + b"so\nmuch\nnonsense\n")
    lines = len(path.read_bytes().splitlines())
    found = only(check([path]))
    assert (found.law, found.line) == ("order", f"line {lines}")


# ── doctored traces: each is refused, at its line and by its law ──────────────────────────────


def test_a_changed_answer_is_refused_where_it_stands(recorded: Path, tmp_path: Path) -> None:
    lines = lines_of(recorded)
    at = next(numbers(lines, "Claiming -> Running"))
    lines[at] = changed(
        lines[at], lambda raw: replace(raw, given=trace.pack(replace(trace.unpack(raw.given), held=False)))
    )
    found = check([written(tmp_path, lines)]).findings[0]
    assert (found.law, found.line) == ("step", f"line {at + 1}")


def test_a_changed_outcome_is_refused_with_what_was_expected(recorded: Path, tmp_path: Path) -> None:
    lines = lines_of(recorded)
    at = next(numbers(lines, "Settling -> Acking"))
    parked = trace.pack(s.Parking(Message("r", "c", "q.t")))
    lines[at] = changed(lines[at], lambda raw: replace(raw, state=parked))
    found = check([written(tmp_path, lines)]).findings[0]
    assert (found.law, found.line) == ("step", f"line {at + 1}")
    assert "Acking(" in found.expected
    assert "Parking(" in found.found


def test_a_line_that_is_missing_is_noticed_at_the_next(recorded: Path, tmp_path: Path) -> None:
    lines = lines_of(recorded)
    at = next(numbers(lines, "Running -> Committing"))
    following = next(
        number
        for number in range(at + 1, len(lines))
        if trace.raw_of(lines[number]).was == trace.raw_of(lines[at]).state
    )
    del lines[at]
    found = only(check([written(tmp_path, lines)]))
    assert (found.law, found.line) == ("order", f"line {following}")


def test_a_process_that_does_not_say_what_its_machines_are_is_not_believed(recorded: Path, tmp_path: Path) -> None:
    silent, *lines = lines_of(recorded)
    first = next(number for number, line in enumerate(lines, 1) if line.process == silent.process)
    found = check([written(tmp_path, lines)]).findings[0]
    assert (found.law, found.line) == ("order", f"line {first}")


@pytest.mark.parametrize(
    ("law", "step"),
    [("T1", "Committing ->"), ("T3", "Firing ->"), ("T4", "Settling ->")],
)
def test_what_may_happen_once_is_refused_the_second_time(recorded: Path, tmp_path: Path, law: str, step: str) -> None:
    """By another process, which is told the same: each step is the machine's, and together they are not."""
    lines = lines_of(recorded)
    at = next(numbers(lines, step))
    (there,) = {line.process for line in lines} - {lines[at].process}
    chain = [lines[at]]
    while not trace.raw_of(chain[0]).begin:  # all the steps that led there, once more
        was = trace.raw_of(chain[0]).was
        chain.insert(0, next(line for line in lines if trace.raw_of(line).state == was))
    lines += [replace(line, process=there) for line in chain]
    laws = {finding.law: finding for finding in check([written(tmp_path, lines)]).findings}
    assert laws[law].line == f"line {len(lines)}"
    assert "a second time" in laws[law].sentence


def test_an_attempt_that_is_granted_twice_is_refused(recorded: Path, tmp_path: Path) -> None:
    lines = lines_of(recorded)
    at = next(numbers(lines, "Claiming -> Running"))
    machine = trace.machines(trace.settings_of(trace.raw_of(lines[0])))["delivery"]
    raw = trace.raw_of(lines[at])
    state, effect = machine.begin(trace.unpack(raw.was).message, "a token of its own")  # type: ignore[attr-defined]
    begin = trace.Raw(True, b"", trace.pack((state.message, state.token)), 1, trace.pack(state), trace.pack(effect))
    after, runs = machine.step(state, trace.unpack(raw.given), 1)
    step = trace.Raw(False, trace.pack(state), raw.given, 1, trace.pack(after), trace.pack(runs))
    for number, made in ((-1, begin), (-1, step)):
        lines.append(changed(replace(lines[number], machine="delivery", run=state.message.run_id), lambda _, m=made: m))
        lines[-1].call = state.message.call_id
    found = {finding.law: finding for finding in check([written(tmp_path, lines)]).findings}["T2"]
    assert found.line == f"line {len(lines)}"
    assert "is granted twice" in found.sentence


def test_an_ack_of_an_open_call_is_refused(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a machine that acks when it has committed: its own trace convicts it without another machine."""

    def careless(self: DeliveryMachine, work: s.Work) -> Any:
        return s.Acking(work.message), Ack()

    monkeypatch.setattr(DeliveryMachine, "_onward", careless)
    monkeypatch.setattr(
        DeliveryMachine, "TABLE", tuple(row._replace(to=(*row.to, s.Acking)) for row in DeliveryMachine.TABLE)
    )
    lines = lines_of(recorded)
    at = next(numbers(lines, "Committing -> Satisfying"))
    machine = trace.machines(trace.settings_of(trace.raw_of(lines[0])))["delivery"]
    raw = trace.raw_of(lines[at])
    state, effect = machine.step(trace.unpack(raw.was), trace.unpack(raw.given), raw.now_ms)
    made = replace(raw, state=trace.pack(state), effect=trace.pack(effect))
    lines = [*lines[:at], changed(lines[at], lambda _: made)]
    found = check([written(tmp_path, lines)]).findings
    assert [(each.law, each.line) for each in found if each.law != "step"] == [("T5", f"line {at + 1}")]


# ── the command ───────────────────────────────────────────────────────────────────────────────


def test_the_command_accepts_and_refuses(recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(recorded)]) == 0
    assert capsys.readouterr().out.startswith("accepted: ")
    lines = lines_of(recorded)
    doctored = written(tmp_path, [line for line in lines if not line.step.startswith("Running -> Committing")])
    assert main(["check", str(doctored)]) == 1
    told = capsys.readouterr().out
    assert "goes on from a state that it has not come to" in told
    assert "not accepted: " in told
    assert main(["check", "--json", str(doctored)]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["verdict"] == "violation"
    assert answer["violations"][0].keys() == {"line", "law", "sentence", "expected", "found"}


@pytest.mark.parametrize("text", [None, ""])
def test_no_trace_is_a_matter_of_usage(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "trace.jsonl"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=r"No such file|no step in it"):
        check([path])
    assert main(["check", str(path)]) == 2


# ── values ────────────────────────────────────────────────────────────────────────────────────


def test_bytes_that_are_no_value_are_refused() -> None:
    for body in (b"", b"\xc1", trace.pack(1) + b"x", msgspec.msgpack.encode(msgspec.msgpack.Ext(1, b"\x91\xa1x"))):
        with pytest.raises(ValueError, match="no value of a trace"):
            trace.unpack(body)


def test_only_types_of_the_machines_are_read() -> None:
    assert all(module.startswith("pwf_runtime.") for module in {kind.__module__ for kind in trace.TYPES.values()})
