"""Two services that call each other, back and forth, until the ball has been hit often enough.

However long the rally, it takes constant space: a call that is done leaves nothing behind.

Run it without servers: ``python -m examples.ping_pong``
"""

from __future__ import annotations

from pwf_runtime import Action, Workflow, call, connect, result

ping = Workflow("ping")
pong = Workflow("pong")


@ping.task("hit")
def ping_hit(data: dict[str, int]) -> Action:
    return _next("pong.hit", data)


@pong.task("hit")
def pong_hit(data: dict[str, int]) -> Action:
    return _next("ping.hit", data)


def _next(other: str, data: dict[str, int]) -> Action:
    """``data``: ``left``, the hits still to come with this one, and ``hits``, those before it."""
    left, hits = data["left"] - 1, data["hits"] + 1
    if left <= 0:
        return result({"hits": hits})
    return call(other, {"left": left, "hits": hits})


START = {"left": 10, "hits": 0}


def main() -> None:
    with connect("memory://", apps=[ping, pong]) as client:
        run = client.publish("ping.hit", START)
        print(run.wait(timeout=30).result)


if __name__ == "__main__":
    main()
