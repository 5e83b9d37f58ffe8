"""Facts of production, done again in the simulator: written by hand here; on real servers in ``tests/integration``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pwf_runtime import UsageError, Workflow, call, emit, join, result
from pwf_runtime.client import Client
from pwf_runtime.clock import SystemClock
from pwf_runtime.config import Settings
from pwf_runtime.core.ids import ROOT_CALL, derive
from pwf_runtime.describe import read_fields
from pwf_runtime.errors import PwfError
from pwf_runtime.export import PLACEHOLDER, export
from pwf_runtime.facts import NOTED, read
from pwf_runtime.facts import Fact as Kept
from pwf_runtime.store.memory import MemoryStore
from pwf_runtime.transport.memory import MemoryBroker
from pwf_runtime.worker import Worker
from pwsim import testing
from pwsim.cli import main
from pwsim.incident import Death, Fact, deaths
from pwsim.runner import play
from pwsim.scenario import Scenario, StartEntry, dump, load

app = Workflow("happened")
A, B = derive(ROOT_CALL, "c0"), derive(ROOT_CALL, "c1")
END = derive(derive(ROOT_CALL, "j0"), "then")
NAMES = {ROOT_CALL: "begin", A: "a", B: "b", END: "end"}


@app.task
def begin() -> Any:
    return [call(a), call(b), join(end, on=["a", "b"])]


@app.task
def a() -> Any:
    return emit("a")


@app.task
def b() -> Any:
    return emit("b")


@app.task
def end() -> Any:
    return result("end")


def facts(*rows: tuple[str, str, str]) -> tuple[Fact, ...]:
    """From rows (what, call, worker-delivery)."""
    made = []
    for at, (what, call_id, token) in enumerate(rows):
        worker, _, delivery = token.partition("-")
        note = "leaf" if (what, call_id) == ("commit", END) else ""
        made.append(Fact(at, what, worker, delivery, call_id, f"happened.{NAMES[call_id]}", 0, note))
    return tuple(made)


def whole(call_id: str, token: str) -> list[tuple[str, str, str]]:
    rest = [] if call_id == END else [("settle", call_id, token)]
    return [("claim", call_id, token), ("commit", call_id, token), *rest]


def scenario(*rows: tuple[str, str, str], **more: Any) -> Scenario:
    target = "tests.sim.test_incident:app"
    return Scenario((target,), (StartEntry("begin"),), facts=facts(*rows), prefetch=3, **more)


def struck(made: Scenario) -> list[str]:
    enacted = made.enacted()
    assert enacted.missing == ()
    testing.replay(made).assert_passed()
    return [str(fault) for fault in enacted.schedule.faults]


# ── how deliveries end ────────────────────────────────────────────────────────────────────────

SMOOTH = (*whole(ROOT_CALL, "w1-1"), *whole(A, "w1-2"), *whole(B, "w2-1"), *whole(END, "w2-2"))


def test_where_nobody_died_nobody_dies() -> None:
    assert deaths(facts(*SMOOTH)) == {}
    assert struck(scenario(*SMOOTH)) == []


def test_a_claim_that_another_took_over_died_while_its_task_ran() -> None:
    rows = (*whole(ROOT_CALL, "w1-1"), ("claim", A, "w1-2"), *whole(A, "w2-1"), *whole(B, "w2-2"), *whole(END, "w2-3"))
    assert deaths(facts(*rows)) == {("w1", "2"): Death("run", "after")}
    assert struck(scenario(*rows)) == ["begin > a #1 / run / after"]


def test_a_worker_that_was_heard_of_later_did_not_die_but_stalled() -> None:
    rows = (*whole(ROOT_CALL, "w1-1"), ("claim", A, "w1-2"), *whole(A, "w2-1"), *whole(B, "w1-3"), *whole(END, "w2-3"))
    assert deaths(facts(*rows)) == {("w1", "2"): Death("run", "stall")}
    assert struck(scenario(*rows)) == ["begin > a #1 / run / stall"]


def test_a_commit_that_others_have_seen_was_published() -> None:
    rows = (
        *whole(ROOT_CALL, "w1-1")[:2],
        ("claim", A, "w2-1"),
        *[("look", ROOT_CALL, "w2-2"), ("settle", ROOT_CALL, "w2-2")],
        *whole(A, "w2-1")[1:],
        *whole(B, "w2-3"),
        *whole(END, "w2-4"),
    )
    assert deaths(facts(*rows)) == {("w1", "1"): Death("settle", "before")}
    assert struck(scenario(*rows)) == ["begin #1 / settle / before"]


def test_a_commit_that_nobody_had_seen_was_not() -> None:
    rows = (
        *whole(ROOT_CALL, "w1-1")[:2],
        *[("look", ROOT_CALL, "w2-2"), ("settle", ROOT_CALL, "w2-2")],
        *whole(A, "w2-3"),
        *whole(B, "w2-4"),
        *whole(END, "w2-5"),
    )
    assert struck(scenario(*rows)) == ["begin #1 / commit / after"]


def test_who_took_over_may_die_as_well() -> None:
    rows = (
        *whole(ROOT_CALL, "w1-1")[:2],
        ("look", ROOT_CALL, "w2-1"),
        *[("look", ROOT_CALL, "w3-1"), ("settle", ROOT_CALL, "w3-1")],
        *whole(A, "w3-2"),
        *whole(B, "w3-3"),
        *whole(END, "w3-4"),
    )
    assert struck(scenario(*rows, workers=3)) == ["begin #1 / commit / after", "begin #2 / settle / before"]


def test_the_order_is_that_of_the_facts() -> None:
    """Here b overtakes a, so a's event is the one that fires the join."""
    rows = (
        *whole(ROOT_CALL, "w1-1"),
        *[("claim", A, "w1-2"), ("claim", B, "w2-1"), ("commit", B, "w2-1")],
        *[("commit", A, "w1-2"), ("settle", B, "w2-1"), ("settle", A, "w1-2")],
        *whole(END, "w1-3"),
    )
    made = scenario(*rows)
    assert struck(made) == []
    trace = play(made.program(), made.schedule()).trace
    done = [(step.effect, step.path) for step in trace if step.effect in NOTED and step.answer.held]
    assert [path for what, path in done if what == "commit"] == ["begin", "begin > b", "begin > a", "begin > end"]


