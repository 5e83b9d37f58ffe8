"""What a real RabbitMQ does at its limits, as the simulator has it: see ``pwsim.faults`` and ``docs/fidelity.md``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pika
import pika.exceptions
import pytest

from tests.servers.rabbitmq import RabbitMQServer

pytestmark = pytest.mark.servers
LIMIT = 2
WAIT_S = 60.0


@pytest.fixture
def connection(amqp_url: str) -> Iterator[Any]:
    connection = pika.BlockingConnection(pika.URLParameters(amqp_url))
    yield connection
    if connection.is_open:
        connection.close()


def get(connection: Any, queue: str) -> tuple[Any, Any, bytes | None]:
    """What the queue has, once it has something: what comes back needs a moment."""
    channel, deadline = connection.channel(), time.monotonic() + WAIT_S
    while (found := channel.basic_get(queue))[2] is None and time.monotonic() < deadline:
        time.sleep(0.02)
    return channel, found[0], found[2]


def listen(connection: Any, channel: Any) -> None:
    """Be there, and do nothing, until the broker closes the channel."""
    deadline = time.monotonic() + WAIT_S
    while channel.is_open and time.monotonic() < deadline:
        connection.process_data_events(0.1)
    channel.basic_qos(prefetch_count=1)  # raises what the broker said


@pytest.mark.parametrize("dead_letters", [False, True])
def test_a_message_is_dropped_or_dead_lettered_when_it_was_delivered_too_often(
    connection: Any, dead_letters: bool
) -> None:
    """``delivery-limit``: to who consumes the queue it is gone, either way."""
    queue, other = f"limit.{uuid4().hex}", f"dead.{uuid4().hex}"
    arguments: dict[str, Any] = {"x-queue-type": "quorum", "x-delivery-limit": LIMIT}
    if dead_letters:
        arguments |= {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": other}
    setup = connection.channel()
    setup.queue_declare(other, durable=True)
    setup.queue_declare(queue, durable=True, arguments=arguments)
    setup.confirm_delivery()
    setup.basic_publish("", queue, b"body")
    for number in range(LIMIT + 1):
        channel, method, body = get(connection, queue)
        assert (body, method.redelivered) == (b"body", number > 0)
        channel.close()  # as a worker that dies
    if dead_letters:
        assert get(connection, other)[2] == b"body"
    assert setup.queue_declare(queue, passive=True).method.message_count == 0
    setup.queue_delete(queue)
    setup.queue_delete(other)


def test_a_channel_is_closed_whose_consumer_does_not_ack_and_its_messages_come_back(
    rabbitmq_server: RabbitMQServer, amqp_url: str
) -> None:
    """``consumer-timeout``: the connection stays, and so does whoever works on the message."""
    rabbitmq_server.ctl("eval", "application:set_env(rabbit, consumer_timeout, 300).")
    rabbitmq_server.ctl("eval", "application:set_env(rabbit, channel_tick_interval, 100).")
    try:
        connection = pika.BlockingConnection(pika.URLParameters(amqp_url))
        channel, queue = connection.channel(), f"timeout.{uuid4().hex}"
        channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})
        channel.confirm_delivery()
        channel.basic_publish("", queue, b"body")
        channel.basic_consume(queue, lambda *_: None)
        with pytest.raises(pika.exceptions.AMQPChannelError):
            listen(connection, channel)
        assert connection.is_open
    finally:
        rabbitmq_server.ctl("eval", "application:set_env(rabbit, consumer_timeout, 1800000).")
        rabbitmq_server.ctl("eval", "application:set_env(rabbit, channel_tick_interval, 60000).")
    other, method, body = get(connection, queue)
    assert (body, method.redelivered) == (b"body", True)
    other.queue_delete(queue)
    connection.close()
