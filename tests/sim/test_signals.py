"""Signals in the simulator: sent at any time, by a client that dies and asks again, to runs that wait or have ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import pwsim
from pwf_runtime import UsageError, Workflow, join, result, signal
from pwf_runtime.core import keys as k
from pwf_runtime.core.ids import ROOT_CALL, derive, signal_call
from pwf_runtime.core.joins import joined_call
from pwf_runtime.core.signal import Refused, Signalled
from pwsim.campaign import Campaign
from pwsim.cli import main
from pwsim.faults import Point
from pwsim.incident import Fact, enact
from pwsim.laws import Watch
from pwsim.planted import PLANTED, workflows
from pwsim.program import Program, Signal
from pwsim.runner import finish, play
from pwsim.schedule import Schedule
from pwsim.world.world import SIGNAL, World

from .programs import random_results, struck

SENT = [("approved", 2)]


def outside(task: str, signals: Any = SENT, **options: Any) -> Program:
    return Program([workflows.outside], [(task, 1)], signals=signals, **options)


def played(task: str, signals: Any = SENT, *faults: str) -> World:
    program = outside(task, signals)
    result = struck(program, *faults) if faults else play(program, Schedule())
    assert result.violation is None, result.violation
    return result.world


def results(world: World) -> list[Any]:
    from pwsim.checks import Played

    return Played(world).results


def told(world: World) -> list[Any]:
    return [world.told.get(each.call_id) for each in world.program.signals]


# ── sending ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("task", "ends"), [("approve", [[1, 2]]), ("trust", [[1, 2]]), ("ask", [[2]]), ("hear", [])])
def test_by_default_a_signal_comes_when_nothing_else_goes_on(task: str, ends: list[Any]) -> None:
    """So that the run without faults shows the wait: a stranded run is revived, one that has completed refuses."""
    world = played(task)
    assert results(world) == ends
    effects = [step.effect for step in world.trace]
    assert ("revive" in effects) is (task == "trust")
    assert isinstance(told(world)[0], Refused if task == "hear" else Signalled)


@pytest.mark.parametrize("task", ["approve", "trust", "ask", "hear"])
def test_it_comes_at_any_time(task: str) -> None:
    """Before the commit that arms its join, and after it."""
    joins = set()
    for result_ in random_results(outside(task), 200, faults=""):
        assert result_.violation is None
        steps = [step.effect for step in result_.trace if step.path == task or step.path.startswith("sending")]
        sent = next((i for i, effect in enumerate(steps) if effect in ("signal", "revive")), None)
        joins.add("refused" if sent is None else "before" if "commit" in steps[sent:] else "after")
    assert joins - {"refused"} == {"before", "after"}


def test_it_is_not_sent_before_its_time() -> None:
    """The join's time is over by then; with less of it, it is not."""
    assert results(played("ask", [Signal("approved", 2, after=31.0)])) == ["nobody answered"]
    assert results(played("ask", [Signal("approved", 2, after=29.0)])) == [[2]]


def test_only_tasks_are_counted_as_committed() -> None:
    """Neither a signal nor the end of a join's time is a commit of the task that the join would have called."""
    late = [Signal("approved", 2, after=31.0)]
    report = pwsim.simulate(workflows.outside, start=("ask", 1), signals=late, runs=20, faults="")
    report.assert_passed()
    assert report.committed("go_on") == 0
    assert report.committed("do_without") == 1
    assert not [name for name in report.tally.names("committed") if "~" in name]


def test_it_is_sent_only_after_its_run_is_begun() -> None:
    world = World(outside("approve"), Watch(()))
    while not any(action[1] == SIGNAL for action in world.enabled()):
        action = world.default()
        assert action is not None
        world.apply(action)
    assert world.trace[-1].effect == "publish approve"
    assert finish(world) is None


def test_each_run_can_have_its_own() -> None:
    program = Program(
        [workflows.outside], [("approve", 1), ("approve", 5)], signals=[("approved", 2), Signal("approved", 6, run=2)]
    )
    world = play(program, Schedule()).world
    assert results(world) == [[1, 2], [5, 6]]
    assert "run-2: signal approved[1]" in {step.path for step in world.trace}


