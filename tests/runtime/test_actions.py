"""The actions: what each constructor makes of its arguments, and what it says about the wrong ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from pwf_runtime import (
    UsageError,
    Workflow,
    call,
    emit,
    emit_events,
    fork,
    join,
    publish_next,
    publish_on_events,
    result,
    signal,
)
from pwf_runtime.actions import MAX_SECONDS, Call, Emit, Fork, Join, Result, Signal

app = Workflow("users")
other = Workflow("documents")


@app.task
def verify(data: str) -> None: ...


def plain(data: str) -> None: ...


def two_names(data: str) -> None: ...


def unregistered(data: str) -> None: ...


app.subscribe("plain", plain)
app.subscribe("two_names", two_names)
other.subscribe("also", two_names)


class TestCall:
    def test_what_it_keeps(self) -> None:
        assert call("verify", {"a": 1}, delay=2.5) == Call("verify", {"a": 1}, 2.5)
        assert call("verify") == Call("verify", None, 0.0)
        assert call("documents.generate", delay=3).delay == 3

    @pytest.mark.parametrize(
        ("task", "name"),
        [(verify, "users.verify"), (plain, "users.plain"), ("verify", "verify"), ("documents.a", "documents.a")],
    )
    def test_each_way_to_name_a_task(self, task: Any, name: str) -> None:
        assert call(task).task == name

    def test_a_function_registered_twice_under_one_name_is_no_riddle(self) -> None:
        """A module that is loaded anew, or an app that each test builds, registers a function again."""

        def step(data: str) -> None: ...

        for _ in range(2):
            Workflow("again").subscribe("step", step)
        assert call(step).task == "again.step"

    def test_actions_are_frozen(self) -> None:
        action: Any = call("verify")
        with pytest.raises(AttributeError):
            action.task = "other"

    @pytest.mark.parametrize(
        ("make", "error"),
        [
            (partial(call, unregistered), r"call\(<function unregistered.*: not a task: put @app.task above"),
            (
                partial(call, two_names),
                r"registered as users.two_names and documents.also: give the name that you mean",
            ),
            (partial(call, 5), r"call\(5\): a task is a function with @app.task or a name, not a int"),  # type: ignore[arg-type]
            (partial(call, call("verify")), r'call\(call\("verify", data\)\): .* apart: call\(task, data\)'),  # type: ignore[arg-type]
            (partial(call, ""), r"call\(''\): a name cannot be empty"),
            (partial(call, "a."), r"call\('a.'\): a name cannot be empty"),
            (partial(call, ".a"), r"call\('.a'\): a name cannot be empty"),
            (partial(call, "a.b.c"), r'call\(\'a.b.c\'\): write "task" .* "queue.task"'),
            (partial(call, "a b"), r"call\('a b'\): a name has no dot, no blank, no @ .*: use _ or -"),
            (partial(call, "a\n"), r"no control character"),
            (partial(call, "~a"), r'call\(\'~a\'\): names that begin with "~" are reserved: choose another'),
            (partial(call, "x" * 101), r"at most 100 bytes, this one has 101: shorten it"),
            (partial(call, "verify", delay=-1), r"call\(delay=-1\): delay is in seconds, a number from 0 to"),
            (partial(call, "verify", delay=float("nan")), r"call\(delay=nan\): delay is in seconds"),
            (partial(call, "verify", delay=MAX_SECONDS + 1), r"\(a hundred years\)"),
            (partial(call, "verify", delay="5"), r"call\(delay='5'\): delay is in seconds"),  # type: ignore[arg-type]
            (partial(call, "verify", delay=True), r"call\(delay=True\): delay is in seconds"),
            (partial(call, "verify", delay=False), r"call\(delay=False\): delay is in seconds"),
        ],
    )
    def test_mistakes(self, make: Callable[[], object], error: str) -> None:
        with pytest.raises(UsageError, match=error):
            make()


class TestEmit:
    def test_what_it_keeps(self) -> None:
        assert emit("email verified", 1) == Emit("email verified", 1)
        assert emit("ä" * 100).data is None

    @pytest.mark.parametrize(
        ("name", "error"),
        [
            ("", r"emit\(''\): an event needs a name"),
            ("~x", r"emit\('~x'\): names that begin with \"~\" are reserved: choose another"),
            (3, r"emit\(3\): an event's name is a str, not a int"),
            ("a\nb", r"emit\('a\\nb'\): an event's name has no control characters"),
            ("\ud800", r"no control characters"),
            ("ä" * 101, r"at most 200 bytes: put what varies into its data"),
        ],
    )
    def test_mistakes(self, name: Any, error: str) -> None:
        with pytest.raises(UsageError, match=error):
            emit(name)


class TestJoin:
    @pytest.mark.parametrize(
        ("on", "needs"),
        [
            (["a", "b"], (("a", 1), ("b", 1))),
            (("b", "a"), (("b", 1), ("a", 1))),
            ("a", (("a", 1),)),
            (["a", "b", "a"], (("a", 2), ("b", 1))),
            ([{"a": 2}, "b"], (("a", 2), ("b", 1))),
            ({"a": 2, "b": 1}, (("a", 2), ("b", 1))),
            (["a", {"a": 2}], (("a", 3),)),
            ((f"e{k}" for k in range(2)), (("e0", 1), ("e1", 1))),
        ],
    )
    def test_names_add_up_in_the_order_of_first_mention(self, on: Any, needs: object) -> None:
        made = join("finalize", 5, on=on)
        assert made == Join(Call("finalize", 5), needs, len(made.on))  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("on", "needs", "outside"),
        [
            (signal("a"), (("a", 1),), ("a",)),
            (["b", signal("a")], (("b", 1), ("a", 1)), ("a",)),
            ([signal("a", 2), {"b": 2}, signal("a")], (("a", 3), ("b", 2)), ("a",)),
            (["a", signal("a")], (("a", 2),), ("a",)),
            ([signal("b"), signal("a", count=2)], (("b", 1), ("a", 2)), ("b", "a")),
        ],
    )
    def test_signals_are_counted_as_other_names_are(self, on: Any, needs: object, outside: object) -> None:
        made = join("finalize", 5, on=on)
        assert made == Join(Call("finalize", 5), needs, len(made.on), outside=outside)  # type: ignore[arg-type]

    def test_signals_in_the_words_of_the_original(self) -> None:
        (made,) = publish_on_events("finalize", 5, "a", signal("b"))
        assert made == join("finalize", 5, on=["a", signal("b")])
        assert str(signal("b")) == 'signal("b")'
        assert signal("b") == Signal("b", 1)

    @pytest.mark.parametrize(
        ("name", "count", "error"),
        [
            ("", 1, r"signal\(''\): an event needs a name"),
            ("~a", 1, r"signal\('~a'\): .*reserved"),
            ("a", 0, r"signal\('a', 0\): how many signals to wait for: 1 or more"),
            ("a", True, r"signal\('a', True\): how many"),
        ],
    )
    def test_signals_that_cannot_be_meant(self, name: str, count: int, error: str) -> None:
        with pytest.raises(UsageError, match=error):
            signal(name, count)

    def test_at_least_counts_names_not_emissions(self) -> None:
        assert join("x", on=["a", "a", "b"], at_least=1).at_least == 1
        with pytest.raises(UsageError, match=r"join\(at_least=3\): counts names, of which `on` has 2 .* from 1 to 2"):
            join("x", on=["a", "a", "b"], at_least=3)

    def test_a_bare_task_on_timeout_gets_the_data_of_the_join(self) -> None:
        made = join(verify, {"id": 1}, on="a", timeout=60, on_timeout=plain)
        assert (made.timeout, made.on_timeout) == (60, Call("users.plain", {"id": 1}))

    def test_a_call_on_timeout_stays_as_it_is(self) -> None:
        assert join(verify, 1, on="a", timeout=0.5, on_timeout=call(plain, 2)).on_timeout == call(plain, 2)

    @pytest.mark.parametrize(
        ("make", "error"),
        [
            (partial(join, "x", on=[]), r"join\(on=\[\]\): waits for nothing: name the events, or use call"),
            (partial(join, "x", on={}), r"waits for nothing"),
            (partial(join, "x", on=""), r"join\(on=''\): an event needs a name"),
            (partial(join, "x", on=["a", "~b"]), r"join\(on='~b'\): .*reserved"),
            (partial(join, "x", on=[3]), r"join\(on=3\): an event's name is a str, not a int"),  # type: ignore[list-item]
            (partial(join, "x", on=None), r"join\(on=None\): takes a list"),  # type: ignore[arg-type]
            (partial(join, "x", on={"a", "b"}), r"takes a list of event names, which gives the order of the events"),
            (partial(join, "x", on={"a": 0}), r"join\(on=\{'a': 0\}\): how many emissions to wait for: 1 or more"),
            (partial(join, "x", on={"a": True}), r"join\(on=\{'a': True\}\): how many"),
            (partial(join, "x", on="a", at_least=0), r"join\(at_least=0\): .* from 1 to 1"),
            (partial(join, "x", on="a", at_least=1.0), r"join\(at_least=1.0\): "),  # type: ignore[arg-type]
            (partial(join, "x", on="a", timeout=0), r"join\(timeout=0\): must be more than 0; leave it out to wait"),
            (partial(join, "x", on="a", timeout=-1), r"join\(timeout=-1\): timeout is in seconds"),
            (partial(join, "x", on="a", on_timeout="y"), r"join\(on_timeout='y'\): needs a timeout as well: timeout="),
            (partial(join, "x", on="a", timeout=1, on_timeout=3), r"join\(on_timeout=3\): a task is"),  # type: ignore[arg-type]
            (partial(join, call("x"), on="a"), r"takes the task and its data apart: join\(task, data\)"),  # type: ignore[arg-type]
            (partial(join, 3, on="a"), r"join\(3\): a task is"),  # type: ignore[arg-type]
        ],
    )
    def test_mistakes(self, make: Callable[[], object], error: str) -> None:
        with pytest.raises(UsageError, match=error):
            make()


class TestFork:
    def test_what_it_keeps(self) -> None:
        made = fork((call("part", n, delay=n) for n in range(2)), then=call("sum", "x"))
        assert made == Fork((Call("part", 0, 0), Call("part", 1, 1)), Call("sum", "x"))
        assert fork([], then=verify) == Fork((), Call("users.verify"))

    @pytest.mark.parametrize(
        ("calls", "then", "error"),
        [
            ([call("a"), emit("b")], "x", r"fork\(...\): item 1 is Emit\(name='b'.*no call: write call\(task, data\)"),
            ([verify], "x", r"item 0 is <task users.verify>, which is no call"),
            ([join("a", on="b")], "x", r"item 0 is Join.*events, joins and results go beside the fork"),
            (call("a"), "x", r"fork\(Call\(.*takes a list of calls: fork\(\[call\(...\), call\(...\)\], then=...\)"),
            ("ab", "x", r"takes a list of calls"),
            ({call("a")}, "x", r"takes a list of calls"),
            (None, "x", r"fork\(None, ...\): takes a list of calls"),
            ([call("a")], None, r"fork\(..., then=None\): a task is a function"),
            ([call("a")], emit("b"), r"fork\(..., then=Emit"),
        ],
    )
    def test_mistakes(self, calls: Any, then: Any, error: str) -> None:
        with pytest.raises(UsageError, match=error):
            fork(calls, then=then)


class TestTheOriginalsNames:
    def test_they_concatenate(self) -> None:
        made = (
            publish_next("task2", 2, verify, 3)
            + emit_events("e1", 1, "e2", None)
            + publish_on_events(plain, {"x": 1}, "e1", "e2", "e1")
        )
        assert made == [
            call("task2", 2),
            call(verify, 3),
            emit("e1", 1),
            emit("e2"),
            join(plain, {"x": 1}, on=[{"e1": 2}, "e2"]),
        ]

    def test_nothing_is_an_empty_list(self) -> None:
        assert publish_next() == emit_events() == []

    @pytest.mark.parametrize(
        ("make", "error"),
        [
            (
                partial(publish_next, "a", 1, "b"),
                r"publish_next\(...\): got 3 arguments, the last of them 'b': each task",
            ),
            (partial(publish_next, "a"), r'None where it has none: publish_next\("task1", data1, "task2", None\)'),
            (partial(publish_next, 1, "a"), r"publish_next\(1\): a task is"),
            (
                partial(emit_events, "a"),
                r'got 1 arguments, the last of them \'a\': each event .* emit_events\("event1"',
            ),
            (partial(emit_events, "~a", 1), r"emit_events\('~a'\): .*reserved"),
            (partial(publish_on_events, "a", 1), r"publish_on_events\(on=\[\]\): waits for nothing"),
            (partial(publish_on_events, "a", 1, "e", ""), r"publish_on_events\(on=''\): an event needs a name"),
        ],
    )
    def test_mistakes(self, make: Callable[[], object], error: str) -> None:
        with pytest.raises(UsageError, match=error):
            make()


def test_result_takes_any_value() -> None:
    assert result(None) == Result(None)
    assert result({"a": 1}).value == {"a": 1}
