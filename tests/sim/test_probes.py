"""Probes: what tasks do to the outside world, made visible, with a crash point between any two of them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pwf_runtime import Action, Context, Retry, Workflow, call, result
from pwsim.coverage import points
from pwsim.probes import Entry, probe
from pwsim.program import Program
from pwsim.runner import Result, play
from pwsim.schedule import Schedule

from .programs import program_of, random_results, struck


class Client:
    """A payment service, as a task's author has one."""

    region = "eu"

    def __init__(self) -> None:
        self.calls: list[str] = []

    def charge(self, card: str, *, idempotency_key: str | None = None) -> str:
        self.calls.append(f"charge {card}")
        return f"charged {card}"

    def mail(self, to: str) -> None:
        self.calls.append(f"mail {to}")

    async def ship(self, parcel: str, key: str = "") -> str:
        await asyncio.sleep(0)
        self.calls.append(f"ship {parcel}")
        return f"shipped {parcel}"


client = Client()
shop = probe(client)
app = Workflow("shop")


@app.task(retry=Retry(first_delay=1.0))
def order(data: str, ctx: Context) -> Action:
    receipt = shop.charge(data, idempotency_key=ctx.call_id)
    shop.mail(data)
    return call(confirm, receipt)


@app.task
def confirm(data: str) -> Action:
    return result(data)


@app.task(retry=Retry(first_delay=1.0))
def careful(data: str, ctx: Context) -> Action:
    """Each effect in a step of its own: it is remembered, and not done again."""
    ctx.step("charge", lambda: shop.charge(data))
    ctx.step("mail", lambda: shop.mail(data))
    return result(data)


@app.task(retry=Retry(max_attempts=3, first_delay=1.0))
def unlucky(data: str, ctx: Context) -> Action:
    shop.mail(data)
    if ctx.attempt < 3:
        raise ConnectionError("not yet")
    return result(data)


@app.task
async def send(data: str) -> Action:
    first, second = await asyncio.gather(shop.ship(data, key="a"), shop.ship(f"{data}2", key="b"))
    return result([first, second])


def program(task: str = "order") -> Program:
    return program_of(app, task, "ada")


def ledger(result: Result) -> list[tuple[str, int]]:
    return [(entry.name, entry.attempt) for entry in result.world.ledger]


# ── the ledger ────────────────────────────────────────────────────────────────────────────────


def test_each_call_is_a_line_with_who_made_it_and_how() -> None:
    played = play(program(), Schedule())
    charge, mail = played.world.ledger
    assert charge == Entry("charge", ("ada",), (("idempotency_key", charge.key),), charge.key, path="order", attempt=1)
    assert charge.key
    assert mail == Entry("mail", ("ada",), (), None, "order", 1)


def test_calls_are_points_of_the_program_between_run_and_commit() -> None:
    effects = [point.effect for point, _ in points(program()) if point.call == "order"]
    start = effects.index("run")
    assert effects[start : start + 4] == ["run", "call charge", "call mail", "commit"]


def test_a_worker_that_dies_between_two_calls_has_made_the_first_only() -> None:
    """And the next attempt makes both: the world outside has seen it twice, by the same key."""
    played = struck(program(), "order #1 / call mail / before")
    assert ledger(played) == [("charge", 1), ("charge", 2), ("mail", 2)]
    assert len({entry.key for entry in played.world.ledger if entry.name == "charge"}) == 1
    assert played.violation is None


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        ("order #1 / run / after", [("charge", 2), ("mail", 2)]),
        ("order #1 / call charge / before", [("charge", 2), ("mail", 2)]),
        ("order #1 / call charge / after", [("charge", 1), ("charge", 2), ("mail", 2)]),
        ("order #1 / call mail / after", [("charge", 1), ("mail", 1), ("charge", 2), ("mail", 2)]),
        ("order #1 / commit / after", [("charge", 1), ("mail", 1)]),
    ],
)
def test_what_has_happened_when_a_worker_dies(fault: str, seen: list[tuple[str, int]]) -> None:
    assert ledger(struck(program(), fault)) == seen


def test_a_worker_that_stalls_between_two_calls_makes_the_second_beside_another() -> None:
    """The zombie: its second call comes after all of the later attempt's."""
    played = struck(program(), "order #1 / call mail / stall")
    assert ledger(played) == [("charge", 1), ("charge", 2), ("mail", 2), ("mail", 1)]
    assert played.violation is None


def test_an_attempt_that_fails_has_made_its_calls() -> None:
    assert ledger(play(program("unlucky"), Schedule())) == [("mail", 1), ("mail", 2), ("mail", 3)]


def test_the_ledger_of_a_copy_is_its_own() -> None:
    played = play(program(), Schedule())
    copy = played.world.copy()
    copy.ledger = (*copy.ledger, copy.ledger[0])
    assert len(played.world.ledger) == 2


# ── steps ─────────────────────────────────────────────────────────────────────────────────────


