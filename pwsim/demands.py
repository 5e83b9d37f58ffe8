"""What a user demands of every schedule, as values that a scenario file can hold: counts and invariants by name.

``checks`` makes functions of them that judge a world. A demand that is a function without a name cannot stand in a
file; it is judged by the test that has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TypeVar

from msgspec import Struct, structs

from pwf_runtime.errors import UsageError

from . import checks as ch
from .invariants import Invariant, invariant
from .program import Program
from .runner import play
from .schedule import Schedule
from .tally import BY_KEY, COMMITTED, EFFECTS, OPERATORS, Claim, Subject
from .targets import load_function, name_of

D = TypeVar("D", bound="Demands")

_COUNT = re.compile(
    rf"(?P<kind>{COMMITTED}|{BY_KEY}|{EFFECTS}) (?P<name>.+) (?P<sign>{'|'.join(OPERATORS)}) (?P<number>\d+)"
)


class Demands(Struct, frozen=True, kw_only=True):
    """What must be so in each schedule.

    ``once``, ``at_most_once``: probed functions, each called exactly once, or never twice. ``once_per_key``: probed
    functions that no call of the workflow calls again under another idempotency key, or without one. ``committed``: how
    many calls of a task commit. ``counts``: comparisons such as ``"effects by key charge <= 2"``, of ``effects``,
    ``effects by key`` or ``committed``. ``invariants``: functions of a schedule's end, by name: ``MODULE:FUNCTION`` or
    ``FILE.py:FUNCTION``.
    """

    once: tuple[str, ...] = ()
    at_most_once: tuple[str, ...] = ()
    once_per_key: tuple[str, ...] = ()
    committed: dict[str, int] = {}
    counts: tuple[str, ...] = ()
    invariants: tuple[str, ...] = ()

    def checks(self, program: Program) -> tuple[ch.Check, ...]:
        """Functions that judge a world of this program. Raises ``UsageError`` for what cannot be meant."""
        found = [ch.claimed(claim) for claim in self.claims(program)]
        found += [once_per_key(name, program) for name in self.once_per_key]
        return (*found, *[invariant(load_function(target)) for target in self.invariants])

    def claims(self, program: Program) -> Iterator[Claim]:
        """The numbers of times that are demanded."""
        yield from [Claim(Subject(EFFECTS, name), "==", 1) for name in self.once]
        yield from [Claim(Subject(EFFECTS, name), "<=", 1) for name in self.at_most_once]
        for task, times in self.committed.items():
            yield Claim(Subject(COMMITTED, ch.task_name(program, task)), "==", times)
        yield from [_claim(text, program) for text in self.counts]

    def effects(self) -> set[str]:
        """The probed functions that are named: a name that is nobody's would demand nothing."""
        found = filter(None, map(_COUNT.fullmatch, self.counts))
        counted = [match["name"] for match in found if match["kind"] != COMMITTED]
        return {*self.once, *self.at_most_once, *self.once_per_key, *counted}

    def plus(self: D, other: Demands) -> D:
        """These and the others."""
        more = {name: _both(getattr(self, name), getattr(other, name)) for name in Demands.__struct_fields__}
        return structs.replace(self, **more)


def of_functions(functions: Sequence[Invariant]) -> Demands:
    """Those of a test's invariants that have a name by which a file can call them."""
    return Demands(invariants=tuple(filter(None, map(name_of, functions))))


def once_per_key(name: str, program: Program) -> ch.Check:
    """No call of the workflow has more effects of this name, by key, than it has in the run without faults."""
    before, program.checks = program.checks, ()
    clean = play(program, Schedule()).world
    program.checks = before
    return ch.once_per_key(name, {path: ch.distinct(entries) for path, entries in ch.by_path(clean, name).items()})


def demand_of(claim: Claim) -> Demands:
    """The demand that a claim is."""
    kind, name = claim.subject
    if kind == EFFECTS and claim.wanted == 1 and claim.operator in ("==", "<="):
        return Demands(once=(name,)) if claim.operator == "==" else Demands(at_most_once=(name,))
    if kind == COMMITTED and claim.operator == "==":
        return Demands(committed={name: claim.wanted})
    return Demands(counts=(f"{kind} {name} {claim.operator} {claim.wanted}",))


def _claim(text: str, program: Program) -> Claim:
    match = _COUNT.fullmatch(text)
    if match is None:
        raise UsageError(f"counts: {text!r} is none: write it as 'effects charge == 1' or 'committed ship >= 2'")
    kind, name = match["kind"], match["name"]
    subject = Subject(kind, ch.task_name(program, name) if kind == COMMITTED else name)
    return Claim(subject, match["sign"], int(match["number"]))


def _both(one: object, other: object) -> object:
    if isinstance(one, dict) and isinstance(other, dict):
        return {**one, **other}
    assert isinstance(one, tuple)
    assert isinstance(other, tuple)
    return tuple(dict.fromkeys((*one, *other)))
