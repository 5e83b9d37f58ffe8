"""The small workflows on which planted bugs are tried, and which benchmarks run: forks, joins, late joins, retries."""

from __future__ import annotations

from typing import Any

from pwf_runtime import Action, Context, Event, Retry, Workflow, call, emit, join, result, signal

fan = Workflow("fan")


@fan.task
def begin(data: int) -> list[Action]:
    """Call ``data`` parts side by side and wait for all of them."""
    parts: list[Action] = [call(part, i) for i in range(data)]
    return [*parts, join(gather, data, on=[f"part_{i}" for i in range(data)])]


@fan.task
def part(data: int) -> Action:
    return emit(f"part_{data}", data * data)


@fan.task
def gather(data: int, events: list[Event]) -> Action:
    return result(sum(event.data for event in events) + data)


late = Workflow("late")


@late.task
def hurry(data: int) -> list[Action]:
    """Emit first; only the call that follows declares the join."""
    return [emit("ready", data), call(wait, data)]


@late.task
def wait(data: int) -> Action:
    return join(done, data, on=["ready"])


@late.task
def done(data: int, events: list[Event]) -> Action:
    return result(events[0].data + data)


flaky = Workflow("flaky")


@flaky.task(retry=Retry(max_attempts=4, first_delay=1.0))
def attempt(data: int, ctx: Context) -> list[Action]:
    """Fail once, then branch: which branch depends on the attempt, so that an answer given twice shows."""
    if ctx.attempt == 1:
        raise ValueError("not the first time")
    return [call(odd if ctx.attempt % 2 else even, data)]


@flaky.task
def waver(data: int, ctx: Context) -> Action:
    """Never fail, and branch by the attempt all the same."""
    return call(odd if ctx.attempt % 2 else even, data)


@flaky.task
def odd(data: int) -> Action:
    return result(data)


@flaky.task
def even(data: int) -> Action:
    return result(-data)


chain = Workflow("chain")


@chain.task
def leave(data: int) -> Action:
    """One call after another, and nothing else."""
    return call(arrive, data)


@chain.task
def arrive(data: int) -> Action:
    return result(data)


@chain.task
def pass_on(data: Any) -> Action:
    """Take whatever comes."""
    return result(data)


@chain.task
def linger(data: int) -> Action:
    """What follows is not for now."""
    return call(arrive, data, delay=60.0)


@chain.task
def misdirect(data: int) -> Action:
    """No service of this name exists."""
    return call("nowhere.arrive", data)


@chain.task
def mistype(data: int) -> Action:
    """No worker of this service has such a task."""
    return call("chain.arive", data)


@chain.task(retry=Retry(first_delay=1.0, max_attempts=5))
def poison(data: int) -> Action:
    raise ValueError("never")


@chain.task(retry=Retry(max_attempts=1))
def once(data: int) -> Action:
    """Whoever is too late with this call finds it dead."""
    return call(arrive, data)


many = Workflow("many")


@many.task
def repeat(data: int) -> list[Action]:
    """Wait for two events of one name, of which there are ``data``."""
    return [*[call(tell, i) for i in range(data)], join(heard, data, on=[{"told": 2}])]


@many.task
def confuse(data: int) -> list[Action]:
    """Wait for two names, of which one is emitted twice and the other much later."""
    return [call(tell, 0), call(tell, 1), call(whisper, data, delay=60.0), join(heard, data, on=["told", "whispered"])]


@many.task
def tell(data: int) -> Action:
    return emit("told", data)


@many.task
def whisper(data: int) -> Action:
    return emit("whispered", data)


@many.task
def heard(data: int, events: list[Event]) -> Action:
    return result([event.data for event in events])


@many.task
def expect(data: int) -> list[Action]:
    """A join that something else ends: its time is over before the last event comes."""
    return [call(whisper, data, delay=60.0), join(heard, data, on=["whispered"], timeout=30.0, on_timeout=give_up)]


@many.task
def race(data: int) -> list[Action]:
    """A join whose time is over while its event is emitted."""
    return [call(whisper, data, delay=30.0), join(heard, data, on=["whispered"], timeout=30.0, on_timeout=give_up)]


@many.task
def give_up(data: int) -> Action:
    return result("too late")


@many.task
def choose(data: int) -> list[Action]:
    """Two of three are enough."""
    return [
        *[call(pick, i) for i in range(3)],
        join(heard, data, on=["pick_0", "pick_1", "pick_2"], at_least=2),
    ]


@many.task
def remember(data: int) -> list[Action]:
    """A join that fires at once in a run that goes on for long."""
    return [call(tell, data), call(whisper, data, delay=60.0), join(heard, data, on=["told"])]


@many.task
def regret(data: int) -> list[Action]:
    """Call a few, one of which cancels the run (see ``compares.Cancels``)."""
    return [call(cancel, data), *[call(pick, i) for i in range(2)], call(whisper, data, delay=60.0)]


@many.task
def cancel(data: int) -> Action:
    return result(data)


@many.task
def pick(data: int) -> Action:
    return emit(f"pick_{data}", data)


outside = Workflow("outside")


@outside.task
def approve(data: int) -> list[Action]:
    """Wait for a call and for the outside."""
    return [call(prepare, data), join(go_on, data, on=["prepared", signal("approved")])]


@outside.task
def trust(data: int) -> list[Action]:
    """The same, without saying what comes from outside: the run is stranded until it does."""
    return [call(prepare, data), join(go_on, data, on=["prepared", "approved"])]


@outside.task
def ask(data: int) -> Action:
    """Wait for an answer, and not for ever."""
    return join(go_on, data, on=[signal("approved")], timeout=30.0, on_timeout=do_without)


@outside.task
def hear(data: int) -> Action:
    """Wait for nothing: what comes from outside may be too late."""
    return call(prepare, data)


@outside.task
def prepare(data: int) -> Action:
    return emit("prepared", data)


@outside.task
def go_on(data: int, events: list[Event]) -> Action:
    return result([event.data for event in events])


@outside.task
def do_without(data: int) -> Action:
    return result("nobody answered")
