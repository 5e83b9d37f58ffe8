"""The law about joins: L3."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pwf_runtime.core import keys as k
from pwf_runtime.core.effects import RunTask
from pwf_runtime.core.model import Need
from pwf_runtime.core.wire import decode_failure

from ..history import CallView, JoinView
from .base import Law

if TYPE_CHECKING:
    from ..history import Change
    from ..world.process import Process, Slot
    from ..world.world import World


class JoinsExactly(Law):
    """A join fires exactly once if its needs are met and never otherwise, with exactly the right events.

    The right events are, of each name, the first that are needed in the order of the commits, the names in the order
    declared. The contents are checked, not the number: what fires early by a double count is the right number of calls.
    """

    name, title = "L3", "a join fires exactly once, when its needs are met, with exactly the right events"

    def changed(self, world: World, slot: Slot, change: Change) -> None:
        for join in change.fired:
            if join.fired > 1:
                raise self.broken(f"the join of {self._name(world, join)} fired {join.fired} times")
            missing = self._lacking(world, join)
            if missing:
                raise self.broken(f"the join of {self._name(world, join)} fired without {missing}")
            if join.expired:
                raise self.broken(f"the join of {self._name(world, join)} fired after its time was over")
        if change.failed is not None and self._lacks_events(world, change.failed):
            raise self.broken(f"{change.failed.path} did not get the events that its join fired on")

    def _lacks_events(self, world: World, call: CallView) -> bool:
        """Whether it failed because the store, which nobody damages here, has not what was promised to it."""
        run_id, call_id = call.key
        run = world.store.runs.get(run_id)
        failure = run.fields.get(k.failure(call_id)) if run is not None else None
        return failure is not None and decode_failure(failure).kind == "EventsMissing"

    def runs(self, world: World, process: Process, slot: Slot, effect: RunTask) -> None:
        run_id = effect.message.run_id
        call = world.history.calls.get((run_id, effect.message.call_id))
        if call is None:
            return  # the store fell back behind its creation
        if not call.record.join:
            if effect.events:
                raise self.broken(f"{call.path} received events although no join fired it")
            return
        view = world.history.joins.get((run_id, call.record.join))
        if view is None:
            return
        join = view.record
        received = [event.data for event in effect.events]
        met = [need for need in join.needs if len(self._events(world, run_id, need)) >= need.count]
        if len(join.needs) == join.at_least:
            expected = [data for need in join.needs for data in self._events(world, run_id, need)]
            if received != expected:
                raise self.broken(
                    f"{call.path} received other events than the first committed ones that its join asked for"
                )
        elif not self._is_choice(world, run_id, met, join.at_least, received):
            raise self.broken(f"{call.path} received events that are not those of {join.at_least} of its join's names")

    def ends(self, world: World) -> None:
        for join in world.history.joins.values():
            if not join.fired and not join.expired and not self._lacking(world, join):
                if world.is_cancelled(join.key[0]) or world.is_unlisted():
                    continue
                raise self.broken(f"the join of {self._name(world, join)} has all its events and never fired")

    def _events(self, world: World, run_id: str, need: Need) -> list[bytes]:
        return [data for data, _ in world.history.events.get((run_id, need.name), ())[: need.count]]

    def _is_choice(self, world: World, run_id: str, met: list[Need], at_least: int, received: list[bytes]) -> bool:
        """Whether the events are those of ``at_least`` of the names that are met, in the order declared."""
        if not at_least:
            return not received
        for i, need in enumerate(met):
            events = self._events(world, run_id, need)
            rest = received[len(events) :]
            if received == events + rest and self._is_choice(world, run_id, met[i + 1 :], at_least - 1, rest):
                return True
        return False

    def _lacking(self, world: World, join: JoinView) -> str:
        """What it lacks to fire, in words; empty: nothing."""
        run_id = join.key[0]
        lacking = []
        for need in join.record.needs:
            have = len(world.history.events.get((run_id, need.name), ()))
            if have < need.count:
                lacking.append(self._shown(world, run_id, need, have))
        enough = len(join.record.needs) - len(lacking)
        return ", ".join(lacking) if enough < join.record.at_least else ""

    def _shown(self, world: World, run_id: str, need: Need, have: int) -> str:
        if need.name.startswith("~"):
            return f"the result of {world.history.path(run_id, need.name[1:])}"
        return f"{need.name!r}" if need.count == 1 else f"{need.count - have} of {need.count} {need.name!r}"

    def _name(self, world: World, join: JoinView) -> str:
        _, _, task = join.record.then.task.partition(".")
        return f"{task} (armed by {world.history.path(join.key[0], join.record.parent)})"
