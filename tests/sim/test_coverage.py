"""What a campaign says it has met: crash points, situations, and an honest guess at what it has not."""

from __future__ import annotations

from collections import Counter

import pytest

from pwsim.campaign import Campaign
from pwsim.coverage import ALWAYS, SITUATIONS, Coverage, points
from pwsim.faults import families, parse
from pwsim.runner import play
from pwsim.schedule import Schedule

from .programs import EXAMPLES, chain, example, fan, prepared, random_results, struck


@pytest.mark.parametrize(("faults", "least"), [(None, 80), ("refused,timeout,eviction", 40)])
@pytest.mark.parametrize("name", EXAMPLES)
def test_single_faults_hit_every_crash_point_of_every_example(name: str, faults: str | None, least: int) -> None:
    """Defined means: met by the run without faults, times the modes that each point has. All of them must strike."""
    report = Campaign(example(name), strategy="faults", faults=faults, max_faults=1).run()
    assert report.verdict == "pass"
    assert report.hit == report.defined > least
    assert report.kinds
    assert all(hit == defined > 0 for hit, defined in report.kinds.values())


def test_fewer_schedules_hit_fewer_points() -> None:
    """Positive control: the number is counted, not assumed."""
    report = Campaign(fan(), strategy="random", runs=20).run()
    assert 0 < report.hit < report.defined


def test_only_points_of_the_families_asked_for_are_defined() -> None:
    program = chain()
    crash, all_of_them = Coverage(program, families("crash")), Coverage(program, families("all"))
    assert {mode for _, mode in crash.defined} == {"before", "after"}
    assert crash.defined < all_of_them.defined


def test_the_points_of_a_program_are_those_of_its_run_without_faults() -> None:
    found = [point for point, _ in points(fan())]
    assert Counter(found).most_common(1)[0][1] == 1
    assert set(found) == {step.point for step in play(fan(), Schedule()).trace}


def test_roles_effects_and_modes_are_counted_apart() -> None:
    program, modes = prepared(chain("linger"), "crash,loss")
    coverage = Coverage(program, modes)
    kinds = coverage.kinds()
    assert {role for role, _, _ in kinds} == {"client", "worker", "sweeper"}
    assert ("client", "start", "before") in kinds
    assert ("sweeper", "publish", "after") in kinds
    assert ("worker", "commit", "after") in kinds
    assert ("worker", "receive", "lost") in kinds
    assert sum(defined for _, defined in kinds.values()) == len(coverage.defined)


# ── situations ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["registration", "bulk"])
def test_a_portfolio_sees_every_situation(name: str) -> None:
    """It proves little without: a crash, a park, a stale commit, a takeover, a second delivery of a finished call."""
    report = Campaign(example(name), max_faults=1, runs=150).run()
    assert report.verdict == "pass"
    assert report.missed == []


def test_a_join_is_fired_by_each_of_its_possible_last_arrivals() -> None:
    program, modes = prepared(fan(3), "default")
    coverage = Coverage(program, modes)
    for result in random_results(program, 150, faults="default"):
        coverage.note(result)
    assert {f"begin > part[{i}]" for i in range(3)} <= coverage.last_arrivals


def situations(*faults: str) -> set[str]:
    program, modes = prepared(fan(), "all")
    coverage = Coverage(program, modes)
    coverage.note(struck(program, *faults))
    assert coverage.situations | set(coverage.unseen_situations()) == set(SITUATIONS)
    return coverage.situations


PLAIN = {"a join was fired by its last arrival", "a run completed"}


TOLD = {
    "begin #1 / claim / before": {"a worker died"},
    "begin #1 / settle / before": {"a worker died", "a committed call was finished by another worker"},
    "begin #1 / ack / before": {"a worker died", "a finished call was delivered again"},
    "begin #1 / receive / duplicate": {"a call was parked", "a finished call was delivered again"},
    "begin #1 / run / before": {"a worker died", "a call was parked", "a call was taken over"},
    "begin #1 / commit / stall": {"a call was parked", "a call was taken over", "a stale attempt did not commit"},
    "begin #1 / publish part / nacked": {"the broker did not take a message"},
    "begin #1 / publish part / partly-nacked": {"the broker did not take a message"},
    "begin #1 / publish part / unconfirmed": {"the broker took a message twice, its confirm lost"},
    "begin #1 / run / consumer-timeout": {"the broker closed a channel while a task went on", "a call was parked"},
    "begin #1 / run / timers-evicted": {"the store threw a list away"},
    "begin #1 / run / open-evicted": {"the store threw a list away"},
    "begin #1 / settle / rollback-1": {"the store fell back"},
}

APART = {
    ("begin #1 / run / before", "begin #2 / receive / delivery-limit"): {
        "the broker dropped what was delivered too often",
    },
    ("begin #1 / run / evicted",): {"the store threw a run away"},
    ("begin > part[0] #1 / receive / lost", "scan of fan #1 / scan / before"): {"a worker died in a recovery scan"},
}
"""Not with what always happens, or with two faults."""


