"""Compute in bulk: five tasks side by side, some of which fail at first, and a last step that gets all five numbers.

Run it without servers: ``python -m examples.bulk``
"""

from __future__ import annotations

from hashlib import sha256

from pwf_runtime import Action, Context, Event, Retry, Workflow, call, emit, join, result

app = Workflow("bulk")

PARTS = 5


@app.task
def start(data: int) -> list[Action]:
    """``data``: the number to begin with."""
    calls = [call(compute, {"part": part, "number": data + part}) for part in range(1, PARTS + 1)]
    return [*calls, join(finalize, on=[f"task_{part}_done" for part in range(1, PARTS + 1)])]


@app.task(retry=Retry(max_attempts=8, first_delay=0.05, max_delay=0.5))
def compute(data: dict[str, int], ctx: Context) -> Action:
    if ctx.attempt <= failures(ctx.call_id):
        raise ConnectionError(f"part {data['part']}: no luck at attempt {ctx.attempt}")
    return emit(f"task_{data['part']}_done", data["number"] ** 2)


def failures(call_id: str) -> int:
    """How many attempts of a call fail: none, one or two.

    It looks like chance and is none: drawn from the call's id, it is the same whenever the call is tried again, so that
    a simulated schedule repeats exactly. With ``random`` it would not.
    """
    return sha256(call_id.encode()).digest()[0] % 3


@app.task
def finalize(events: list[Event]) -> Action:
    numbers = [event.data for event in events]
    return result({"numbers": numbers, "sum": sum(numbers)})


START = 10


def main() -> None:
    with app.connect("memory://") as client:
        run = client.publish("start", START)
        print(run.wait(timeout=30).result)


if __name__ == "__main__":
    main()
