"""The laws over traces accept what simulated workers do under every fault but a store that forgets: all of it together
is what real workers may come to. (That each law refuses something is tried in ``test_check.py``.)"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pwf_runtime import trace
from pwf_runtime.core import states as s
from pwf_runtime.core.delivery import TABLE
from pwf_runtime.core.machine import Machine, Step
from pwsim.explore import faults as every_fault
from pwsim.faults import FAMILIES, FORGETS
from pwsim.memo import Memo
from pwsim.planted import workflows
from pwsim.program import Program
from pwsim.runner import play
from pwsim.schedule import Schedule
from pwsim.trace_laws import Finding, TraceLaws

from .programs import chain, example, fan, prepared, random_results, rich_program

RANDOM = 800
"""Random schedules of up to three faults for each program, besides all single faults."""
REMEMBERS = ",".join(name for name, modes in FAMILIES.items() if not set(modes) & set(FORGETS))

Acked = tuple[type, bool | None]
"""A state that an ack followed, and whether the compares of its transaction held."""

PROGRAMS: dict[str, Callable[[], Program]] = {
    "chain": chain,
    "dead": lambda: chain("once"),
    "poison": lambda: chain("poison"),
    "fan": fan,
    "late": lambda: Program([workflows.late], [("hurry", 1)]),
    "registration": lambda: example("registration"),
    "rich": rich_program,
    "signal": lambda: Program([workflows.outside], [("trust", 1)], signals=[("approved", 2)]),
}


class Watching(Memo):
    """Shows the laws each step that a machine makes."""

    def __init__(self) -> None:
        super().__init__()
        self.laws = TraceLaws()
        self.acked: set[Acked] = set()
        self.findings: list[Finding] = []
        self.values: dict[int, Any] = {}

    def step(self, machine: Machine, state: Any, answer: Any, now_ms: int) -> Step:
        step = super().step(machine, state, answer, now_ms)
        self.findings += self.laws.note("here", state, answer, step[0])
        self.values |= {id(value): value for value in (state, answer)}
        if isinstance(step[0], s.Acking):
            self.acked.add((type(state), getattr(answer, "held", None)))
        return step


def schedules(program: Program) -> Iterator[Schedule]:
    program, modes = prepared(program, REMEMBERS)
    yield from (result.schedule for result in every_fault.explore(program, modes, modes, 1))
    yield from (result.schedule for result in random_results(program, RANDOM, faults=REMEMBERS))


def watched(program: Program) -> Watching:
    played = list(schedules(program))
    program.memo = watching = Watching()
    for schedule in played:
        watching.laws = TraceLaws()
        assert play(program, schedule).violation is None
        watching.findings += watching.laws.end()
    return watching


@pytest.fixture(scope="module")
def seen() -> dict[str, Watching]:
    return {name: watched(make()) for name, make in PROGRAMS.items()}


def test_no_law_over_traces_accuses_production_under_any_fault(seen: dict[str, Watching]) -> None:
    assert {name: watching.findings[:1] for name, watching in seen.items() if watching.findings} == {}


def test_every_way_to_an_ack_was_met(seen: dict[str, Watching]) -> None:
    """Else silence would say nothing of it."""
    acked = set().union(*[watching.acked for watching in seen.values()])
    assert {state for state, _ in acked} == {row.state for row in TABLE if s.Acking in row.to}
    assert {(s.Committing, True), (s.Committing, False), (s.Settling, True), (s.Settling, False)} <= acked


def test_what_machines_are_given_comes_back_from_a_trace_as_it_was(seen: dict[str, Watching]) -> None:
    for watching in seen.values():
        for value in watching.values.values():
            assert trace.unpack(trace.pack(value)) == value
