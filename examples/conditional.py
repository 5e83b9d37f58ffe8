"""Take one branch or another, and never both.

``review`` decides by its data. ``pick_carrier`` decides otherwise when it runs again, as a task may that asks a
clock or a stock level. Still exactly one carrier gets the parcel: the first committed answer wins for ever, and what
another attempt would rather do is ignored.

Run it without servers: ``python -m examples.conditional``
"""

from __future__ import annotations

from pwf_runtime import Action, Context, Workflow, call, result

app = Workflow("shop")

LIMIT = 100


@app.task
def review(data: dict[str, int]) -> Action:
    if data["amount"] > LIMIT:
        return call(ask_a_person, data)
    return call(pick_carrier, data)


@app.task
def ask_a_person(data: dict[str, int]) -> Action:
    return result({"order": data["order"], "status": "waits for a person"})


@app.task
def pick_carrier(data: dict[str, int], ctx: Context) -> Action:
    """Another answer at each attempt, and yet the same whenever a schedule is repeated."""
    return call(send_by_van if ctx.attempt % 2 else send_by_bike, data)


@app.task
def send_by_van(data: dict[str, int]) -> Action:
    return result({"order": data["order"], "status": "sent by van"})


@app.task
def send_by_bike(data: dict[str, int]) -> Action:
    return result({"order": data["order"], "status": "sent by bike"})


START = {"order": 7, "amount": 80}


def main() -> None:
    with app.connect("memory://") as client:
        run = client.publish("review", START)
        print(run.wait(timeout=30).result)


if __name__ == "__main__":
    main()
