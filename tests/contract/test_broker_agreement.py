"""Random commands, given to the simulated broker and to a RabbitMQ alike: both must hand over the same.

The simulated broker is the oracle, and knows which commands make sense at the moment. What is compared: which body is
handed over and whether it is flagged as redelivered; what a publish is told; how much waits in each queue, after each
command that gives something back; and, at the end of a sequence, everything that is left, until nothing is.

A run goes on until every command has met every situation (``SITUATIONS``): a generator that never reaches a case proves
nothing about it. A difference is an error of this project: it becomes a rule of ``world.broker``, chosen by the profile
of ``pwsim.faults``, and a paragraph in ``docs/fidelity.md``.
"""

from __future__ import annotations

import itertools
import logging
import random
import socket
import time
import uuid
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any, NamedTuple, TypeAlias

import pika
import pika.exceptions
import pytest

from pwf_runtime.transport.base import Delivery
from pwf_runtime.transport.rabbitmq import QueueType, queue_arguments
from pwsim.faults import RETURNS as profiles
from pwsim.faults import Returns
from pwsim.world.broker import Broker, Queued

QUEUES = ("one", "two")
MISSING = "missing"
CONNECTIONS, CHANNELS = 2, 2
"""As many connections at a time, with as many channels each."""
SEQUENCE = 200
"""Commands in one sequence, before queues are drained and new ones are made."""
STEPS = 2_500
"""Commands at least for one type of queue; more where a situation is rare."""
MOST_STEPS = 20_000
SETTLE_S = 60.0
RETURNS: dict[QueueType, Returns] = {kind: profiles[f"rabbitmq-{kind}"] for kind in ("quorum", "classic")}

Seen: TypeAlias = tuple[bytes, bool]
"""A body that was handed over, and its flag."""


class Held(NamedTuple):
    """A delivery: the how-manieth of a channel. ``(connection, channel)`` are numbers that are never used again."""

    connection: int
    channel: int
    number: int


# ── the simulated broker ──────────────────────────────────────────────────────────────────────


class Simulated:
    """The broker that ``pwsim`` uses: all those it may be.

    When a connection goes, nobody says which of its channels goes first, and each queue hears of it by itself: one may
    hear of this channel first and another of that one. So from then on there are several brokers, until what is handed
    over tells them apart. In the simulator a process has one channel.
    """

    def __init__(self, returns: Returns) -> None:
        self.brokers = [Broker(QUEUES, returns)]
        self.channels: dict[tuple[int, int], int] = {}
        self.deliveries: dict[Held, Delivery] = {}

    @property
    def queues(self) -> dict[str, list[Queued]]:
        return self.brokers[0].queues

    def open(self, connection: int, channel: int) -> None:
        (self.channels[connection, channel],) = {broker.open_channel() for broker in self.brokers}

    def publish(self, queue: str, body: bytes) -> bool:
        (routed,) = {broker.publish(queue, body, 0) for broker in self.brokers}
        return routed

    def take(self, connection: int, channel: int, queue: str, number: int, found: list[Seen]) -> list[Seen]:
        """What is handed over: what was ``found``, if a broker can do so. Those that cannot are none any more."""
        number = min(number, len(self.queues[queue]))
        own = self.channels[connection, channel]
        taken = [[broker.deliver(queue, own) for _ in range(number)] for broker in self.brokers]
        seen = [[(delivery.body, delivery.redelivered) for delivery in each] for each in taken]
        self.brokers = [broker for broker, each in zip(self.brokers, seen, strict=True) if each == found]
        if not self.brokers:
            return seen[0]
        nth = sum((held.connection, held.channel) == (connection, channel) for held in self.deliveries)
        for delivery in taken[seen.index(found)]:
            self.deliveries[Held(connection, channel, nth)] = delivery
            nth += 1
        return found

    def ack(self, held: Held) -> None:
        for broker in self.brokers:
            broker.ack(self.deliveries[held])

    def close_channel(self, connection: int, channel: int) -> None:
        """Also when the broker closes it, since somebody acked what it does not hold. No worker of ours ever does (see
        ``transport.amqp_consumer``), so the simulated broker leaves that to who does."""
        self._close([self.channels[connection, channel]])

    def close_connection(self, connection: int) -> None:
        self._close([channel for (owner, _), channel in self.channels.items() if owner == connection])

    def _close(self, channels: list[int]) -> None:
        possible: dict[object, Broker] = {}
        for broker in self.brokers:
            ways = [_closed(broker, order) for order in itertools.permutations(channels)]
            for heard in itertools.product(ways, repeat=len(QUEUES)):
                copy = ways[0].copy()
                copy.queues = {queue: list(way.queues[queue]) for queue, way in zip(QUEUES, heard, strict=True)}
                possible[repr(copy.queues)] = copy
        self.brokers = list(possible.values())
        self.channels = {name: channel for name, channel in self.channels.items() if channel not in channels}

    def depths(self) -> list[int]:
        return [len(queued) for queued in self.queues.values()]

    # What the generator asks, to choose what makes sense.

    def unacked(self, connection: int, channel: int | None = None) -> list[Held]:
        return [
            held
            for held, delivery in self.deliveries.items()
            if held.connection == connection
            and channel in (None, held.channel)
            and delivery.tag in self.brokers[0].unacked.get(delivery.channel, ())
        ]


