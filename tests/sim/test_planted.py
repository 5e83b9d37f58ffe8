"""Every planted bug is convicted by the law that was named for it, and no sound variant by any.

A checker that has never convicted anything proves nothing, and one that convicts what is right is worse than none.
"""

from __future__ import annotations

from typing import Any

import pytest

from pwsim import faults
from pwsim.campaign import Campaign
from pwsim.explore import faults as every_fault
from pwsim.laws import ALL, Law, Watch
from pwsim.laws.calls import CommitsOnce
from pwsim.planted import PLANTED, Planted, compares, convict, protocol_of, swaps, workflows
from pwsim.planted.golden import GO_PUBSUB_WORKFLOW
from pwsim.program import Program, Protocol
from pwsim.runner import play
from pwsim.schedule import Schedule

BUGS = [planted for planted in PLANTED.values() if planted.law]
SOUND = [planted for planted in PLANTED.values() if not planted.law]
ENDLESS = ("poison-task-without-limit", "scan-republishes-for-ever")
"""Bugs that go on and on, so that each schedule of theirs takes long: one seed is enough for them."""
RARE = ("ack-on-a-reopened-channel", "unlisted-before-complete")
"""Bugs that few schedules show: they need two faults at two particular places."""
SEEDS = range(1, 9)


def _named(planted: Planted) -> str:
    return planted.name


def _place(planted: Planted) -> dict[str, Any]:
    """On what it is tried."""
    return {name: getattr(planted, name) for name in ("apps", "start", "families", "workers", "prefetch")}


@pytest.mark.parametrize("planted", BUGS, ids=_named)
def test_a_bug_is_convicted_by_its_law_with_the_fewest_faults(planted: Planted) -> None:
    conviction = convict(planted)
    assert conviction.convicted_by == planted.law, conviction.sentence
    assert conviction.faults == planted.faults, conviction.sentence


@pytest.mark.parametrize("planted", [bug for bug in BUGS if bug.name not in ENDLESS + RARE], ids=_named)
def test_random_schedules_find_it_too_and_are_shrunk_to_the_fewest_faults(planted: Planted) -> None:
    """Over a few seeds: one alone may shrink into a corner that needs a fault more."""
    for seed in SEEDS:
        campaign = Campaign(
            planted.program(), strategy="random", faults=planted.families, max_faults=3, runs=1_000, seed=seed
        )
        for found in campaign.run().violations:
            if found.law == planted.law and len(found.faults) == planted.faults:
                return
    pytest.fail(f"no seed led to a violation of {planted.law} that was shrunk to {planted.faults} faults")


@pytest.mark.parametrize("planted", SOUND, ids=_named)
def test_a_sound_variant_stays_silent(planted: Planted) -> None:
    conviction = convict(planted)
    assert conviction.convicted_by == "", conviction.sentence


@pytest.mark.parametrize("planted", {repr(_place(bug)): bug for bug in BUGS}.values(), ids=_named)
def test_production_stays_silent_where_a_bug_is_convicted(planted: Planted) -> None:
    """The same workflow and the same faults: it is the bug that breaks the law, not the trial."""
    sound = Planted("production", "", law="", faults=0, protocol=Protocol(), **_place(planted))
    conviction = convict(sound)
    assert conviction.convicted_by == "", conviction.sentence


@pytest.mark.parametrize("law", ALL, ids=lambda law: law.name)
def test_every_law_has_a_bug_that_it_convicts(law: type[Law]) -> None:
    assert any(bug.law == law.name for bug in BUGS)


def test_names_are_distinct_and_say_what_they_are() -> None:
    assert all(name == planted.name for name, planted in PLANTED.items())
    assert all(planted.name.startswith("sound-") for planted in SOUND)
    assert protocol_of("") == Protocol()


def test_go_pubsub_workflow_commits_both_branches() -> None:
    """The law about leases convicts the overlap before anything is committed; without it, two branches are."""
    planted = PLANTED["go-pubsub-both-branches"]
    assert planted.protocol is GO_PUBSUB_WORKFLOW
    program = planted.program()
    found = Campaign(program, strategy="faults", max_faults=1).run().violations[0]
    only = Watch([CommitsOnce()])
    result = play(program, Schedule(found.faults, found.result.schedule.deviations), only)
    assert result.violation is not None
    assert result.violation.sentence == "waver committed 2 times"


