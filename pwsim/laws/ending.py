"""Laws about how a world ends: L4, L6, L7."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pwf_runtime.core import effects as e
from pwf_runtime.core import keys as k

from .. import faults as f
from .base import Law

if TYPE_CHECKING:
    from ..history import CallView, Change
    from ..world.process import Slot
    from ..world.world import World


class Ends(Law):
    """When faults stop, every run ends: completed, or stopped with a named reason; and never before its last call."""

    name, title = "L4", "every run ends, or is stopped for a named reason"

    def changed(self, world: World, slot: Slot, change: Change) -> None:
        if change.status is None or change.status[1] not in (k.COMPLETED, k.STRANDED):
            return
        run_id = change.status[0]
        for call in world.history.calls.values():
            if call.key[0] == run_id and not call.settled and not self._is_timeout(world, call):
                raise self.broken(f"run {run_id!r} was ended while {call.path} was still open")

    def _is_timeout(self, world: World, call: CallView) -> bool:
        """The call that would end a join goes when the join fires, without settling."""
        return bool(call.record.expires)

    def ends(self, world: World) -> None:
        for run_id, status in world.history.status.items():
            if status != k.RUNNING or world.is_stopped(run_id):
                continue
            stuck = [
                call
                for call in world.history.calls.values()
                if call.key[0] == run_id and not call.settled and not call.dead
            ]
            if not stuck:
                raise self.broken(f"run {run_id!r} has nothing left to do and was never ended")
            call = stuck[-1]
            state = "committed but not settled" if call.commits else f"ready (attempt {call.attempt} was the last)"
            raise self.broken(f"{call.path} is {state}, and no message, timer or worker will ever bring it on")


class Transparent(Law):
    """For tasks that are functions of their input, the committed graph equals that of the run without faults.

    Which of several names fires a K-of-M join, and in which order several events of one name arrive, is decided by who
    is first; where a workflow has such a choice, or a task answered the same input differently, there is nothing to
    compare with, and the law is silent.
    """

    name, title = "L6", "faults do not change what was committed"

    def ends(self, world: World) -> None:
        expected = world.program.reference
        if expected is None or world.has_choice() or world.struck(*_OTHER_GRAPHS):
            return
        committed = world.committed_graph()
        if committed == expected:
            return
        names = sorted({path for path, _ in committed ^ expected})
        raise self.broken(f"{', '.join(names[:3])} did not commit as in the run without faults")


_OTHER_GRAPHS = (f.DIFFERS, *f.ROLLBACK)
"""After these the committed graph may rightly be another: a task answered otherwise, or a commit was forgotten."""


class LeavesNothing(Law):
    """After completion and retention no key, no timer, no message is left."""

    name, title = "L7", "nothing is left behind"

    def ends(self, world: World) -> None:
        for run_id, run in world.store.runs.items():
            status = run.fields.get(k.STATUS)
            if status in (k.COMPLETED, k.STRANDED) and run.expires_ms is None:
                raise self.broken(f"run {run_id!r} has ended and its keys would stay for ever")
        stopped = {run.encode() for run in world.history.status if world.is_stopped(run)}
        opened = [m for m in world.store.indexes.get(e.OPEN, {}) if m not in stopped]
        if opened:
            raise self.broken(f"run {opened[0].decode()!r} has ended and is still listed as open")
        if world.store.indexes.get(e.TIMERS):
            raise self.broken("a timer is left that nothing waits for")
        if not world.broker.is_empty():
            raise self.broken("a message is left that nobody takes")
