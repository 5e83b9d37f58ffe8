"""Every two effects that follow each other in a machine, the other way round: what the order of each two is there for.

A swap does the second effect before the first wherever it is known beforehand: because the first is answered in one
way only, or is if its compares hold. When the first is answered otherwise, the machine goes on from that, and the
second was done in vain. Where the first only asks, the second depends on what is answered, and cannot come before it.

Each swap is convicted on its trial by the law that is named for it in ``CONVICTED``, or stands in ``UNNOTICED`` with
the reason why no single fault shows it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from pwf_runtime.core.delivery import DeliveryMachine
from pwf_runtime.core.effects import Effect, IndexAdd, IndexRemove, Publish
from pwf_runtime.core.inputs import Indexed, Input, Published
from pwf_runtime.core.machine import Machine, Step
from pwf_runtime.core.recover import ScanMachine
from pwf_runtime.core.signal import SignalMachine
from pwf_runtime.core.start import StartMachine
from pwf_runtime.core.sweep import SweepMachine
from pwf_runtime.core.txn import Add, Append, Get, Length, Op, Range, Txn, TxnReply

from ..campaign import Violation
from ..program import Protocol
from . import workflows
from .compares import Trial

MACHINES: dict[str, type[Machine]] = {
    "delivery": DeliveryMachine,
    "start": StartMachine,
    "signal": SignalMachine,
    "sweep": SweepMachine,
    "scan": ScanMachine,
}
ASKING = frozenset(
    {
        *("Claiming", "Gathering", "Running", "Looking", "Recalling", "Confirming"),
        *("Addressing", "Reading", "ReadingRuns", "Scanning", "Probing"),
    }
)
"""States whose effect is done for its answer."""
RUNS = 400
"""So many random schedules, where no schedule in the default order convicts a swap."""


class Swap(Struct, frozen=True, order=True):
    """In this machine, the effect of the state ``second`` comes before that of ``first``, which leads to it."""

    machine: str
    first: str
    second: str

    def __str__(self) -> str:
        return f"{self.machine}: {self.second} before {self.first}"


# ── swapping ──────────────────────────────────────────────────────────────────────────────────


class _Early(Struct, frozen=True):
    """The second effect is under way; then comes ``effect``, the first, in ``state``."""

    state: Any
    effect: Effect


class _Late(Struct, frozen=True):
    """The first effect is under way; ``answer`` is what was answered to the second."""

    state: Any
    answer: Input


def swapped(swap: Swap) -> Protocol:
    """Production's protocol with these two the other way round."""
    machine: Any = MACHINES[swap.machine]

    class Swapped(machine):  # type: ignore[misc]
        def begin(self, *asked: Any) -> Step:
            return self._ahead(machine.begin(self, *asked), 0)

        def step(self, state: Any, input: Input, now_ms: int) -> Step:
            if isinstance(state, _Early):
                return _Late(state.state, input), state.effect
            if not isinstance(state, _Late):
                return self._ahead(machine.step(self, state, input, now_ms), now_ms)
            then, effect = machine.step(self, state.state, input, now_ms)
            if _name(then) != swap.second:
                return then, effect
            return self._ahead(machine.step(self, then, state.answer, now_ms), now_ms)

        def _ahead(self, step: Step, now_ms: int) -> Step:
            state, effect = step
            if _name(state) == swap.first and effect is not None:
                for then, early in following(self, machine, step, now_ms):
                    if _name(then) == swap.second:
                        return _Early(state, effect), early
            return step

    return Protocol(**{swap.machine: Swapped})


def following(made: Machine, machine: type[Machine], asked: Step, now_ms: int) -> Iterator[Step]:
    """Where the answers lead that are known before the effect is performed."""
    state, effect = asked
    for answer in _known(effect):
        try:
            step = machine.step(made, state, answer, now_ms)
        except (AssertionError, TypeError, ValueError):  # what was made up for a value is none here
            continue
        if step[1] is not None and type(step[0]) is not type(state):
            yield step


def _known(effect: Effect | None) -> tuple[Input, ...]:
    if isinstance(effect, IndexAdd | IndexRemove):
        return (Indexed(),)
    if isinstance(effect, Publish):
        return (Published(()), Published(effect.messages))
    if isinstance(effect, Txn):
        return (TxnReply(True, tuple([_enough(op) for op in effect.then])),)
    return ()


def _enough(op: Op) -> Any:
    """An answer with which everything goes on: nothing is open any more, and all that was waited for is there."""
    if isinstance(op, Get):
        return (None,) * len(op.fields)
    if isinstance(op, Range):
        return ()
    if isinstance(op, Length | Append):
        return 1_000_000
    return 0 if isinstance(op, Add) else None


def _name(state: Any) -> str:
    return type(state).__name__


# ── which there are ───────────────────────────────────────────────────────────────────────────


def noting(found: set[Swap]) -> Protocol:
    """Production's protocol; ``found`` gets each swap that would change what it does."""

    def watched(name: str, machine: Any) -> Any:
        class Watched(machine):  # type: ignore[misc]
            def begin(self, *asked: Any) -> Step:
                return self._heed(machine.begin(self, *asked), 0)

            def step(self, state: Any, input: Input, now_ms: int) -> Step:
                return self._heed(machine.step(self, state, input, now_ms), now_ms)

            def _heed(self, step: Step, now_ms: int) -> Step:
                first = _name(step[0])
                if first not in ASKING:
                    found.update([Swap(name, first, _name(then)) for then, _ in following(self, machine, step, now_ms)])
                return step

        return Watched

    return Protocol(**{name: watched(name, machine) for name, machine in MACHINES.items()})


# ── convicting ────────────────────────────────────────────────────────────────────────────────

