"""What a worker does again and again beside its deliveries: sweep timers, look for lost messages, trim lists.

What must live here: how often. What must never: how; that is the machines' business. Every worker has all of these
duties and any number may do them at once, so none of them needs a leader.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from .chores import TrimMachine, Trimmed
from .config import Settings
from .core.machine import Machine, Step
from .core.recover import MarkMachine
from .core.steps import Steps
from .core.sweep import SweepMachine, Swept

SWEEP_AT_ONCE = 500
SWEEP_BUSY_S = 0.05
SWEEP_IDLE_S = 0.25
"""How late a timer may be when another worker set it. A worker's own timers are swept when they are due."""
AFTER_TROUBLE_S = 5.0


class Duty:
    """One thing to do at ``due`` (monotonic seconds), unless it is under way already.

    ``begin(now_ms)`` starts its machine; ``pause(state)`` tells, from the machine's last state, how long to wait then.
    """

    __slots__ = ("begin", "due", "machine", "name", "pause", "under_way")

    def __init__(
        self, name: str, machine: Machine, begin: Callable[[int], Step], pause: Callable[[object], float], due: float
    ) -> None:
        self.name = name
        self.machine = machine
        self.begin = begin
        self.pause = pause
        self.due = due
        self.under_way = False


def sweeping(steps: Steps, now: float) -> Duty:
    machine = SweepMachine(steps)
    return Duty("sweep", machine, lambda now_ms: machine.begin(now_ms, SWEEP_AT_ONCE), _after_sweep, now)


def others(steps: Steps, queues: Sequence[str], settings: Settings, now: float) -> list[Duty]:
    marks = MarkMachine(settings.recovery_ms)
    trim = TrimMachine()

    def mark(queue: str) -> Callable[[int], Step]:
        return lambda _now_ms: marks.begin(queue)

    def trim_old(now_ms: int) -> Step:
        return trim.begin(now_ms - settings.retention_ms)

    def until_next_mark(_state: object) -> float:
        return settings.recovery * random.uniform(0.75, 1.25)  # so that workers do not all come at once

    def until_next_trim(state: object) -> float:
        full = isinstance(state, Trimmed) and state.count >= 1_000
        return 0.0 if full else min(60.0, max(1.0, settings.retention / 2))

    soon = now + min(5.0, settings.recovery) * random.random()
    duties = [Duty(f"mark {queue}", marks, mark(queue), until_next_mark, soon) for queue in queues]
    return [*duties, Duty("trim", trim, trim_old, until_next_trim, soon)]


def _after_sweep(state: object) -> float:
    count = state.count if isinstance(state, Swept) else 0
    if count >= SWEEP_AT_ONCE:
        return 0.0
    return SWEEP_BUSY_S if count else SWEEP_IDLE_S