def test_what_the_code_does_not_do_is_named() -> None:
    nobody = derive(ROOT_CALL, "c9")
    rows = [*SMOOTH, ("claim", END, "w1-9")]
    made = scenario(*rows)
    strange = Fact(99, "commit", "w1", "9", nobody, "happened.gone", 1)
    enacted = Scenario(made.apps, made.start, facts=(*made.facts[:-1], strange)).enacted()
    assert enacted.missing == (strange,)


# ── the file ──────────────────────────────────────────────────────────────────────────────────


def test_a_file_with_facts_is_written_and_read_back(tmp_path: Path) -> None:
    made = scenario(*SMOOTH, about='with "quotes"')
    (tmp_path / "made.toml").write_text(dump(made))
    assert load(tmp_path / "made.toml") == made


def test_facts_and_faults_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="neither faults nor deviations"):
        scenario(*SMOOTH, faults=("begin #1 / commit / after",)).schedule()


def test_replay_says_what_was_re_enacted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = (*whole(ROOT_CALL, "w1-1"), ("claim", A, "w1-2"), *whole(A, "w2-1"), *whole(B, "w2-2"), *whole(END, "w2-3"))
    path = tmp_path / "made.toml"
    path.write_text(dump(scenario(*rows)).replace("tests.sim.test_incident:app", PLACEHOLDER))
    assert main(["replay", str(path)]) == 2
    assert main(["replay", str(path), "--apps", "tests.sim.test_incident:app"]) == 0
    told = capsys.readouterr().out
    assert "re-enacted: 12 of 12 facts, in their order, by\n    begin > a #1 / run / after\n" in told


# ── what the runtime keeps ────────────────────────────────────────────────────────────────────


def ran(history: int) -> tuple[MemoryStore, str]:
    """A run on servers in memory, with so many facts kept."""
    broker, store = MemoryBroker(), MemoryStore(SystemClock())
    worker = Worker(app, store, broker.transport(), Settings(history=history))
    worker.start()
    with Client([app], store, broker.transport(), Settings()) as client:
        run = client.publish("begin")
        assert run.wait(120).result == "end"
    worker.stop()
    return store, run.id


def test_facts_are_kept_and_exported(tmp_path: Path) -> None:
    store, run_id = ran(50)
    path = tmp_path / "run.toml"
    path.write_text(export(store, run_id, ["tests.sim.test_incident:app"]))
    exported = load(path)
    assert sorted([fact.key for fact in exported.facts]) == sorted([fact.key for fact in facts(*SMOOTH)])
    assert {fact.attempt for fact in exported.facts if fact.what in ("claim", "commit")} == {1}
    assert exported.enacted().missing == ()
    testing.replay(path).assert_passed()


@pytest.mark.parametrize("history", [1, 4])
def test_only_the_latest_are_kept(history: int) -> None:
    store, run_id = ran(history)
    kept: list[Kept] = read(read_fields(store, run_id))
    assert history <= len(kept) <= history + 8
    assert kept[-1].note == "leaf"


def test_without_the_setting_nothing_is_kept_and_export_says_so() -> None:
    store, run_id = ran(0)
    assert read(read_fields(store, run_id)) == []
    with pytest.raises(PwfError, match="--history 200"):
        export(store, run_id)
    with pytest.raises(UsageError, match="there is no run"):
        export(store, "nobody")
