"""What a campaign has met: crash points, situations, and an estimate of what the next schedule may still show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TypeAlias

from pwf_runtime.core.txn import TxnReply

from . import faults as f
from .faults import AFTER, BEFORE, Point
from .laws import Watch
from .program import Program
from .runner import Result, apply
from .world.naming import TraceStep
from .world.world import World

Kind: TypeAlias = tuple[str, str, str]
"""(role, effect, mode): a crash point without its call."""

ALWAYS = (
    "a worker died",
    "a call was parked",
    "a stale attempt did not commit",
    "a call was taken over",
    "a committed call was finished by another worker",
    "a finished call was delivered again",
    "a join was fired by its last arrival",
    "a run completed",
)
"""What every campaign with crashes must have seen sometimes, or it proves little."""

STRUCK: dict[str, tuple[str, ...]] = {
    "the broker did not take a message": (f.NACKED, f.PARTLY),
    "the broker took a message twice, its confirm lost": (f.UNCONFIRMED,),
    "the broker closed a channel while a task went on": (f.CONSUMER_TIMEOUT,),
    "the broker dropped what was delivered too often": (f.LIMIT,),
    "the store threw a run away": (f.EVICTED,),
    "the store threw a list away": (f.TIMERS_EVICTED, f.OPEN_EVICTED),
    "the store fell back": f.ROLLBACK,
}
"""What a campaign with these faults must have seen as well."""

RECOVERY_CUT_OFF = "a worker died in a recovery scan"
"""What a campaign must have seen that has crashes and faults after which the scan runs. It takes two faults."""

SITUATIONS = (*ALWAYS, *STRUCK, RECOVERY_CUT_OFF)


class Coverage:
    """Kept up by ``note`` with each schedule."""

    def __init__(self, program: Program, modes: frozenset[str]) -> None:
        self.defined = {(point, mode) for point, possible in points(program) for mode in possible if mode in modes}
        self.expected = (*ALWAYS, *(name for name, its in STRUCK.items() if modes.intersection(its)))
        """The situations that a campaign with these modes must have seen."""
        if modes & f.RECOVERED and modes & {BEFORE, AFTER}:
            self.expected += (RECOVERY_CUT_OFF,)
        self.struck: set[tuple[Point, str]] = set()
        self.situations: set[str] = set()
        self.last_arrivals: set[str] = set()
        """The calls that were seen to fire a join, each by being the last to arrive."""
        self._shapes: Counter[int] = Counter()

    def note(self, result: Result) -> None:
        """Take in a schedule."""
        self.struck.update([(fault.point, fault.mode) for fault in result.schedule.faults])
        shape = []
        before: dict[tuple[str, int], TraceStep] = {}  # of each delivery, its latest step
        for step in result.trace:
            shape.append((step.path, step.effect, step.fault))
            if step.fault:
                self._look_at_fault(step)
            if step.effect in _TELLING and step.answer is not None and step.fault not in (BEFORE, AFTER):
                self._look(step, before.get((step.path, step.nth)))
            before[step.path, step.nth] = step
        if result.drawn:
            self._shapes[hash(tuple(shape))] += 1

    def _look_at_fault(self, step: TraceStep) -> None:
        if step.fault in (BEFORE, AFTER):
            self.situations.add(RECOVERY_CUT_OFF if step.path.startswith(("scan of ", "mark of ")) else "a worker died")
        else:
            self.situations.update([name for name, modes in STRUCK.items() if step.fault in modes])

    def _look(self, step: TraceStep, last: TraceStep | None) -> None:
        """``last``: the step before this in the same delivery."""
        effect = step.effect
        if effect == "add to timers":
            if last is not None and _is_put_off(last):
                self.situations.add("a call was parked")
        elif effect == "look":
            self.situations.add("a committed call was finished by another worker")
        elif effect == "complete":
            self.situations.add("a run completed")
        elif effect == "fire":
            self.situations.add("a join was fired by its last arrival")
            self.last_arrivals.add(step.path)
        elif isinstance(step.answer, TxnReply):
            self._look_at_reply(effect, step.answer)

    def _look_at_reply(self, effect: str, reply: TxnReply) -> None:
        if effect == "claim" and reply.held and reply.replies[1] > 1:
            self.situations.add("a call was taken over")
        elif effect == "claim" and not reply.held and reply.replies[0][3] is None:
            self.situations.add("a finished call was delivered again")
        elif effect == "commit" and not reply.held:
            self.situations.add("a stale attempt did not commit")

    def add(self, other: Coverage) -> None:
        """Take in what another has met."""
        self.struck |= other.struck
        self.situations |= other.situations
        self.last_arrivals |= other.last_arrivals
        self._shapes.update(other._shapes)

    def hit(self) -> int:
        """How many of the crash points of the run without faults were struck."""
        return len(self.defined & self.struck)

    def kinds(self) -> dict[Kind, tuple[int, int]]:
        """For each role, effect and mode: crash points struck, and defined."""
        defined = Counter(map(_kind, self.defined))
        hit = Counter(map(_kind, self.defined & self.struck))
        return {kind: (hit[kind], count) for kind, count in sorted(defined.items())}

    def unseen_situations(self) -> list[str]:
        return [situation for situation in self.expected if situation not in self.situations]

    def unseen(self) -> float | None:
        """The chance that the next random schedule shows a sequence of effects that no other has shown: the share of
        those seen exactly once (Good and Turing; Good, The population frequencies of species, Biometrika 1953). It says
        nothing of schedules that are played in turn; ``None``: there were no others."""
        total = sum(self._shapes.values())
        return sum(1 for count in self._shapes.values() if count == 1) / total if total else None


_TELLING = frozenset({"claim", "commit", "add to timers", "look", "complete", "fire"})
_CLAIMS = ("claim", "commit", "settle")
"""Where it is found that somebody else has the call, or that it is not due."""


def _is_put_off(last: TraceStep) -> bool:
    """Whether the timer that follows is for the call itself. For children that are not due it follows a commit."""
    if last.effect == "fail":
        return True
    return last.effect in _CLAIMS and isinstance(last.answer, TxnReply) and not last.answer.held


_ROLES = {"start": "client", "sending": "client", "sweep": "sweeper", "mark": "recovery", "scan": "recovery"}


def _kind(point_and_mode: tuple[Point, str]) -> Kind:
    point, mode = point_and_mode
    first, _, rest = point.call.partition(" ")
    role = _ROLES.get(first, "worker") if not rest or rest.startswith("of ") else "worker"
    return role, point.effect.partition(" ")[0], mode


def points(program: Program) -> Iterator[tuple[Point, tuple[str, ...]]]:
    """The crash points of a run without faults, with the modes that each has."""
    world = World(program, Watch(()))
    while True:
        action = world.default()
        if action is not None:
            at = world.point(action)
            if at is not None:
                yield at
            if apply(world, action) is not None:
                return
        elif not world.advance():
            return
