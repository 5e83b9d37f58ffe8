"""What schedules did, counted: how often each task committed and each effect happened, over a whole campaign.

A schedule's counts are its *shape*. There are few shapes and many schedules, so one example is kept of each shape, and
no world. A ``Count`` is how often one thing happened in each of the schedules; compared with a number, it says whether
that is so in *every* one, and if not, in which.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar, NamedTuple, TypeAlias

from .faults import when
from .numbers import counted
from .schedule import Schedule

if TYPE_CHECKING:
    from .runner import Result
    from .world.world import World

COMMITTED, EFFECTS, BY_KEY = "committed", "effects", "effects by key"
_BY_CALL = "effects by call"  # kept so that schedules of one shape differ in no call's effects


class Subject(NamedTuple):
    """What is counted: commits of a task, calls of a probed function, or these with one key counting as one."""

    kind: str
    name: str

    def __str__(self) -> str:
        return {COMMITTED: f"commits of {self.name}", EFFECTS: f"calls of {self.name}"}.get(
            self.kind, f"calls of {self.name}, one key counting as one"
        )


class Seen(NamedTuple):
    """In so many schedules; the first of them."""

    schedules: int
    example: Schedule


Shape: TypeAlias = frozenset[tuple[Subject, int]]

OPERATORS: Mapping[str, Callable[[int, int], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Claim(NamedTuple):
    """That in every schedule something happened so often."""

    subject: Subject
    operator: str
    wanted: int

    def holds(self, times: int) -> bool:
        return OPERATORS[self.operator](times, self.wanted)


Compared: TypeAlias = Callable[[Claim, Schedule | None], None]
"""Told of each comparison of a count, with the first schedule in which it does not hold, if there is one."""


def counts(world: World) -> Counter[Subject]:
    """What happened in a world, and how often."""
    found: Counter[Subject] = Counter()
    for call in world.history.calls.values():
        if call.commits and not call.record.expires and not call.is_signal:  # no task has run for these
            found[Subject(COMMITTED, call.record.task)] += call.commits
    keys: set[tuple[str | None, ...]] = set()
    for entry in world.ledger:
        found[Subject(EFFECTS, entry.name)] += 1
        if entry.key is None or (entry.name, entry.key) not in keys:
            found[Subject(BY_KEY, entry.name)] += 1
        if entry.key is None or (entry.name, entry.key, entry.path) not in keys:
            found[Subject(_BY_CALL, f"{entry.name} by {entry.path}")] += 1
        keys.update([(entry.name, entry.key), (entry.name, entry.key, entry.path)])
    return found


def returned(world: World) -> Iterator[tuple[str, bytes]]:
    """The runs that returned something, and what."""
    for start in world.program.starts:
        if start.run_id in world.history.results:
            yield start.run_id, world.history.results[start.run_id]


def _has_ended(world: World) -> bool:
    return not world.enabled() and not world.copy().advance()


class Tally:
    """The shapes of the schedules so far, and what their runs returned. An observer of campaigns.

    ``struck`` counts the schedules in which a fault struck. ``ends_only``: worlds on the way are shown, too, and do not
    count.
    """

    def __init__(self, *, ends_only: bool = False) -> None:
        self.struck = 0
        self.results: dict[tuple[str, bytes], None] = {}
        """The distinct results, each with the run that returned it, in the order in which they were met."""
        self.ends_only = ends_only
        self._shapes: dict[Shape, Seen] = {}

    def note(self, result: Result) -> None:
        self.struck += bool(result.schedule.faults)
        if result.violation is None and (not self.ends_only or _has_ended(result.world)):
            self._see(frozenset(counts(result.world).items()), Seen(1, result.schedule))
            self.results.update(dict.fromkeys(returned(result.world)))

    def empty(self) -> Tally:
        return Tally(ends_only=self.ends_only)

    def add(self, other: Tally) -> None:
        self.struck += other.struck
        self.results.update(other.results)
        for shape, seen in other._shapes.items():
            self._see(shape, seen)

    def _see(self, shape: Shape, seen: Seen) -> None:
        before = self._shapes.get(shape, Seen(0, seen.example))
        self._shapes[shape] = Seen(before.schedules + seen.schedules, before.example)

    def examples(self) -> list[Schedule]:
        """One schedule of each shape."""
        return [seen.example for seen in self._shapes.values()]

    def names(self, kind: str) -> list[str]:
        return sorted({subject.name for shape in self._shapes for subject, _ in shape if subject.kind == kind})

    def count(self, subject: Subject, compared: Compared) -> Count:
        seen: dict[int, Seen] = {}
        for shape, (schedules, example) in self._shapes.items():
            times = dict(shape).get(subject, 0)
            before = seen.get(times, Seen(0, example))
            seen[times] = Seen(before.schedules + schedules, before.example)
        return Count(subject, seen, compared)


class Count:
    """How often something happened in a schedule, of all schedules.

    Compared with a number it says whether that holds in every schedule: ``count == 1`` is "exactly once, whatever goes
    wrong". ``seen`` maps each number of times to the schedules in which it was that.
    """

    __hash__: ClassVar[None]  # type: ignore[assignment]

    def __init__(self, subject: Subject, seen: Mapping[int, Seen], compared: Compared) -> None:
        self.subject = subject
        self.seen = seen
        self._compared = compared

    @property
    def min(self) -> int:
        """The fewest times in any schedule."""
        return min(self.seen, default=0)

    @property
    def max(self) -> int:
        """The most times in any schedule."""
        return max(self.seen, default=0)

    def compare(self, sign: str, wanted: int) -> bool:
        """Whether it holds in every schedule; what does not is remembered, to be shown if the test fails for it."""
        claim = Claim(self.subject, sign, wanted)
        for times, (_, example) in self.seen.items():
            if not claim.holds(times):
                self._compared(claim, example)
                return False
        self._compared(claim, None)
        return True

    def __eq__(self, wanted: object) -> bool:
        return self.compare("==", wanted) if isinstance(wanted, int) else NotImplemented

    def __ne__(self, wanted: object) -> bool:
        return self.compare("!=", wanted) if isinstance(wanted, int) else NotImplemented

    def __lt__(self, wanted: int) -> bool:
        return self.compare("<", wanted)

    def __le__(self, wanted: int) -> bool:
        return self.compare("<=", wanted)

    def __gt__(self, wanted: int) -> bool:
        return self.compare(">", wanted)

    def __ge__(self, wanted: int) -> bool:
        return self.compare(">=", wanted)

    def __bool__(self) -> bool:
        return self.compare(">", 0)

    def __int__(self) -> int:
        if len(self.seen) != 1:
            raise ValueError(f"not one number: {self!r}")
        return self.min

    def __repr__(self) -> str:
        if len(self.seen) == 1:
            return f"<{self.subject}: {self.min} in every schedule>"
        parts = [f"{times} in {counted(seen.schedules, 'schedule')}" for times, seen in self.seen.items()]
        rare, seen = min(self.seen.items(), key=lambda item: item[1].schedules)
        return f"<{self.subject}: {', '.join(parts)}; {rare} for example {when(seen.example.faults)}>"


class Effects(Mapping[str, Count]):
    """The effects on the world by name: how often each probed function was called. See ``pwsim.probe``.

    ``by_key``: the same, as a service sees it that does nothing twice for one idempotency key.
    """

    def __init__(self, tally: Tally, compared: Compared, kind: str = EFFECTS) -> None:
        self._tally = tally
        self._compared = compared
        self._kind = kind

    @property
    def by_key(self) -> Effects:
        """Counted by idempotency key: calls with the same key are one."""
        return Effects(self._tally, self._compared, BY_KEY)

    def __getitem__(self, name: str) -> Count:
        if name not in self._tally.names(self._kind):
            raise NoSuchEffect(name, self._tally.names(self._kind))
        return self._tally.count(Subject(self._kind, name), self._compared)

    def __iter__(self) -> Iterator[str]:
        return iter(self._tally.names(self._kind))

    def __len__(self) -> int:
        return len(self._tally.names(self._kind))

    def __repr__(self) -> str:
        return f"{{{', '.join(repr(count) for count in self.values())}}}"


class NoSuchEffect(KeyError):
    """In no schedule was a probed function of this name called."""

    def __init__(self, name: str, known: list[str]) -> None:
        super().__init__(name)
        self.known = known

    def __str__(self) -> str:
        there = f"there are {', '.join(self.known)}" if self.known else "none was: wrap the client in pwsim.probe(...)"
        return f"no probed function {self.args[0]!r} was called in any schedule; {there}"