@pytest.mark.parametrize(
    ("mode", "bug"),
    [
        (faults.NACKED, "refused-counted-as-sent"),
        (faults.UNCONFIRMED, "due-time-ignored"),
        (faults.PARTLY, "confirm-counted-for-all-before"),
        (faults.CONSUMER_TIMEOUT, "no-lease"),
        (faults.EVICTED, "commit-into-an-evicted-run"),
        (faults.TIMERS_EVICTED, "evicted-timers-stay-lost"),
    ],
)
def test_a_mode_of_a_server_alone_convicts_something(mode: str, bug: str) -> None:
    """A positive control: each shows by itself what it is there for; and production stands the same."""
    planted = PLANTED[bug]
    for protocol, law in ((planted.protocol, planted.law), (Protocol(), "")):
        program, modes = Program(planted.apps, [planted.start], protocol=protocol), frozenset({mode})
        program.expects(modes)
        results = list(every_fault.explore(program, modes, modes, 1))
        assert len(results) > 1, "it never struck"
        assert {result.violation.law for result in results if result.violation} == ({law} if law else set())


# ── every compare is needed ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("trial", compares.TRIALS, ids=lambda trial: f"{trial.task}-{trial.families or 'default'}")
@pytest.mark.parametrize("strategy", ["faults", "random"])
def test_production_with_all_its_compares_stays_silent(trial: compares.Trial, strategy: str) -> None:
    report = trial.report(Protocol(steps=compares.Cancels), strategy)
    assert report.violations == []


@pytest.mark.parametrize("compare", list(compares.compares()), ids=str)
def test_a_compare_that_is_taken_out_is_missed(compare: compares.Compare) -> None:
    """... or stands among the redundant ones, with the reason; and then no trial misses it."""
    violation = compares.convict(compare)
    if str(compare) in compares.REDUNDANT:
        assert violation is None, f"{compare} is not redundant: {violation}"
    else:
        assert violation is not None, f"nothing misses {compare}: is it needed?"


def test_what_is_called_redundant_exists() -> None:
    assert set(compares.REDUNDANT) <= {str(compare) for compare in compares.compares()}


# ── every order of two effects is needed ──────────────────────────────────────────────────────


@pytest.mark.parametrize("swap", swaps.CONVICTED, ids=str)
def test_two_effects_the_other_way_round_break_the_law_that_was_named(swap: swaps.Swap) -> None:
    violation = swaps.convict(swap)
    assert violation is not None, f"nothing notices {swap}: is the order needed?"
    assert violation.law == swaps.CONVICTED[swap][1], violation.sentence


@pytest.mark.parametrize("trial", dict.fromkeys(trial for trial, _ in swaps.CONVICTED.values()), ids=repr)
def test_production_keeps_the_laws_where_a_swap_breaks_one(trial: compares.Trial) -> None:
    for strategy in ("faults", "random"):
        assert trial.report(Protocol(), strategy, swaps.RUNS).violations == []


@pytest.mark.parametrize("swap", swaps.UNNOTICED, ids=str)
def test_a_swap_that_is_said_to_be_unnoticed_is(swap: swaps.Swap) -> None:
    for trial in SWAPPABLE:
        assert trial.report(swaps.swapped(swap), "faults").violations == [], "what is said of it is wrong"


def test_a_scan_that_looks_before_it_unlists_is_convicted_by_three_faults() -> None:
    struck = (
        "arrive #1 / commit / after",
        "arrive #2 / receive / lost",
        "scan of chain #1 / remove from open / rollback-1",
    )
    schedule = Schedule(tuple(map(faults.parse, struck)))
    swap = swaps.Swap("scan", "Unlisting", "Confirming")
    for protocol, law in ((swaps.swapped(swap), "L4"), (Protocol(), None)):
        program = Program([workflows.chain], [("arrive", 1)], protocol=protocol)
        program.expects(faults.families("crash,loss,rollback"))
        result = play(program, schedule)
        assert result.unmatched() == ()
        assert (result.violation.law if result.violation else None) == law


def test_every_swap_is_either_convicted_or_explained() -> None:
    found: set[swaps.Swap] = set()
    for trial in (*compares.TRIALS, *dict.fromkeys(trial for trial, _ in swaps.CONVICTED.values())):
        for strategy in ("faults", "random"):
            trial.report(swaps.noting(found), strategy)
    assert sorted(found) == sorted([*swaps.CONVICTED, *swaps.UNNOTICED])
    assert not swaps.CONVICTED.keys() & swaps.UNNOTICED.keys()


SWAPPABLE = [trial for trial in dict.fromkeys(trial for trial, _ in swaps.CONVICTED.values()) if trial.faults == 1]
