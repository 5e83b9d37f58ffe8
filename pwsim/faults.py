"""Faults: what can go wrong, where, and how a person writes it down.

A fault is addressed by what it hits, never by the number of a step: ``register > verify #1 / commit / after`` is "in
the first delivery of that call, after the effect *commit* was done, its worker dies". Such an address still means the
same when another fault is taken out or unrelated code changes.

``after`` and ``before`` the next effect differ only in what others may do in between; both are kept, because a person
thinks in both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Literal, TypeAlias

from msgspec import Struct

from pwf_runtime.errors import UsageError

from . import pauses

# ── modes: what happens at an effect ──────────────────────────────────────────────────────────

BEFORE = "before"  #         the worker dies; the effect is not done
AFTER = "after"  #           the effect is done, then the worker dies without having heard of it
REPLY_LOST = "reply-lost"  # the effect is done, its answer is lost, and the worker does it again
REQUEUE = "requeue"  #       before it, the worker's connection drops: all it has unacked is delivered anew; it goes on
STALL = "stall"  #           before it, the worker freezes beyond its lease and its connection drops; later it goes on
DUPLICATE = "duplicate"  #   the broker hands the message over and keeps a copy
SHUTDOWN = "shutdown"  #     before its task runs, the worker is told to stop: it gives its lease and its messages back
SLOW = "slow"  #             the task takes longer than the lease, which the worker renews meanwhile
BLOCKED = "blocked"  #       the broker takes no publish for a minute
REORDERED = "reordered"  #   the messages of one publish are stored in the opposite order
UNROUTED = "unrouted"  #     the queue does not exist (yet): the message comes back
NACKED = "nacked"  #         the broker does not take the message (a full queue); it is published again after a pause
UNCONFIRMED = "unconfirmed"  # the broker takes it and its confirm is lost; it is published again after a pause
PARTLY = (
    "partly-nacked"  #  of several messages the broker confirms the last, first of all, and does not take the others
)
CONSUMER_TIMEOUT = "consumer-timeout"  # the broker closes the channel while the task goes on, its lease renewed
LEASE_LOST = "lease-lost"  # the lease ends early
LEASE_LATE = "lease-late"  # the lease lasts longer than its time
OLD_CODE = "old-code"  #     it is delivered to a worker of an older version that does not know the task
DIFFERS = "differs"  #       the task answers differently from what it would have answered otherwise
LOST = "lost"  #             the broker loses the message
QUEUE_LOST = "queue-lost"  # the broker loses all that is in the queue
LIMIT = "delivery-limit"  #  the broker drops (or dead-letters) a message because it was delivered before
EVICTED = "evicted"  #       the store throws the run away, to make room
TIMERS_EVICTED = "timers-evicted"  # ... the list of timers
OPEN_EVICTED = "open-evicted"  # ... the list of open runs
ROLLBACK = ("rollback-1", "rollback-3", "rollback-9")  # the store falls back by so many writes
PAUSE = "days-3"  #          every worker is off for so long, then all go on; other lengths: see ``pauses``

FAMILIES: dict[str, tuple[str, ...]] = {
    "crash": (BEFORE, AFTER),
    "reply-lost": (REPLY_LOST,),
    "requeue": (REQUEUE,),
    "stall": (STALL,),
    "duplicate": (DUPLICATE,),
    "shutdown": (SHUTDOWN,),
    "slow": (SLOW,),
    "publish": (BLOCKED, REORDERED, UNROUTED),
    "refused": (NACKED, UNCONFIRMED, PARTLY),
    "timeout": (CONSUMER_TIMEOUT,),
    "lease": (LEASE_LOST, LEASE_LATE),
    "deploy": (OLD_CODE,),
    "differs": (DIFFERS,),
    "loss": (LOST, QUEUE_LOST),
    "limit": (LIMIT,),
    "eviction": (EVICTED, TIMERS_EVICTED, OPEN_EVICTED),
    "rollback": ROLLBACK,
    "pause": (PAUSE,),
}
"""What ``--faults`` names: modes that are switched on and off together."""

CORE = ("crash", "reply-lost", "requeue", "stall", "duplicate")
"""The families of which pairs are tried by default."""

_EVERYWHERE = (*CORE, "shutdown", "slow", "publish", "lease", "deploy")
_RABBITMQ = (*_EVERYWHERE, "refused", "timeout")
PROFILES: dict[str, tuple[str, ...]] = {
    "default": _EVERYWHERE,
    "rabbitmq-quorum": _RABBITMQ,
    "rabbitmq-classic": (*_RABBITMQ, "loss"),
    "rabbitmq-3.10": _RABBITMQ,
    "rabbitmq-4": (*_RABBITMQ, "limit"),
    "redis-aof": _EVERYWHERE,
    "redis-failover": (*_EVERYWHERE, "rollback"),
    "redis-evicting": (*_EVERYWHERE, "eviction"),
    "all": tuple(FAMILIES),
}
"""Families by the servers that have them. A quorum queue keeps what it confirmed; a classic one can lose all with its
node. RabbitMQ 4 drops what was delivered 20 times, unless a queue says otherwise, as those of workers do: a policy can
overrule that. An append-only file survives a killed process; a failover loses the last writes; a ``maxmemory-policy``
other than ``noeviction`` throws keys away."""

Returns: TypeAlias = Literal["first", "place"]
"""Where what was unacked on a channel goes when the channel does.

