"""What strategies draw: every shape there is, faults that strike, examples that shrink, the same for the same seed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, find, given, seed, settings
from hypothesis import strategies as st
from hypothesis.internal.conjecture import engine

import pwsim
from pwf_runtime import codec
from pwf_runtime.core.delivery import DeliveryMachine
from pwf_runtime.core.machine import Step
from pwf_runtime.core.model import Message
from pwf_runtime.core.states import Reached
from pwf_runtime.core.steps import Steps
from pwf_runtime.core.txn import Is, Txn
from pwsim import runner
from pwsim.faults import families
from pwsim.generated import (
    APPS,
    FOR_GOOD,
    Deed,
    Emit,
    Fork,
    If,
    Join,
    Node,
    deeds,
    is_determined,
    nodes,
    of_json,
    payload,
    to_json,
)
from pwsim.program import Program, Protocol
from pwsim.runner import play
from pwsim.scenario import dump, load
from pwsim.schedule import Schedule
from pwsim.shrink import shrink
from pwsim.strategies import Case, Plan, cases, crash_points, every_fault, fault_plans, payloads, workflows

PLAIN = settings(
    deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck), max_examples=100
)
FAN = Node(
    "a", (Join(Node("d"), {"x": 1, "y": 1}), Fork((Node("b", (Emit("x"),)), Node("blue.a", (Emit("y"),))), Node("c")))
)


def program(workflow: Node = FAN) -> Program:
    return Program(APPS, [(workflow.task, payload(workflow))])


# ── workflows ─────────────────────────────────────────────────────────────────────────────────

SHAPES: dict[str, Callable[[Node], bool]] = {
    "dynamic fork in a fork": lambda w: any(isinstance(d, Fork) and _any(Fork, d.nodes) for d in deeds(w)),
    "empty fork": lambda w: any(isinstance(d, Fork) and not d.nodes for d in deeds(w)),
    "decision": lambda w: any(isinstance(d, If) and d.then != d.other for d in deeds(w)),
    "nested join": lambda w: any(isinstance(d, Join) and _any(Join, (d.then,)) for d in deeds(w)),
    "overlapping joins": lambda w: _overlap([d for d in deeds(w) if isinstance(d, Join)]),
    "k of m": lambda w: any(isinstance(d, Join) and d.at_least is not None and d.at_least > 1 for d in deeds(w)),
    "any of": lambda w: any(isinstance(d, Join) and d.at_least == 1 for d in deeds(w)),
    "n of one name": lambda w: any(isinstance(d, Join) and max(d.on.values()) > 1 for d in deeds(w)),
    "timeout": lambda w: any(isinstance(d, Join) and d.timeout is not None and d.late is not None for d in deeds(w)),
    "join after its event": lambda w: any(_late(node.deeds) for node in nodes(w)),
    "loop": lambda w: any(node.again > 1 for node in nodes(w)),
    "retry": lambda w: any(node.fails > 0 for node in nodes(w)),
    "dead call": lambda w: any(node.fails == FOR_GOOD for node in nodes(w)),
    "other service": lambda w: any(node.task.startswith("blue.") for node in nodes(w)),
    "delay": lambda w: any(getattr(d, "delay", 0) for d in deeds(w)),
}


def _any(kind: type, within: tuple[Node, ...]) -> bool:
    return any(isinstance(deed, kind) for node in within for deed in deeds(node))


def _overlap(joins: list[Join]) -> bool:
    return any(a is not b and a.on.keys() & b.on.keys() and a.on != b.on for a in joins for b in joins)


def _late(deeds: tuple[Deed, ...]) -> bool:
    kinds = [type(deed) for deed in deeds]
    return Emit in kinds and Join in kinds[kinds.index(Emit) :]


def generated(strategy: st.SearchStrategy[Node], count: int) -> list[Node]:
    """Drawn and not shrunk; begun anew four times, since what is drawn at one go is much alike."""
    found: list[Node] = []

    def collect(workflow: Node) -> None:
        found.append(workflow)

    for number in range(4):
        drawing = settings(PLAIN, phases=[Phase.generate], max_examples=count // 4, derandomize=False)
        seed(number)(drawing(given(strategy)(collect)))()
    return found


def test_every_shape_is_drawn() -> None:
    drawn = generated(workflows(), 600)
    assert not [shape for shape, has in SHAPES.items() if not any(map(has, drawn))]


@settings(PLAIN)
@given(workflows())
def test_a_workflow_is_a_payload_and_fits_into_a_scenario(workflow: Node) -> None:
    assert of_json(to_json(workflow)) == workflow
    assert codec.decode(codec.encode(payload(workflow)), Node) == workflow


@settings(PLAIN)
@given(workflows(4), st.lists(st.tuples(st.integers(0, 60), st.integers(0, 4)), max_size=3, unique_by=lambda d: d[0]))
def test_what_is_determined_commits_the_same_in_any_order(workflow: Node, deviations: list[tuple[int, int]]) -> None:
    """Else L6 would compare with something that need not be."""
    if is_determined(workflow):
        first = play(program(workflow), Schedule()).world.committed_graph()
        second = play(program(workflow), Schedule(deviations=tuple(sorted(deviations)))).world.committed_graph()
        assert first == second


def test_joins_fire_expire_and_starve_and_runs_end_in_every_way() -> None:
    """Workflows that are all of a kind would prove little."""
    seen: Counter[str] = Counter()
    for workflow in generated(workflows(), 600):
        world = play(program(workflow), Schedule()).world
        seen.update(status.decode() for status in world.history.status.values())
        for join in world.history.joins.values():
            seen["fired" if join.fired else "expired" if join.expired else "starved"] += 1
    assert min(seen[end] for end in ("completed", "stranded", "running", "fired", "expired", "starved")) >= 3, seen


# ── payloads and fault plans ──────────────────────────────────────────────────────────────────


@settings(PLAIN)
@given(payloads())
def test_payloads_travel_unchanged(data: object) -> None:
    assert codec.decode(codec.encode(data)) == data


@settings(PLAIN)
@given(data=payloads(), faults=fault_plans(max_faults=2))
def test_users_can_draw_payloads_and_faults(data: object, faults: Plan) -> None:
    """As the documentation shows it."""
    fresh = Program(APPS, [("a", payload(Node("a", (Emit("x"),))))])
    result = faults.played(fresh)
    assert result.violation is None
    assert len(result.schedule.faults) <= 2
    assert result.unmatched() == ()


def test_a_plan_is_faults_with_addresses_once_it_meets_a_program() -> None:
    plan = Plan(((4, 0), (6, 1)), families("crash"))
    faults = plan.on(program())
    assert len(faults) == 2
    again = play(program(), Schedule(faults))
    assert again.unmatched() == ()
    assert again.fingerprint() == plan.played(program()).fingerprint()


def test_users_play_a_plan_on_their_workflow_and_get_a_report() -> None:
    start = (FAN.task, payload(FAN))
    report = Plan(((4, 0), (6, 1)), families("crash")).play(APPS, start=start, committed={"red.d": 1})
    report.assert_passed()
    assert (report.runs, report.tally.struck) == (1, 1)
    assert report.bound == "one schedule, replayed"
    broken = Plan(((0, 0),), frozenset()).play(APPS, start=start, committed={"red.d": 2})
    assert [found.law for found in broken.violations] == ["committed"]


def test_addressed_faults_strike() -> None:
    """The first does; one that is meant for the recovery from another may be in vain."""
    subject = program()

    @settings(PLAIN)
    @given(fault_plans(subject, max_faults=1))
    def strike(faults: tuple[object, ...]) -> None:
        result = play(subject, Schedule(faults))  # type: ignore[arg-type]
        assert result.unmatched() == ()

    strike()


def test_crash_points_are_those_of_a_run_without_faults() -> None:
    points = crash_points(program(), families("crash"))
    assert all(modes == ("before", "after") for _, modes in points)
    assert "a #1 / commit" in [str(point) for point, _ in points]
    assert not [point for point, _ in points if point.delivery > 1]


# ── examples shrink ───────────────────────────────────────────────────────────────────────────


class CountOnly(Steps):
    """Planted: a join counts arrivals without marking which name was counted."""

    def satisfy(self, message: Message, reached: Reached) -> Txn:
        txn = super().satisfy(message, reached)
        kept = [compare for compare in txn.compare if not (isinstance(compare, Is) and ":m:" in compare.field)]
        return Txn(txn.label, txn.run_id, tuple(kept), txn.then, txn.otherwise)


class ForgetsParked(DeliveryMachine):
    """Planted: a delivery whose call somebody else has is acked without a timer."""

    def _park(self, message: Message, token: str, due_ms: int) -> Step:
        return self._ack(message)


@pytest.mark.parametrize(
    ("protocol", "calls", "faults"),
    [(Protocol(steps=CountOnly), 4, 1), (Protocol(delivery=ForgetsParked), 1, 1)],
    ids=["join-by-counter", "parked-call-forgotten"],
)
def test_a_failure_shrinks_to_the_smallest_workflow_and_the_fewest_faults(
    protocol: Protocol, calls: int, faults: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``calls``: two members and what joins them, if it takes a join; else one."""
    monkeypatch.setattr(runner, "STEPS_AT_LEAST", 100)  # what goes round in circles need not do so for long
    monkeypatch.setattr(runner, "STEPS_FACTOR", 5)
    monkeypatch.setattr(engine, "MAX_SHRINKING_SECONDS", 10**6, raising=False)  # it would stop short, were it slow

    def breaks(case: Case) -> bool:
        return any(result.violation is not None for result in case.play(protocol))  # up to the first

    case = find(every_fault("crash", max_calls=3), breaks, settings=settings(PLAIN, max_examples=100))
    result = next(result for result in case.play(protocol) if result.violation is not None)
    small = shrink(result.world.program, result)
    assert len(list(nodes(case.workflow))) <= calls
    assert len(small.schedule.faults) == faults
    assert case.runs == 1


