"""Brings machines to their end on the calling thread: how a client begins runs and publishes.

A worker has an engine for this; a client has no thread of its own but its callers'. They take turns, and each waits
for its own answers, for a bounded time.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, TypeAlias

from .clock import Clock
from .core.effects import RunTask
from .core.inputs import Damaged
from .core.machine import Machine, Step
from .driver import Answer, Asked, Driver
from .errors import RunDamaged, ServerRefused, StoreUnavailable, TransportUnavailable
from .pause import FIRST_S, NEVER, Pause
from .store.base import Store
from .transport.base import Confirmed, Down, Lost, Publication, Refused, Transport, TransportEvent, Up

Begin: TypeAlias = Callable[[int], Step]
"""Begins a machine, given the time."""


class Courier:
    """Safe to share between threads. The transport is started at the first use and closed with ``close``."""

    def __init__(self, store: Store, transport: Transport, clock: Clock, timeout: float) -> None:
        self._transport = transport
        self._clock = clock
        self._timeout = timeout
        self._driver = Driver(store, transport, _no_tasks)
        self._driver.heard(Down("not connected yet"))
        self._turn = threading.Lock()
        self._events: SimpleQueue[Sequence[TransportEvent]] = SimpleQueue()
        self._answers: list[Answer] = []
        self._owners = itertools.count(1)
        self._raw = itertools.count(-1, -1)  # tickets of publications that no machine asked for
        self._started = False
        self._up = False
        self._refused = ""
        self._down = "it does not answer"

    def run(self, machine: Machine, begins: Sequence[Begin]) -> list[Any]:
        """Bring each to its end, all at once; their last states.

        Raises Unavailable when a server does not answer in time, and ServerRefused. What was asked may have been done.
        """
        with self._turn:
            self._start()
            deadline = monotonic() + self._timeout
            states: dict[int, Any] = {}
            ends: dict[int, Any] = {}
            asked: list[Asked] = []
            for begin in begins:
                owner = next(self._owners)
                states[owner], effect = begin(self._clock.now_ms())
                assert effect is not None, "a machine begins with an effect"
                asked.append((owner, effect))
            order = list(states)
            while len(ends) < len(order):
                answers = self._driver.perform(asked) if asked else []
                asked = []
                for owner, input in answers or self._wait(deadline):
                    if owner not in states or owner in ends:
                        continue  # of an earlier use that was given up
                    if isinstance(input, Damaged):
                        raise RunDamaged(input.run_id, input.what)
                    states[owner], effect = machine.step(states[owner], input, self._clock.now_ms())
                    if effect is None:
                        ends[owner] = states[owner]
                    else:
                        asked.append((owner, effect))
            return [ends[owner] for owner in order]

    def publish(self, bodies: Sequence[tuple[str, bytes]]) -> list[bool]:
        """Publish ``(queue, body)`` as they are; for each, whether a queue took it. Raises as ``run``."""
        with self._turn:
            self._start()
            deadline = monotonic() + self._timeout
            tickets = [next(self._raw) for _ in bodies]
            waiting = dict(zip(tickets, bodies, strict=True))
            routed: dict[int, bool] = {}
            self._until_up(deadline)
            self._send(waiting)
            refused: set[int] = set()
            pause = Pause()
            while waiting:
                for event in self._hear(deadline, pause.at):
                    if isinstance(event, Confirmed) and event.ticket in waiting:
                        del waiting[event.ticket]
                        routed[event.ticket] = not event.returned
                    elif isinstance(event, Lost) and event.ticket in waiting:
                        refused.add(event.ticket)
                if refused and not pause.runs:
                    pause.begin(monotonic())
                elif pause.is_over(monotonic()):
                    self._until_up(deadline)
                    self._send({ticket: waiting[ticket] for ticket in sorted(refused)})
                    refused.clear()
                    pause.lengthen(monotonic())
            return [routed[ticket] for ticket in tickets]

    def close(self) -> None:
        with self._turn:
            if self._started:
                self._transport.close()

    # ── one at a time ─────────────────────────────────────────────────────────────────────────

    def _start(self) -> None:
        if self._refused:
            raise ServerRefused(self._refused)
        if not self._started:
            self._started = True
            self._transport.start(self._events.put)

    def _send(self, waiting: dict[int, tuple[str, bytes]]) -> None:
        self._transport.publish([Publication(ticket, *body) for ticket, body in waiting.items()])

    def _until_up(self, deadline: float) -> None:
        while not self._up:
            self._hear(deadline)

    def _wait(self, deadline: float) -> list[Answer]:
        """What comes next: from the broker, or from a store that was away."""
        if self._driver.deferred:
            error = self._driver.store_error
            if monotonic() >= deadline:
                self._driver.deferred = []
                raise StoreUnavailable(str(error)) from error
            threading.Event().wait(FIRST_S)
            return self._driver.retry()
        self._hear(deadline, self._driver.publish_again(monotonic()))
        answers, self._answers = self._answers, []
        return answers

    def _hear(self, deadline: float, wake: float = NEVER) -> Sequence[TransportEvent]:
        """What the transport says next, if it says something before ``wake``."""
        try:
            events = self._events.get(timeout=max(0.0, min(deadline, wake) - monotonic()))
        except Empty:
            if wake < deadline:
                return ()
            what = "does not confirm" if self._up else f"cannot be reached: {self._down}"
            raise TransportUnavailable(
                f"RabbitMQ {what} (waited {self._timeout:g} s); what was to be published may or may not be there"
            ) from None
        for event in events:
            if isinstance(event, Refused):
                self._refused = event.reason
                raise ServerRefused(event.reason)
            if isinstance(event, Down):
                self._down = event.reason
            if isinstance(event, Up | Down):
                self._up = isinstance(event, Up)
            self._answers += self._driver.heard(event)
        return events


def _no_tasks(_owner: int, _asked: RunTask) -> None:
    raise AssertionError("a client runs no tasks")
