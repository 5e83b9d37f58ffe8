"""The machine that publishes the messages of due timers. Any number of workers may run it at once.

An entry is removed only after its message is confirmed, and only if it is still the one that was read: entries carry
tokens, so a call that was parked again meanwhile has another entry. A message that no queue takes is put off, ever
longer, and after a bounded number of tries its call is dead, with the reason.

A message that came twice leaves its call parked twice. One message does for all timers of a call that are due: with one
for each, every sweeper that meets them would publish as many, each of those would be parked again, and so on.
"""

from __future__ import annotations

from typing import ClassVar

from msgspec import DecodeError, Struct
from msgspec.structs import replace

from . import keys as k
from .delivery import unroutable
from .effects import DEAD, TIMERS, UNREADABLE, IndexAdd, IndexRead, IndexRemove, Publish
from .inputs import Damaged, Entries, Indexed, Published
from .machine import Machine, Row, Step
from .model import Message, Timer
from .retry import UNKNOWN_TASK
from .steps import Steps
from .txn import Txn, TxnReply
from .wire import decode_timer, encode

ROUTES = UNKNOWN_TASK
"""How often and when a message that no queue takes is tried again."""


class Reading(Struct, frozen=True, gc=False):
    """Reading the timers that are due."""

    limit: int


class Publishing(Struct, frozen=True, gc=False):
    """Publishing their messages."""

    due: tuple[Timer, ...]
    members: tuple[bytes, ...]


class KeepingBroken(Struct, frozen=True, gc=False):
    """Setting aside entries that do not decode, for people to look at."""

    due: tuple[Timer, ...]
    members: tuple[bytes, ...]


class Noting(Struct, frozen=True, gc=False):
    """Writing to the calls of ``failed`` that no queue takes their messages; ``dead``: those that are over now."""

    members: tuple[bytes, ...]
    failed: tuple[Timer, ...]
    at: int = 0
    dead: tuple[Timer, ...] = ()


class Burying(Struct, frozen=True, gc=False):
    """Adding those that used up their tries to the dead ones."""

    members: tuple[bytes, ...]
    failed: tuple[Timer, ...]


class Delaying(Struct, frozen=True, gc=False):
    """Setting new timers for the others."""

    members: tuple[bytes, ...]


class Removing(Struct, frozen=True, gc=False):
    """Removing the entries that were read."""

    members: tuple[bytes, ...]


class Swept(Struct, frozen=True, gc=False):
    """Done: this many timers were due. As many as asked for: there may be more."""

    count: int


class SweepMachine(Machine):
    """Publishes what is due."""

    TABLE: ClassVar[tuple[Row, ...]] = (
        Row(Reading, Entries, "_read", (Publishing, KeepingBroken, Swept)),
        Row(KeepingBroken, Indexed, "_kept", (Publishing, Removing)),
        Row(Publishing, Published, "_published", (Noting, Removing)),
        Row(Noting, TxnReply, "_noted", (Noting, Burying, Delaying, Removing)),
        Row(Noting, Damaged, "_damaged", (Noting, Burying, Delaying, Removing)),
        Row(Burying, Indexed, "_buried", (Delaying, Removing)),
        Row(Delaying, Indexed, "_delayed", (Removing,)),
        Row(Removing, Indexed, "_removed", (Swept,)),
    )

    def __init__(self, steps: Steps) -> None:
        super().__init__()
        self.steps = steps

    def begin(self, now_ms: int, limit: int) -> Step:
        """Sweep up to ``limit`` timers that are due at ``now_ms``."""
        return Reading(limit), IndexRead(TIMERS, now_ms, limit)

    def _read(self, _state: Reading, entries: Entries, now_ms: int) -> Step:
        members = tuple([member for member, _ in entries.entries])
        if not members:
            return Swept(0), None
        due, broken = _decoded(members)
        if broken:
            return KeepingBroken(due, members), IndexAdd(UNREADABLE, tuple([(entry, now_ms) for entry in broken]))
        return self._publish(due, members)

    def _kept(self, state: KeepingBroken, _done: Indexed, _now_ms: int) -> Step:
        return self._publish(state.due, state.members) if state.due else self._remove(state.members)

    def _publish(self, due: tuple[Timer, ...], members: tuple[bytes, ...]) -> Step:
        return Publishing(due, members), Publish(tuple([timer.message for timer in due]))

    def _published(self, state: Publishing, published: Published, _now_ms: int) -> Step:
        lost = frozenset(published.unroutable)
        failed = tuple([replace(timer, tries=timer.tries + 1) for timer in state.due if timer.message in lost])
        if failed:
            return Noting(state.members, failed), self._note(failed[0])
        return self._remove(state.members)

    def _noted(self, state: Noting, reply: TxnReply, now_ms: int) -> Step:
        timer = state.failed[state.at]
        is_dead = reply.held or reply.replies[0][0] == k.DEAD  # by a sweep that was cut off before it listed the call
        if is_dead and ROUTES.exhausted(timer.tries):
            state = replace(state, dead=(*state.dead, timer))
        return self._note_next(state, now_ms)

    def _damaged(self, state: Noting, _what: Damaged, now_ms: int) -> Step:
        """One damaged run must not hold up the timers of the others."""
        return self._note_next(state, now_ms)

    def _note_next(self, state: Noting, now_ms: int) -> Step:
        following = state.at + 1
        if following < len(state.failed):
            return replace(state, at=following), self._note(state.failed[following])
        if state.dead:
            dead = tuple([(encode((timer.run_id, timer.call_id)), now_ms) for timer in state.dead])
            return Burying(state.members, state.failed), IndexAdd(DEAD, dead)
        return self._delay(state.members, state.failed, now_ms)

    def _buried(self, state: Burying, _done: Indexed, now_ms: int) -> Step:
        return self._delay(state.members, state.failed, now_ms)

    def _delayed(self, state: Delaying, _done: Indexed, _now_ms: int) -> Step:
        return self._remove(state.members)

    def _removed(self, state: Removing, _done: Indexed, _now_ms: int) -> Step:
        return Swept(len(state.members)), None

    def _note(self, timer: Timer) -> Txn:
        dead = ROUTES.exhausted(timer.tries)
        return self.steps.undeliverable(timer.message, unroutable(timer.message), dead=dead)

    def _delay(self, members: tuple[bytes, ...], failed: tuple[Timer, ...], now_ms: int) -> Step:
        again = tuple(
            [
                (encode(timer), now_ms + ROUTES.delay_ms(timer.tries, timer.call_id))
                for timer in failed
                if not ROUTES.exhausted(timer.tries)
            ]
        )
        if again:
            return Delaying(members), IndexAdd(TIMERS, again)
        return self._remove(members)

    def _remove(self, members: tuple[bytes, ...]) -> Step:
        return Removing(members), IndexRemove(TIMERS, members)


def _decoded(members: tuple[bytes, ...]) -> tuple[tuple[Timer, ...], tuple[bytes, ...]]:
    """One timer for each call, the one with the most tries; and the entries that are none."""
    due: dict[Message, Timer] = {}
    broken = []
    for member in members:
        try:
            timer = decode_timer(member)
        except DecodeError:
            broken.append(member)
            continue
        other = due.get(timer.message)
        if other is None or other.tries < timer.tries:
            due[timer.message] = timer
    return tuple(due.values()), tuple(broken)
