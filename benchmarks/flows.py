"""The workloads: chains of calls, and forks with a join. Their tasks do nothing, so what is measured is the system."""

from __future__ import annotations

import time
from typing import Any

from pwf_runtime import Event, Workflow, call, emit, join, result

app = Workflow("bench")


@app.task
def step(data: dict[str, Any]) -> Any:
    """One of a chain; ``left`` are those to come, this one included."""
    left = data["left"] - 1
    return call(step, {"left": left, "padding": data["padding"]}) if left else result("end")


@app.task
def fork(data: dict[str, Any]) -> Any:
    members = [call(member, data["padding"]) for _ in range(data["width"])]
    return [*members, join(gather, on={"done": data["width"]})]


@app.task
def member(data: str) -> Any:
    return emit("done", data)


@app.task
def gather(events: list[Event]) -> Any:
    return result(len(events))


@app.task
def now() -> Any:
    """When it was begun, seconds."""
    return result(time.time())
