"""What a user demands of every schedule, besides the laws: that something happens so often.

Each becomes a function of a world that has ended, which raises ``Violated`` as a law does. So what breaks it is shrunk,
shown, saved and replayed as a broken law is. Invariants (see ``invariants``) do so, too; they get a ``Played``, the end
of one schedule as a user sees it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

from pwf_runtime.codec import decode
from pwf_runtime.core import keys as k
from pwf_runtime.core.wire import decode_failure
from pwf_runtime.errors import UsageError

from .faults import Fault
from .laws import Violated
from .tally import BY_KEY, COMMITTED, EFFECTS, Claim, Subject, counts, returned

if TYPE_CHECKING:
    from pwf_runtime.core.model import Need

    from .probes import Entry
    from .program import Program
    from .world.world import World


class Played:
    """One schedule at its end. ``world`` is all of it, for those who need more than the rest."""

    def __init__(self, world: World) -> None:
        self.world = world

    def committed(self, task: str) -> int:
        """How many calls of this task committed; "queue.task", or "task" where only one service has it."""
        return counts(self.world)[Subject(COMMITTED, task_name(self.world.program, task))]

    @property
    def effects(self) -> Counter[str]:
        """How often each probed function was called."""
        return Counter(entry.name for entry in self.ledger)

    @property
    def ledger(self) -> tuple[Entry, ...]:
        """The calls of probed functions that happened, in their order."""
        return tuple(self.world.ledger)

    @property
    def results(self) -> list[Any]:
        """What the runs returned, of those that returned something, in the order in which they were begun."""
        return [decode(result) for _, result in returned(self.world)]

    @property
    def dead(self) -> list[str]:
        """The calls that used up their attempts, each with the reason."""
        return [f"{path}: {reason}" for path, reason in dead(self.world)]

    @property
    def seconds(self) -> float:
        """How much time has passed in the world, from the start to the end. It cost none."""
        return self.world.clock.time_ms / 1000

    @property
    def faults(self) -> list[Fault]:
        """What went wrong."""
        return [Fault(step.point, step.fault) for step in self.world.trace if step.fault]


Check: TypeAlias = Callable[[Any], None]
"""Called with a world that has ended; raises ``Violated``."""


def dead(world: World) -> Iterator[tuple[str, str]]:
    """The calls that used up their attempts, and why."""
    for (run_id, call_id), call in world.history.calls.items():
        if call.dead:
            run = world.store.runs.get(run_id)
            value = run.fields.get(k.failure(call_id)) if run is not None else None
            failure = decode_failure(value) if value is not None else None
            yield call.path, f"{failure.kind}: {failure.message}" if failure is not None else "of an unknown reason"


def unfinished(world: World) -> list[str]:
    """Why the runs have not come to the end that their author meant: calls that died, joins that wait for ever."""
    reasons = [f"{path} died of {reason}" for path, reason in dead(world)]
    for (run_id, _), join in world.history.joins.items():
        if join.fired or join.expired:
            continue
        have = {need.name: len(world.history.events.get((run_id, need.name), ())) for need in join.record.needs}
        lacking = [need for need in join.record.needs if have[need.name] < need.count]
        lacks = [_lacking(need, have[need.name]) for need in lacking]
        armed_by, then = world.history.path(run_id, join.record.parent), join.record.then.task.partition(".")[2]
        emitted = sorted({repr(name) for run, name in world.history.events if run == run_id and name[0] != "~"})
        said = f"emitted: {', '.join(emitted)}" if emitted else "no event was emitted"
        waits = f"the join of {then}, armed by {armed_by}, waits for {', '.join(lacks)} for ever ({said})"
        sent = ", ".join([f"({need.name!r}, data)" for need in lacking if need.outside])
        reasons.append(f"{waits}; let the signal come: signals=[{sent}]" if sent else waits)
    return reasons


def _lacking(need: Need, have: int) -> str:
    """What a join waits for; of several events with one name, how many have come."""
    return repr(need.name) if need.count == 1 else f"{need.count} times {need.name!r} (which came {_times(have)})"


def task_name(program: Program, task: str) -> str:
    """The full name of a task. Raises ``UsageError`` where there is none, or no single one."""
    if task in program.tasks:
        return task
    meant = [name for name in program.tasks if name.partition(".")[2] == task]
    if len(meant) == 1:
        return meant[0]
    problem = "several services have it" if meant else "there is no such task"
    raise UsageError(f"{task!r}: {problem}; there are {', '.join(sorted(meant or program.tasks))}")


# ── numbers of times ──────────────────────────────────────────────────────────────────────────


def claimed(claim: Claim) -> Check:
    """Count at the end of a schedule. The law's name is the kind of what is counted."""

    def check(world: World) -> None:
        times = counts(world)[claim.subject]
        if not claim.holds(times):
            raise Violated(law_of(claim.subject), f"{_happened(world, claim.subject, times)}{_wanted(claim)}")

    return check


def law_of(subject: Subject) -> str:
    """The name under which a claim about it is violated."""
    return COMMITTED if subject.kind == COMMITTED else EFFECTS


def once_per_key(name: str, allowed: dict[str, int]) -> Check:
    """No call of the workflow has more effects of this name than ``allowed``, calls with one key counting as one.

    ``allowed``: by the call's path, as in the run without faults; where that has no such call, as in the attempt that
    had the most.
    """

    def check(world: World) -> None:
        for path, entries in by_path(world, name).items():
            attempts = {entry.attempt for entry in entries}
            most = max(distinct([e for e in entries if e.attempt == attempt]) for attempt in attempts)
            times = distinct(entries)
            if times > allowed.get(path, most):
                once = "" if (meant := allowed.get(path, most)) == 1 else f" instead of {_times(meant)}"
                raise Violated(EFFECTS, f"{_doubled(name, path, entries)}{once}")

    return check


def by_path(world: World, name: str) -> dict[str, list[Entry]]:
    """The ledger's lines of this name, by the call of the workflow that they are of."""
    found: dict[str, list[Entry]] = {}
    for entry in world.ledger:
        if entry.name == name:
            found.setdefault(entry.path, []).append(entry)
    return found


def distinct(entries: list[Entry]) -> int:
    """How often it is done by a service that does nothing twice for one key."""
    return len({entry.key for entry in entries if entry.key is not None}) + sum(e.key is None for e in entries)


def _doubled(name: str, path: str, entries: list[Entry]) -> str:
    keys = list(dict.fromkeys(entry.key for entry in entries))
    how = "without a key" if keys == [None] else f"under the keys {', '.join(map(repr, keys))}"
    return f"{name} was called {_times(distinct(entries))} {how} by {path}"


def _happened(world: World, subject: Subject, times: int) -> str:
    if subject.kind == COMMITTED:
        return f"{subject.name} committed {_times(times)}" if times else f"{subject.name} never committed"
    if not times:
        return f"{subject.name} was never called"
    callers = Counter(f"attempt {e.attempt} of {e.path}" for e in world.ledger if e.name == subject.name)
    by_key = ", one key counting as one" if subject.kind == BY_KEY and times > 1 else ""
    return f"{subject.name} was called {_times(times)}{by_key} (by {', '.join(callers)})"


def _wanted(claim: Claim) -> str:
    if claim.operator == ">" and not claim.wanted:
        return ""
    words = {"!=": "any number but ", "<": "less than ", "<=": "at most ", ">": "more than ", ">=": "at least "}
    return f" instead of {words.get(claim.operator, '')}{_times(claim.wanted)}"


def _times(number: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(number, f"{number} times")