``first``: ahead of all that was never handed over, behind what came back before it (quorum queues). ``place``: to where
it was before, whoever else comes back when (classic queues).
"""

RETURNS: dict[str, Returns] = {
    "rabbitmq-quorum": "first",
    "rabbitmq-classic": "place",
    "rabbitmq-3.10": "first",
    "rabbitmq-4": "first",
}
"""By profile. Seen on RabbitMQ 3.10.8, see docs/fidelity.md. Without one it is quorum queues, production's default."""

FORGETS = (*ROLLBACK, EVICTED)
"""Modes after which the store does not know any more what it had answered: promises about that are suspended."""

RECOVERED = frozenset((LOST, QUEUE_LOST, LIMIT, TIMERS_EVICTED, *FORGETS))
"""Modes after which only the recovery scan can bring a call back, or take a run off the lists; worlds run it then."""

ASKED_ABOUT = frozenset((STALL, LEASE_LOST, DIFFERS, OPEN_EVICTED, *RECOVERED))
"""Modes after which a law judges otherwise: worlds in which they struck differ from those in which they did not."""

_EVICTIONS = (EVICTED, TIMERS_EVICTED, OPEN_EVICTED)
_DELIVERY = (BEFORE, AFTER, REPLY_LOST, REQUEUE, STALL, *ROLLBACK, *_EVICTIONS)
MODES: dict[str, tuple[str, ...]] = {
    "receive": (DUPLICATE, OLD_CODE, LOST, QUEUE_LOST, LIMIT),
    "run": (BEFORE, AFTER, REQUEUE, STALL, SHUTDOWN, SLOW, CONSUMER_TIMEOUT, LEASE_LOST, DIFFERS, *_EVICTIONS),
    "call": (BEFORE, AFTER, REQUEUE, STALL),
    "ack": (BEFORE, AFTER, REQUEUE, STALL),
    "claim": (*_DELIVERY, LEASE_LATE),
    "commit": (*_DELIVERY, LEASE_LOST),
    "publish": (
        *(BEFORE, AFTER, REPLY_LOST, REQUEUE, STALL, BLOCKED, REORDERED, UNROUTED),
        *(NACKED, UNCONFIRMED, PARTLY, *_EVICTIONS),
    ),
    "": _DELIVERY,
}
"""The modes that an effect has, by the first word of its name; "" stands for all others. A pause is possible before
each of a worker's."""

CLIENT_MODES = (BEFORE, AFTER, REPLY_LOST)
"""What can happen to the effects of a client: it holds no lease and no delivery."""


class Point(Struct, frozen=True):
    """A place where a fault can strike: an effect of one delivery of a call.

    ``call`` is the call's path from the run's first call; ``delivery`` counts its deliveries from 1; ``effect`` is
    the effect's name and ``occurrence`` its number among equal ones in this delivery, from 1.
    """

    call: str
    delivery: int
    effect: str
    occurrence: int = 1

    def __str__(self) -> str:
        nth = f"@{self.occurrence}" if self.occurrence > 1 else ""
        return f"{self.call} #{self.delivery} / {self.effect}{nth}"


class Fault(Struct, frozen=True):
    """A mode at a point. Its text form is ``str(fault)``; ``parse`` reads it back."""

    point: Point
    mode: str

    def __str__(self) -> str:
        return f"{self.point} / {self.mode}"


_FAULT = re.compile(
    r"(?P<call>.+) #(?P<delivery>\d+) / (?P<effect>[^@]+?)(@(?P<occurrence>\d+))? / (?P<mode>[a-z0-9-]+)"
)
_ALL_MODES = tuple(mode for modes in FAMILIES.values() for mode in modes)


def parse(text: str) -> Fault:
    """Read an address such as ``a > b #1 / commit / after``.

    Raises:
        UsageError: it is none; the message shows the form.
    """
    match = _FAULT.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{text!r} is no address of a fault: write it as 'a > b #1 / commit / after'")
    if match["mode"] not in _ALL_MODES and not pauses.is_pause(match["mode"]):
        raise UsageError(f"{text!r}: there is no mode {match['mode']!r}; there are {', '.join(_ALL_MODES)}")
    point = Point(match["call"], int(match["delivery"]), match["effect"], int(match["occurrence"] or 1))
    return Fault(point, match["mode"])


