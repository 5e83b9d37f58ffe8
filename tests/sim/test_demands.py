"""What a user demands, as values: in a scenario file, from the start of a search, and after it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import pwsim
from pwf_runtime import UsageError, Workflow, call, result
from pwsim import testing
from pwsim.checks import Played
from pwsim.cli import main
from pwsim.demands import Demands, demand_of
from pwsim.scenario import Scenario, StartEntry, dump, load
from pwsim.tally import BY_KEY, COMMITTED, EFFECTS, Claim, Subject

from .programs import program_of


class Bank:
    def charge(self, card: str, key: str | None = None) -> str:
        return "receipt"

    def tell(self, whom: str) -> None: ...


bank = pwsim.probe(Bank())
shop = Workflow("shop")


@shop.task
def order(data: Any) -> Any:
    return call(pay, data)


@shop.task
def pay(data: Any) -> Any:
    return result(bank.charge(data))


@shop.task
def pay_by_key(data: Any, ctx: Any) -> Any:
    return result(bank.charge(data, key=ctx.idempotency_key))


def shipped(end: Played) -> None:
    """Something is shipped."""
    assert end.committed("order") == 2


SHOP = "tests.sim.test_demands:shop"
CRASH = Scenario((SHOP,), (StartEntry("order", '"4000"'),), faults=("order > pay #1 / call charge / after",))
KEY = Scenario((SHOP,), (StartEntry("pay_by_key", '"4000"'),), faults=("pay_by_key #1 / call charge / after",))
TWICE = "charge was called twice (by attempt 1 of order > pay, attempt 2 of order > pay)"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def search(**options: Any) -> pwsim.Report:
    return pwsim.simulate(shop, start=("order", "4000"), faults="crash", max_faults=1, runs=5, **options)


# ── in a file ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("demands", "law", "sentence"),
    [
        (Demands(once=("charge",)), "effects", f"{TWICE} instead of once"),
        (Demands(at_most_once=("charge",)), "effects", f"{TWICE} instead of at most once"),
        (Demands(once_per_key=("charge",)), "effects", "charge was called twice without a key by order > pay"),
        (Demands(counts=("effects charge < 2",)), "effects", f"{TWICE} instead of less than twice"),
        (Demands(committed={"pay": 2}), "committed", "shop.pay committed once instead of twice"),
        (Demands(invariants=("tests.sim.test_demands:shipped",)), "invariant", "shipped: Something is shipped (assert"),
    ],
)
def test_a_scenario_is_judged_by_what_it_demands(
    demands: Demands, law: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By all that play scenarios: a replay in a test, and the commands."""
    scenario = CRASH.plus(demands)
    (tmp_path / "a.toml").write_text(dump(scenario))
    assert load("a.toml") == scenario
    (found,) = testing.replay("a.toml").violations
    assert found.law == law
    assert found.sentence.startswith(sentence)
    for command in ("replay", "run"):
        assert main([command, "a.toml"]) == 1
        assert f"{law}: {sentence}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "demands",
    [
        Demands(once_per_key=("charge",)),
        Demands(counts=("effects by key charge == 1", "effects charge == 2", "committed pay_by_key >= 1")),
        Demands(committed={"shop.pay_by_key": 1, "pay": 0}),
    ],
)
def test_what_is_as_demanded_passes(demands: Demands, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(dump(KEY.plus(demands)))
    testing.replay("a.toml").assert_passed()
    assert main(["replay", "a.toml"]) == 0


def test_a_file_reads_as_a_person_would_write_it() -> None:
    text = dump(
        CRASH.plus(Demands(once=("charge",), committed={"pay": 1}, counts=("effects tell <= 2",), invariants=("a:b",)))
    )
    assert 'once = ["charge"]\n' in text
    assert 'committed = { "pay" = 1 }\n' in text
    assert 'counts = ["effects tell <= 2"]\n' in text
    assert 'invariants = ["a:b"]\n' in text


@pytest.mark.parametrize(
    ("demands", "said"),
    [
        (Demands(committed={"pai": 1}), "'pai': there is no such task; there are shop.order"),
        (Demands(counts=("charge once",)), "counts: 'charge once' is none: write it as"),
        (Demands(counts=("committed pai > 1",)), "'pai': there is no such task"),
        (Demands(invariants=("tests.sim.test_demands:shiped",)), "tests.sim.test_demands has no such function"),
    ],
)
def test_a_demand_that_cannot_be_meant_is_refused(demands: Demands, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        testing.replay(CRASH.plus(demands))


@pytest.mark.parametrize("name", ["once", "at_most_once", "once_per_key"])
def test_a_demand_about_nothing_shows_nothing(name: str) -> None:
    report = testing.replay(KEY.plus(Demands(**{name: ("chrage",)})))
    with pytest.raises(pwsim.Failure, match="chrage"):
        report.assert_passed()
    if name != "once":
        assert "no probed function 'chrage' was called in any schedule; there are charge" in report.problem


# ── from the start of a search ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"once": "charge"}, f"{TWICE} instead of once"),
        ({"at_most_once": ["charge"]}, f"{TWICE} instead of at most once"),
        ({"once_per_key": ["charge"]}, "charge was called twice without a key by order > pay"),
        ({"counts": ["effects charge < 2"]}, f"{TWICE} instead of less than twice"),
    ],
)
def test_a_demand_that_is_known_ends_the_search_at_the_first_schedule_that_breaks_it(
    options: dict[str, Any], sentence: str
) -> None:
    (found,) = (report := search(**options)).violations
    assert found.sentence == sentence
    assert [str(fault) for fault in found.faults] == ["order > pay #1 / call charge / after"]
    assert report.runs < search().runs


