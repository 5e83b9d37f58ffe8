"""Laws over the traces of all workers together, whatever order their lines are in (see ``check``):

====  =====================================================================================
T1    a call commits at most once
T2    an attempt is granted to one claim only, and none is granted beyond the one that commits
T3    a join fires at most once
T4    a call settles at most once
T5    a delivery is acked only after the call is settled, listed, parked, or somebody else's
====  =====================================================================================

They are judged by what the store answered, and by nothing else: what a worker was not told is no part of its trace. So
they are no laws for a store that fell back meanwhile (a failover, a power cut), and none for a run that was begun again
under its old id after its retention.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

from msgspec import Struct

from pwf_runtime import trace
from pwf_runtime.core import keys as k
from pwf_runtime.core import states as s
from pwf_runtime.core.inputs import Input
from pwf_runtime.core.model import Message
from pwf_runtime.core.steps import read_snapshot
from pwf_runtime.core.txn import TxnReply

_Key: TypeAlias = tuple[str, str]

_SEEN_TO = (s.Parking, s.Burying, s.Completing, s.Confirming)
"""Behind these a delivery may be acked whatever they were answered: its call is parked, on the list of the dead, or was
found to be gone."""


class Finding(Struct, frozen=True):
    """A line that is not accepted, and why. ``law``: ``step`` (not the machine's), ``order``, or a law's number."""

    line: str
    law: str
    sentence: str
    expected: str = ""
    found: str = ""


class TraceLaws:
    """Remembers, by run and call (or join), on which line the store answered what."""

    def __init__(self) -> None:
        self.once: dict[tuple[str, str, str], str] = {}  # (law, run, call or join) -> where
        self.granted: dict[_Key, dict[int, tuple[str, str]]] = {}  # call -> attempt -> token, where
        self.committed: dict[_Key, tuple[int, str]] = {}

    def note(self, where: str, was: Any, given: Input, state: Any) -> Iterable[Finding]:
        """Take in a step: in the state ``was``, ``given`` was answered, and led to ``state``. Only steps that are about
        a call tell something."""
        message = trace.message_of(was)
        if message is None:
            return
        if isinstance(given, TxnReply) and given.held:
            yield from self._held(where, message, was)
        if isinstance(was, s.Claiming) and (claim := getattr(state, "claim", None)) is not None:
            yield from self._granted(where, message, claim)
        if isinstance(state, s.Acking) and not _may_ack(was, given):
            yield Finding(where, "T5", f"{message.task} ({_name(message)}) is acked while its call is open")

    def end(self) -> Iterable[Finding]:
        """What is known when all steps were taken in."""
        for (run, call), (attempt, where) in self.committed.items():
            for later, (_, granted) in self.granted.get((run, call), {}).items():
                if later > attempt:
                    sentence = f"attempt {attempt} of call {call} of run {run} commits, though {later} was granted"
                    yield Finding(where, "T2", f"{sentence} ({granted})")

    def _held(self, where: str, message: Message, was: Any) -> Iterable[Finding]:
        run, call = message.run_id, message.call_id
        if isinstance(was, s.Committing):
            self.committed[run, call] = was.claim.attempt, where
            yield from self._once(where, "T1", run, call, f"{_name(message)} commits")
        elif isinstance(was, s.Firing):
            join = was.work.todo[0].join
            yield from self._once(where, "T3", run, join, f"join {join} of run {run} fires")
        elif isinstance(was, s.Settling):
            yield from self._once(where, "T4", run, call, f"{_name(message)} settles")

    def _once(self, where: str, law: str, run: str, name: str, what: str) -> Iterable[Finding]:
        before = self.once.setdefault((law, run, name), where)
        if before != where:
            yield Finding(where, law, f"{what} a second time; the first was {before}")

    def _granted(self, where: str, message: Message, claim: s.Claim) -> Iterable[Finding]:
        granted = self.granted.setdefault((message.run_id, message.call_id), {})
        token, before = granted.setdefault(claim.attempt, (claim.token, where))
        if token != claim.token:
            sentence = f"attempt {claim.attempt} of {_name(message)} is granted twice: {before}"
            yield Finding(where, "T2", sentence, token, claim.token)


def _name(message: Message) -> str:
    return f"call {message.call_id} of run {message.run_id}"


def _may_ack(was: Any, given: Any) -> bool:
    """Whether this answer in this state says that the delivery has nothing left to do."""
    if isinstance(was, _SEEN_TO):
        return True
    if not isinstance(given, TxnReply):
        return False
    if given.held:
        return isinstance(was, s.Settling) or (isinstance(was, s.Committing) and was.leaf)
    found = read_snapshot(given.replies)
    if found.state is None or found.status != k.RUNNING:
        return True
    mine = was.claim.attempt if isinstance(was, (s.Committing, s.Failing)) else None
    return mine is not None and found.state == k.READY and found.attempt >= mine
