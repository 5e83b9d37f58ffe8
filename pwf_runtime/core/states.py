"""The states of a delivery: a class is a state, its docstring what is going on in it, its fields all that is known."""

from __future__ import annotations

from msgspec import Struct

from .model import CallRecord, Child, Event, Failure, Message, Outbox, Timer
from .txn import Is


class Claim(Struct, frozen=True, gc=False):
    """A claim that was granted. Only this attempt may commit, as long as no later one was granted.

    ``uncounted``: attempts before this one that do not count; ``strangers``: of these, claims by workers that did not
    have the task.
    """

    message: Message
    token: str
    attempt: int
    record: CallRecord
    uncounted: int = 0
    strangers: int = 0

    @property
    def tries(self) -> int:
        """How many attempts of the allowance are used, with this one."""
        return self.attempt - self.uncounted


class Reached(Struct, frozen=True, gc=False):
    """A join that waits for ``count`` events of ``name``, which are there. The rest: see ``model.Waiter``."""

    join: str
    name: str
    count: int
    at_least: int
    ranked: bool


class Work(Struct, frozen=True, gc=False):
    """What a committed call still has to bring about.

    ``todo``: joins that have enough of a name; ``joined``: calls that joins have fired;
    ``guards``: what was done to joins, compared again when the call settles, since a store may fall back.
    """

    message: Message
    token: str
    outbox: Outbox
    todo: tuple[Reached, ...] = ()
    joined: tuple[Child, ...] = ()
    guards: tuple[Is, ...] = ()


class Claiming(Struct, frozen=True, gc=False):
    """Waiting for the claim. ``due_ms``: the call had to wait until then, which is over."""

    message: Message
    token: str
    due_ms: int | None = None


class Gathering(Struct, frozen=True, gc=False):
    """A joined call reads its events. ``wanted``: (name, from, to) still to read; ``None`` before that is known."""

    claim: Claim
    wanted: tuple[tuple[str, int, int], ...] | None = None
    asked: tuple[tuple[str, int, int], ...] = ()
    events: tuple[Event, ...] = ()


class Running(Struct, frozen=True, gc=False):
    """The user's function runs; the driver renews the lease."""

    claim: Claim


class Committing(Struct, frozen=True, gc=False):
    """Waiting for the commit. ``leaf``: the call settles with it."""

    claim: Claim
    outbox: Outbox
    leaf: bool


class Failing(Struct, frozen=True, gc=False):
    """Noting that the attempt failed; ``due_ms``: when to try again, ``None``: it is dead. ``missing``: for want of
    this field, and only if it is not there again."""

    claim: Claim
    failure: Failure
    due_ms: int | None
    missing: str | None = None


class Looking(Struct, frozen=True, gc=False):
    """Somebody else committed: looking for joins that have enough, as that worker would have."""

    work: Work


class Satisfying(Struct, frozen=True, gc=False):
    """Marking the first of ``work.todo``."""

    work: Work


class Recalling(Struct, frozen=True, gc=False):
    """The first of ``work.todo`` has enough names marked, so many: reading what it fires."""

    work: Work
    marks: int


class Firing(Struct, frozen=True, gc=False):
    """Firing the join of the first of ``work.todo``, whose record is ``join``, with so many names marked."""

    work: Work
    join: bytes
    marks: int


class Publishing(Struct, frozen=True, gc=False):
    """Waiting until the broker has every child and joined call safely."""

    work: Work


class Noting(Struct, frozen=True, gc=False):
    """Writing to the calls in ``unroutable`` that no queue took their message."""

    work: Work
    unroutable: tuple[Message, ...]
    timers: tuple[Timer, ...]


class Delaying(Struct, frozen=True, gc=False):
    """Setting timers for delayed children and for what could not be routed."""

    work: Work


class Settling(Struct, frozen=True, gc=False):
    """Forgetting the call."""

    work: Work


class Completing(Struct, frozen=True, gc=False):
    """Nothing of the run is open: ending it."""

    message: Message
    token: str


class Listing(Struct, frozen=True, gc=False):
    """Adding the run to the finished ones."""

    message: Message
    token: str


class Unlisting(Struct, frozen=True, gc=False):
    """Removing it from the open ones."""

    message: Message
    token: str


class Confirming(Struct, frozen=True, gc=False):
    """Looking whether it is still ended: a store that fell back meanwhile may have forgotten it."""

    message: Message
    token: str


class Relisting(Struct, frozen=True, gc=False):
    """It may not be: adding it to the open ones again."""

    message: Message
    token: str


class Parking(Struct, frozen=True, gc=False):
    """Setting a timer that brings the message back."""

    message: Message


class Burying(Struct, frozen=True, gc=False):
    """Adding the call to the dead ones."""

    message: Message


class Acking(Struct, frozen=True, gc=False):
    """Dealing the delivery done."""

    message: Message


class Done(Struct, frozen=True, gc=False):
    """Nothing is left to do for this delivery."""

    message: Message
