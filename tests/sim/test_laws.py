"""Each law speaks when the world is doctored so that it is broken, and is silent about the same world as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from pwf_runtime import Action, Retry, Workflow, call, emit, join
from pwf_runtime.core import effects as e
from pwf_runtime.core import keys as k
from pwf_runtime.core.effects import Ack, Publish, RunTask
from pwf_runtime.core.ids import ROOT_CALL, derive
from pwf_runtime.core.model import CallRecord, Event, Message, NewCall
from pwf_runtime.core.states import Acking, Committing, Failing, Publishing, Running, Settling
from pwsim.history import CallView, Change
from pwsim.laws import ALL, Law, Violated, Watch
from pwsim.laws.calls import CommitsOnce, CreatesExactly, Fenced, Ordered, Punctual
from pwsim.laws.ending import Ends, LeavesNothing, Listed, Transparent
from pwsim.laws.joins import JoinsExactly
from pwsim.program import LEASE_MS, Program
from pwsim.runner import apply, finish, play
from pwsim.schedule import Schedule
from pwsim.world.process import Process, Slot
from pwsim.world.world import World

from .programs import chain, fan, program_of, random_results, rich_program

# ── worlds to be doctored ─────────────────────────────────────────────────────────────────────


def world_of(program: Program | None = None) -> World:
    return World(program or fan(2), Watch(()))


def until(state: type, path: str = "begin", program: Program | None = None) -> tuple[World, Process, Slot]:
    """A world in the default order, up to where a delivery of this call is in this state."""
    world = world_of(program)
    while True:
        for process in world.processes:
            for slot in process.slots.values():
                if type(slot.state) is state and slot.path == path:
                    return world, process, slot
        action = world.default()
        if action is None:
            assert world.advance()
        else:
            assert apply(world, action) is None


def ended(program: Program | None = None) -> World:
    world = world_of(program)
    assert finish(world) is None
    return world


def call_of(world: World, path: str) -> CallView:
    return next(each for each in world.history.calls.values() if each.path == path)


def caught(law: Law, hook: str, *given: Any) -> str:
    """What the law says."""
    with pytest.raises(Violated) as caught:
        getattr(law, hook)(*given)
    assert caught.value.law == law.name
    assert str(caught.value) == f"{law.name}: {caught.value.sentence}"
    return caught.value.sentence


def change(**what: Any) -> Change:
    made = Change()
    for name, value in what.items():
        setattr(made, name, value)
    return made


# ── all of them ───────────────────────────────────────────────────────────────────────────────


def test_laws_are_numbered_and_say_what_they_demand() -> None:
    assert [law.name for law in ALL] == [f"L{i}" for i in range(1, len(ALL) + 1)]
    assert all(law.title and law.__doc__ for law in ALL)


def test_each_law_has_a_test_of_its_own_here() -> None:
    by_calls = {CommitsOnce, CreatesExactly, JoinsExactly, Fenced, Ordered, Punctual}
    assert set(ALL) == by_calls | {Ends, Transparent, LeavesNothing, Listed}


@pytest.mark.parametrize("make", [fan, chain, rich_program, lambda: chain("poison"), lambda: chain("mistype")])
def test_all_laws_are_silent_about_a_sound_run(make: Callable[[], Program]) -> None:
    program = make()
    program.reference = play(program, Schedule()).world.committed_graph()
    assert play(program, Schedule()).violation is None
    for result in random_results(program, 40, faults="default"):
        assert result.violation is None, result.violation


def test_a_law_is_called_at_the_hooks_that_it_overrides_and_at_no_others() -> None:
    asked: list[str] = []

    class Watching(Law):
        name, title = "L0", "watches"

        def runs(self, world: World, process: Process, slot: Slot, effect: RunTask) -> None:
            asked.append("runs")

        def acks(self, world: World, slot: Slot) -> None:
            asked.append("acks")

    watch = Watch([Watching(), Law()])
    world, process, slot = until(Running)
    assert slot.effect is not None
    watch.before(world, process, slot, slot.effect)
    watch.before(world, process, slot, Publish((slot.message,)))  # type: ignore[arg-type]
    watch.before(world, process, slot, Ack())
    watch.changed(world, slot, change())
    watch.ends(world)
    assert asked == ["runs", "acks"]


def test_a_law_that_is_broken_stops_the_world_there() -> None:
    class Never(Law):
        name, title = "L0", "no task runs"

        def runs(self, world: World, process: Process, slot: Slot, effect: RunTask) -> None:
            raise self.broken(f"{slot.path} runs")

    result = play(fan(2), Schedule(), Watch([Never()]))
    assert result.violation is not None
    assert (result.violation.law, result.violation.sentence) == ("L0", "begin runs")
    assert result.trace[-1].effect == "claim"


# ── L1 ────────────────────────────────────────────────────────────────────────────────────────


def test_l1_a_second_commit() -> None:
    world, _, slot = until(Publishing)
    view = call_of(world, "begin")
    CommitsOnce().changed(world, slot, change(committed=view))
    view.commits = 2
    assert caught(CommitsOnce(), "changed", world, slot, change(committed=view)) == "begin committed 2 times"


# ── L2 ────────────────────────────────────────────────────────────────────────────────────────


def committed(path: str = "begin", state: type = Publishing) -> tuple[World, Slot, Change]:
    """A commit that did exactly what its task returned."""
    world, _, slot = until(state, path)
    view = call_of(world, path)
    made = change(
        committed=view,
        created=[c for c in world.history.calls.values() if c.record.parent == view.key[1] and not c.record.join],
        armed=[j for j in world.history.joins.values() if j.record.parent == view.key[1]],
        emitted=[name for (_, name), events in world.history.events.items() for _, by in events if by == view.key[1]],
    )
    CreatesExactly().changed(world, slot, made)
    return world, slot, made


def test_l2_a_call_that_was_not_created() -> None:
    world, slot, made = committed()
    made.created.pop()
    assert "created 1 calls and 1 joins where its task returned 2 and 1" in caught(
        CreatesExactly(), "changed", world, slot, made
    )


def test_l2_a_call_that_nobody_asked_for() -> None:
    world, slot, made = committed()
    made.created.append(CallView(("run", "ghost"), "begin > ghost", CallRecord("fan.part", b"", ROOT_CALL, 0)))
    assert "(not asked for: begin > ghost)" in caught(CreatesExactly(), "changed", world, slot, made)


def test_l2_a_join_that_was_not_armed() -> None:
    world, slot, made = committed()
    made.armed.clear()
    assert "2 calls and 0 joins" in caught(CreatesExactly(), "changed", world, slot, made)


@pytest.mark.parametrize("emitted", [[], ["part_0", "part_0"], ["part_1"]])
def test_l2_events_that_are_not_those_returned(emitted: list[str]) -> None:
    world, slot, made = committed("begin > part[0]", Settling)
    assert made.emitted == ["part_0"]
    made.emitted = emitted
    assert "the commit of begin > part[0] emitted" in caught(CreatesExactly(), "changed", world, slot, made)


def test_l2_an_event_without_a_commit() -> None:
    world, slot, _ = committed()
    assert (
        caught(CreatesExactly(), "changed", world, slot, change(emitted=["x"])) == "begin emitted 'x' without a commit"
    )


def test_l2_a_call_that_is_created_again() -> None:
    world, slot, made = committed()
    assert caught(CreatesExactly(), "changed", world, slot, change(again=made.created[:1])).endswith(
        "was created again"
    )


# ── L3 ────────────────────────────────────────────────────────────────────────────────────────


def fired() -> tuple[World, Process, Slot]:
    """A join has fired, and its call runs."""
    world, process, slot = until(Running, "begin > gather")
    JoinsExactly().runs(world, process, slot, slot.effect)  # type: ignore[arg-type]
    (view,) = world.history.joins.values()
    JoinsExactly().changed(world, slot, change(fired=[view]))
    return world, process, slot


def test_l3_a_join_that_fires_twice() -> None:
    world, _, slot = fired()
    (view,) = world.history.joins.values()
    view.fired = 2
    said = caught(JoinsExactly(), "changed", world, slot, change(fired=[view]))
    assert said == "the join of gather (armed by begin) fired 2 times"


def test_l3_a_join_that_fires_without_an_event() -> None:
    world, _, slot = fired()
    (view,) = world.history.joins.values()
    del world.history.events["run", "part_1"]
    assert "fired without 'part_1'" in caught(JoinsExactly(), "changed", world, slot, change(fired=[view]))


def test_l3_a_join_that_fires_after_its_time() -> None:
    world, _, slot = fired()
    (view,) = world.history.joins.values()
    view.expired = True
    assert "fired after its time was over" in caught(JoinsExactly(), "changed", world, slot, change(fired=[view]))


@pytest.mark.parametrize("how", ["in another order", "one too few", "one twice", "another content", "none"])
def test_l3_a_joined_call_that_receives_other_events(how: str) -> None:
    """The contents are checked, not the number."""
    world, process, slot = fired()
    assert isinstance(slot.effect, RunTask)
    one, other = slot.effect.events
    events = {
        "in another order": (other, one),
        "one too few": (one,),
        "one twice": (one, one),
        "another content": (one, replace(other, data=b"?")),
        "none": (),
    }[how]
    said = caught(JoinsExactly(), "runs", world, process, slot, replace(slot.effect, events=events))
    assert said.startswith("begin > gather received other events")


def test_l3_a_call_that_no_join_fired_receives_events() -> None:
    world, process, slot = until(Running)
    effect = replace(slot.effect, events=(Event("x", b""),))  # type: ignore[type-var]
    assert "although no join fired it" in caught(JoinsExactly(), "runs", world, process, slot, effect)


def _two_of_three() -> Program:
    app = Workflow("some")

    @app.task
    def a(data: int) -> list[Action]:
        return [*[call(tell, i) for i in range(3)], join(last, on=["n0", "n1", "n2"], at_least=2)]

    @app.task
    def tell(data: int) -> Action:
        return emit(f"n{data}", data)

    @app.task
    def last() -> None:
        return None

    return program_of(app)


def test_l3_two_of_three_are_any_two_that_are_there_in_the_order_declared() -> None:
    world, process, slot = until(Running, "a > last", _two_of_three())
    assert isinstance(slot.effect, RunTask)
    zero, one, two = (Event(f"n{i}", bytes([i])) for i in range(3))
    world.history.events = {("run", f"n{i}"): [(bytes([i]), "x")] for i in range(3)}
    law = JoinsExactly()
    for right in ((zero, one), (zero, two), (one, two)):
        law.runs(world, process, slot, replace(slot.effect, events=right))
    for wrong in ((one, zero), (zero,), (zero, one, two), (zero, zero), ()):
        assert "not those of 2 of its join's names" in caught(
            law, "runs", world, process, slot, replace(slot.effect, events=wrong)
        )


def test_l3_a_join_that_has_all_its_events_and_never_fires() -> None:
    world = ended()
    JoinsExactly().ends(world)
    (view,) = world.history.joins.values()
    view.fired = 0
    assert "has all its events and never fired" in caught(JoinsExactly(), "ends", world)
    del world.history.events["run", "part_0"]
    JoinsExactly().ends(world)


# ── L4 ────────────────────────────────────────────────────────────────────────────────────────


def test_l4_a_call_that_is_left_open() -> None:
    world, _, _ = until(Running)
    said = caught(Ends(), "ends", world)
    assert said == ("begin is ready (attempt 1 was the last), and no message, timer or worker will ever bring it on")
    world, _, _ = until(Publishing)
    for view in world.history.calls.values():
        view.settled = view.path != "begin"
    assert caught(Ends(), "ends", world).startswith("begin is committed but not settled")


def test_l4_a_run_that_is_never_ended() -> None:
    world = ended()
    Ends().ends(world)
    world.history.status["run"] = k.RUNNING
    assert caught(Ends(), "ends", world) == "run 'run' has nothing left to do and was never ended"


def test_l4_a_run_that_is_stopped_by_dead_calls_has_ended() -> None:
    world = ended(chain("poison"))
    assert world.history.status["run"] == k.RUNNING
    Ends().ends(world)


def test_l4_a_run_that_counts_its_dead_wrong() -> None:
    world = ended(chain("poison"))
    with world.store.changing("run") as run:
        run.fields[k.DEAD_COUNT] = b"2"
    assert caught(Ends(), "ends", world) == "run 'run' counts 2 dead calls where there are 1"


def test_l4_a_run_that_is_ended_while_something_is_open() -> None:
    world, _, slot = until(Running)
    over = change(status=("run", k.COMPLETED), was=k.RUNNING)
    assert caught(Ends(), "changed", world, slot, over) == "run 'run' was ended while begin was still open"
    call_of(world, "begin").settled = True
    Ends().changed(world, slot, over)


def test_l4_a_run_that_is_ended_again() -> None:
    world, _, slot = until(Running)
    call_of(world, "begin").settled = True
    again = change(status=("run", k.STRANDED), was=k.COMPLETED)
    assert caught(Ends(), "changed", world, slot, again) == "run 'run' was ended again: it was completed"


def test_l4_a_call_that_is_created_when_its_run_has_ended() -> None:
    world, _, slot = until(Running)
    made = change(created=[call_of(world, "begin")])
    Ends().changed(world, slot, made)
    world.history.status["run"] = k.COMPLETED
    assert caught(Ends(), "changed", world, slot, made) == "begin was created when its run had ended"


# ── L5 ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("what", "said"), [("committed", "committed"), ("failed", "noted its failure")])
def test_l5_an_attempt_that_writes_after_a_later_one_was_granted(what: str, said: str) -> None:
    world, _, slot = until(Committing)
    view = call_of(world, "begin")
    Fenced().changed(world, slot, change(**{what: view}))
    view.attempt = 2
    assert caught(Fenced(), "changed", world, slot, change(**{what: view})) == (
        f"attempt 1 of begin {said} after attempt 2 was granted"
    )


def test_l5_a_task_that_runs_without_a_lease() -> None:
    world, process, slot = until(Running)
    Fenced().runs(world, process, slot, slot.effect)  # type: ignore[arg-type]
    with world.store.changing("run") as run:
        run.leases.clear()
    assert caught(Fenced(), "runs", world, process, slot, slot.effect) == (
        f"begin runs in {process.name}, which holds no lease on it"
    )
    world.clock.time_ms += LEASE_MS
    Fenced().runs(world, process, slot, slot.effect)  # type: ignore[arg-type]


def test_l5_a_task_that_runs_beside_itself() -> None:
    world, process, slot = until(Running)
    other = world.processes[1 if process is world.processes[0] else 0]
    other.slots[99] = beside = slot.copy()
    beside.owner, beside.token = 99, "another"
    said = caught(Fenced(), "runs", world, process, slot, slot.effect)
    assert said == f"begin runs in {process.name} while begin still runs in {other.name}"


def test_l5_a_task_that_runs_beside_its_successor() -> None:
    world, process, slot = until(Running, "begin > part[0]")
    other = world.processes[1 if process is world.processes[0] else 0]
    other.slots = {99: (beside := slot.copy())}
    beside.owner, beside.path, beside.call_id, beside.token = 99, "begin", ROOT_CALL, "another"
    said = caught(Fenced(), "runs", world, process, slot, slot.effect)
    assert said == f"begin > part[0] runs in {process.name} while begin still runs in {other.name}"


def test_l5_an_old_attempt_that_took_the_lease() -> None:
    world, _, slot = until(Acking)
    slot.attempt = 1
    Fenced().acks(world, slot)
    call_of(world, "begin").attempt = 2
    with world.store.changing("run") as run:
        run.leases[slot.call_id] = (slot.token, world.clock.time_ms + 5)
    assert caught(Fenced(), "acks", world, slot) == "attempt 1 of begin took the lease from attempt 2"


# ── L6 ────────────────────────────────────────────────────────────────────────────────────────


def test_l6_another_graph_than_without_faults() -> None:
    world = ended()
    world.program.reference = world.committed_graph()
    Transparent().ends(world)
    view = call_of(world, "begin > part[1]")
    assert view.outcome is not None
    view.outcome = replace(view.outcome, calls=(NewCall("fan.part", b""),))
    assert caught(Transparent(), "ends", world) == "begin > part[1] did not commit as in the run without faults"


def test_l6_a_call_that_never_committed() -> None:
    world = ended()
    world.program.reference = world.committed_graph()
    call_of(world, "begin > gather").commits = 0
    assert caught(Transparent(), "ends", world).startswith("begin > gather did not commit")


def test_l6_says_nothing_where_there_is_a_choice_or_nothing_to_compare_with() -> None:
    world = ended()
    call_of(world, "begin > gather").commits = 0
    assert world.program.reference is None
    Transparent().ends(world)
    world = ended(_two_of_three())
    world.program.reference = frozenset()
    assert world.has_choice()
    Transparent().ends(world)


def test_l6_a_run_that_was_stopped_is_compared_in_what_it_did_commit() -> None:
    world = ended()
    world.program.reference = world.committed_graph()
    call_of(world, "begin > gather").commits = 0
    call_of(world, "begin > gather").dead = True
    Transparent().ends(world)
    view = call_of(world, "begin")
    assert view.outcome is not None
    view.outcome = replace(view.outcome, result=b"?")
    assert "did not commit" in caught(Transparent(), "ends", world)


# ── L7 ────────────────────────────────────────────────────────────────────────────────────────


def _no_expiry(world: World) -> None:
    with world.store.changing("run") as run:
        run.expires_ms = None


def _listed(world: World) -> None:
    world.store.index_add(e.OPEN, [(b"run", 0)])


def _timer(world: World) -> None:
    world.store.index_add(e.TIMERS, [(b"t", 0)])


def _message(world: World) -> None:
    world.broker.publish("fan", b"m", 0)


def _unacked(world: World) -> None:
    world.broker.publish("fan", b"m", 0)
    world.broker.deliver("fan", world.processes[0].channel)


@pytest.mark.parametrize(
    ("leave", "said"),
    [
        (_no_expiry, "run 'run' has ended and its keys would stay for ever"),
        (_listed, "run 'run' has ended and is still listed as open"),
        (_timer, "a timer is left that nothing waits for"),
        (_message, "a message is left that nobody takes"),
        (_unacked, "a message is left that nobody takes"),
    ],
)
def test_l7_something_is_left(leave: Callable[[World], None], said: str) -> None:
    world = ended()
    LeavesNothing().ends(world)
    leave(world)
    assert caught(LeavesNothing(), "ends", world) == said


def test_l7_a_run_that_is_stopped_stays_listed() -> None:
    world = ended(chain("poison"))
    assert world.store.indexes[e.OPEN]
    LeavesNothing().ends(world)


# ── L8 ────────────────────────────────────────────────────────────────────────────────────────


def test_l8_a_publish_before_the_commit() -> None:
    world, _, slot = until(Committing)
    child = Message("run", derive(ROOT_CALL, "c0"), "fan.part")
    assert caught(Ordered(), "publishes", world, slot, child) == (
        "fan.part was published by begin before any commit created it"
    )
    world, _, slot = until(Publishing)
    Ordered().publishes(world, slot, child)


def test_l8_a_publish_to_another_task_than_the_call_s() -> None:
    world, _, slot = until(Publishing)
    child = Message("run", derive(ROOT_CALL, "c0"), "fan.gather")
    assert "fan.gather was published by begin" in caught(Ordered(), "publishes", world, slot, child)


def test_l8_an_ack_between_commit_and_settle() -> None:
    world, _, slot = until(Settling)
    assert caught(Ordered(), "acks", world, slot) == (
        "the last delivery of begin was acked after its commit, before it settled"
    )
    world, _, slot = until(Acking)
    Ordered().acks(world, slot)


def test_l8_an_ack_before_the_commit() -> None:
    world, _, slot = until(Committing)
    assert caught(Ordered(), "acks", world, slot) == (
        "the last delivery of begin was acked by its lease holder, before it committed"
    )


def test_l8_an_ack_of_what_comes_back_by_another_way() -> None:
    """A message, a delivery or a timer that is still there will bring the call on."""
    for other in ("message", "delivery"):
        world, process, slot = until(Committing)
        assert slot.delivery is not None
        world.broker.publish("fan", slot.delivery.body, 0)
        if other == "delivery":
            world.broker.deliver("fan", process.channel)
        Ordered().acks(world, slot)


# ── L9 ────────────────────────────────────────────────────────────────────────────────────────


def test_l9_a_call_that_is_claimed_before_it_is_due() -> None:
    world, _, slot = until(Running)
    view = call_of(world, "begin")
    Punctual().changed(world, slot, change(granted=view))
    view.due_ms = world.clock.time_ms + 1_500
    assert caught(Punctual(), "changed", world, slot, change(granted=view)) == (
        "begin was claimed 1.5 s before it is due"
    )


@pytest.mark.parametrize(("what", "said"), [("granted", "was claimed"), ("committed", "committed")])
def test_l9_a_call_that_goes_on_when_its_run_is_cancelled(what: str, said: str) -> None:
    world, _, slot = until(Running)
    view = call_of(world, "begin")
    world.history.status["run"] = k.CANCELLED
    assert caught(Punctual(), "changed", world, slot, change(**{what: view})) == (
        f"begin {said} after its run was cancelled"
    )


# ── L10 ───────────────────────────────────────────────────────────────────────────────────────


def test_l10_a_dead_call_that_is_not_listed() -> None:
    world = ended(chain("poison"))
    Listed().ends(world)
    del world.store.indexes[e.DEAD]
    assert caught(Listed(), "ends", world) == "poison is dead and not listed, so that nobody sees it"


def test_l10_a_run_that_has_ended_and_is_not_listed() -> None:
    world = ended()
    Listed().ends(world)
    del world.store.indexes[e.FINISHED]
    assert caught(Listed(), "ends", world) == "run 'run' has ended and is not listed among those that have"


def test_l10_a_run_that_is_gone_needs_no_list() -> None:
    """An operator cancelled it, or its retention is over."""
    cancelled = ended(chain("poison"))
    cancelled.history.status["run"] = k.CANCELLED
    del cancelled.store.indexes[e.DEAD]
    Listed().ends(cancelled)
    gone = ended()
    del gone.store.indexes[e.FINISHED], gone.store.runs["run"]
    Listed().ends(gone)


# ── what laws look at ─────────────────────────────────────────────────────────────────────────


def test_a_protocol_cannot_talk_itself_out_of_it() -> None:
    """Attempts are counted by what was granted, whatever the protocol writes down."""
    app = Workflow("f")

    @app.task(retry=Retry(max_attempts=3, first_delay=1.0))
    def a(data: int) -> None:
        raise ValueError

    world, _, slot = until(Failing, "a", program_of(app))
    assert call_of(world, "a").attempt == 1
    with world.store.changing("run") as run:
        run.fields[k.attempt(slot.call_id)] = b"7"
    assert call_of(world, "a").attempt == 1


def test_events_are_remembered_in_the_order_of_their_commits() -> None:
    world = ended()
    assert {name for _, name in world.history.events} == {"part_0", "part_1"}
    assert [data for data, _ in world.history.events["run", "part_1"]] == [b"\x01"]
