"""A simulated process: a worker with its deliveries, or a client that begins runs.

It holds what a real process holds in memory, and loses it when it dies.
"""

from __future__ import annotations

from typing import Any

from pwf_runtime.core.effects import Effect
from pwf_runtime.core.machine import Machine
from pwf_runtime.core.model import Message, Outcome
from pwf_runtime.core.states import (
    Committing,
    Delaying,
    Failing,
    Firing,
    Gathering,
    Looking,
    Noting,
    Publishing,
    Running,
    Satisfying,
)
from pwf_runtime.transport.base import Delivery

from ..probes import Inner
from ..program import Ran

_RUNNING = (Gathering, Running, Committing, Failing)

_PUBLISHING = (Looking, Satisfying, Firing, Publishing, Noting, Delaying)


class Slot:
    """One activity of a process: a machine, its state, and the effect it waits for.

    ``path`` and ``nth`` say which delivery of which call this is, for addresses. ``since``: the step at which it began
    to wait. ``part``: how much is done of a publish of several messages. ``struck``: a fault already struck at this
    effect. ``asleep_until``: its effect takes until then; ``answer``: what will have come of it. ``inner``: what its
    task still does before it answers. ``asked_ms``: when its effect was asked for. ``forms``: what a search knows it
    by, until it changes.
    """

    def __init__(
        self, owner: int, machine: Machine, state: Any, effect: Effect, path: str, nth: int, since: int
    ) -> None:
        self.owner = owner
        self.machine = machine
        self.state = state
        self.effect: Effect | None = effect
        self.path = path
        self.nth = nth
        self.since = since
        self.counts: dict[str, int] = {}
        self.part = 0
        self.reordered = False
        self.unroutable: tuple[Any, ...] = ()
        self.struck = False
        self.asleep_until: int | None = None
        self.answer: Any = None
        self.inner: tuple[Inner, ...] = ()
        self.ran: Ran | None = None  # what ``inner`` is the rest of
        self.woke = False  # its worker slept since the claim
        self.lost_after: int | None = None  # when its task had done so much, it learned that the lease is over
        self.message: Message | None = None
        self.run_id = ""
        self.call_id = ""
        self.token = ""
        self.attempt = 0
        self.claimed_ms = 0
        self.outcome: Outcome | None = None
        self.delivery: Delivery | None = None
        self.asked_ms = 0
        self.forms: dict[bool, int] = {}

    def concerns(self, message: Message, token: str) -> None:
        """It is about this message, and claims with this token."""
        self.message, self.run_id, self.call_id, self.token = message, message.run_id, message.call_id, token

    @property
    def is_running(self) -> bool:
        """Whether it holds a claim that has not been answered yet."""
        return isinstance(self.state, _RUNNING)

    @property
    def is_publishing(self) -> bool:
        """Whether its call has committed and it may still publish what follows."""
        return isinstance(self.state, _PUBLISHING)

    def copy(self) -> Slot:
        new = Slot.__new__(Slot)
        new.__dict__.update(self.__dict__)  # much faster than one by one, and worlds are copied a lot
        new.counts = self.counts.copy()
        return new


class Process:
    """A worker of a queue, or a client (no queue), with room for ``capacity`` activities at a time."""

    __slots__ = ("capacity", "channel", "frozen_until", "name", "queue", "slots")

    def __init__(self, name: str, queue: str, capacity: int, channel: int) -> None:
        self.name = name
        self.queue = queue
        self.capacity = capacity
        self.channel = channel
        self.slots: dict[int, Slot] = {}
        self.frozen_until: int | None = None

    def copy(self) -> Process:
        new = Process(self.name, self.queue, self.capacity, self.channel)
        new.slots = {owner: slot.copy() for owner, slot in self.slots.items()}
        new.frozen_until = self.frozen_until
        return new