_LEAVE = Trial(workflows.chain, "leave", 1)
_POISON = Trial(workflows.chain, "poison", 1)
_MISDIRECT = Trial(workflows.chain, "misdirect", 1)
_FAN = Trial(workflows.fan, "begin", 2)
_CONFUSE = Trial(workflows.many, "confuse", 1)
_APPROVE = Trial(workflows.outside, "approve", 1, signals=(("approved", 2),))
_TRUST = Trial(workflows.outside, "trust", 1, "rollback", signals=(("approved", 2),))
_LOSE = Trial(workflows.chain, "arrive", 1, "crash,loss", 2)

CONVICTED: dict[Swap, tuple[Trial, str]] = {
    Swap("delivery", "Committing", "Publishing"): (_LEAVE, "L8"),
    Swap("delivery", "Committing", "Delaying"): (Trial(workflows.chain, "linger", 1, "eviction"), "L8"),
    Swap("delivery", "Committing", "Settling"): (_CONFUSE, "L5"),
    Swap("delivery", "Committing", "Completing"): (_LEAVE, "L4"),
    Swap("delivery", "Firing", "Publishing"): (_FAN, "L8"),
    Swap("delivery", "Publishing", "Settling"): (_LEAVE, "L4"),
    Swap("delivery", "Delaying", "Settling"): (_MISDIRECT, "L4"),
    Swap("delivery", "Settling", "Completing"): (_LEAVE, "L4"),
    Swap("delivery", "Listing", "Unlisting"): (_LOSE, "L10"),
    Swap("delivery", "Unlisting", "Confirming"): (Trial(workflows.chain, "leave", 1, "rollback"), "L4"),
    Swap("delivery", "Relisting", "Claiming"): (Trial(workflows.chain, "leave", 1, "crash,rollback", 2), "L4"),
    Swap("delivery", "Parking", "Acking"): (_POISON, "L4"),
    Swap("delivery", "Burying", "Acking"): (_POISON, "L10"),
    Swap("start", "Opening", "Starting"): (Trial(workflows.fan, "begin", 2, "rollback"), "L4"),
    Swap("start", "Starting", "Relisting"): (Trial(workflows.chain, "arrive", 1, "rollback,loss", 2, runs=2), "L4"),
    Swap("signal", "Signalling", "Publishing"): (_APPROVE, "L8"),
    Swap("signal", "Listing", "Signalling"): (_TRUST, "L3"),
    Swap("sweep", "Publishing", "Removing"): (Trial(workflows.chain, "linger", 1), "L4"),
    Swap("sweep", "Delaying", "Removing"): (_MISDIRECT, "L4"),
    Swap("sweep", "Burying", "Removing"): (_MISDIRECT, "L10"),
    Swap("scan", "Listing", "Unlisting"): (Trial(workflows.chain, "arrive", 1, "crash,loss", 3), "L10"),
}

_SAFE_EARLY = "both are done before the call settles, and whoever takes over from a crash does both again"
_ONLY_LISTED = "who shows the list asks each run or call what it is, and shows none that is not so yet"
_SENT_AGAIN = "a sender that dies is to send again, and that lists the run"

UNNOTICED: dict[Swap, str] = {
    Swap("delivery", "Committing", "Satisfying"): "it compares that the event is there, fails, and looks again",
    Swap("delivery", "Failing", "Parking"): "a timer that comes early finds the lease held, and parks the call again",
    Swap("delivery", "Failing", "Burying"): _ONLY_LISTED,
    Swap("delivery", "Completing", "Listing"): _ONLY_LISTED,
    Swap("delivery", "Satisfying", "Recalling"): "a join's record never changes, and firing compares that it is armed",
    Swap("delivery", "Publishing", "Delaying"): _SAFE_EARLY,
    Swap("delivery", "Publishing", "Noting"): "what is noted is a text, for people, on a call that nobody has yet",
    Swap("delivery", "Noting", "Delaying"): _SAFE_EARLY,
    Swap("start", "Relisting", "Publishing"): (
        "it takes a store that falls back between the first listing and the creation, a client that dies between the "
        "two, and the loss of the message"
    ),
    Swap("start", "Publishing", "Waiting"): "the timer publishes once more what is published, and publishing is safe",
    Swap("start", "Closing", "Confirming"): (
        "it takes a client that begins an ended run again just when a signal revives it, and the loss of the message"
    ),
    Swap("signal", "Signalling", "Relisting"): (
        "it takes a store that falls back between the listings and the revival, and the loss of the message"
    ),
    Swap("signal", "Relisting", "Publishing"): _SENT_AGAIN,
    Swap("signal", "Publishing", "Waiting"): "as at the start of a run",
    Swap("sweep", "Noting", "Burying"): _ONLY_LISTED,
    Swap("sweep", "Noting", "Delaying"): "the old timer is there until both are done",
    Swap("sweep", "Publishing", "Noting"): (
        "a call is given up after ten publishes in vain, the tenth not counted yet: its queue would have to appear then"
    ),
    Swap("scan", "Completing", "Listing"): _ONLY_LISTED,
    Swap("scan", "Unlisting", "Confirming"): (
        "it takes a run that the scan ends, its worker dead and its message lost, and a store that falls back between "
        "the two: the tests play these three faults"
    ),
    Swap("scan", "Relisting", "Acking"): "who dies before relisting leaves the run unlisted in either order",
    Swap("scan", "Republishing", "Acking"): "if the worker dies between the two, the next marker finds the same calls",
    Swap("scan", "Republishing", "Scanning"): "what is published of one run is nothing to another",
}


def convict(swap: Swap) -> Violation | None:
    """The first violation on its trial."""
    trial, _ = CONVICTED[swap]
    for strategy in ("faults", "random"):
        report = trial.report(swapped(swap), strategy, RUNS)
        if report.violations:
            return report.violations[0]
    return None