def test_what_is_wrong_without_any_fault_is_said_at_once() -> None:
    report = search(committed={"pay": 2})
    assert [(found.sentence, found.faults) for found in report.violations] == [
        ("shop.pay committed once instead of twice", ())
    ]
    assert (report.runs, report.bound) == (1, "the run without faults, played first")


def test_an_option_that_is_none_is_refused_with_those_that_are() -> None:
    with pytest.raises(UsageError, match=r"^wonce: there is no such option; there are faults, .*once, once_per_key"):
        search(wonce="charge")


# ── saved with what failed ────────────────────────────────────────────────────────────────────


def saved(report: pwsim.Report, demand: Any) -> Scenario:
    with pytest.raises(pwsim.Failure):
        demand(report)
    (path,) = Path(".pwsim/failures").glob("*.toml")
    return load(path)


@pytest.mark.parametrize(
    ("demand", "kept"),
    [
        (lambda report: report.assert_once("charge"), Demands(once=("charge",))),
        (lambda report: report.assert_at_most_once("charge"), Demands(at_most_once=("charge",))),
        (lambda report: report.assert_at_most_once_per_key("charge"), Demands(once_per_key=("charge",))),
    ],
)
def test_the_file_of_a_failure_is_a_test_by_itself(demand: Any, kept: Demands) -> None:
    scenario = saved(search(), demand)
    assert scenario == scenario.plus(kept)
    assert scenario.expect == "effects"
    assert [found.law for found in testing.replay(scenario).violations] == ["effects"]


def test_it_demands_all_that_was_demanded_from_the_start() -> None:
    report = search(once="charge", committed={"pay": 1}, invariant=shipped)
    scenario = saved(report, lambda report: report.assert_passed())
    assert (scenario.once, scenario.committed) == (("charge",), {"pay": 1})
    assert scenario.invariants == ("tests.sim.test_demands:shipped",)
    assert scenario.expect == "invariant"
    assert testing.replay(scenario).violations[0].law == "invariant"


def test_an_invariant_within_a_test_cannot_be_kept_and_its_file_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    scenario = saved(search(invariant=lambda end: False), lambda report: report.assert_passed())
    assert scenario.invariants == ()
    (path,) = Path(".pwsim/failures").glob("*.toml")
    assert main(["replay", str(path)]) == 1
    assert "its invariant has no name in a module, so this file cannot hold it" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("claim", "demand"),
    [
        (Claim(Subject(EFFECTS, "charge"), "==", 1), Demands(once=("charge",))),
        (Claim(Subject(EFFECTS, "charge"), "<=", 1), Demands(at_most_once=("charge",))),
        (Claim(Subject(EFFECTS, "charge"), ">", 2), Demands(counts=("effects charge > 2",))),
        (Claim(Subject(BY_KEY, "charge"), "==", 1), Demands(counts=("effects by key charge == 1",))),
        (Claim(Subject(COMMITTED, "shop.pay"), "==", 3), Demands(committed={"shop.pay": 3})),
        (Claim(Subject(COMMITTED, "shop.pay"), "!=", 3), Demands(counts=("committed shop.pay != 3",))),
    ],
)
def test_a_comparison_is_read_back_as_it_was_written(claim: Claim, demand: Demands) -> None:
    assert demand_of(claim) == demand
    assert list(demand.claims(program_of(shop, "order", "4000"))) == [claim]


# ── what is set up before ─────────────────────────────────────────────────────────────────────

installed: list[str] = []


def install() -> None:
    installed.append("here")


@pytest.mark.parametrize("setup", [install, "tests.sim.test_demands:install", ["tests.sim.test_demands:install"]])
def test_what_puts_stand_ins_in_place_is_called_first_and_kept_with_a_failure(setup: Any) -> None:
    installed.clear()
    scenario = saved(search(setup=setup, once="charge"), lambda report: report.assert_passed())
    assert installed == ["here"]
    assert scenario.setup == ("tests.sim.test_demands:install",)
    testing.replay(scenario)
    assert installed == ["here"] * 2


def test_the_commands_set_up_what_a_file_or_an_option_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    installed.clear()
    (tmp_path / "a.toml").write_text(dump(CRASH))
    setup = ["--setup", "tests.sim.test_demands:install"]
    assert main(["replay", "a.toml", *setup]) == 0
    assert main(["run", "a.toml", *setup]) == 0
    assert main(["run", SHOP, "--start", 'order="1"', "--runs", "1", "--max-faults", "0", *setup]) == 0
    assert installed == ["here"] * 3
    assert main(["replay", "a.toml", "--setup", "tests.sim.test_demands:nothing"]) == 2
    assert "has no such function" in capsys.readouterr().err
