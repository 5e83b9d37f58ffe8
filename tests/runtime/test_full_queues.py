"""A queue that takes no more: what was to go there is offered again ever later, and arrives once there is room."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Any

import pytest

from pwf_runtime import TransportUnavailable, Workflow, call, emit, join, result
from pwf_runtime.client import Client
from pwf_runtime.config import Settings
from pwf_runtime.pause import FIRST_S, LONGEST_S
from pwf_runtime.transport.base import Confirmed, Lost, Publication
from pwf_runtime.transport.memory import MemoryBroker, MemoryTransport

from .world import WAIT_S, World, eventually

MEMBERS = 30


class FullTransport(MemoryTransport):
    """Refuses what goes to a full queue, as RabbitMQ does with ``overflow=reject-publish``."""

    def _store(self, publication: Publication) -> Confirmed | Lost:  # type: ignore[override]
        broker = self._broker
        assert isinstance(broker, FullBroker)
        if publication.queue == broker.full:
            broker.refusals.append(monotonic())
            return Lost(publication.ticket)
        return super()._store(publication)


class FullBroker(MemoryBroker):
    def __init__(self) -> None:
        super().__init__()
        self.full = ""
        self.refusals: list[float] = []

    def transport(self) -> FullTransport:
        return FullTransport(self)


class FullWorld(World):
    broker: FullBroker

    def __init__(self, apps: Sequence[Workflow], settings: dict[str, Any]) -> None:
        super().__init__(apps, settings)
        self.client.close()
        self.broker = FullBroker()
        self.client = type(self.client)(apps, self.store, self.broker.transport(), self.settings, clock=self.clock)


@contextmanager
def world(*apps: Workflow) -> Iterator[FullWorld]:
    made = FullWorld(apps, {})
    try:
        yield made
    finally:
        made.close()


def at_most(seconds: float) -> int:
    """Offers of one message in so many seconds, if pauses never grew."""
    return 2 + int(seconds / FIRST_S)


def test_a_worker_offers_ever_later_what_a_full_queue_refuses(caplog: pytest.LogCaptureFixture) -> None:
    begun = threading.Event()
    front, back = Workflow("front"), Workflow("back")

    @front.task
    def begin() -> Any:
        begun.set()
        return [*(call("back.part", n) for n in range(MEMBERS)), join(end, on={"part": MEMBERS})]

    @front.task
    def end(events: Any) -> Any:
        return result(sorted(event.data for event in events))

    @back.task
    def part(data: int) -> Any:
        return emit("part", data)

    with world(front, back) as w:
        w.declare("back")
        w.broker.full = "back"
        w.work([front])
        run = w.client.publish("front.begin")
        assert begun.wait(WAIT_S)
        eventually(lambda: len(w.broker.refusals) >= 5 * MEMBERS)
        took = w.broker.refusals[5 * MEMBERS - 1] - w.broker.refusals[0]
        assert took > FIRST_S * (1 + 1 + 2 + 4) * 0.99, "the first offer, and four more"
        assert w.client.describe(run.id).status == "running"
        w.work([back])
        w.broker.full = ""
        assert run.wait(WAIT_S + LONGEST_S).result == list(range(MEMBERS))
    said = [record.getMessage() for record in caplog.records if "does not take" in record.getMessage()]
    assert said == [
        f"RabbitMQ does not take messages for back ({MEMBERS}) (a full queue?); they are tried again, ever later"
    ]


def test_a_client_tells_of_a_full_queue_and_does_not_spin() -> None:
    app = Workflow("app")
    app.subscribe("work", lambda: result("done"))
    with world(app) as w, Client([app], w.store, w.broker.transport(), Settings(timeout=2.0)) as impatient:
        w.declare("app")
        w.broker.full = "app"
        before = monotonic()
        with pytest.raises(TransportUnavailable, match=r"does not confirm .*may or may not be there"):
            impatient.publish("work", run_id="r")
        assert 1 <= len(w.broker.refusals) <= at_most(monotonic() - before)
        w.broker.full = ""
        w.work()
        assert w.client.publish("work", run_id="r").wait(WAIT_S).result == "done"


def test_a_message_that_is_sent_on_by_hand_waits_for_room() -> None:
    app = Workflow("app")
    app.subscribe("work", lambda: result("done"))
    with world(app) as w:
        w.declare("app")
        w.broker.full = "app"
        sent = threading.Thread(target=w.send, args=("app", b"body"))
        before = monotonic()
        sent.start()
        eventually(lambda: len(w.broker.refusals) >= 3)
        w.broker.full = ""
        sent.join(WAIT_S)
        assert not sent.is_alive()
        assert w.broker.depth("app") == 1
        assert len(w.broker.refusals) <= at_most(monotonic() - before)