def test_two_of_one_name_are_two() -> None:
    app = Workflow("votes")
    app.subscribe("ask", lambda: join("count", on=signal("vote", 2)))
    app.subscribe("count", lambda events: result([event.data for event in events]))
    report = pwsim.simulate(app, start=("ask", None), signals=[("vote", 1), ("vote", 2)], runs=100, max_faults=1)
    report.assert_passed()
    assert sorted(report.results) == [[1, 2], [2, 1]]


# ── a client that dies, and answers that are lost ─────────────────────────────────────────────

CLIENT = "sending of approved #1"


@pytest.mark.parametrize("mode", ["before", "after", "reply-lost"])
@pytest.mark.parametrize(
    ("task", "effect"),
    [
        *[("approve", effect) for effect in ("address", "signal", "publish ~approved")],
        *[("trust", effect) for effect in ("address", "add to open", "revive", "add to open@2", "publish ~approved")],
    ],
)
def test_it_is_sent_again_and_counted_once(task: str, effect: str, mode: str) -> None:
    """L1, L2, L4: whatever happens to the sender, and wherever."""
    world = played(task, SENT, f"{CLIENT} / {effect} / {mode}")
    assert results(world) == [[1, 2]]
    assert isinstance(told(world)[0], Signalled)
    assert len(world.history.events["run", "approved"]) == 1


@pytest.mark.parametrize(
    "fault",
    [
        *[f"{effect} / {mode}" for effect in ("look", "satisfy", "fire", "settle") for mode in ("before", "after")],
        "publish go_on / reply-lost",
        "receive / duplicate",
        "receive / lost",
        "settle / rollback-1",
    ],
)
def test_whoever_takes_it_over_goes_on(fault: str) -> None:
    assert results(played("approve", SENT, f"signal approved #1 / {fault}")) == [[1, 2]]


def test_a_store_that_forgets_the_signal_leaves_a_run_that_waits() -> None:
    """Which is no run that is stuck; what comes from outside survives only what the store does."""
    world = played("approve", SENT, "signal approved #1 / claim / rollback-1")
    assert world.is_waiting("run")
    assert results(world) == []


def test_crash_points_of_its_sender_are_those_of_a_client() -> None:
    report = Campaign(outside("approve", workers=1), strategy="faults", faults="crash", max_faults=1).run()
    assert report.verdict == "pass"
    assert {("client", effect, mode) for effect in ("address", "signal") for mode in ("before", "after")} <= set(
        report.kinds
    )
    assert report.hit == report.defined


# ── waiting ───────────────────────────────────────────────────────────────────────────────────


def test_a_run_that_waits_is_not_stuck() -> None:
    """L4 and L7 are silent: it is still listed as open, and rightly so. A test is told how to let the signal come."""
    world = played("approve", ())
    assert world.is_waiting("run")
    assert world.history.status["run"] == k.RUNNING
    with pytest.raises(pwsim.Failure, match=r"go_on.*waits for 'approved'.*signals=\[\('approved', data\)\]"):
        pwsim.simulate(workflows.outside, start=("approve", 1), runs=0, faults="").assert_passed()
    waits = pwsim.simulate(workflows.outside, start=("approve", 1), runs=50, max_faults=1, allow_unfinished=True)
    waits.assert_passed()


def test_a_run_that_waits_is_not_scanned_again_and_again() -> None:
    program = outside("approve", ())
    program.recovers = True
    world = play(program, Schedule()).world
    assert not [step for step in world.trace if step.path.startswith("scan")]


@pytest.mark.parametrize("task", ["approve", "trust", "ask", "hear"])
def test_every_single_fault_and_random_ones_of_all_families_are_survived(task: str) -> None:
    single = Campaign(outside(task), strategy="faults", faults="all", max_faults=1).run()
    assert (single.verdict, single.violations) == ("pass", [])
    several = Campaign(outside(task), strategy="random", faults="all", max_faults=3, runs=200, seed=5).run()
    assert (several.verdict, several.violations) == ("pass", [])


@pytest.mark.parametrize(("task", "max_faults"), [("approve", 0), ("trust", 0), ("ask", 1), ("hear", 0)])
def test_every_order_is_exhausted(task: str, max_faults: int) -> None:
    report = Campaign(outside(task), strategy="exhaustive", faults="crash,reply-lost", max_faults=max_faults).run()
    assert (report.verdict, report.violations) == ("pass", [])
    assert report.states > 100


