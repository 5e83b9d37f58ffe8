"""What a planted bug is, how it is convicted, and what the bugs have in common.

A bug overrides one method or two of production code, calls ``super()`` and changes what came of it. Where it does an
effect too early, production's own next state is kept in ``First`` and gone on with when the early effect is answered.
"""

from __future__ import annotations

import time
from typing import Any

from msgspec import Struct

from pwf_runtime.core.delivery import DeliveryMachine
from pwf_runtime.core.effects import Effect
from pwf_runtime.core.inputs import Acked, Indexed, Input, Published
from pwf_runtime.core.machine import Row, Step
from pwf_runtime.core.txn import TxnReply
from pwf_runtime.workflow import Workflow

from ..campaign import Campaign, Report
from ..faults import when
from ..program import Program, Protocol
from . import workflows

RUNS = 2_000
"""So many random schedules must convict a bug; a sound variant gets ``SOUND_RUNS``."""
SOUND_RUNS = 300


class Planted(Struct, frozen=True):
    """A variant of the protocol.

    ``law`` is the one that must convict it, named beforehand; "" for a sound variant. ``faults`` is the fewest that are
    needed for it to show. ``families`` are the faults to try, ``None`` for those that every campaign tries. ``start``
    is where ``apps`` begin: the workflow on which it is tried, by ``workers`` with ``prefetch`` deliveries each.
    ``signals`` are sent to it.
    """

    name: str
    about: str
    law: str
    faults: int
    protocol: Protocol
    apps: tuple[Workflow, ...] = (workflows.fan,)
    start: tuple[str, Any] = ("begin", 2)
    families: str | None = None
    workers: int = 2
    prefetch: int = 1
    signals: tuple[tuple[str, Any], ...] = ()

    def program(self, workers: int | None = None) -> Program:
        workers = self.workers if workers is None else workers
        return Program(
            self.apps,
            [self.start],
            workers=workers,
            prefetch=self.prefetch,
            protocol=self.protocol,
            signals=self.signals,
        )


class Conviction(Struct, frozen=True):
    """What came of trying a variant. ``faults``: how many it took; ``fewest``: how many it should take."""

    name: str
    law: str
    convicted_by: str
    faults: int
    fewest: int
    runs: int
    seconds: float
    sentence: str

    @property
    def is_right(self) -> bool:
        return self.law == self.convicted_by


def convict(planted: Planted, budget: float | None = None, *, seed: int = 0) -> Conviction:
    """Try a variant within ``budget`` seconds: single faults in the default order, random schedules, then pairs."""
    began, runs = time.monotonic(), 0
    report: Report | None = None
    for strategy, max_faults in _plan(planted):
        left = None if budget is None else max(0.01, budget - (time.monotonic() - began))
        report = _campaign(planted, strategy, max_faults, seed, left).run()
        runs += report.runs
        if report.violations:
            break
    found = report.violations[0] if report is not None and report.violations else None
    return Conviction(
        name=planted.name,
        law=planted.law,
        convicted_by=found.law if found else "",
        faults=len(found.faults) if found else 0,
        fewest=planted.faults,
        runs=runs,
        seconds=round(time.monotonic() - began, 3),
        sentence=f"{found.law}: {found.sentence}, {when(found.faults)}." if found else "",
    )


def _plan(planted: Planted) -> list[tuple[str, int]]:
    """Strategies, each with the number of faults in its schedules."""
    single = min(planted.faults, 1) if planted.law else 1
    pairs = [("faults", 2)] if planted.faults > 1 else []
    return [("faults", single), ("random", max(planted.faults, 3)), *pairs]


def _campaign(planted: Planted, strategy: str, max_faults: int, seed: int, budget: float | None) -> Campaign:
    return Campaign(
        planted.program(),
        strategy=strategy,
        faults="" if planted.law and not planted.faults else planted.families,
        max_faults=max_faults,
        runs=RUNS if planted.law else SOUND_RUNS,
        seed=seed,
        budget=budget,
    )


# ── doing something too early ─────────────────────────────────────────────────────────────────


class First(Struct, frozen=True):
    """An effect is done that should come later or not at all; then ``state`` and ``effect`` go on."""

    state: Any
    effect: Effect | None


_STATES = tuple(dict.fromkeys(state for row in DeliveryMachine.TABLE for state in (row.state, *row.to)))
ANYWHERE: tuple[type[Struct], ...] = (*_STATES, First)


class Loose(DeliveryMachine):
    """The machine of one delivery, with a table that leads anywhere, and through ``First``."""

    TABLE = (
        *[row._replace(to=ANYWHERE) for row in DeliveryMachine.TABLE],
        *[Row(First, kind, "_resumed", ANYWHERE) for kind in (Acked, Published, Indexed, TxnReply)],
    )

    def _resumed(self, state: First, _input: Input, _now_ms: int) -> Step:
        return state.state, state.effect


def first(effect: Effect, then: Step) -> Step:
    """Do ``effect``, then go on with ``then``."""
    return First(*then), effect
