"""One body per clause of ``transport/base.py``, held against every transport; below, what only a real server can do.

Every wait is bounded (``Ear.wait``) and says what it waited for.
"""

from __future__ import annotations

import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any

import pika
import pika.exceptions
import pytest

from pwf_runtime.errors import TransportUnavailable, UsageError
from pwf_runtime.transport.amqp_consumer import Consumer
from pwf_runtime.transport.amqp_link import LONGEST_PAUSE_S, pause_s
from pwf_runtime.transport.amqp_publisher import Publisher
from pwf_runtime.transport.amqp_wire import remedied
from pwf_runtime.transport.base import (
    Confirmed,
    Delivery,
    Down,
    Lost,
    Publication,
    Refused,
    Transport,
    TransportEvent,
    Up,
)
from pwf_runtime.transport.memory import MemoryBroker
from pwf_runtime.transport.rabbitmq import RabbitMQTransport, check, depth, masked
from tests.servers.ports import free_port
from tests.servers.rabbitmq import RabbitMQServer, patient_depth

WAIT_S = 60.0
QUIET_S = 0.3  # how long nothing more must come
tickets = count(1)


class Ear:
    """A sink that keeps all it hears, and the transport it listens to."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.heard: list[TransportEvent] = []
        self.answered: dict[int, TransportEvent] = {}
        self.threads: set[int] = set()
        self._news = threading.Condition()

    def __call__(self, events: Sequence[TransportEvent]) -> None:
        with self._news:
            self.heard.extend(events)
            self.answered |= {event.ticket: event for event in events if isinstance(event, Confirmed | Lost)}
            self.threads.add(threading.get_ident())
            self._news.notify_all()

    def wait(self, what: str, true: Callable[[], bool], timeout_s: float = WAIT_S) -> None:
        with self._news:
            if not self._news.wait_for(true, timeout_s):
                raise AssertionError(f"waited {timeout_s} s for {what}; heard last: {self.heard[-5:]}")

    def all(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.heard if isinstance(event, kind)]

    def next(self, kind: type[Any], after: int = 0, timeout_s: float = WAIT_S) -> Any:
        """Event number ``after`` of this kind."""
        self.wait(f"{kind.__name__} number {after + 1}", lambda: len(self.all(kind)) > after, timeout_s)
        return self.all(kind)[after]

    def deliveries(self, number: int) -> list[Delivery]:
        self.wait(f"{number} deliveries", lambda: len(self.all(Delivery)) >= number)
        return self.all(Delivery)

    def bodies(self) -> list[bytes]:
        return [each.body for each in self.all(Delivery)]

    def publish(self, queue: str, *bodies: bytes) -> list[int]:
        batch = [Publication(next(tickets), queue, body) for body in bodies]
        self.transport.publish(batch)
        return [each.ticket for each in batch]

    def answers(self, asked: Sequence[int]) -> dict[int, TransportEvent]:
        self.wait(f"answers to {len(asked)} publishes", lambda: self.answered.keys() >= set(asked))
        return {ticket: self.answered[ticket] for ticket in asked}

    def store(self, queue: str, *bodies: bytes) -> None:
        """Publish until each is confirmed."""
        asked = self.publish(queue, *bodies)
        assert list(self.answers(asked).values()) == [Confirmed(ticket) for ticket in asked]


class Rig:
    """Makes transports of one kind on one broker, and clears away behind the test."""

    def __init__(self, kind: str, make: Callable[[], Transport], depth: Callable[[str], int | None]) -> None:
        self.kind = kind
        self.depth = depth
        self.queues: list[str] = []
        self.ears: list[Ear] = []
        self._make = make

    def queue(self) -> str:
        self.queues.append(f"test.{uuid.uuid4().hex}")
        return self.queues[-1]

    def ear(self, consume: Sequence[str] = (), prefetch: int = 64) -> Ear:
        ear = Ear(self._make())
        self.ears.append(ear)
        ear.transport.start(ear, consume, prefetch)
        ear.next(Up)
        return ear

    def declared(self) -> str:
        """A queue that exists and that nobody consumes."""
        queue = self.queue()
        self.ear([queue]).transport.close()
        return queue

    def wait_depth(self, queue: str, number: int) -> None:
        deadline = time.monotonic() + WAIT_S
        while (found := self.depth(queue)) != number:
            assert time.monotonic() < deadline, f"{queue} holds {found}, not {number}"
            time.sleep(0.02)

    def close(self) -> None:
        for ear in self.ears:
            ear.transport.close()


@pytest.fixture(
    params=[
        "memory",
        pytest.param("quorum", marks=pytest.mark.servers),
        pytest.param("classic", marks=pytest.mark.servers),
    ]
)
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    if request.param == "memory":
        broker = MemoryBroker()
        rig = Rig("memory", broker.transport, broker.depth)
        yield rig
        rig.close()
        return
    yield from rabbit_rig(request.getfixturevalue("amqp_url"), request.param)


@pytest.fixture
def rabbit(amqp_url: str) -> Iterator[Rig]:
    yield from rabbit_rig(amqp_url, "quorum")


def rabbit_rig(url: str, kind: Any) -> Iterator[Rig]:
    rig = Rig(kind, lambda: RabbitMQTransport(url, queue_type=kind), lambda queue: patient_depth(url, queue))
    yield rig
    rig.close()
    with suppress(pika.exceptions.AMQPError):
        delete(url, *rig.queues)


def delete(url: str, *queues: str) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    for queue in queues:
        connection.channel().queue_delete(queue)
    connection.close()


# The contract.


def test_a_body_is_confirmed_delivered_and_gone_once_acked(rig: Rig) -> None:
    queue = rig.queue()
    ear = rig.ear([queue])
    ear.store(queue, b"body")
    [delivery] = ear.deliveries(1)
    assert (delivery.queue, delivery.body, delivery.redelivered) == (queue, b"body", False)
    ear.transport.ack([delivery])
    ear.transport.close()
    assert rig.depth(queue) == 0


@pytest.mark.parametrize("body", [b"", bytes(range(256)), b"\x00" * 2**20], ids=["empty", "binary", "1MB"])
def test_a_body_is_opaque(rig: Rig, body: bytes) -> None:
    queue = rig.queue()
    ear = rig.ear([queue])
    ear.store(queue, body)
    assert ear.deliveries(1)[0].body == body


def test_one_consumer_gets_bodies_in_the_order_published(rig: Rig) -> None:
    queue = rig.queue()
    ear = rig.ear([queue], prefetch=10)
    published = [b"%d" % number for number in range(300)]
    ear.transport.publish([Publication(next(tickets), queue, body) for body in published])
    for number in range(300):
        ear.transport.ack([ear.deliveries(number + 1)[number]])
    assert ear.bodies() == published


def test_what_was_not_acked_comes_back_after_a_close(rig: Rig) -> None:
    """To its old place, except that a quorum queue puts what comes back in front in the order of coming back."""
    queue = rig.queue()
    first = rig.ear([queue], prefetch=5)
    first.store(queue, *[b"%d" % number for number in range(8)])
    handed_over = first.deliveries(5)
    first.transport.ack([handed_over[0], handed_over[3]])
    first.transport.close()
    second = rig.ear([queue])
    second.deliveries(6)
    back = [b"1", b"2", b"4", b"5", b"6"]
    assert (sorted(second.bodies()[:5]) if rig.kind == "quorum" else second.bodies()[:5]) == back
    assert second.bodies()[5] == b"7"
    assert [each.redelivered for each in second.all(Delivery)][:3] == [True, True, True]


def test_no_more_than_prefetch_are_unacked(rig: Rig) -> None:
    queue = rig.queue()
    ear = rig.ear([queue], prefetch=3)
    ear.store(queue, *[b"%d" % number for number in range(10)])
    ear.deliveries(3)
    time.sleep(QUIET_S)
    assert len(ear.all(Delivery)) == 3
    ear.transport.ack(ear.all(Delivery)[1:2])
    ear.deliveries(4)
    time.sleep(QUIET_S)
    assert len(ear.all(Delivery)) == 4


def test_prefetch_counts_for_each_queue(rig: Rig) -> None:
    one, other = rig.queue(), rig.queue()
    ear = rig.ear([one, other], prefetch=2)
    ear.store(one, b"1", b"2", b"3")
    ear.store(other, b"1", b"2", b"3")
    ear.deliveries(4)
    time.sleep(QUIET_S)
    assert sorted(each.queue for each in ear.all(Delivery)) == sorted([one, one, other, other])


def test_a_publish_that_no_queue_takes_is_returned(rig: Rig) -> None:
    there, nowhere = rig.queue(), rig.queue()
    ear = rig.ear([there])
    asked = [*ear.publish(there, b"a"), *ear.publish(nowhere, b"b"), *ear.publish(there, b"c")]
    assert list(ear.answers(asked).values()) == [
        Confirmed(asked[0]),
        Confirmed(asked[1], returned=True),
        Confirmed(asked[2]),
    ]


def test_a_queue_name_that_cannot_be_is_returned_too(rig: Rig) -> None:
    ear = rig.ear()
    [ticket] = ear.publish("x" * 300, b"body")
    assert ear.answers([ticket]) == {ticket: Confirmed(ticket, returned=True)}


def test_each_publish_is_answered_exactly_once(rig: Rig) -> None:
    queue = rig.declared()
    ear = rig.ear()
    asked = ear.publish(queue, *[b"%d" % number for number in range(500)])
    ear.answers(asked)
    time.sleep(QUIET_S)
    assert sorted(event.ticket for event in ear.heard if isinstance(event, Confirmed | Lost)) == asked


def test_an_ack_for_another_channel_is_dropped(rig: Rig) -> None:
    """And the channel lives on: RabbitMQ would close it for an unknown tag."""
    queue = rig.queue()
    ear = rig.ear([queue], prefetch=1)
    ear.store(queue, b"1", b"2")
    [mine] = ear.deliveries(1)
    ear.transport.ack([Delivery(queue, b"1", mine.channel - 1, mine.tag), Delivery(queue, b"1", mine.channel, 999)])
    time.sleep(QUIET_S)
    assert len(ear.all(Delivery)) == 1
    ear.transport.ack([mine])
    assert ear.deliveries(2)[1].channel == mine.channel
    assert not ear.all(Down)


def test_a_second_ack_of_the_same_delivery_is_dropped(rig: Rig) -> None:
    queue = rig.queue()
    ear = rig.ear([queue], prefetch=1)
    ear.store(queue, b"1", b"2", b"3")
    [first] = ear.deliveries(1)
    ear.transport.ack([first, first])
    ear.transport.ack([first])
    second = ear.deliveries(2)[1]
    time.sleep(QUIET_S)
    assert len(ear.all(Delivery)) == 2
    ear.transport.ack([second])
    assert ear.deliveries(3)[2].channel == first.channel


def test_acks_out_of_order_ack_what_they_name_and_no_more(rig: Rig) -> None:
    queue = rig.queue()
    ear = rig.ear([queue])
    ear.store(queue, *[b"%d" % number for number in range(9)])
    got = ear.deliveries(9)
    for numbers in ([8], [1, 0], [5, 3], [2], [6]):
        ear.transport.ack([got[number] for number in numbers])
    ear.transport.close()
    after = rig.ear([queue])
    after.deliveries(2)
    time.sleep(QUIET_S)
    assert after.bodies() == [b"4", b"7"]


def test_two_consumers_share_a_queue(rig: Rig) -> None:
    queue = rig.queue()
    one, other = rig.ear([queue], prefetch=2), rig.ear([queue], prefetch=2)
    rig.ear().store(queue, b"1", b"2", b"3", b"4", b"5")
    assert len(one.deliveries(2)) == len(other.deliveries(2)) == 2
    other.transport.close()
    one.transport.ack(one.all(Delivery))
    one.deliveries(4)
    one.transport.ack(one.all(Delivery)[2:])
    one.deliveries(5)
    assert sorted(one.bodies()) == [b"1", b"2", b"3", b"4", b"5"]


def test_stop_consuming_brings_no_more_and_leaves_acks_working(rig: Rig) -> None:
    queue = rig.queue()
    ear = rig.ear([queue], prefetch=2)
    ear.store(queue, b"1", b"2", b"3")
    handed_over = ear.deliveries(2)
    ear.transport.stop_consuming()
    ear.transport.ack(handed_over)
    time.sleep(QUIET_S)
    ear.store(queue, b"4")
    assert ear.bodies() == [b"1", b"2"]
    rig.wait_depth(queue, 2)
    ear.transport.close()
    rig.wait_depth(queue, 2)
    assert ear.bodies() == [b"1", b"2"]


def test_close_sends_the_acks_given_before(rig: Rig) -> None:
    queue = rig.queue()
    ear = rig.ear([queue])
    ear.store(queue, *[b"x"] * 50)
    ear.transport.ack(ear.deliveries(50))
    ear.transport.close()
    assert rig.depth(queue) == 0


def test_close_twice_is_no_error_and_a_publish_after_it_is_lost(rig: Rig) -> None:
    queue = rig.declared()
    ear = rig.ear()
    ear.transport.close()
    ear.transport.close()
    ear.transport.ack([Delivery(queue, b"", 1, 1)])
    ear.transport.stop_consuming()
    [ticket] = ear.publish(queue, b"late")
    assert ear.answers([ticket]) == {ticket: Lost(ticket)}
    assert rig.depth(queue) == 0


def test_close_without_a_start_and_a_publish_without_one(rig: Rig) -> None:
    transport = rig._make()
    with pytest.raises(UsageError, match="start the transport"):
        transport.publish([Publication(1, "q", b"")])
    transport.close()


def test_a_transport_starts_once(rig: Rig) -> None:
    ear = rig.ear()
    with pytest.raises(UsageError, match="once"):
        ear.transport.start(ear)
    with pytest.raises(UsageError, match="prefetch"):
        rig._make().start(ear, prefetch=0)


def test_the_sink_is_called_on_another_thread_than_the_callers(rig: Rig) -> None:
    """So a caller may hold a lock that the sink takes, too."""
    queue = rig.queue()
    ear = rig.ear([queue])
    ear.store(queue, b"1")
    ear.transport.ack(ear.deliveries(1))
    ear.transport.close()
    assert threading.get_ident() not in ear.threads


def test_a_sink_may_call_the_transport(rig: Rig) -> None:
    queue = rig.queue()
    ear = Ear(rig._make())
    rig.ears.append(ear)

    def echo(events: Sequence[TransportEvent]) -> None:
        got = [event for event in events if isinstance(event, Delivery)]
        ear.transport.ack(got)
        ear.transport.publish([Publication(next(tickets), queue, b"again") for each in got if each.body == b"first"])
        ear(events)

    ear.transport.start(echo, [queue], prefetch=1)
    ear.next(Up)
    ear.publish(queue, b"first")
    ear.deliveries(2)
    assert ear.bodies() == [b"first", b"again"]


def test_a_sink_that_raises_is_logged_and_goes_on_hearing(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    queue = rig.queue()
    ear = Ear(rig._make())
    rig.ears.append(ear)

    def faulty(events: Sequence[TransportEvent]) -> None:
        ear(events)
        if any(isinstance(event, Delivery) for event in events):
            raise ValueError("a bug in the sink")

    ear.transport.start(faulty, [queue])
    ear.next(Up)
    ear.store(queue, b"1")
    ear.deliveries(1)
    ear.store(queue, b"2")
    ear.deliveries(2)
    assert "the sink of a transport must not raise" in caplog.text


def test_publishing_nothing_says_nothing(rig: Rig) -> None:
    ear = rig.ear()
    ear.transport.publish([])
    ear.transport.close()
    ear.transport.publish([])
    assert ear.heard == [Up()]


def test_many_threads_publish_and_ack_at_once(rig: Rig) -> None:
    queue = rig.queue()
    ear = rig.ear([queue], prefetch=50)
    asked: list[int] = []

    def work(name: int) -> None:
        for number in range(100):
            asked.extend(ear.publish(queue, b"%d.%d" % (name, number)))

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    acked = 0
    while acked < 400:
        got = ear.deliveries(acked + 1)[acked:]
        ear.transport.ack(got)
        acked += len(got)
    for thread in threads:
        thread.join(WAIT_S)
    assert all(isinstance(answer, Confirmed) for answer in ear.answers(asked).values())
    assert len(set(ear.bodies())) == 400
    ear.transport.close()
    assert rig.depth(queue) == 0


def test_depth_tells_an_empty_queue_from_none(rig: Rig) -> None:
    queue = rig.declared()
    assert (rig.depth(queue), rig.depth(rig.queue())) == (0, None)
    rig.ear().store(queue, b"1", b"2")
    rig.wait_depth(queue, 2)


# RabbitMQ alone.

servers = pytest.mark.servers


@servers
def test_a_killed_server_keeps_what_it_confirmed_and_the_transport_comes_back(
    rabbit: Rig, rabbitmq_server: RabbitMQServer
) -> None:
    queue = rabbit.queue()
    consumer, publisher = rabbit.ear([queue], prefetch=3), rabbit.ear()
    publisher.store(queue, *[b"%d" % number for number in range(50)])
    old = consumer.deliveries(3)
    rabbitmq_server.sync()
    rabbitmq_server.kill()
    consumer.next(Down)
    publisher.next(Down)
    lost = publisher.publish(queue, b"lost")
    assert publisher.answers(lost) == {lost[0]: Lost(lost[0])}
    rabbitmq_server.start()
    consumer.next(Up, after=1)
    publisher.next(Up, after=1)
    consumer.transport.ack(old)  # of the old channel: dropped
    again: list[Delivery] = []
    while len({each.body for each in again}) < 50:
        more = consumer.deliveries(3 + len(again) + 1)[3 + len(again) :]
        again += more
        consumer.transport.ack(more)
    assert {int(each.body) for each in again} == set(range(50))
    assert all(each.channel > old[0].channel for each in again)
    publisher.store(queue, b"new")
    consumer.wait("what is new", lambda: b"new" in consumer.bodies())


@servers
def test_publishes_in_flight_at_a_kill_are_lost_or_stored(rabbit: Rig, rabbitmq_server: RabbitMQServer) -> None:
    queue = rabbit.declared()
    ear = rabbit.ear()
    rabbitmq_server.sync()
    asked = ear.publish(queue, *[b"%d" % number for number in range(5000)])
    ear.wait("some confirms", lambda: bool(ear.all(Confirmed)))
    rabbitmq_server.kill()
    answers = ear.answers(asked)
    stored = sum(isinstance(answer, Confirmed) for answer in answers.values())
    rabbitmq_server.start()
    ear.next(Up, after=1)
    assert stored > 0
    wait_until(lambda: (rabbit.depth(queue) or 0) >= stored)
    assert (rabbit.depth(queue) or 0) >= stored
    assert len(ear.all(Confirmed)) + len(ear.all(Lost)) == 5000


@servers
def test_connections_closed_by_force_come_back(rabbit: Rig, rabbitmq_server: RabbitMQServer) -> None:
    queue = rabbit.queue()
    ear = rabbit.ear([queue], prefetch=1)
    ear.store(queue, b"1", b"2")
    ear.deliveries(1)
    rabbitmq_server.ctl("close_all_connections", "maintenance")
    down = ear.next(Down)
    assert "maintenance" in down.reason
    ear.next(Up, after=1)
    redelivered = ear.deliveries(2)[1]
    assert (redelivered.body, redelivered.redelivered) == (b"1", True)
    ear.transport.ack([redelivered])
    ear.deliveries(3)


@servers
def test_a_channel_closed_by_the_broker_is_opened_again(rabbit: Rig) -> None:
    """As after the consumer timeout, or an ack that went wrong."""
    queue = rabbit.queue()
    ear = rabbit.ear([queue], prefetch=1)
    ear.store(queue, b"1", b"2")
    [first] = ear.deliveries(1)
    on_loop(ear, lambda consumer, _: consumer._channel.basic_ack(4711))
    assert "unknown delivery tag 4711" in ear.next(Down).reason
    ear.next(Up, after=1)
    second = ear.deliveries(2)[1]
    assert second.body == b"1"
    assert second.channel == first.channel + 1
    ear.transport.ack([first])
    ear.transport.ack([second])
    assert ear.deliveries(3)[2].body == b"2"


@servers
def test_a_publish_channel_closed_by_the_broker_loses_what_flies_and_comes_back(rabbit: Rig) -> None:
    queue = rabbit.declared()
    ear = rabbit.ear()
    on_loop(ear, lambda _, publisher: publisher._channel.basic_publish("no such exchange", "x", b""))
    assert "no exchange" in ear.next(Down).reason
    ear.next(Up, after=1)
    ear.store(queue, b"body")


@servers
def test_a_deleted_queue_is_declared_and_consumed_again(rabbit: Rig, amqp_url: str) -> None:
    queue, other = rabbit.queue(), rabbit.queue()
    ear = rabbit.ear([queue, other])
    ear.store(other, b"kept")
    [kept] = ear.deliveries(1)
    delete(amqp_url, queue)
    assert queue in ear.next(Down).reason
    ear.next(Up, after=1)
    ear.store(queue, b"new")
    assert ear.deliveries(2)[1].channel == kept.channel
    ear.transport.ack(ear.all(Delivery))
    ear.transport.close()
    assert (rabbit.depth(queue), rabbit.depth(other)) == (0, 0)


@servers
def test_queues_deleted_together_are_all_consumed_again(rabbit: Rig, amqp_url: str) -> None:
    queues = [rabbit.queue() for _ in range(5)]
    ear = rabbit.ear(queues)
    delete(amqp_url, *queues)

    def consumed_again() -> bool:
        """Each was missed, and not only some of them have been declared since."""
        reasons = [event.reason for event in ear.all(Down)]
        missed = all(any(queue in reason for reason in reasons) for queue in queues)
        return missed and [event for event in ear.heard if isinstance(event, Up | Down)][-1] == Up()

    ear.wait("all queues to be consumed again", consumed_again)
    for queue in queues:
        ear.store(queue, b"new")
    assert {each.queue for each in ear.deliveries(5)} == set(queues)


@servers
def test_stop_consuming_during_the_set_up_still_ends_in_up(amqp_url: str) -> None:
    ear = Ear(RabbitMQTransport(amqp_url))
    queue = f"test.{uuid.uuid4().hex}"
    ear.transport.start(ear, [queue])
    ear.transport.stop_consuming()
    ear.next(Up)
    ear.transport.close()


@servers
def test_stop_consuming_holds_over_a_reconnect(rabbit: Rig, rabbitmq_server: RabbitMQServer) -> None:
    queue = rabbit.queue()
    ear = rabbit.ear([queue], prefetch=1)
    ear.transport.stop_consuming()
    ear.store(queue, b"1")
    rabbitmq_server.ctl("close_all_connections", "maintenance")
    ear.next(Up, after=1)
    time.sleep(QUIET_S)
    assert not ear.all(Delivery)


@servers
def test_a_returned_publish_is_told_from_its_5000_neighbours(rabbit: Rig) -> None:
    queue, nowhere = rabbit.declared(), rabbit.queue()
    ear = rabbit.ear()
    batch = [Publication(next(tickets), nowhere if number % 7 == 3 else queue, b"x") for number in range(5000)]
    ear.transport.publish(batch)
    answers = ear.answers([each.ticket for each in batch])
    assert [answers[each.ticket] for each in batch] == [
        Confirmed(each.ticket, returned=each.queue == nowhere) for each in batch
    ]


@servers
def test_heartbeats_go_on_while_tasks_keep_all_threads_busy(amqp_url: str) -> None:
    """A heartbeat of 3 s; the broker would hang up after 6 to 9 s of silence. (That is more than a busy machine's.)"""
    ear = Ear(RabbitMQTransport(amqp_url, heartbeat_s=3))
    queue = f"test.{uuid.uuid4().hex}"
    ear.transport.start(ear, [queue])
    ear.next(Up)
    until = time.monotonic() + 10

    def burn() -> None:
        while time.monotonic() < until:
            sum(range(1000))

    threads = [threading.Thread(target=burn) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert not ear.all(Down)
    ear.store(queue, b"alive")
    ear.transport.close()
    delete(amqp_url, queue)


@servers
def test_a_memory_alarm_holds_publishes_but_not_acks(rabbit: Rig, rabbitmq_server: RabbitMQServer) -> None:
    queue = rabbit.queue()
    ear = rabbit.ear([queue], prefetch=1)
    ear.store(queue, b"1", b"2")
    [first] = ear.deliveries(1)
    with alarm(rabbitmq_server, ear, queue) as asked:
        assert "memory" in blocked(ear)
        [held] = ear.publish(queue, b"held")
        ear.transport.ack([first])
        assert ear.deliveries(2)[1].body == b"2"
        assert held not in ear.answered
    everything = [*asked, held]
    assert list(ear.answers(everything).values()) == [Confirmed(ticket) for ticket in everything]
    assert blocked(ear) == ""


@servers
def test_close_does_not_wait_for_a_blocked_broker(rabbit: Rig, rabbitmq_server: RabbitMQServer) -> None:
    queue = rabbit.declared()
    ear = rabbit.ear()
    with alarm(rabbitmq_server, ear, queue) as asked:
        [held] = ear.publish(queue, b"held")
        close_at_once(ear)
        assert ear.answers([*asked, held])[held] == Lost(held)


@servers
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("guest:guest", "guest:wrong"), "mechanism PLAIN: mend the user name or password in its URL"),
        (("%2F", "no-such-vhost"), "mend the vhost in its URL, or make it with `rabbitmqctl add_vhost no-such-vhost`"),
    ],
    ids=["password", "vhost"],
)
def test_a_login_that_cannot_work_is_refused(amqp_url: str, change: tuple[str, str], told: str) -> None:
    ear = Ear(RabbitMQTransport(amqp_url.replace(*change)))
    ear.transport.start(ear, ["q"])
    assert told in ear.next(Refused).reason
    time.sleep(QUIET_S)
    assert len(ear.all(Refused)) == 1
    [ticket] = ear.publish("q", b"")
    assert ear.answers([ticket]) == {ticket: Lost(ticket)}
    close_at_once(ear)