# ── what it is, for those who look ────────────────────────────────────────────────────────────


def test_its_points_have_names_that_last() -> None:
    world = played("approve")
    points = {step.point for step in world.trace}
    assert Point("sending of approved", 1, "signal", 1) in points
    assert Point("signal approved", 1, "satisfy", 1) in points
    assert not {path for path, _ in world.committed_graph() if "signal" in path}


def test_the_planted_bugs_of_signals_are_a_family() -> None:
    """Each names its law beforehand; that this is the one to convict it is tested with all others."""
    laws = {name: bug.law for name, bug in PLANTED.items() if bug.signals}
    assert set(laws.values()) == {"L1", "L2", "L4", "L8", ""}
    assert len(laws) >= 11


def test_what_cannot_be_meant() -> None:
    for signals, text in (
        ([("approved",)], r"give pairs \(event, data\)"),
        ([("", 1)], r"signals\[0\]: ''\): an event needs a name"),
        ([Signal("approved", run=2)], r"signals\[0\]: run=2: there are 1 runs, counted from 1"),
        ([Signal("approved", after=-1)], "after is in seconds"),
        ([Signal("approved", id="x"), Signal("other", id="x")], r"signals\[1\]: id='x': an earlier one has this id"),
        (["approved"], r"signals: 'approved': give pairs"),
    ):
        with pytest.raises(UsageError, match=text):
            outside("approve", signals)


def test_a_failure_with_signals_is_saved_and_replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    signals = [Signal("approved", {"by": "Ada"}, after=2.5)]
    report = pwsim.simulate(
        workflows.outside, start=("approve", 1), signals=signals, planted="signal-without-its-note", runs=0
    )
    with pytest.raises(pwsim.Failure, match="L1: signal approved was counted 2 times"):
        report.assert_passed()
    (saved,) = (tmp_path / ".pwsim" / "failures").glob("*.toml")
    assert "[[signals]]" in saved.read_text()
    assert main(["replay", str(saved)]) == 1
    assert pwsim.replay(saved).violations[0].law == "L1"


def test_an_incident_with_signals_happens_again() -> None:
    """The worker that got the signal has died before it settled; another looked, and settled. A signal that came while
    its join was not armed is not sent after that."""
    program = outside("approve", [Signal("approved", 2, id="receipt-7")])
    signal_, (root, child, joined) = signal_call("receipt-7"), _calls()
    rows = [
        ("claim", "w1", "1", root, 1),
        ("look", "w2", "2", signal_, 0),
        ("commit", "w1", "1", root, 1),
        ("settle", "w1", "1", root, 1),
        ("look", "w1", "3", signal_, 0),
        ("settle", "w1", "3", signal_, 0),
        *[(what, "w2", "4", child, 1) for what in ("claim", "commit", "settle")],
        *[(what, "w1", "5", joined, 1) for what in ("claim", "commit")],
    ]
    facts = [
        Fact(at, what, worker, delivery, call, "", attempt, "leaf" if (what, call) == ("commit", joined) else "")
        for at, (what, worker, delivery, call, attempt) in enumerate(rows)
    ]
    found = enact(program, facts)
    assert found.missing == ()
    assert [str(fault) for fault in found.schedule.faults] == ["signal receipt-7 #1 / settle / before"]
    trace = [(step.path, step.nth, step.effect) for step in play(program, found.schedule).trace]
    assert trace.index(("approve", 1, "claim")) < trace.index(("sending of receipt-7", 1, "signal"))
    assert trace.index(("signal receipt-7", 1, "look")) < trace.index(("approve", 1, "commit"))


def _calls() -> tuple[str, str, str]:
    return ROOT_CALL, derive(ROOT_CALL, "c0"), joined_call(derive(ROOT_CALL, "j0"))


def test_signals_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    target = ["run", "pwsim.planted.workflows:outside", "--start", "approve=1", "--runs", "20", "--max-faults", "1"]
    assert main([*target, "--signal", 'approved={"by": "Ada"}']) == 0
    assert "pass" in capsys.readouterr().out
    assert main([*target, "--signal", "approved={"]) == 2
    assert "signals: data of 'approved'" in capsys.readouterr().err
