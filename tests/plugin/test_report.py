"""Reports without pytest's help: what counts mean, what is searched, what is saved and replayed."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import pwsim
from examples.registration import START, documents, users
from pwf_runtime import UsageError, Workflow, call, fork, join, result
from pwf_runtime.core.inputs import TaskDone, TaskFailed
from pwf_runtime.core.model import Event, Failure, Need, NewCall, NewFork, NewJoin, Outcome
from pwsim import saving
from pwsim.faults import parse
from pwsim.parallel import fan_out
from pwsim.probes import ProbedCall
from pwsim.program import Ran
from pwsim.purity import NotAFunction, compare
from pwsim.scenario import Scenario, StartEntry, load
from pwsim.schedule import Schedule
from pwsim.tally import COMMITTED, Claim, Count, Seen, Subject, Tally

REGISTER = ("register_user", START)
SHIP = Subject(COMMITTED, "shop.ship")
CRASH = Schedule((parse("ship #1 / commit / after"),))


class Comparisons:
    """What a count was compared with, and whether that held."""

    def __init__(self, seen: dict[int, int]) -> None:
        self.latest: tuple[Claim, Schedule | None] | None = None
        self.count = Count(SHIP, {times: Seen(n, CRASH if times else Schedule()) for times, n in seen.items()}, self)

    def __call__(self, claim: Claim, example: Schedule | None) -> None:
        self.latest = (claim, example)


# ── counts ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("seen", "holds", "does_not"),
    [
        ({1: 9}, "== 1, <= 1, >= 1, != 2, > 0, < 2", "== 2, != 1, > 1, < 1, >= 2, <= 0"),
        ({1: 9, 2: 1}, "<= 2, >= 1, != 3, > 0, < 3", "== 1, == 2, != 1, != 2, > 1, < 2"),
        ({0: 9, 1: 1}, "<= 1, >= 0, < 2", "== 0, == 1, > 0, < 1, != 0"),
    ],
)
def test_a_comparison_holds_if_it_holds_in_every_schedule(seen: dict[int, int], holds: str, does_not: str) -> None:
    count = Comparisons(seen).count
    assert [claim for claim in holds.split(", ") if not eval(f"count {claim}", {"count": count})] == []
    assert [claim for claim in does_not.split(", ") if eval(f"count {claim}", {"count": count})] == []


def test_the_latest_comparison_is_remembered_with_a_schedule_that_breaks_it() -> None:
    told = Comparisons({0: 9, 1: 1})
    assert not told.count.compare("==", 0)
    assert told.latest == (Claim(SHIP, "==", 0), CRASH)
    assert told.count <= 1
    assert told.latest == (Claim(SHIP, "<=", 1), None)


def test_a_count_is_a_number_only_if_it_is_one() -> None:
    assert int(Comparisons({3: 5}).count) == 3
    with pytest.raises(ValueError, match=r"not one number: <commits of shop.ship: 0 in 9 schedules, 1 in 1 schedule"):
        int(Comparisons({0: 9, 1: 1}).count)


def test_a_count_is_true_if_it_happened_in_every_schedule() -> None:
    assert Comparisons({1: 3, 2: 1}).count
    assert not Comparisons({1: 3, 0: 1}).count


def test_a_count_equals_nothing_but_numbers() -> None:
    assert Comparisons({1: 1}).count != "1"
    assert Comparisons({1: 1}).count.__eq__(None) is NotImplemented


def test_a_count_shows_the_rarest_case() -> None:
    assert repr(Comparisons({1: 5}).count) == "<commits of shop.ship: 1 in every schedule>"
    assert repr(Comparisons({0: 9, 1: 1}).count) == (
        "<commits of shop.ship: 0 in 9 schedules, 1 in 1 schedule; 1 for example when the worker dies after 'commit' "
        "of ship (delivery 1)>"
    )


def test_tallies_of_several_processes_add_up() -> None:
    report = pwsim.simulate([users, documents], start=REGISTER, faults="crash", max_faults=1, runs=5)
    other: Tally = pickle.loads(pickle.dumps(report.tally))
    before = report.committed("finalize").seen[1].schedules
    report.tally.add(other)
    assert report.committed("finalize").seen[1].schedules == 2 * before
    assert report.committed("finalize") == 1
    assert report.tally.empty().struck == 0


# ── simulations ───────────────────────────────────────────────────────────────────────────────


def test_the_example_holds_up() -> None:
    report = pwsim.simulate([users, documents], start=REGISTER, faults="crash,requeue", max_faults=1, runs=10)
    report.assert_passed()
    assert report.verdict == "pass"
    assert report.crash_points.hit == report.crash_points.defined > 100
    assert report.runs > 100
    assert report.committed("finalize") == 1
    assert report.committed("documents.generate_document") == 1
    assert report.results == [
        {"name": "Ada", "email_valid": True, "card": "1234", "document": "Welcome, Ada!"},
    ]
    assert dict(report.effects) == {}
    assert "2 workers per service: every single fault" in repr(report)


def test_a_simulation_ends_with_its_budget() -> None:
    report = pwsim.simulate([users, documents], start=REGISTER, budget=0.3, runs=10**6)
    assert report.verdict == "inconclusive"
    assert "0.3 s ran out before: " in report.bound


def test_several_runs_at_once() -> None:
    report = pwsim.simulate([users, documents], start=[REGISTER, REGISTER], faults="crash", max_faults=1, runs=0)
    report.assert_passed()
    assert report.committed("finalize") == 2


def test_a_short_name_must_mean_one_task() -> None:
    def same(data: int) -> None: ...

    one, two = Workflow("one"), Workflow("two")
    one.subscribe("same", same)
    two.subscribe("same", same)
    report = pwsim.simulate([one, two], start=("one.same", 1), faults="crash", max_faults=1, runs=0)
    assert report.committed("one.same") == 1
    with pytest.raises(UsageError, match=r"'same': several services have it; there are one\.same, two\.same"):
        report.committed("same")


def test_what_is_found_is_saved_and_replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    report = pwsim.simulate([users, documents], start=REGISTER, planted="parked-call-forgotten", faults="crash")
    assert report.verdict == "violation"
    with pytest.raises(pwsim.Failure, match=r"^L4: register_user is ready .*, when the worker dies") as failed:
        report.assert_passed()
    assert failed.value.violation is report.violations[0]
    (file,) = Path(".pwsim/failures").glob("*.toml")
    assert str(failed.value).endswith(f"replay: pwsim replay {file}")
    again = pwsim.replay(file)
    assert [violation.law for violation in again.violations] == ["L4"]
    assert again.runs == 1
    assert pwsim.replay(file, [users, documents]).violations
    text = file.read_text().replace("planted =", "# planted =")
    file.write_text(text)
    mended = pwsim.replay(file)
    mended.assert_passed()
    assert mended.committed("finalize") == 1


def test_processes_that_save_the_same_failure_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Forks of one process have the scenario at the same address, too."""
    file, scenario = tmp_path / "same.toml", Scenario(("shop:app",), (StartEntry("order", "1"),))

    def save(job: int) -> None:
        for _ in range(300):
            saving.write(file, scenario)

    fan_out(4, save)
    assert load(file) == scenario
    assert list(tmp_path.iterdir()) == [file]