@servers
def test_a_queue_of_another_type_is_refused_with_the_remedy(rabbit: Rig, amqp_url: str) -> None:
    queue = rabbit.declared()
    ear = Ear(RabbitMQTransport(amqp_url, queue_type="classic"))
    ear.transport.start(ear, [queue])
    reason = ear.next(Refused).reason
    assert all(word in reason for word in (queue, "'classic'", "'quorum'", "--queue-type", "delete"))
    ear.transport.close()


@servers
def test_a_quorum_queue_never_drops_a_message_for_its_deliveries(rabbit: Rig) -> None:
    """25 deliveries: RabbitMQ 4 would drop after 20, and 3.x with a limit of -1 after one."""
    queue = rabbit.queue()
    rabbit.ear([queue]).store(queue, b"patient")
    rabbit.ears[0].transport.close()
    for _ in range(25):
        ear = rabbit.ear([queue])
        assert ear.deliveries(1)[0].body == b"patient"
        ear.transport.close()


@servers
def test_check_finds_a_server_and_what_is_wrong_with_the_way_to_it(
    amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pwf_runtime.transport.rabbitmq.LOOK_S", WAIT_S)
    assert [finding.level for finding in check(amqp_url)] == ["ok", "ok"]
    assert "guest:guest" not in check(amqp_url)[0].message
    [refused] = check(amqp_url.replace("guest:guest", "guest:wrong"))
    assert refused.level == "fail"
    assert "ACCESS_REFUSED" in refused.message


def test_check_knows_a_server_that_is_no_rabbitmq() -> None:
    """It takes the connection, and does not answer: another program's port."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        [found] = check(f"amqp://guest:guest@127.0.0.1:{other.getsockname()[1]}/")
    assert found.level == "fail"
    assert "it does not answer as RabbitMQ does: is that the right port?" in found.message


def test_a_vhost_that_is_not_granted_is_told_with_the_remedy() -> None:
    said = "NOT_ALLOWED - access to vhost '/other' refused for user 'ann'"
    assert remedied(said) == f"{said}: mend the vhost in its URL, or grant it with `rabbitmqctl set_permissions`"
    assert remedied("NOT_ALLOWED - something else") == "NOT_ALLOWED - something else"


def test_a_server_that_is_not_there_is_said_once_and_tried_again() -> None:
    port = free_port()
    ear = Ear(RabbitMQTransport(f"amqp://guest:guest@127.0.0.1:{port}/"))
    ear.transport.start(ear, ["q"])
    assert ear.next(Down).reason == f"cannot reach 127.0.0.1:{port}: connection refused"
    [ticket] = ear.publish("q", b"")
    assert ear.answers([ticket]) == {ticket: Lost(ticket)}
    time.sleep(1)
    assert len(ear.all(Down)) == 1
    close_at_once(ear)
    [finding] = check(f"amqp://guest:guest@127.0.0.1:{port}/")
    assert finding.message.endswith(f"127.0.0.1:{port}: connection refused")
    with pytest.raises(TransportUnavailable, match="connection refused"):
        depth(f"amqp://guest:guest@127.0.0.1:{port}/", "q")


@servers
def test_a_set_up_that_the_broker_never_answers_is_given_up_and_tried_again(
    amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pwf_runtime.transport.amqp_link.SET_UP_S", 0.3)
    monkeypatch.setattr(Consumer, "_set_up", lambda *_: None)
    ear = Ear(RabbitMQTransport(amqp_url))
    ear.transport.start(ear, ["q"])
    assert "no answer within" in ear.next(Down).reason
    monkeypatch.undo()
    ear.next(Up)
    ear.transport.close()
    delete(amqp_url, "q")


def test_a_transport_says_so_when_used_after_a_fork() -> None:
    transport = RabbitMQTransport(f"amqp://127.0.0.1:{free_port()}/")
    ear = Ear(transport)
    transport.start(ear)
    mine, transport._pid = transport._pid, 1
    with pytest.raises(UsageError, match="belongs to process 1: make a new one"):
        ear.publish("q", b"")
    transport.close()  # leaves the parent's connection alone
    transport._pid = mine
    transport.close()


def test_an_error_in_the_loop_is_said_and_everything_is_built_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pwf_runtime.transport.rabbitmq.time.sleep", lambda _seconds: None)
    ear = Ear(RabbitMQTransport(f"amqp://127.0.0.1:{free_port()}/"))
    ear.transport.start(ear, ["q"])
    ear.next(Down)
    on_loop(ear, lambda *_: 1 / 0)
    assert "division by zero" in ear.next(Down, after=1).reason
    assert "connection refused" in ear.next(Down, after=2).reason
    [ticket] = ear.publish("q", b"")
    assert ear.answers([ticket]) == {ticket: Lost(ticket)}
    ear.transport.close()


@pytest.mark.parametrize("url", ["localhost:5672", "http://host/", "amqp:///vhost", "amqp://u:secret@h:port/", ""])
def test_a_url_that_cannot_be_read_is_shown_without_its_password(url: str) -> None:
    with pytest.raises(UsageError, match="amqp://user:password@host:5672/vhost") as raised:
        RabbitMQTransport(url)
    assert "secret" not in str(raised.value)


def test_an_unknown_queue_type_names_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"'quorum'.*'classic'"):
        RabbitMQTransport("amqp://host/", queue_type="mirrored")  # type: ignore[arg-type]


def test_masking_leaves_the_rest() -> None:
    assert masked("amqp://user:p%40ss@host:5672/vhost") == "amqp://user:***@host:5672/vhost"
    assert masked("amqp://host/") == "amqp://host/"


def test_pauses_grow_to_a_bound_and_differ() -> None:
    assert [pause_s(failures, 0.0) for failures in (0, 1, 2)] == [0.1, 0.2, 0.4]
    assert pause_s(0, 1.0) == 0.2
    assert pause_s(10_000, 1.0) == LONGEST_PAUSE_S


class Channel:
    """What of a pika channel the acks need; keeps what would go over the wire."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, bool]] = []

    def basic_ack(self, tag: int, multiple: bool = False) -> None:
        self.sent.append((tag, multiple))


class Nobody:
    """Owns a link and hears nothing."""

    def say(self, event: TransportEvent) -> None: ...
    def link_ready(self) -> None: ...
    def link_lost(self, reason: str) -> None: ...
    def link_refused(self, reason: str) -> None: ...
    def link_closed(self) -> None: ...


@pytest.mark.parametrize(
    ("batches", "sent"),
    [
        ([[1, 2, 3]], [(3, True)]),
        ([[2, 3]], [(2, False), (3, False)]),
        ([[1, 3, 2, 5]], [(3, True), (5, False)]),
        ([[3], [1, 2]], [(3, False), (2, True)]),
        ([[2], [1], [3, 4]], [(2, False), (1, True), (4, True)]),
        ([[5], [9], [5, 5]], [(5, False)]),
    ],
)
def test_acks_are_joined_only_where_every_lower_tag_is_done(batches: list[list[int]], sent: list[Any]) -> None:
    consumer = Consumer(pika.adapters.select_connection.IOLoop(), pika.ConnectionParameters(), Nobody(), ["q"], 9, {})
    consumer._channel, consumer._unacked = Channel(), dict.fromkeys([1, 2, 3, 4, 5])
    for batch in batches:
        consumer.ack([Delivery("q", b"", 0, tag) for tag in batch])
    assert consumer._channel.sent == sent
    consumer._loop.close()


def on_loop(ear: Ear, call: Callable[[Consumer, Publisher], Any]) -> None:
    """Do something on the transport's I/O thread that no user could."""
    transport: Any = ear.transport
    transport._loop.add_callback_threadsafe(lambda: call(transport._consumer, transport._publisher))


@contextmanager
def alarm(server: RabbitMQServer, ear: Ear, queue: str) -> Iterator[list[int]]:
    """A memory alarm. The broker blocks a connection at a publish once that one has heard of it: publish until then."""
    server.ctl("set_vm_memory_high_watermark", "0.000001")
    try:
        asked: list[int] = []
        deadline = time.monotonic() + WAIT_S
        while not blocked(ear):
            assert time.monotonic() < deadline, "the broker does not block"
            asked += ear.publish(queue, b"until it blocks")
            time.sleep(0.05)
        yield asked
    finally:
        server.ctl("set_vm_memory_high_watermark", "0.4")


def close_at_once(ear: Ear) -> None:
    """Although it may take its time."""
    before = time.monotonic()
    ear.transport.close(2 * WAIT_S)
    assert time.monotonic() - before < WAIT_S


def blocked(ear: Ear) -> str:
    assert isinstance(ear.transport, RabbitMQTransport)
    return ear.transport.blocked


def wait_until(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + WAIT_S
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