def _closed(broker: Broker, channels: Iterable[int]) -> Broker:
    copy = broker.copy()
    for channel in channels:
        copy.close_channel(channel, 0)
    return copy


# ── RabbitMQ ──────────────────────────────────────────────────────────────────────────────────


class Real:
    """RabbitMQ, as plain pika sees it. A connection and a channel for itself publish, declare and look.

    What a channel takes it takes as a consumer that is cancelled when it has got that. A quorum queue takes back what
    several consumers of one channel had in the order of their tags, as text; so the tags rise, and it is as if it had
    been one consumer, which is what production has.
    """

    def __init__(self, url: str, queue_type: QueueType) -> None:
        self.parameters = pika.URLParameters(url)
        self.parameters.heartbeat = 0  # a connection that is not asked anything here answers no heartbeat
        self.own = pika.BlockingConnection(self.parameters)
        self.channel = self.own.channel()
        self.channel.confirm_delivery()
        prefix = f"agree.{uuid.uuid4().hex}"
        self.names = {queue: f"{prefix}.{queue}" for queue in (*QUEUES, MISSING)}
        for queue in QUEUES:
            self.channel.queue_declare(self.names[queue], durable=True, arguments=queue_arguments(queue_type))
        self.connections: dict[int, Any] = {}
        self.channels: dict[tuple[int, int], Any] = {}
        self.tags: dict[Held, int] = {}
        self.consumers = map("{:06d}".format, itertools.count(1))

    def close(self) -> None:
        for queue in QUEUES:
            self.channel.queue_delete(self.names[queue])
        for connection in (*self.connections.values(), self.own):
            if connection.is_open:
                connection.close()

    def open(self, connection: int, channel: int) -> None:
        if connection not in self.connections:
            self.connections[connection] = pika.BlockingConnection(self.parameters)
        self.channels[connection, channel] = self.connections[connection].channel()

    def publish(self, queue: str, body: bytes) -> bool:
        """Returns when it is confirmed; pika raises after the confirm of what was returned."""
        try:
            self.channel.basic_publish(
                "", self.names[queue], body, pika.BasicProperties(delivery_mode=2), mandatory=True
            )
        except pika.exceptions.UnroutableError:
            return False
        return True

    def take(self, connection: int, channel: int, queue: str, number: int) -> list[Seen]:
        """Consume as long as it takes to get so many, or as many as there are."""
        number = min(number, self._depth(queue))
        seen: list[Seen] = []
        if not number:
            return seen

        def on_message(_channel: Any, method: Any, _properties: Any, body: bytes) -> None:
            nth = sum((held.connection, held.channel) == (connection, channel) for held in self.tags)
            self.tags[Held(connection, channel, nth)] = method.delivery_tag
            seen.append((body, method.redelivered))

        consumer, tag = self.channels[connection, channel], next(self.consumers)
        consumer.basic_qos(prefetch_count=number)
        consumer.basic_consume(self.names[queue], on_message, consumer_tag=tag)
        end = time.monotonic() + SETTLE_S
        while len(seen) < number and time.monotonic() < end:
            self.connections[connection].process_data_events(0.1)
        consumer.basic_cancel(tag)
        return seen

    def ack(self, held: Held) -> None:
        channel = self.channels[held.connection, held.channel]
        with suppress(pika.exceptions.ChannelWrongStateError):  # it is closed; pika says so without asking
            channel.basic_ack(self.tags[held])
            channel.basic_qos(prefetch_count=1)  # acks have no answer; what has one, has come behind it

    def refuse(self, connection: int, channel: int, acked: Held | None) -> None:
        """Ack again what was acked, or a number that was never given."""
        refused = self.channels[connection, channel]
        refused.basic_ack(99_999 if acked is None else self.tags[acked])
        with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="unknown delivery tag"):
            refused.basic_qos(prefetch_count=1)

    def close_channel(self, connection: int, channel: int) -> None:
        self.channels[connection, channel].close()

    def close_connection(self, connection: int, *, dropped: bool) -> None:
        closed = self.connections[connection]
        if not dropped:
            closed.close()
            return
        closed._impl._transport._sock.shutdown(socket.SHUT_RDWR)  # what a killed process's kernel does
        with suppress(pika.exceptions.AMQPConnectionError):
            while closed.is_open:
                closed.process_data_events(SETTLE_S)

    def depths(self) -> list[int]:
        return [self._depth(queue) for queue in QUEUES]

    def _depth(self, queue: str) -> int:
        depth: int = self.channel.queue_declare(self.names[queue], passive=True).method.message_count
        return depth


