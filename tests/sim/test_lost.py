"""``ctx.lost`` in simulated tasks: true from where a worker wakes whose lease is over, and false before."""

from __future__ import annotations

from typing import Any

import pytest

import pwsim
from pwf_runtime import Context, Workflow, result
from pwsim.program import Program

from .programs import struck


class Mail:
    def send(self, to: str) -> None: ...


mail = pwsim.probe(Mail())
app = Workflow("mails")
ADDRESSES = ["ada", "bob", "eve"]


@app.task
def stops(data: list[str], ctx: Context) -> Any:
    for address in data:
        if ctx.lost:
            raise TimeoutError("somebody else does it")
        mail.send(address)
    return result("sent")


@app.task
def returns(data: list[str], ctx: Context) -> Any:
    for address in data:
        if ctx.lost:
            return None
        mail.send(address)
    return result("sent")


@app.task
async def stops_async(data: list[str], ctx: Context) -> Any:
    return stops.fn(data, ctx)


@app.task
def by_steps(data: list[str], ctx: Context) -> Any:
    for address in data:
        ctx.step(address, lambda: ctx.lost)
    return result(ctx.lost)


def sent(task: str, *faults: str, workers: int = 2) -> list[tuple[str, int]]:
    """Who got a mail, from which attempt."""
    program = Program([app], [(task, ADDRESSES)], workers=workers)
    world = struck(program, *faults).world
    program.close()
    return [(entry.args[0], entry.attempt) for entry in world.ledger]


ALL_BY_2 = [(address, 2) for address in ADDRESSES]


@pytest.mark.parametrize("task", ["stops", "stops_async"])
def test_a_worker_that_wakes_does_what_it_was_about_to_do_and_then_learns_of_it(task: str) -> None:
    """It may stall right after it has asked."""
    assert sent(task) == [(address, 1) for address in ADDRESSES]
    assert sent(task, f"{task} #1 / call send / stall") == [*ALL_BY_2, ("ada", 1)]
    assert sent(task, f"{task} #1 / call send@2 / stall") == [("ada", 1), *ALL_BY_2, ("bob", 1)]
    assert sent(task, f"{task} #1 / run / stall") == ALL_BY_2


def test_a_lease_that_is_renewed_is_not_lost() -> None:
    for fault in ("run / slow", "call send / requeue", "run / lease-lost"):
        assert ("eve", 1) in sent("stops", f"stops #1 / {fault}")


def test_a_worker_that_crashes_asks_nothing() -> None:
    assert sent("stops", "stops #1 / call send / after") == [("ada", 1), *ALL_BY_2]


def test_who_returns_when_it_is_lost_may_commit_that() -> None:
    """What a stale attempt returns is dropped if another attempt was begun, and only then. So raise instead."""
    (found,) = pwsim.simulate(
        app, start=("returns", ADDRESSES), workers=1, faults="stall", max_faults=1, strategy="faults"
    ).violations
    assert found.sentence == "returns did not commit as in the run without faults"
    assert [fault.mode for fault in found.faults] == ["stall"]
    report = pwsim.simulate(app, start=("stops", ADDRESSES), workers=1, faults="stall", max_faults=1, strategy="faults")
    report.assert_passed()
    assert report.results == ["sent"]


def test_steps_count_as_things_that_were_done() -> None:
    program = Program([app], [("by_steps", ADDRESSES)], workers=1)
    world = struck(program, "by_steps #1 / remember@2 / stall").world
    assert world.history.results["run"] == b"\xc3"
    assert struck(Program([app], [("by_steps", [])]), "by_steps #1 / claim / after").violation is None


def test_it_is_no_more_than_a_question_without_a_stall() -> None:
    report = pwsim.simulate(app, start=("stops", ADDRESSES), runs=50, max_faults=1)
    report.assert_passed()
