"""The examples, task by task: what each returns for its data. Whole runs are tested elsewhere."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

import pytest

from examples import bulk, conditional, original_style, ping_pong, registration
from pwf_runtime import Context, Event, Workflow, call, emit, join, result
from pwf_runtime.codec import encode
from pwf_runtime.core import model
from pwf_runtime.workflow import run_task

EXAMPLES = {
    "registration": ["users", "documents"],
    "original_style": ["users", "documents"],
    "bulk": ["app"],
    "ping_pong": ["ping", "pong"],
    "conditional": ["app"],
}


def context(attempt: int = 1, call_id: str = "c") -> Context:
    return Context("r", call_id, "q.t", attempt)


def apps(module: ModuleType, names: list[str]) -> list[Workflow]:
    return [getattr(module, name) for name in names]


@pytest.mark.parametrize(("name", "app_names"), EXAMPLES.items())
def test_every_example_has_its_apps_its_start_and_its_main(name: str, app_names: list[str]) -> None:
    module = import_module(f"examples.{name}")
    assert all(isinstance(app, Workflow) and app.tasks for app in apps(module, app_names))
    assert callable(module.main)
    assert encode(module.START)
    assert f"python -m examples.{name}" in (module.__doc__ or "")


@pytest.mark.parametrize(("name", "app_names"), EXAMPLES.items())
def test_every_name_that_a_task_calls_is_a_task(name: str, app_names: list[str]) -> None:
    """From the first task on through all calls and joins, with the example's own data."""
    module = import_module(f"examples.{name}")
    tasks = {task.full_name: task for app in apps(module, app_names) for task in app.tasks.values()}
    todo = [(next(iter(tasks)), encode(module.START))]
    events: list[model.Event] = []
    joins: list[model.NewJoin] = []
    results: list[bytes] = []
    while todo or joins:
        if not todo:
            armed = joins.pop()
            given = tuple(next(event for event in events if event.name == need.name) for need in armed.needs)
            outcome = run_task(tasks[armed.then.task], armed.then.data, given, context(9))
        else:
            task, data = todo.pop()
            outcome = run_task(tasks[task], data, (), context(9))
        todo += [(made.task, made.data) for made in outcome.calls]
        events += outcome.events
        joins += outcome.joins
        results += [outcome.result] if outcome.result is not None else []
    assert len(results) == 1


@pytest.mark.parametrize("module", [registration, original_style])
def test_registration(module: Any) -> None:
    data = registration.START
    done = ["email_verified", "card_verified", "document_ready"]
    queue = "users." if module is registration else ""
    assert module.register_user(data) == [
        call(f"{queue}verify_email", "ada@example.org"),
        call(f"{queue}verify_card", "4000123412341234"),
        call("documents.generate_document", "Ada"),
        join(f"{queue}finalize", data, on=done),
    ]
    answers = [module.verify_email(data["email"]), module.verify_card(data["card"]), module.generate_document("Ada")]
    emitted = [answer[0] if isinstance(answer, list) else answer for answer in answers]
    assert emitted == [
        emit("email_verified", {"email": "ada@example.org", "valid": True}),
        emit("card_verified", {"last_digits": "1234"}),
        emit("document_ready", {"text": "Welcome, Ada!"}),
    ]
    assert module.finalize(data, [Event(each.name, each.data) for each in emitted]) == result(
        {"name": "Ada", "email_valid": True, "card": "1234", "document": "Welcome, Ada!"}
    )


def test_bulk_fans_out_and_joins_five() -> None:
    actions = bulk.start(10)
    assert actions[:2] == [call(bulk.compute, {"part": 1, "number": 11}), call(bulk.compute, {"part": 2, "number": 12})]
    assert actions[5] == join(bulk.finalize, on=[f"task_{part}_done" for part in (1, 2, 3, 4, 5)])
    assert len(actions) == 6
    assert bulk.finalize([Event("x", 4), Event("y", 9)]) == result({"numbers": [4, 9], "sum": 13})


def test_bulk_fails_by_call_and_attempt_only() -> None:
    counts = {bulk.failures(f"call-{n}") for n in range(50)}
    assert counts == {0, 1, 2}
    assert max(counts) < bulk.compute.retry.max_attempts
    failing = next(f"call-{n}" for n in range(50) if bulk.failures(f"call-{n}") == 2)
    for attempt in (1, 2):
        with pytest.raises(ConnectionError, match=f"part 1: no luck at attempt {attempt}"):
            bulk.compute({"part": 1, "number": 3}, context(attempt, failing))
    assert bulk.compute({"part": 1, "number": 3}, context(3, failing)) == emit("task_1_done", 9)


def test_ping_pong_goes_back_and_forth_and_ends() -> None:
    assert ping_pong.ping_hit({"left": 2, "hits": 0}) == call("pong.hit", {"left": 1, "hits": 1})
    assert ping_pong.pong_hit({"left": 2, "hits": 0}) == call("ping.hit", {"left": 1, "hits": 1})
    assert ping_pong.pong_hit({"left": 1, "hits": 1}) == result({"hits": 2})


def test_conditional_takes_one_branch_by_data_and_another_by_attempt() -> None:
    order = {"order": 7, "amount": 101}
    assert conditional.review(order) == call("shop.ask_a_person", order)
    assert conditional.review({"order": 7, "amount": 100}) == call("shop.pick_carrier", {"order": 7, "amount": 100})
    assert conditional.pick_carrier(order, context(1)) == call("shop.send_by_van", order)
    assert conditional.pick_carrier(order, context(2)) == call("shop.send_by_bike", order)
