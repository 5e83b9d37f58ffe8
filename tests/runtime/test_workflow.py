"""Tasks: how they are registered, what they are called with, what becomes of what they return or raise."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

import pwf_runtime
from pwf_runtime import (
    Context,
    DataError,
    Event,
    Retry,
    Task,
    UsageError,
    Workflow,
    call,
    emit,
    fork,
    join,
    result,
)
from pwf_runtime.codec import decode, encode
from pwf_runtime.core import model
from pwf_runtime.core.model import Need, NewCall, NewFork, NewJoin, Outcome
from pwf_runtime.core.retry import DEFAULT
from pwf_runtime.outcome import milliseconds
from pwf_runtime.workflow import failure_of, outcome_of, run_task, run_task_async

if TYPE_CHECKING:
    from nowhere import Missing  # type: ignore[import-not-found]

NIL = encode(None)
CTX = Context("run-1", "c1", "users.t", 2)


@dataclasses.dataclass
class User:
    name: str
    age: int = 0


def run(task: Task[Any, Any], data: object = None, events: tuple[model.Event, ...] = ()) -> Outcome:
    return run_task(task, encode(data), events, CTX)


@pytest.fixture
def app() -> Workflow:
    return Workflow("users")


class TestWorkflow:
    @pytest.mark.parametrize(
        ("name", "error"),
        [
            ("", r"Workflow\(''\): a name cannot be empty"),
            ("a.b", r"Workflow\('a.b'\): a name has no dot, no blank, no @ .*: use _ or - instead"),
            ("a b", r"no blank"),
            ("a\tb", r"no control character"),
            ("~a", r"reserved"),
            ("x" * 101, r"at most 100 bytes, this one has 101: shorten it"),
            (None, r"Workflow\(None\): a name is a str, not a NoneType"),
        ],
    )
    def test_names_that_no_queue_can_have(self, name: Any, error: str) -> None:
        with pytest.raises(UsageError, match=error):
            Workflow(name)

    def test_tasks_are_listed_in_order_and_cannot_be_changed_from_outside(self, app: Workflow) -> None:
        app.subscribe("b", lambda: None)
        app.subscribe("a", lambda: None)
        assert list(app.tasks) == ["b", "a"]
        assert repr(app) == "<Workflow users: b, a>"
        tasks: Any = app.tasks
        with pytest.raises(TypeError):
            tasks["c"] = None

    def test_connect_hands_over_to_the_client(self, app: Workflow, monkeypatch: pytest.MonkeyPatch) -> None:
        client = SimpleNamespace(connect=lambda *args, **kwargs: (args, kwargs))
        monkeypatch.setitem(sys.modules, "pwf_runtime.client", client)
        said = {"settings": {"timeout": 1.0}}
        given = (app, "amqp://here", "redis://here"), said
        assert app.connect("amqp://here", "redis://here", **said) == given
        assert pwf_runtime.connect("amqp://here", "redis://here", apps=app, **said) == given
        assert pwf_runtime.connect() == (((), None, None), {"settings": None})


class TestRegistration:
    def test_each_form_of_the_decorator(self, app: Workflow) -> None:
        @app.task
        def one(data: str) -> None:
            """Its doc."""

        @app.task("registerUser")
        def two() -> None: ...

        @app.task(name="three", retry=Retry(max_attempts=2), timeout=30.0)
        async def three_async(ctx: Context) -> None: ...

        @app.task()
        def four() -> None: ...

        assert list(app.tasks) == ["one", "registerUser", "three", "four"]
        assert (one.name, one.queue, one.full_name) == ("one", "users", "users.one")
        assert (one.retry, one.timeout, one.is_async, one.takes) == (DEFAULT, None, False, ("data",))
        assert (one.__name__, one.__doc__, one.__module__) == ("one", "Its doc.", __name__)  # type: ignore[attr-defined]
        assert repr(two) == "<task users.registerUser>"
        assert (three_async.retry.max_attempts, three_async.timeout, three_async.is_async) == (2, 30.0, True)

    def test_a_task_is_still_its_function(self, app: Workflow) -> None:
        @app.task
        def double(data: int, factor: int = 2) -> int:
            return data * factor

        assert double(3) == 6
        assert double(data=3, factor=3) == 9
        assert double.fn(1) == 2

    def test_subscribe_leaves_the_function_alone(self, app: Workflow) -> None:
        def step(data: str) -> None: ...

        task = app.subscribe("step", step, retry=Retry(max_attempts=1), timeout=1)
        assert app.tasks["step"] is task
        assert task.fn is step
        assert call(step) == call(task) == call("users.step")

    def test_methods_partials_and_callable_objects(self, app: Workflow) -> None:
        class Shop:
            def sell(self, data: int) -> Any:
                return result(data)

            async def __call__(self, data: User) -> Any:
                return result(data.name)

        def scaled(data: int, factor: int = 1) -> Any:
            return result(data * factor)

        assert decode(run(app.subscribe("sell", Shop().sell), 3).result or b"") == 3
        assert decode(run(app.subscribe("scaled", functools.partial(scaled, factor=4)), 3).result or b"") == 12
        shop = app.subscribe("shop", Shop())
        assert shop.is_async
        outcome = asyncio.run(run_task_async(shop, encode({"name": "Ada"}), (), CTX))
        assert decode(outcome.result or b"") == "Ada"

    def test_decorated_functions_are_seen_through(self, app: Workflow) -> None:
        def noted(fn: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(fn)
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                return fn(*args, **kwargs)

            return wrapper

        @app.task
        @noted
        def greet(data: User, ctx: Context) -> Any:
            return result(f"{data.name} {ctx.attempt}")

        assert greet.takes == ("data", "ctx")
        assert decode(run(greet, {"name": "Ada"}).result or b"") == "Ada 2"

    def test_a_name_can_be_taken_only_once(self, app: Workflow) -> None:
        @app.task
        def first() -> None: ...

        with pytest.raises(
            UsageError, match=r"task 'first' of users \(.*test_workflow.py:\d+\): the name is taken by .*:"
        ):
            app.subscribe("first", lambda: None)
        assert Workflow("other").subscribe("first", first.fn).full_name == "other.first"

    @pytest.mark.parametrize(
        ("name", "fn", "options", "error"),
        [
            (None, lambda: None, {}, r"task '<lambda>' of users .*: a lambda has no name: give one"),
            ("a.b", lambda: None, {}, r"task 'a.b' of users .*: a name has no dot"),
            ("", lambda: None, {}, r"a name cannot be empty"),
            ("~x", lambda: None, {}, r"reserved"),
            ("x", 5, {}, r"task 'x' of users: 5 is no function: use @app.task above one, or app.subscribe"),
            ("x", print, {}, r"users.x \(print\): parameter `\*args` hides what the task takes"),
            ("x", lambda: None, {"retry": 5}, r"task 'x' of users: retry=5: give a Retry\(...\)"),
            ("x", lambda: None, {"timeout": 0}, r"task 'x' of users: timeout=0: must be more than 0; leave it out"),
            ("x", lambda: None, {"timeout": "1"}, r"task 'x' of users\(timeout='1'\): timeout is in seconds"),
        ],
    )
    def test_what_cannot_be_registered(self, app: Workflow, name: Any, fn: Any, options: Any, error: str) -> None:
        with pytest.raises(UsageError, match=error):
            app.subscribe(name, fn, **options)
        assert not app.tasks

    def test_two_names_and_a_task_of_a_task(self, app: Workflow) -> None:
        with pytest.raises(UsageError, match=r"@users.task\('a', name='b'\): two names: give one"):
            app.task("a", name="b")
        task = app.subscribe("a", lambda: None)
        with pytest.raises(UsageError, match=r"task 'b' of users: <task users.a> is a task already: .* a.fn"):
            app.subscribe("b", task)


class TestParameters:
    def test_any_of_three_in_any_order(self, app: Workflow) -> None:
        def task(ctx: Context, events: list[Event], data: int, note: str = "") -> Any:
            return result([data, events[0].name, events[0].data, ctx.run_id, note])

        made = app.subscribe("t", task)
        assert made.takes == ("ctx", "events", "data")
        outcome = run(made, 5, (model.Event("paid", encode({"sum": 3})),))
        assert decode(outcome.result or b"") == [5, "paid", {"sum": 3}, "run-1", ""]

    def test_what_is_not_taken_is_not_decoded(self, app: Workflow) -> None:
        task = app.subscribe("t", lambda: None)
        assert run_task(task, b"\xc1", (model.Event("e", b"\xc1"),), CTX) == Outcome()

    def test_anything_else_is_refused_with_its_place(self, app: Workflow) -> None:
        def task(data: str, session: object) -> None: ...

        line = task.__code__.co_firstlineno
        with pytest.raises(UsageError) as caught:
            app.task(task)
        text = str(caught.value)
        assert text.startswith("users.task (")
        assert f"test_workflow.py:{line}): parameter `session: 'object'` is nothing a task can get" in text
        assert "it takes any of data, events, ctx; give others a default or put them into data" in text

    def test_hidden_and_positional_parameters_are_refused(self, app: Workflow) -> None:
        def hidden(*args: Any, **kwargs: Any) -> None: ...

        def positional(data: str, /) -> None: ...

        with pytest.raises(UsageError, match=r"`\*args: 'Any'` hides what the task takes: .* functools.wraps"):
            app.task(hidden)
        with pytest.raises(UsageError, match=r"parameter `data: 'str'` is positional-only.*: drop the `/`"):
            app.task(positional)

    def test_generators_are_refused(self, app: Workflow) -> None:
        def task() -> Any:
            yield call("x")

        with pytest.raises(UsageError, match=r"a task returns its actions and cannot yield them: return a list"):
            app.task(task)


class TestData:
    def test_the_annotation_makes_the_value(self, app: Workflow) -> None:
        def task(data: User) -> Any:
            assert isinstance(data, User)
            return result(data.age)

        assert decode(run(app.task(task), {"name": "Ada", "age": 36}).result or b"") == 36

    def test_an_annotation_may_be_defined_after_the_task(self, app: Workflow) -> None:
        namespace: dict[str, Any] = {"app": app}
        exec("@app.task\ndef t(data: 'Later'): return data.x", namespace)
        exec("import msgspec\nclass Later(msgspec.Struct): x: None", namespace)
        assert run(app.tasks["t"], {"x": None}) == Outcome()

    def test_wrong_data_names_task_path_shape_and_remedy(self, app: Workflow) -> None:
        def task(data: list[User]) -> None: ...

        with pytest.raises(DataError) as caught:
            run(app.task(task), [{"name": "Ada"}, {"name": 3}])
        text = str(caught.value)
        assert text.startswith(
            "users.task cannot take its data: Expected `str`, got `int` - at `$[1].name`; wanted list["
        )
        assert text.endswith("send what it wants, or change its annotation")

    def test_unreadable_payloads_name_the_task(self, app: Workflow) -> None:
        task = app.subscribe("t", lambda data, events: None)
        with pytest.raises(DataError, match=r"users.t cannot take its data: these 1 bytes are no payload"):
            run_task(task, b"\xc1", (), CTX)
        with pytest.raises(DataError, match=r"users.t cannot take event 'paid': these 1 bytes are no payload"):
            run_task(task, NIL, (model.Event("paid", b"\xc1"),), CTX)

    def test_an_annotation_that_does_not_exist_at_run_time(self, app: Workflow) -> None:
        def task(data: Missing) -> None: ...

        made = app.task(task)
        with pytest.raises(
            UsageError, match=r"users.task \(.*test_workflow.py:\d+\): the annotation 'Missing' of data .*name a"
        ):
            run(made)

    def test_an_annotation_that_no_payload_can_have(self, app: Workflow) -> None:
        class Plain: ...

        def task(data: Any) -> None: ...

        task.__annotations__["data"] = Plain
        with pytest.raises(DataError, match=r"users.task cannot take its data: data cannot be made into a Plain"):
            run(app.task(task))

    def test_other_annotations_are_left_alone(self, app: Workflow) -> None:
        def task(data: int, events: Missing) -> Missing: ...

        assert run(app.task(task), 3) == Outcome()


class TestContext:
    def test_what_it_says(self) -> None:
        assert (CTX.run_id, CTX.call_id, CTX.task, CTX.attempt) == ("run-1", "c1", "users.t", 2)
        assert CTX.idempotency_key == "run-1/c1"
        assert repr(CTX) == "<Context users.t run-1/c1 attempt 2>"

    def test_lost_asks_the_runtime_each_time(self) -> None:
        answers = iter([False, True])
        ctx = Context("r", "c", "q.t", 1, lost=lambda: next(answers))
        assert [ctx.lost, ctx.lost] == [False, True]
        assert not CTX.lost

    def test_step_is_the_runtimes(self) -> None:
        ctx = Context("r", "c", "q.t", 1, step=lambda name, fn: (name, fn()))
        assert ctx.step("charge", lambda: 5) == ("charge", 5)

    @pytest.mark.parametrize(
        ("name", "fn", "error"),
        [
            ("charge", lambda: 5, r"ctx.step\('charge', ...\): this context has no steps: make it with Context"),
            ("", lambda: 5, r"ctx.step\('', ...\): a step needs a name of its own, a str"),
            (3, lambda: 5, r"ctx.step\(3, ...\): a step needs a name"),
            ("charge", 5, r"ctx.step\('charge', 5\): give the function uncalled: lambda: charge\(card\)"),
        ],
    )
    def test_step_mistakes(self, name: Any, fn: Any, error: str) -> None:
        with pytest.raises(UsageError, match=error):
            CTX.step(name, fn)


class TestOutcome:
    def test_nothing(self) -> None:
        assert outcome_of(None, "users", "users.t") == outcome_of([], "users", "users.t") == Outcome()

    def test_every_kind_in_its_order(self) -> None:
        returned = [
            call("a", 1, delay=0.0101),
            (emit("e", 2), [call("documents.b")]),
            join("c", 3, on=[{"e": 2}, "f"], at_least=1, timeout=1.5, on_timeout=call("late", 4)),
            fork([call("p", 5), call("x.q", 6)], then=call("s", 7)),
            fork([], then=call("only", 8)),
            result({"ok": True}),
        ]
        assert outcome_of(returned, "users", "users.t") == Outcome(
            calls=(
                NewCall("users.a", encode(1), 11),
                NewCall("documents.b", NIL),
                NewCall("users.only", encode(8)),
            ),
            events=(model.Event("e", encode(2)),),
            joins=(
                NewJoin(
                    NewCall("users.c", encode(3)),
                    (Need("e", 2), Need("f", 1)),
                    1,
                    1500,
                    NewCall("users.late", encode(4)),
                ),
            ),
            forks=(NewFork((NewCall("users.p", encode(5)), NewCall("x.q", encode(6))), NewCall("users.s", encode(7))),),
            result=encode({"ok": True}),
        )

    def test_a_result_of_none_is_a_result(self) -> None:
        assert outcome_of(result(None), "users", "users.t").result == NIL

    @pytest.mark.parametrize(
        ("seconds", "expected"),
        [(0, 0), (0.0, 0), (0.1, 100), (0.029, 29), (1.1, 1100), (0.0001, 1), (2, 2000), (1.0001, 1001)],
    )
    def test_milliseconds_are_rounded_up_but_not_for_a_float_s_dust(self, seconds: float, expected: int) -> None:
        assert milliseconds(seconds) == expected

    @pytest.mark.parametrize(
        ("returned", "error"),
        [
            ("done", r"^users.t returned 'done' \(str\), which is no action: return None, call\(...\), emit"),
            ({"a": 1}, r"returned \{'a': 1\} \(dict\), .* result\(value\) or a list of these"),
            ([call("a"), (None,)], r"returned None at \[1\]\[0\] \(NoneType\), which is no action"),
            (False, r"returned False \(bool\)"),
            (
                Workflow("q").subscribe("x", lambda: None),
                r"returned <task q.x>, a task and not an action: write call\(",
            ),
            ([result(1), result(2)], r"users.t returned more than one result\(...\): return one, a list if need be"),
        ],
    )
    def test_what_is_no_answer(self, returned: object, error: str) -> None:
        with pytest.raises(UsageError, match=error):
            outcome_of(returned, "users", "users.t")

    @pytest.mark.parametrize(
        ("returned", "error"),
        [
            (
                call("verify", {"when": 1j}),
                r'^users.t returned call\("verify", data\): data\[\'when\'\]: 1j \(complex\) cannot',
            ),
            (emit("e", 1j), r'users.t returned emit\("e", data\): data: 1j'),
            (join("c", 1j, on=["e", "f"]), r'users.t returned join\("c", data, on=\[\'e\', \'f\'\]\): data: 1j'),
            (fork([call("p", [1j])], then="s"), r'users.t returned call\("p", data\): data\[0\]: 1j'),
            (fork([], then=call("s", 1j)), r'users.t returned call\("s", data\): data: 1j'),
            (result({"x": 1j}), r"users.t returned result\(value\): value\['x'\]: 1j"),
        ],
    )
    def test_data_that_cannot_be_sent(self, returned: object, error: str) -> None:
        with pytest.raises(DataError, match=error):
            outcome_of(returned, "users", "users.t")


class TestRunning:
    def test_async_tasks(self, app: Workflow) -> None:
        @app.task
        async def wait(data: int) -> Any:
            await asyncio.sleep(0)
            return call("next", data)

        expected = Outcome(calls=(NewCall("users.next", encode(3)),))
        assert asyncio.run(run_task_async(wait, encode(3), (), CTX)) == expected
        with pytest.raises(UsageError, match=r"users.wait is async: run it with run_task_async"):
            run(wait, 3)

    def test_the_event_loop_takes_plain_tasks_too(self, app: Workflow) -> None:
        task = app.subscribe("t", lambda: emit("e"))
        assert asyncio.run(run_task_async(task, NIL, (), CTX)).events == (model.Event("e", NIL),)

    def test_a_forgotten_await(self, app: Workflow) -> None:
        async def inner() -> None: ...

        with pytest.raises(UsageError, match=r"users.t returned <coroutine .*, a coroutine: await it"):
            run(app.subscribe("t", lambda: inner()))


class TestFailure:
    def failure(self, task: Task[Any, Any], data: object = None) -> model.Failure:
        with pytest.raises(Exception) as caught:
            run(task, data)
        return failure_of(caught.value)

    def test_kind_message_and_the_tasks_own_frames(self, app: Workflow) -> None:
        def charge() -> None:
            raise ConnectionError("no bank")

        task = app.subscribe("t", lambda: charge())
        failure = self.failure(task)
        assert (failure.kind, failure.message, failure.final) == ("ConnectionError", "no bank", False)
        assert failure.traceback.startswith("Traceback (most recent call last):\n")
        assert failure.traceback.endswith("ConnectionError: no bank\n")
        assert "in charge" in failure.traceback
        assert "in run_task" not in failure.traceback

    @pytest.mark.parametrize("returned", ["text", call("x", 1j)])
    def test_what_another_attempt_cannot_mend_is_final(self, app: Workflow, returned: object) -> None:
        assert self.failure(app.subscribe("t", lambda: returned)).final

    def test_a_mistake_in_the_task_is_final_and_shows_its_line(self, app: Workflow) -> None:
        failure = self.failure(app.subscribe("t", lambda: call("x", delay=-1)))
        assert (failure.kind, failure.final) == ("UsageError", True)
        assert "test_workflow.py" in failure.traceback

    def test_a_mistake_of_the_librarys_own_keeps_its_frames(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pwf_runtime.outcome.encode", None)
        with pytest.raises(TypeError) as caught:
            outcome_of(call("x"), "q", "q.t")
        error = caught.value
        frames = error.__traceback__
        assert "in outcome_of" in failure_of(error.with_traceback(frames and frames.tb_next)).traceback

    def test_wrong_data_is_final(self, app: Workflow) -> None:
        def task(data: int) -> None: ...

        failure = self.failure(app.task(task), "x")
        assert (failure.kind, failure.final) == ("DataError", True)

    def test_it_is_bounded_and_can_be_stored(self) -> None:
        def deep(n: int) -> None:
            if n:
                deeper(n - 1)
            raise ValueError("\ud800" + "x" * 20_000)

        def deeper(n: int) -> None:
            deep(n)

        with pytest.raises(ValueError) as caught:
            deep(200)
        failure = failure_of(caught.value)
        assert len(failure.message) <= 1000
        assert len(failure.traceback) <= 8000
        assert "characters left out" in failure.message
        assert failure.message.startswith("\\ud800x")
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(failure), type=model.Failure) == failure

    def test_an_exception_that_cannot_say_what_it_is(self) -> None:
        class Mute(Exception):
            def __str__(self) -> str:
                raise RuntimeError

        assert failure_of(Mute()).message == "<Mute whose str() fails>"

    def test_causes_and_groups_are_shown(self) -> None:
        try:
            try:
                raise KeyError("inner")
            except KeyError as error:
                raise ExceptionGroup("both", [ValueError("left"), OSError("right")]) from error
        except ExceptionGroup as group:
            text = failure_of(group).traceback
        for part in ("KeyError: 'inner'", "direct cause", "ValueError: left", "OSError: right"):
            assert part in text


def test_importing_the_package_loads_no_server_client_and_no_event_loop() -> None:
    code = (
        "import sys, pwf_runtime; "
        "print([m for m in ('pika', 'redis', 'asyncio', 'socket', 'logging', 'threading') if m in sys.modules])"
    )
    shown = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path = {sys.path!r}; {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == "[]\n"


def test_every_public_name_is_there() -> None:
    assert pwf_runtime.__all__ == sorted(pwf_runtime.__all__)
    for name in pwf_runtime.__all__:
        assert getattr(pwf_runtime, name).__doc__ or name == "Action"
