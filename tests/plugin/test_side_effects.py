"""My mail goes out twice, what now? Each answer is a workflow that fails a check before, and passes it after."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pwf_runtime import Context, Retry, Workflow, call, emit, join, result
from pwsim import Failure, Report, probe, simulate
from pwsim.checks import Played

DAY_S = 86_400.0


class Service:
    def charge(self, card: str, **_more: Any) -> str:
        return "receipt"

    async def send(self, to: str) -> None:
        await asyncio.sleep(0)


service = probe(Service())


def simulated(task: Callable[..., Any], faults: str = "crash", **options: Any) -> Report:
    """A workflow of this task alone, struck once."""
    app = Workflow("shop")
    app.subscribe("pay", task, retry=Retry(max_attempts=5, first_delay=1.0))
    report = simulate(app, start=("pay", "4000"), faults=faults, max_faults=1, runs=20, **options)
    report.assert_passed()
    return report


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures that are expected are saved where nobody looks."""
    monkeypatch.chdir(tmp_path)


def test_without_a_key_a_crash_charges_twice() -> None:
    def pay(data: str) -> Any:
        service.charge(data)
        return result("paid")

    report = simulated(pay)
    with pytest.raises(Failure, match=r"charge was called twice .* instead of once"):
        report.assert_once("charge")
    with pytest.raises(Failure, match="charge was called twice without a key by pay"):
        report.assert_at_most_once_per_key("charge")


def test_with_the_calls_own_key_the_service_charges_once() -> None:
    """It is called twice, and knows the second for what it is."""

    def pay(data: str, ctx: Context) -> Any:
        service.charge(data, idempotency_key=ctx.idempotency_key)
        return result("paid")

    report = simulated(pay)
    report.assert_at_most_once_per_key("charge")
    assert report.effects.by_key["charge"] == 1
    assert report.effects["charge"].max == 2


def test_a_key_of_the_attempt_is_none() -> None:
    def pay(data: str, ctx: Context) -> Any:
        service.charge(data, key=f"{ctx.idempotency_key}/{ctx.attempt}")
        return result("paid")

    with pytest.raises(Failure, match=r"charge was called twice under the keys '.*/1', '.*/2' by pay"):
        simulated(pay).assert_at_most_once_per_key("charge")


def test_two_charges_of_one_call_need_two_keys_and_have_them() -> None:
    def pay(data: str, ctx: Context) -> Any:
        for part in "ab":
            service.charge(data, idempotency_key=f"{ctx.idempotency_key}/{part}")
        return result("paid")

    simulated(pay).assert_at_most_once_per_key("charge")


def pay_and_fail(data: str, ctx: Context) -> Any:
    service.charge(data)
    if ctx.attempt == 1:
        raise OSError("the mail server is down")
    return result("paid")


def pay_in_a_step_and_fail(data: str, ctx: Context) -> Any:
    ctx.step("charge", lambda: service.charge(data))
    if ctx.attempt == 1:
        raise OSError("the mail server is down")
    return result("paid")


def test_a_retry_repeats_what_is_no_step() -> None:
    with pytest.raises(Failure, match=r"charge was called twice .*, without any fault"):
        simulated(pay_and_fail, faults="").assert_once("charge")
    simulated(pay_in_a_step_and_fail, faults="").assert_once("charge")


def test_a_step_alone_does_not_outlive_a_crash_right_after_its_effect() -> None:
    """Between the effect and the memory of it there is a crash point; only a key closes that gap."""
    with pytest.raises(Failure, match=r"charge was called twice .* dies after 'call charge' of pay"):
        simulated(pay_in_a_step_and_fail).assert_once("charge")


def newest_wins(end: Played) -> None:
    """Of two writes the one of the later attempt must be the last."""
    attempts = [entry.attempt for entry in end.ledger]
    assert attempts == sorted(attempts)


def newest_wins_behind_a_fence(end: Played) -> None:
    """A service that refuses a token older than it has seen."""
    accepted: list[int] = []
    for entry in end.ledger:
        token = dict(entry.kwargs)["fence"]
        if not accepted or token >= accepted[-1]:
            accepted.append(token)
    assert accepted == sorted(accepted)
    assert accepted[-1] == max(entry.attempt for entry in end.ledger)


def test_a_fence_keeps_a_stale_worker_from_having_the_last_word() -> None:
    def pay(data: str, ctx: Context) -> Any:
        service.charge(data, fence=ctx.attempt)
        return result("paid")

    with pytest.raises(Failure, match=r"invariant: newest_wins: .* the worker stalls beyond its lease"):
        simulated(pay, "stall", invariant=newest_wins)
    simulated(pay, "stall", invariant=newest_wins_behind_a_fence)


def test_async_clients_are_probed_as_well() -> None:
    async def pay(data: str) -> Any:
        await service.send(data)
        return result("paid")

    report = simulated(pay)
    assert (report.effects["send"].min, report.effects["send"].max) == (1, 2)


def test_three_days_cost_nothing() -> None:
    """A delay, and a join that waits in vain."""
    app = Workflow("shop")

    @app.task
    def order(data: int) -> Any:
        waits = join(delivered, data, on=["delivered"], timeout=3 * DAY_S, on_timeout=complain)
        return [call(carry, data, delay=data * DAY_S), waits]

    @app.task
    def carry(data: int) -> Any:
        return emit("delivered")

    @app.task
    def delivered(data: int) -> Any:
        return result("delivered")

    @app.task
    def complain(data: int) -> Any:
        return result("never came")

    def days_pass(end: Played) -> None:
        assert end.seconds >= 2 * DAY_S

    for days, ending in ((2, "delivered"), (4, "never came")):
        report = simulate(app, start=("order", days), faults="crash", max_faults=1, runs=10, invariant=days_pass)
        report.assert_passed()
        assert report.results == [ending]
        assert report.seconds < 60
