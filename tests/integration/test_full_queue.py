"""A real queue with a length limit that refuses what is too much: bounded offers, and nothing lost in the end."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from time import monotonic
from typing import Any
from uuid import uuid4

import pika
import pika.exceptions
import pytest

from pwf_runtime.client import Client
from pwf_runtime.codec import decode_message
from pwf_runtime.config import Settings
from pwf_runtime.core.model import Message
from pwf_runtime.pause import FIRST_S
from pwf_runtime.store.redis import RedisStore
from pwf_runtime.transport.base import Publication
from pwf_runtime.transport.rabbitmq import RabbitMQTransport

from .processes import END_S, Servers, eventually

ROOM, RUNS = 5, 40
FILLER = b"filler"


def fill(channel: Any, queue: str) -> None:
    """A quorum queue begins to refuse some messages beyond its limit."""
    channel.confirm_delivery()
    for _ in range(100 * ROOM):
        try:
            channel.basic_publish("", queue, FILLER)
        except pika.exceptions.NackError:
            return
    raise AssertionError(f"{queue} took {100 * ROOM} messages with a limit of {ROOM}")


class Counting(RabbitMQTransport):
    offered = 0

    def publish(self, publications: Sequence[Publication]) -> None:
        self.offered += len(publications)
        super().publish(publications)


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_a_full_queue_is_offered_its_messages_ever_later_and_gets_all_in_the_end(servers: Servers, kind: str) -> None:
    queue = f"full_{kind}_{uuid4().hex[:8]}"
    limits = {"x-queue-type": kind, "x-max-length": ROOM, "x-overflow": "reject-publish"}
    connection = pika.BlockingConnection(pika.URLParameters(servers.amqp_url))
    channel = connection.channel()
    channel.queue_declare(queue, durable=True, arguments=limits)
    fill(channel, queue)
    store, transport = RedisStore(servers.redis_url), Counting(servers.amqp_url)
    with Client([], store, transport, Settings(timeout=END_S)) as client:
        asked = [(f"{queue}.work", None, f"{queue}-{n}") for n in range(RUNS)]
        begun = monotonic()
        publishing = threading.Thread(target=client.publish_many, args=(asked,))
        publishing.start()
        eventually(lambda: transport.offered >= 4 * RUNS, END_S)
        assert publishing.is_alive(), "it is full"
        assert transport.offered <= RUNS * (2 + (monotonic() - begun) / FIRST_S)
        found: set[str] = set()

        def take() -> bool:
            _, _, body = channel.basic_get(queue, auto_ack=True)
            if body not in (None, FILLER):
                message = decode_message(body)
                assert isinstance(message, Message)
                found.add(message.run_id)
            return len(found) == RUNS and not publishing.is_alive()

        eventually(take, END_S)
    channel.queue_delete(queue)
    connection.close()
