"""The small workflows on which planted bugs are tried, and which benchmarks run: forks, joins, late joins, retries."""

from __future__ import annotations

from pwf_runtime import Action, Context, Event, Retry, Workflow, call, emit, join, result

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
def odd(data: int) -> Action:
    return result(data)


@flaky.task
def even(data: int) -> Action:
    return result(-data)