# ── commands ──────────────────────────────────────────────────────────────────────────────────


class Difference(AssertionError):
    """The two brokers differ."""


class Both:
    """Gives each command to both, compares, and notes in which situation it was given.

    Channels and connections have numbers that are never used again.
    """

    def __init__(self, oracle: Simulated, real: Real, seen: set[str], chance: random.Random) -> None:
        self.oracle, self.real, self.seen, self.chance = oracle, real, seen, chance
        self.bodies = map(b"%d".__mod__, itertools.count(1))
        self.names = itertools.count(1)
        self.open: list[tuple[int, int]] = []
        self.log: deque[str] = deque(maxlen=25)
        self.steps = 0

    def step(self) -> None:
        """One random command."""
        commands = (self.publish, self.take, self.ack, self.close, self.open_one)
        self.chance.choices(commands, weights=(34, 34, 10, 9, 30))[0]()

    def _same(self, command: str, expected: object, found: object) -> None:
        self.steps += 1
        self.log.append(f"{command} -> {found}")
        if expected != found:
            raise Difference(f"{command}: simulated {expected}, RabbitMQ {found}; before:\n  " + "\n  ".join(self.log))

    def open_one(self) -> None:
        connections = sorted({connection for connection, _ in self.open})
        for connection in connections:
            if sum(each == connection for each, _ in self.open) < CHANNELS and self.chance.random() < 0.6:
                return self._open(connection)
        if len(connections) < CONNECTIONS:
            self._open(next(self.names))
        return None

    def _open(self, connection: int) -> None:
        name = connection, next(self.names)
        self.oracle.open(*name)
        self.real.open(*name)
        self.open.append(name)
        self.log.append(f"open {name}")

    def publish(self) -> None:
        queue = self.chance.choices((*QUEUES, MISSING), weights=(10, 5, 1))[0]
        body = next(self.bodies)
        self.seen.add(f"publish, {self._about(queue)}")
        self._same(f"publish {body!r} to {queue}", self.oracle.publish(queue, body), self.real.publish(queue, body))

    def _about(self, queue: str) -> str:
        if queue == MISSING:
            return "no queue"
        queued = self.oracle.queues[queue]
        if not queued:
            return "nothing waits"
        return "returned ones wait" if any(each.redelivered for each in queued) else "new ones wait"

    def take(self) -> None:
        if not self.open:
            return
        name, queue, number = (
            self.chance.choice(self.open),
            self.chance.choice(QUEUES),
            self.chance.choice((1, 1, 2, 4)),
        )
        self.seen.add(f"take {'one' if number == 1 else 'several'}, {self._about(queue)}")
        self._take(name, queue, number)

    def _take(self, name: tuple[int, int], queue: str, number: int) -> int:
        found = self.real.take(*name, queue, number)
        self._same(f"take {number} of {queue} on {name}", self.oracle.take(*name, queue, number, found), found)
        return len(found)

    def ack(self) -> None:
        if not self.oracle.deliveries:
            return None
        held = self.chance.choice(list(self.oracle.deliveries)[-12:])
        name = held[:2]
        unacked = self.oracle.unacked(*name)
        if name in self.open and held not in unacked:
            return self._go("refuse", *name, held)
        which = "channel gone" if name not in self.open else "the oldest" if held == unacked[0] else "not the oldest"
        self.seen.add(f"ack, {which}")
        self.oracle.ack(held)
        self.real.ack(held)
        self._same(f"ack {held}", self.oracle.depths(), self.real.depths())
        return None

    def close(self) -> None:
        if self.open:
            self._go(self.chance.choice(CLOSES), *self.chance.choice(self.open))

    def _go(self, how: str, connection: int, channel: int, acked: Held | None = None) -> None:
        """A channel, or a connection with all its channels, goes."""
        alone = how in ("channel", "refuse")
        self.seen.add(self._going(how, self.oracle.unacked(connection, channel if alone else None)))
        if alone:
            self.oracle.close_channel(connection, channel)
        else:
            self.oracle.close_connection(connection)
        if how == "refuse":
            self.real.refuse(connection, channel, acked)
        elif how == "channel":
            self.real.close_channel(connection, channel)
        else:
            self.real.close_connection(connection, dropped=how == "drop")
        self.open = [each for each in self.open if each != (connection, channel) and (alone or each[0] != connection)]
        self._settle(f"close {how} {connection, channel}")

    def _going(self, how: str, going: list[Held]) -> str:
        """The situation, in words: what is unacked there, who else has some of the same queue, and what waits in it."""
        queues = {self.oracle.deliveries[held].queue for held in going}
        number = ("none", "one", "several")[min(len(going), 2)]
        if len({held.channel for held in going}) > 1:
            number = "several of several channels"
        staying = [held for name in self.open for held in self.oracle.unacked(*name) if held not in going]
        shared = " and others hold some" if any(self.oracle.deliveries[h].queue in queues for h in staying) else ""
        waiting = [each for queue in queues for each in self.oracle.queues[queue]]
        again = " and returned ones wait" if any(each.redelivered for each in waiting) else ""
        return f"close {how}, {number} unacked{shared}{again}"

    def _settle(self, command: str) -> None:
        """What a queue gets back it gets a moment after the close."""
        expected = self.oracle.depths()
        end = time.monotonic() + SETTLE_S
        while (found := self.real.depths()) != expected and time.monotonic() < end:
            time.sleep(0.002)
        self._same(f"{command}, then wait", expected, found)

    def drain(self) -> None:
        """All that is left, and then nothing."""
        while self.open:
            self._go("connection", *self.open[0])
        self._open(next(self.names))
        for queue in QUEUES:
            left = len(self.oracle.queues[queue])
            assert self._take(self.open[0], queue, left + 1) == left
        self._settle("take all that is left")