def test_a_failing_case_prints_a_scenario_that_replays(tmp_path: object) -> None:
    case = Case(FAN, faults="crash")
    result = list(case.play())[40]
    text = dump(case.scenario(result))
    path = os.path.join(str(tmp_path), "case.toml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    scenario = load(path)
    assert play(scenario.program(), scenario.schedule()).fingerprint() == scenario.trace


# ── determinism ───────────────────────────────────────────────────────────────────────────────

TRACES = """
from itertools import islice
from hypothesis import Phase, find, given, seed, settings, HealthCheck
from pwsim.explore import faults, random
from pwsim.faults import families
from pwsim.program import Program
from pwsim.targets import load_apps
from pwsim.strategies import cases, every_fault
from examples import bulk, registration, conditional, ping_pong

modes = families("all")
programs = [
    Program([registration.users, registration.documents], [("register_user", registration.START)]),
    Program([bulk.app], [("start", bulk.START)], workers=3),
    Program([conditional.app], [("review", conditional.START)] * 2),
    Program([ping_pong.ping, ping_pong.pong], [("hit", ping_pong.START)], workers=1),
]
for program in programs:
    program.expects(modes)
    for result in islice(random.explore(program, modes, 3, seed=7), 10):
        print(result.fingerprint(), *result.schedule.faults)
    for result in islice(faults.explore(program, modes, modes, 1), 0, 400, 40):
        print(result.fingerprint(), *result.schedule.faults)

@seed(3)
@settings(
    max_examples=20, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(cases("all"))
def drawn(case):
    for result in case.play():
        print(result.fingerprint(), *result.schedule.faults)

drawn()
"""


def test_the_same_seed_gives_the_same_traces_in_another_process_with_another_hash_seed() -> None:
    """A trace is a function of the program and the schedule, and both of the seed: nothing iterates a set."""
    told = []
    for hash_seed in ("0", "4242"):
        env = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", TRACES]
        told.append(subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout.splitlines())
    assert len(told[0]) > 80
    assert told[0] == told[1]


def test_hypothesis_is_imported_by_the_strategies_only() -> None:
    code = "import sys, pwsim, pwsim.runner, pwsim.campaign, pwsim.generated; sys.exit('hypothesis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert pwsim.strategies.cases is cases
