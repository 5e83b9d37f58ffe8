"""A service for the tests of the command line."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from pwf_runtime import Context, Retry, Workflow, call, result

app = Workflow("cli_flows")


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
def slow(data: float, ctx: Context) -> Any:
    time.sleep(data if ctx.attempt == 1 else 0)
    return result({"attempt": ctx.attempt, "pid": os.getpid()})


@app.task
def later() -> Any:
    return call("hello", "later", delay=3600)