def families(names: str | Iterable[str] | None) -> frozenset[str]:
    """The modes of some families or profiles, given as ``"crash,requeue"`` or a list; ``None``: of the default profile.
    A pause of another length than that of its family is named by its mode, such as ``hours-5``.

    Raises:
        UsageError: there is no such family or profile.
    """
    wanted = ["default"] if names is None else names.split(",") if isinstance(names, str) else list(names)
    modes: set[str] = set()
    for name in filter(None, (name.strip() for name in wanted)):
        if pauses.is_pause(name):
            modes.add(name)
            continue
        if name not in PROFILES and name not in FAMILIES:
            known = f"there are {', '.join(FAMILIES)}, and the profiles {', '.join(PROFILES)}"
            raise UsageError(f"there is no fault family {name!r}; {known}")
        for family in PROFILES.get(name, (name,)):
            modes.update(FAMILIES[family])
    return frozenset(modes)


def returns(names: str | Iterable[str] | None) -> Returns | None:
    """The rule of the broker that the profiles among ``names`` have; ``None``: they do not say."""
    wanted = [] if names is None else names.split(",") if isinstance(names, str) else list(names)
    return next((RETURNS[name] for name in map(str.strip, wanted) if name in RETURNS), None)


def by_family(modes: frozenset[str]) -> list[frozenset[str]]:
    """The modes in parts, one per family; pauses are one, however long they are."""
    parts = [modes & frozenset(its) for name, its in FAMILIES.items() if name != "pause"]
    return [part for part in (*parts, frozenset(pauses.among(modes))) if part]


def names_of(modes: frozenset[str]) -> str:
    """What ``families`` reads as at least these modes."""
    named = [name for name, its in FAMILIES.items() if name != "pause" and modes & frozenset(its)]
    return ",".join([*named, *pauses.among(modes)])


def core(modes: frozenset[str]) -> frozenset[str]:
    """Those of ``modes`` that belong to the core families."""
    return modes & frozenset(mode for family in CORE for mode in FAMILIES[family])


@cache
def modes_at(
    effect: str, *, client: bool = False, of_run: bool = True, several: bool = False, again: bool = False
) -> tuple[str, ...]:
    """The modes that can strike at an effect of this name.

    ``client``: it is one of a client's. ``of_run``: it concerns a run, not the sweep or scan of all. ``several``: it
    publishes several messages, and this is the first. ``again``: what is received was delivered before.
    """
    if client:
        return CLIENT_MODES
    left_out = {mode for mode, can in ((EVICTED, of_run), (PARTLY, several), (LIMIT, again)) if not can}
    modes = MODES.get(effect) or MODES.get(effect.partition(" ")[0], MODES[""])
    return tuple([mode for mode in modes if mode not in left_out])


def when(faults: Sequence[Fault]) -> str:
    """Under which faults something happens, as the end of a sentence."""
    return f"when {describe(faults)}" if faults else "without any fault"


def describe(faults: Sequence[Fault]) -> str:
    """In words, for a sentence: what was done to whom."""
    return ", and ".join(_words(fault) for fault in faults) if faults else "no fault at all"


_WORDS = {
    BEFORE: "the worker dies before",
    AFTER: "the worker dies after",
    REPLY_LOST: "the answer is lost (and it is done again) of",
    REQUEUE: "the connection drops before",
    STALL: "the worker stalls beyond its lease before",
    DUPLICATE: "the broker delivers a second copy at",
    SHUTDOWN: "the worker is shut down before",
    SLOW: "the task takes longer than the lease at",
    BLOCKED: "the broker blocks",
    REORDERED: "the broker stores the messages in the opposite order at",
    UNROUTED: "there is no queue for",
    NACKED: "the broker does not take",
    UNCONFIRMED: "the broker takes, and its confirm is lost, the",
    PARTLY: "the broker takes only the last message of",
    CONSUMER_TIMEOUT: "the broker closes the channel in the middle of",
    LEASE_LOST: "the lease ends early before",
    LEASE_LATE: "the lease outlives its time after",
    OLD_CODE: "a worker of an older version gets the",
    DIFFERS: "the task answers differently at",
    LOST: "the broker loses the message at",
    QUEUE_LOST: "the broker loses its queue at",
    LIMIT: "the broker drops the message as delivered too often at",
    EVICTED: "the store throws the run away before",
    TIMERS_EVICTED: "the store throws all timers away before",
    OPEN_EVICTED: "the store throws the list of open runs away before",
    **{mode: f"the store falls back by {mode.partition('-')[2]} writes before" for mode in ROLLBACK},
}


def _words(fault: Fault) -> str:
    down = pauses.is_pause(fault.mode)
    did = f"the system is down for {pauses.in_words(fault.mode)} before" if down else _WORDS[fault.mode]
    return f"{did} {fault.point.effect!r} of {fault.point.call} (delivery {fault.point.delivery})"