def test_a_step_that_is_remembered_is_not_done_again() -> None:
    played = struck(program("careful"), "careful #1 / call mail / before")
    assert ledger(played) == [("charge", 1), ("mail", 2)]


def test_a_step_that_is_done_and_not_yet_remembered_is_done_again() -> None:
    """The gap that no library can close: hence the idempotency key."""
    played = struck(program("careful"), "careful #1 / remember / before")
    assert ledger(played) == [("charge", 1), ("charge", 2), ("mail", 2)]


def test_each_step_is_remembered_before_the_next_begins() -> None:
    effects = [point.effect for point, _ in points(program("careful")) if point.call == "careful"]
    start = effects.index("run")
    assert effects[start : start + 6] == ["run", "call charge", "remember", "call mail", "remember", "commit"]


def test_an_attempt_that_is_over_can_remember_nothing_and_fails() -> None:
    """L5: and it does not go on to what comes after the step."""
    played = struck(program("careful"), "careful #1 / remember / stall")
    assert ledger(played)[0] == ("charge", 1)
    assert ("mail", 1) not in ledger(played)
    assert [entry for entry in ledger(played) if entry[1] > 1] == [("charge", 2), ("mail", 2)]
    assert played.violation is None


def test_no_order_and_no_fault_does_a_remembered_step_twice() -> None:
    for found in random_results(program("careful"), 150, faults="crash,requeue,duplicate"):
        effects = [(step.effect, step.fault) for step in found.trace]
        charges = [entry for entry in found.world.ledger if entry.name == "charge"]
        first = next((i for i, (effect, fault) in enumerate(effects) if effect == "remember" and not fault), None)
        if first is not None:
            assert not [effect for effect, _ in effects[first:] if effect == "call charge"]
        assert charges


# ── outside a simulation ──────────────────────────────────────────────────────────────────────


def test_outside_a_simulation_calls_go_through() -> None:
    mine = Client()
    probed = probe(mine)
    assert probed.charge("x", idempotency_key="k") == "charged x"
    assert asyncio.run(probed.ship("y")) == "shipped y"
    assert mine.calls == ["charge x", "ship y"]
    assert (probed.region, probed.calls) == ("eu", mine.calls)
    with pytest.raises(AttributeError, match="nothing"):
        probed.nothing()  # type: ignore[attr-defined]
    assert "Client" in repr(probed)


def test_a_function_can_be_probed_and_keeps_its_name() -> None:
    def notify(text: str) -> str:
        """Tell somebody."""
        return text.upper()

    assert probe(notify)("x") == "X"
    assert probe(client).charge.__name__ == "charge"
    flow = Workflow("notes")
    probed = probe(notify)

    @flow.task
    def a(data: str) -> Action:
        return result(probed(data))

    (entry,) = play(program_of(flow, "a", "x"), Schedule()).world.ledger
    assert (entry.name, entry.args) == ("notify", ("x",))


def test_errors_of_the_client_are_the_task_s() -> None:
    class Broken:
        def charge(self) -> None:
            raise OSError("down")

    broken, flow = probe(Broken()), Workflow("broken")

    @flow.task(retry=Retry(max_attempts=1))
    def a(data: str) -> Action:
        broken.charge()
        return result(data)

    played = play(program_of(flow, "a", "x"), Schedule())
    assert [entry.name for entry in played.world.ledger] == ["charge"]
    assert next(iter(played.world.history.calls.values())).dead


@pytest.mark.parametrize(
    ("kwargs", "key"),
    [
        ({"idempotency_key": "k"}, "k"),
        ({"key": 7}, "7"),
        ({"idempotency_key": None, "key": "b"}, "b"),
        ({"other": "x"}, None),
        ({}, None),
    ],
)
def test_the_idempotency_key_is_found_by_its_name(kwargs: dict[str, Any], key: str | None) -> None:
    class Any_:
        def charge(self, **_: Any) -> None:
            """Takes anything."""

    service, flow = probe(Any_()), Workflow("keys")

    @flow.task
    def a(data: str) -> Action:
        service.charge(**kwargs)
        return result(data)

    (entry,) = play(program_of(flow, "a", "x"), Schedule()).world.ledger
    assert entry.key == key


# ── async ─────────────────────────────────────────────────────────────────────────────────────


def test_an_async_client_is_probed_also_where_calls_run_side_by_side() -> None:
    made = program("send")
    try:
        played = play(made, Schedule())
        assert [(entry.args, entry.key) for entry in played.world.ledger] == [(("ada",), "a"), (("ada2",), "b")]
        again = struck(made, "send #1 / call ship@2 / before")
        assert [entry.key for entry in again.world.ledger] == ["a", "a", "b"]
    finally:
        made.close()


def test_what_one_simulation_records_another_does_not_see() -> None:
    first, second = play(program(), Schedule()), play(program(), Schedule())
    assert len(first.world.ledger) == len(second.world.ledger) == 2
    shop.mail("in between")
    assert len(first.world.ledger) == 2