def test_a_workflow_that_no_module_has_by_name_is_replayed_with_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = Workflow("local")
    app.subscribe("only", lambda data: result({"of": data}))
    report = pwsim.simulate(app, start=("only", b"\xff"), planted="parked-call-forgotten", faults="crash")
    with pytest.raises(pwsim.Failure):
        report.assert_passed()
    (file,) = Path(".pwsim/failures").glob("*.toml")
    with pytest.raises(UsageError, match="nothing to simulate"):
        pwsim.replay(file)
    assert pwsim.replay(file, app).violations


def test_strategies_say_what_they_need() -> None:
    code = "import sys; sys.modules['hypothesis'] = None; import pwsim; pwsim.strategies"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "ImportError: pwsim.strategies needs hypothesis: pip install hypothesis" in done.stderr


def test_the_package_says_what_it_has() -> None:
    pytest.importorskip("hypothesis")
    assert set(pwsim.__all__) <= set(dir(pwsim))
    assert all(getattr(pwsim, name) is not None for name in pwsim.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'simulat'; it has Failure, "):
        _ = pwsim.simulat  # type: ignore[attr-defined]


# ── tasks that are no functions ───────────────────────────────────────────────────────────────


def _ran(outcome: Outcome | None = None, error: str = "", uses: str = "") -> Ran:
    inner = (ProbedCall(uses, (), (), None),) if uses else ()
    return Ran(TaskFailed(Failure(error, "")) if error else TaskDone(outcome or Outcome()), inner)


ONE, TWO = (NewCall("shop.mail", bytes([number])) for number in (1, 2))
PAID = (Need("paid", 1), Need("sent", 2))


@pytest.mark.parametrize(
    ("first", "again", "differ"),
    [
        (_ran(Outcome(calls=(ONE,))), _ran(Outcome(calls=(TWO,))), "call(shop.mail, 1), * call(shop.mail, 2);"),
        (_ran(Outcome(calls=(ONE,))), _ran(), "returned call(shop.mail, 1), * did nothing more;"),
        (
            _ran(Outcome(events=(Event("paid", b"\1"),))),
            _ran(Outcome(events=(Event("sent", b"\1"),))),
            "emit('paid', 1), * emit('sent', 1);",
        ),
        (
            _ran(Outcome(joins=(NewJoin(ONE, PAID, 2),))),
            _ran(Outcome(joins=(NewJoin(ONE, PAID, 1, 1500),))),
            "join(shop.mail, 1, on=['paid', 'sent' x2]), * on=['paid', 'sent' x2], at_least=1, timeout=1.5);",
        ),
        (
            _ran(Outcome(forks=(NewFork((ONE,), TWO),))),
            _ran(Outcome(forks=(NewFork((ONE, TWO), None),))),
            "fork([call(shop.mail, 1)], then=call(shop.mail, 2)), * then=nothing);",
        ),
        (_ran(Outcome(result=b"\1")), _ran(Outcome(result=b"\2")), "returned result(1), * returned result(2);"),
        (_ran(), _ran(error="OSError"), "did nothing more, * raised OSError;"),
        (_ran(error="KeyError"), _ran(error="OSError"), "raised KeyError, * raised OSError;"),
        (_ran(uses="charge"), _ran(), "used charge, * did nothing more;"),
    ],
)
def test_what_a_task_did_differently_is_named(first: Ran, again: Ran, differ: str) -> None:
    at_first, _, then = differ.partition("* ")
    with pytest.raises(NotAFunction) as named:
        compare(_task(), first, again)
    text = str(named.value)
    assert "task 'shop.pay' (_task.<locals>.pay, " in text
    assert f"test_report.py:{_task().fn.__code__.co_firstlineno}) is no function of its input" in text
    assert at_first in text
    assert then in text
    compare(_task(), first, first)


def _task() -> Any:
    app = Workflow("shop")

    @app.task
    def pay(data: int) -> None: ...

    return pay


def test_what_a_service_is_told_may_differ() -> None:
    """A time in a mail makes no other workflow."""
    compare(_task(), _ran(uses="send"), Ran(TaskDone(Outcome()), (ProbedCall("send", (1.5,), (), None),)))


# ── runs that do not end as meant ─────────────────────────────────────────────────────────────


def test_a_join_of_a_fork_that_never_fires_is_named_with_its_need() -> None:
    app = Workflow("shop")

    @app.task
    def order(data: int) -> Any:
        return [fork([call(part, i) for i in range(2)], then=call(done, 1)), join(done, 1, on=["nobody emits this"])]

    @app.task
    def part(data: int) -> Any:
        return result(data)

    @app.task
    def done(data: int) -> None: ...

    report = pwsim.simulate(app, start=("order", 1), faults="crash", max_faults=1, runs=0)
    assert report.problem == (
        "without any fault, the join of done, armed by order, waits for 'nobody emits this' for ever (no event was "
        "emitted). If that is meant, say allow_unfinished=True"
    )
    assert repr(report).startswith("<Report: no pass: ")
