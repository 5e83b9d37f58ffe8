"""How the users' tasks are run in a world."""

from __future__ import annotations

from pwf_runtime.core import effects as e
from pwf_runtime.core import keys as k

from ..program import Program, Ran
from .store import SimStore


class Tasks:
    """Runs tasks for a driver that knows no worlds, so that a world goes when it is let go of. ``ran``: what came of
    the latest."""

    def __init__(self, program: Program, store: SimStore) -> None:
        self.program, self.store = program, store
        self.ran: Ran | None = None

    def start(self, _owner: int, effect: e.RunTask) -> None:
        run = self.store.runs.get(effect.message.run_id)
        remembered = run.fields.get(k.steps(effect.message.call_id)) if run is not None else None
        self.ran = self.program.run_task(effect, remembered)
