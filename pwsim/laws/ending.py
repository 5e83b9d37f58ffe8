"""Laws about how a world ends: L4, L6, L7, L10."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pwf_runtime.core import effects as e
from pwf_runtime.core import keys as k
from pwf_runtime.core.signal import Signalled
from pwf_runtime.core.wire import encode, number

from .. import faults as f
from .base import Law

if TYPE_CHECKING:
    from ..history import CallView, Change
    from ..world.process import Slot
    from ..world.world import World


class Ends(Law):
    """When faults stop, every run ends: completed, or stopped with a named reason; and never before its last call.

    A run that the store threw away is none any more. Where it threw the list of open runs away, what only the recovery
    scan could bring on need not end.
    """

    name, title = "L4", "every run ends, or is stopped for a named reason"

    def changed(self, world: World, slot: Slot, change: Change) -> None:
        for call in change.created:
            if world.history.status.get(call.key[0]) in (k.COMPLETED, k.STRANDED):
                raise self.broken(f"{call.path} was created when its run had ended")
        if change.status is not None and change.status[1] == k.RUNNING and change.was is not None:
            self._goes_on(world, change.status[0])
        if change.status is None or change.status[1] not in (k.COMPLETED, k.STRANDED):
            return
        run_id = change.status[0]
        if change.was != k.RUNNING:
            raise self.broken(f"run {run_id!r} was ended again: it was {(change.was or b'not there').decode()}")
        for join in world.history.joins.values():
            if join.key[0] == run_id and join.record.keeps_open and join.waits_outside:
                then = join.record.then.task.partition(".")[2]
                raise self.broken(f"run {run_id!r} was ended while the join of {then} still waits for a signal")
        for call in world.history.calls.values():
            if call.key[0] == run_id and not call.settled and not self._is_timeout(world, call):
                raise self.broken(f"run {run_id!r} was ended while {call.path} was still open")

    def _goes_on(self, world: World, run_id: str) -> None:
        """A run that goes on after its end is not to vanish with its retention."""
        if world.store.runs[run_id].expires_ms is not None:
            raise self.broken(f"run {run_id!r} goes on, and its keys will vanish as those of a run that has ended")

    def _counts_dead(self, world: World) -> None:
        """A run that is stopped says by how many calls."""
        for run_id, run in world.store.runs.items():
            dead = sum(call.dead for call in world.history.calls.values() if call.key[0] == run_id)
            counted = number(run.fields.get(k.DEAD_COUNT))
            if counted != dead:
                raise self.broken(f"run {run_id!r} counts {counted} dead calls where there are {dead}")

    def _is_timeout(self, world: World, call: CallView) -> bool:
        """The call that would end a join goes when the join fires, without settling."""
        return bool(call.record.expires)

    def ends(self, world: World) -> None:
        self._counts_dead(world)
        if world.is_unlisted():
            return
        for run_id, status in world.history.status.items():
            if status != k.RUNNING or world.is_stopped(run_id):
                continue
            stuck = [
                call
                for call in world.history.calls.values()
                if call.key[0] == run_id and not call.settled and not call.dead
            ]
            if not stuck and world.is_waiting(run_id):
                continue
            if not stuck:
                raise self.broken(f"run {run_id!r} has nothing left to do and was never ended")
            call = stuck[-1]
            state = "committed but not settled" if call.commits else f"ready (attempt {call.attempt} was the last)"
            raise self.broken(f"{call.path} is {state}, and no message, timer or worker will ever bring it on")


class Transparent(Law):
    """For tasks that are functions of their input, the committed graph equals that of the run without faults.

    Which of several names fires a K-of-M join, and in which order several events of one name arrive, is decided by who
    is first; so is whether a join fires or its time is over; and a task may ask for the number of its attempt. Where a
    workflow has such a choice, or a task answered the same input differently, there is nothing to compare with, and the
    law is silent, as it is where an operator cancelled a run, and where a signal came too late for its run. Of a run
    that a dead call stopped, only what it did commit is compared.
    """

    name, title = "L6", "faults do not change what was committed"

    def ends(self, world: World) -> None:
        expected = world.program.reference
        if expected is None or world.program.asked_attempt or world.has_choice() or self._is_race(world):
            return
        if not all(isinstance(world.told.get(each.call_id), Signalled) for each in world.program.signals):
            return
        if world.struck(*_OTHER_GRAPHS):
            return
        committed = world.committed_graph()
        stopped = any(call.dead for call in world.history.calls.values()) or world.is_unlisted()
        if committed == expected or (stopped and committed < expected):
            return
        names = sorted({path for path, _ in committed ^ expected})
        if any(" > timeout of " in path for path in names) or any(map(world.is_cancelled, world.history.status)):
            return
        raise self.broken(f"{', '.join(names[:3])} did not commit as in the run without faults")

    def _is_race(self, world: World) -> bool:
        """Whether a join waits for a name that was emitted more often than once: it takes those that came first."""
        events = world.history.events
        return any(
            len(events.get((join.key[0], need.name), ())) > 1
            for join in world.history.joins.values()
            for need in join.record.needs
        )


_OTHER_GRAPHS = (f.DIFFERS, *f.FORGETS)
"""After these the committed graph may rightly be another: a task answered otherwise, or a commit was forgotten."""


class LeavesNothing(Law):
    """After completion and retention no key, no timer, no message is left, nor part of a run that is none."""

    name, title = "L7", "nothing is left behind"

    def ends(self, world: World) -> None:
        for run_id, run in world.store.runs.items():
            status = run.fields.get(k.STATUS)
            if run.fields and status is None:
                raise self.broken(f"parts of run {run_id!r} would stay for ever, which does not exist")
            if status in (k.COMPLETED, k.STRANDED) and run.expires_ms is None:
                raise self.broken(f"run {run_id!r} has ended and its keys would stay for ever")
        going_on = {run for run in world.history.status if world.is_stopped(run) or world.is_waiting(run)}
        stopped = {run.encode() for run in going_on}
        listed = world.store.indexes.get(e.OPEN, {})  # a cancelled run is taken off by who cancelled it
        opened = [m for m in listed if m not in stopped and not world.is_cancelled(m.decode())]
        if opened and not world.struck(f.STALL):  # who slept may list a run late: the scan takes it off again
            raise self.broken(f"run {opened[0].decode()!r} has ended and is still listed as open")
        if world.store.indexes.get(e.TIMERS):
            raise self.broken("a timer is left that nothing waits for")
        if not world.broker.is_empty():
            raise self.broken("a message is left that nobody takes")


class Listed(Law):
    """What needs somebody, and what is over, is on the list that people read: dead calls, and runs that have ended.

    Not where a run was cancelled, which the one who cancels sees to; nor where the store fell back, perhaps between two
    writes of a list, which are no part of a run's transactions: what a list lacks then, the run itself still tells.
    """

    name, title = "L10", "what has died or ended is listed"

    def ends(self, world: World) -> None:
        if world.struck(*f.FORGETS):
            return
        dead, finished = (world.store.indexes.get(index, {}) for index in (e.DEAD, e.FINISHED))
        for call in world.history.calls.values():
            is_there = world.history.status.get(call.key[0]) == k.RUNNING
            if is_there and call.dead and not call.settled and encode(call.key) not in dead:
                raise self.broken(f"{call.path} is dead and not listed, so that nobody sees it")
        for run_id, status in world.history.status.items():
            if status in (k.COMPLETED, k.STRANDED) and run_id.encode() not in finished and run_id in world.store.runs:
                raise self.broken(f"run {run_id!r} has ended and is not listed among those that have")