CLOSES = ("channel", "connection", "drop", "refuse")
ABOUT = ("nothing waits", "new ones wait", "returned ones wait")
SITUATIONS = frozenset(
    [
        *[f"{command}, {about}" for command in ("publish", "take one", "take several") for about in ABOUT],
        "publish, no queue",
        *[f"ack, {which}" for which in ("the oldest", "not the oldest", "channel gone")],
        *[f"close {how}, none unacked" for how in CLOSES],
        *[
            f"close {how}, {number} unacked{shared}{again}"
            for how in CLOSES
            for number in ("one", "several", "several of several channels")
            for shared in ("", " and others hold some")
            for again in ("", " and returned ones wait")
            if how in ("connection", "drop") or "channels" not in number
        ],
    ]
)


@pytest.fixture(autouse=True)
def _quiet() -> None:
    """Connections are dropped here all the time, and pika would tell of each at length."""
    logging.getLogger("pika").setLevel(logging.CRITICAL)


@contextmanager
def real(url: str, queue_type: QueueType) -> Iterator[Real]:
    with closing(Real(url, queue_type)) as arm:
        yield arm


def compare(url: str, queue_type: QueueType, returns: Returns, steps: int = STEPS) -> tuple[int, set[str]]:
    """Compare for at least so many steps and until all situations were seen; how many it were, and which."""
    seen: set[str] = set()
    done = 0
    for seed in itertools.count():
        if done >= MOST_STEPS or (done >= steps and seen >= SITUATIONS):
            break
        with real(url, queue_type) as other:
            both = Both(Simulated(returns), other, seen, random.Random(f"agreement {seed}"))
            try:
                for _ in range(SEQUENCE):
                    both.step()
                both.drain()
            except Difference as difference:
                raise Difference(f"{queue_type} queue, seed {seed}: {difference}") from None
            done += both.steps
    return done, seen


@pytest.mark.servers
@pytest.mark.parametrize("queue_type", RETURNS)
def test_the_simulated_broker_and_rabbitmq_agree(amqp_url: str, queue_type: QueueType) -> None:
    began = time.monotonic()
    done, seen = compare(amqp_url, queue_type, RETURNS[queue_type])
    assert sorted(SITUATIONS - seen) == [], f"not met in {done} steps"
    assert sorted(seen - SITUATIONS) == [], "situations that the list does not know"
    print(f"{queue_type}: {done:,} commands in {time.monotonic() - began:.1f} s, {len(seen)} situations")


# ── does it find anything? ────────────────────────────────────────────────────────────────────


@pytest.mark.servers
@pytest.mark.parametrize(("queue_type", "wrong"), [("quorum", "place"), ("classic", "first")])
def test_a_broker_that_returns_messages_otherwise_is_found_out(
    amqp_url: str, queue_type: QueueType, wrong: Returns
) -> None:
    with pytest.raises(Difference, match=f"{queue_type} queue, seed"):
        compare(amqp_url, queue_type, wrong)


@pytest.mark.servers
def test_a_broker_that_forgets_a_flag_is_found_out(amqp_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    deliver = Broker.deliver

    def unflagged(self: Broker, queue: str, channel: int, *, keep_copy: bool = False) -> Delivery:
        handed = deliver(self, queue, channel, keep_copy=keep_copy)
        return Delivery(handed.queue, handed.body, handed.channel, handed.tag, redelivered=False)

    monkeypatch.setattr(Broker, "deliver", unflagged)
    with pytest.raises(Difference, match=r"False.* RabbitMQ .*True"):
        compare(amqp_url, "quorum", "first")