def test_without_faults_only_what_always_happens_is_seen() -> None:
    assert situations() == PLAIN


@pytest.mark.parametrize("fault", TOLD)
def test_each_situation_is_seen_when_it_happens(fault: str) -> None:
    assert situations(fault) >= PLAIN | TOLD[fault]


@pytest.mark.parametrize("faults", APART)
def test_each_situation_of_several_faults_is_seen_when_it_happens(faults: tuple[str, ...]) -> None:
    assert situations(*faults) >= APART[faults]


def test_no_situation_is_left_untested() -> None:
    assert set().union(PLAIN, *TOLD.values(), *APART.values()) == set(SITUATIONS)


def test_a_timer_for_a_child_that_is_not_due_is_no_parked_call() -> None:
    """Nor one that a client sets because no queue took its first message."""
    program, modes = prepared(chain("linger"), "default")
    coverage = Coverage(program, modes)
    result = play(program, Schedule())
    coverage.note(result)
    assert "add to timers" in [step.effect for step in result.trace]
    assert "a call was parked" not in coverage.situations
    coverage.note(struck(program, "linger #1 / receive / duplicate"))
    assert "a call was parked" in coverage.situations


@pytest.mark.parametrize(
    ("families", "more"),
    [
        ("default", set()),
        ("crash", set()),
        ("refused", {"the broker did not take a message", "the broker took a message twice, its confirm lost"}),
        ("crash,loss", {"a worker died in a recovery scan"}),
        ("loss", set()),
    ],
)
def test_only_what_the_faults_can_bring_about_is_expected(families: str, more: set[str]) -> None:
    program, modes = prepared(chain(), families)
    assert set(Coverage(program, modes).unseen_situations()) == {*ALWAYS, *more}


@pytest.mark.parametrize(
    ("fault", "never"),
    [
        ("begin #1 / claim / before", "a call was taken over"),
        ("begin #1 / receive / duplicate", "a worker died"),
        ("begin #1 / commit / reply-lost", "a worker died"),
        ("begin #1 / ack / before", "a stale attempt did not commit"),
    ],
)
def test_what_did_not_happen_is_not_seen(fault: str, never: str) -> None:
    assert never not in situations(fault)


# ── what the next schedule may show ───────────────────────────────────────────────────────────


def test_the_share_of_what_was_seen_once_is_the_chance_of_something_new() -> None:
    """Good and Turing: three kinds of schedules, one of them seen once among six."""
    program, modes = prepared(chain(), "crash")
    coverage = Coverage(program, modes)
    assert coverage.unseen() is None
    clean, other, third = (
        play(program, Schedule()),
        *(struck(program, f"leave #1 / {effect} / before") for effect in ("run", "commit")),
    )
    coverage.note(clean)
    assert coverage.unseen() is None, "it was not left to chance that this one was played"
    for result in (clean, other, third):
        result.drawn = True
    for result in (clean, clean, clean, other, other):
        coverage.note(result)
    assert coverage.unseen() == 0.0
    coverage.note(third)
    assert coverage.unseen() == pytest.approx(1 / 6)


def test_it_foretells_how_often_something_new_turns_up() -> None:
    """Within a few percent, on schedules that it has not seen."""
    program, modes = prepared(chain(), "crash")
    seen, fresh = Coverage(program, modes), 0
    results = list(random_results(program, 800, faults="crash"))
    for result in results[:400]:
        seen.note(result)
    guess = seen.unseen()
    assert guess is not None
    shapes = {tuple((s.path, s.effect, s.fault) for s in result.trace) for result in results[:400]}
    for result in results[400:]:
        fresh += tuple((s.path, s.effect, s.fault) for s in result.trace) not in shapes
    assert abs(fresh / 400 - guess) < 0.1
    assert 0 < guess < 0.9


def test_what_two_processes_have_met_is_put_together() -> None:
    program, modes = prepared(fan(), "default")
    whole, one, other = (Coverage(program, modes) for _ in range(3))
    for i, result in enumerate(random_results(program, 60, faults="default")):
        whole.note(result)
        (one if i % 2 else other).note(result)
    one.add(other)
    assert (one.struck, one.situations, one.last_arrivals) == (whole.struck, whole.situations, whole.last_arrivals)
    assert (one.hit(), one.kinds(), one.unseen()) == (whole.hit(), whole.kinds(), whole.unseen())


def test_a_fault_that_no_run_without_faults_would_meet_counts_for_nothing() -> None:
    program, modes = prepared(chain(), "crash")
    coverage = Coverage(program, modes)
    coverage.note(struck(program, "leave #1 / run / before", "leave #2 / claim / before"))
    assert coverage.hit() == 1
    assert (parse("leave #2 / claim / before").point, "before") in coverage.struck
