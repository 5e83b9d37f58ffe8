"""A service for the tests of the command line."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from pwf_runtime import Context, Retry, Workflow, call, result

app = Workflow("cli_flows")
HELD_S = 600.0


@app.task
def hello(data: str) -> Any:
    return result({"hello": data})


@app.task(retry=Retry(max_attempts=1))
def picky(data: str) -> Any:
    """Fails until the file exists."""
    if not Path(data).exists():
        raise FileNotFoundError(f"{data} is not there yet")
    return result("there")


@app.task
def held(data: str, ctx: Context) -> Any:
    """Its first attempt says in this folder that it runs, and runs until it is told to end."""
    end = time.monotonic() + HELD_S
    if ctx.attempt == 1:
        (Path(data) / "runs").touch()
        while not (Path(data) / "end").exists() and time.monotonic() < end:
            time.sleep(0.02)
    return result({"attempt": ctx.attempt})


@app.task
def later() -> Any:
    return call("hello", "later", delay=3600)
