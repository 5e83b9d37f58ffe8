"""The nouns of the protocol, frozen.

Payloads are bytes here: what they mean is the business of the codec and of the user's task.
"""

from __future__ import annotations

from msgspec import Struct

# ── what travels ──────────────────────────────────────────────────────────────────────────────


class Message(Struct, frozen=True, gc=False):
    """A hint that a call may be ready. It holds no payload: the call's record does.

    ``task`` is the full name ``"queue.task"``.
    """

    run_id: str
    call_id: str
    task: str

    @property
    def queue(self) -> str:
        return self.task.partition(".")[0]


class Marker(Struct, frozen=True, gc=False):
    """Sent behind whatever a queue holds: when it comes back, all that was ahead of it was delivered."""

    queue: str
    sent_ms: int


# ── what a task answers ───────────────────────────────────────────────────────────────────────


class NewCall(Struct, frozen=True, gc=False):
    """Call ``task`` (full name) with ``data``, not before ``delay_ms`` from the commit."""

    task: str
    data: bytes
    delay_ms: int = 0


class Event(Struct, frozen=True, gc=False):
    """A named fact of a run."""

    name: str
    data: bytes


class Need(Struct, frozen=True, gc=False, array_like=True):
    """``count`` events of one name. ``outside``: they are signals, which no call of the run brings about."""

    name: str
    count: int
    outside: bool = False


class NewJoin(Struct, frozen=True, gc=False):
    """Run ``then`` once ``at_least`` of the ``needs`` are met.

    ``timeout_ms`` after the commit, if it has not fired by then, it is over and ``on_timeout`` (if any) runs.
    """

    then: NewCall
    needs: tuple[Need, ...]
    at_least: int
    timeout_ms: int | None = None
    on_timeout: NewCall | None = None


class NewFork(Struct, frozen=True, gc=False):
    """Run ``calls``, and ``then`` with their results, in this order, when all have finished."""

    calls: tuple[NewCall, ...]
    then: NewCall | None


class Outcome(Struct, frozen=True, gc=False, cache_hash=True):
    """All that a task returned, each kind in the order in which it was given."""

    calls: tuple[NewCall, ...] = ()
    events: tuple[Event, ...] = ()
    joins: tuple[NewJoin, ...] = ()
    forks: tuple[NewFork, ...] = ()
    result: bytes | None = None


class Failure(Struct, frozen=True, gc=False):
    """Why an attempt has no outcome. ``final`` means: another attempt cannot help."""

    kind: str
    message: str
    traceback: str = ""
    final: bool = False


# ── what the store holds ──────────────────────────────────────────────────────────────────────


class CallRecord(Struct, frozen=True, gc=False, omit_defaults=True):
    """What is fixed about a call when it is created.

    ``parent`` is the id of the call whose commit created it ("" for a run's first). ``join`` is set for a call that a
    join fires: its events come from there; ``ranked``: from those of its names that had enough first. ``reports`` is
    the private event, if any, that its commit emits with its result (a member of a fork). ``created_ms`` is the
    creator's clock.
    """

    task: str
    data: bytes
    parent: str
    created_ms: int
    join: str = ""
    ranked: bool = False
    reports: str = ""
    expires: str = ""
    """Set for the built-in call that ends a join at its time: that join's id."""


class Child(Struct, frozen=True, gc=False, array_like=True):
    """What must be remembered to publish a call again. ``due_ms`` 0: at once."""

    call_id: str
    task: str
    due_ms: int = 0


class Armed(Struct, frozen=True, gc=False, array_like=True):
    """A join that a commit armed: all that looking at it again takes."""

    join_id: str
    needs: tuple[Need, ...]
    at_least: int

    @property
    def ranked(self) -> bool:
        """See ``Waiter``."""
        return self.at_least < len(self.needs)


class Outbox(Struct, frozen=True, gc=False, array_like=True):
    """What a committed call still has to bring about. Kept until it settles. ``emitted``: how many of each name."""

    children: tuple[Child, ...]
    emitted: tuple[Need, ...]
    armed: tuple[Armed, ...]


class JoinRecord(Struct, frozen=True, gc=False, omit_defaults=True):
    """What is fixed about a join when it is armed. ``timer`` is the id of the call that ends it, or ""."""

    then: NewCall
    needs: tuple[Need, ...]
    at_least: int
    parent: str
    timer: str = ""

    @property
    def ranked(self) -> bool:
        """Whether fewer names than all of them fire it."""
        return self.at_least < len(self.needs)

    @property
    def keeps_open(self) -> bool:
        """Whether its run stays open for it: it waits for the outside. With a timer it need not: that is open, too."""
        return not self.timer and any(need.outside for need in self.needs)


class StoredEvent(Struct, frozen=True, gc=False, array_like=True):
    """An event as the run keeps it: its data and who emitted it."""

    data: bytes
    call_id: str
    task: str


class Signal(Struct, frozen=True, gc=False, array_like=True):
    """An event that comes from outside, as the run keeps it: a second one with this id is the same, or a mistake.

    ``sent_ms`` is the sender's clock.
    """

    signal_id: str
    event: str
    data: bytes
    sent_ms: int

    def is_same(self, other: Signal) -> bool:
        """Whether it says the same, whenever it was sent."""
        return (self.event, self.data) == (other.event, other.data)


class Waiter(Struct, frozen=True, gc=False, array_like=True):
    """An entry in the list of joins that wait for ``count`` events of a name.

    ``at_least``: how many names must have enough. It stands here too, so that nobody has to read the join's record,
    which is as long as the join is wide, to know whether it fires. ``ranked``: the join takes those of its names that
    have enough first, so it must remember which these are.
    """

    join_id: str
    count: int
    at_least: int
    ranked: bool


class Timer(Struct, frozen=True, gc=False, array_like=True):
    """An entry of the timer index: publish ``message`` when it is due.

    ``token`` makes each entry itself and no other, so that removing the one that was read can never
    remove one that was set meanwhile. ``tries`` counts publishes that the broker could not route.
    """

    run_id: str
    call_id: str
    task: str
    token: str
    tries: int = 0

    @property
    def message(self) -> Message:
        return Message(self.run_id, self.call_id, self.task)
