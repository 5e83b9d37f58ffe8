"""One execution of a program as a transition system: what may happen, the default order, copies, time, the broker."""

from __future__ import annotations

import asyncio

import pytest

from pwf_runtime import Workflow
from pwf_runtime import call as call_of
from pwf_runtime import result as result_of
from pwf_runtime.codec import encode_message
from pwf_runtime.core import effects as e
from pwf_runtime.core import keys as k
from pwf_runtime.core.delivery import DeliveryMachine
from pwf_runtime.core.model import Message
from pwf_runtime.core.states import Running
from pwf_runtime.errors import UsageError
from pwf_runtime.transport.base import Confirmed, Publication
from pwsim.laws import Violated, Watch
from pwsim.planted import workflows
from pwsim.program import LEASE_MS, Program, Protocol
from pwsim.runner import apply, finish, play
from pwsim.schedule import Schedule, chance
from pwsim.world.broker import Broker, SimTransport
from pwsim.world.fingerprint import fingerprint
from pwsim.world.world import DELIVER, PERFORM, START, SWEEP, World

from .programs import chain, fan, program_of, rich_program, struck, wander, whole

PROGRAMS = {
    "fan": lambda: fan(3),
    "fan, 3 workers with 2 at a time": lambda: fan(3, workers=3, prefetch=2),
    "rich": rich_program,
    "rich, one worker": lambda: rich_program(workers=1),
    "two runs": lambda: Program([workflows.chain], [("leave", 1), ("poison", 2)]),
    "retries": lambda: chain("poison"),
}


def world_of(program: Program) -> World:
    return World(program, Watch(()))


def until(world: World, state: type) -> World:
    """Go on in the default order until a slot is in this state."""
    while not any(type(slot.state) is state for p in world.processes for slot in p.slots.values()):
        action = world.default()
        assert action is not None
        assert apply(world, action) is None
    return world


# ── the default order ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_default_action_is_the_least_of_those_enabled(name: str) -> None:
    """``default`` finds it without listing them. Schedules are told by how they part from it."""
    looked = 0
    for seed in range(25):
        for world in wander(PROGRAMS[name](), seed):
            assert world.default() == min(world.enabled(), default=None)
            looked += 1
    assert looked > 500


def test_the_default_action_is_the_one_that_has_waited_longest() -> None:
    world = world_of(fan(2))
    kinds = []
    while (action := world.default()) is not None:
        waits = [since for since, _, _, _ in world.enabled()]
        assert action[0] == min(waits)
        kinds.append(action[1])
        assert apply(world, action) is None
    assert kinds[0] == START
    assert set(kinds) == {START, PERFORM, DELIVER}


def test_there_is_one_default_order_and_it_completes_the_run() -> None:
    traces = {play(fan(2), Schedule()).fingerprint() for _ in range(3)}
    assert len(traces) == 1
    result = play(fan(2), Schedule())
    assert result.violation is None
    assert result.world.history.status == {"run": k.COMPLETED}


# ── what may happen ───────────────────────────────────────────────────────────────────────────


def test_a_worker_takes_no_more_than_its_prefetch() -> None:
    for world in wander(fan(4, workers=2, prefetch=2), seed=1):
        for process in world.processes[:-1]:
            assert len(process.slots) <= 2


def test_a_frozen_worker_does_nothing_and_others_go_on() -> None:
    world = until(world_of(fan(2)), Running)
    frozen = next(i for i, process in enumerate(world.processes) if process.slots)
    world.processes[frozen].frozen_until = 10**9
    assert not [action for action in world.enabled() if action[2] == frozen]


def test_a_sweep_is_enabled_once_a_timer_is_due_and_by_one_worker_at_a_time() -> None:
    world = world_of(chain("linger"))
    while world.default() is not None:
        apply(world, world.default())  # type: ignore[arg-type]
    assert world.enabled() == []
    assert world.advance()
    sweeps = [action for action in world.enabled() if action[1] == SWEEP]
    assert len(sweeps) == 2
    apply(world, sweeps[0])
    assert not [action for action in world.enabled() if action[1] == SWEEP]


def test_nothing_can_strike_at_the_beginning_of_a_sweep() -> None:
    world = world_of(chain("linger"))
    while world.default() is not None:
        apply(world, world.default())  # type: ignore[arg-type]
    world.advance()
    assert {world.point(action) for action in world.enabled()} == {None}


def test_the_run_that_does_not_end_is_stopped_and_named() -> None:
    """L4, as a bound on steps."""
    app = Workflow("loop")

    @app.task
    def a(data: int) -> object:
        return call_of(a, data + 1)

    program = program_of(app)
    program.max_steps = 500
    result = play(program, Schedule())
    assert result.violation is not None
    assert result.violation.law == "L4"
    assert "500 steps were not enough" in result.violation.sentence


# ── copies ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", PROGRAMS)
def test_whatever_happens_to_a_copy_does_not_happen_to_the_original(name: str) -> None:
    for seed in range(6):
        rng = chance(seed, 1)
        for world in wander(PROGRAMS[name](), seed):
            if rng.random() < 0.7:
                continue
            before, mark = whole(world), fingerprint(world)
            for action in world.enabled():
                at = world.point(action)
                for mode in (None, *(at[1] if at is not None else ())):
                    apply(world.copy(), action, mode)
            finish(world.copy())
            assert whole(world) == before
            assert fingerprint(world) == mark


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_copy_and_its_original_go_on_alike(name: str) -> None:
    for seed in range(8):
        rng = chance(seed, 2)
        for world in wander(PROGRAMS[name](), seed):
            if rng.random() < 0.9:
                continue
            one, other = world.copy(), world.copy()
            assert (whole(one), fingerprint(one)) == (whole(world), fingerprint(world))
            finish(one)
            finish(other)
            assert whole(one) == whole(other)
            assert one.trace[: len(world.trace)] == world.trace


def test_a_copy_acks_what_the_original_was_handed() -> None:
    """The driver's book of deliveries goes with it."""
    world = until(world_of(fan(2)), Running).copy()
    finish(world)
    assert world.broker.is_empty()


# ── equal worlds ──────────────────────────────────────────────────────────────────────────────


def test_two_orders_of_independent_steps_lead_to_equal_worlds() -> None:
    """What only names things or orders them by default is left out: owners, steps, which of several workers it was."""
    world = world_of(rich_program())
    while len({action[3] for action in world.enabled() if action[1] == DELIVER}) < 2:
        apply(world, min(world.enabled()))
    deliveries = {action[3]: action for action in world.enabled() if action[1] == DELIVER}
    one_app, another = deliveries["rich"], deliveries["other"]
    first, second = world.copy(), world.copy()
    for order, copy in (((one_app, another), first), ((another, one_app), second)):
        for action in order:
            apply(copy, action)
    assert whole(first) != whole(second)
    assert fingerprint(first) == fingerprint(second)


def test_which_of_two_equal_workers_it_is_makes_no_difference() -> None:
    world = world_of(fan(2))
    while not [a for a in world.enabled() if a[1] == DELIVER]:
        apply(world, min(world.enabled()))
    worlds = [world.copy() for _ in range(2)]
    for copy, action in zip(worlds, [a for a in world.enabled() if a[1] == DELIVER], strict=True):
        apply(copy, action)
    assert fingerprint(worlds[0]) == fingerprint(worlds[1])


def test_every_step_of_a_run_is_another_world() -> None:
    """Else a search would stop before the end."""
    world, seen = world_of(fan(2)), set()
    steps = 0
    while (action := world.default()) is not None:
        seen.add(fingerprint(world))
        apply(world, action)
        steps += 1
    assert len(seen) == steps


def test_what_a_task_will_have_answered_tells_worlds_apart() -> None:
    """It is what the world goes on with."""
    worlds = []
    for mode in ("slow", "differs"):
        world = until(world_of(fan(2)), Running)
        action = next(a for a in world.enabled() if a[1] == PERFORM)
        apply(world, action, mode)
        slot = next(slot for process in world.processes for slot in process.slots.values() if slot.answer is not None)
        slot.asleep_until = None
        worlds.append(world)
    futures = [world.copy() for world in worlds]
    for future in futures:
        finish(future)
    assert futures[0].committed_graph() != futures[1].committed_graph()
    assert fingerprint(worlds[0]) != fingerprint(worlds[1])


def test_where_an_unacked_message_would_come_back_to_tells_worlds_apart() -> None:
    """Before or behind the one that waits, if its worker dies: for a single worker that is another order."""
    worlds = [world_of(chain(workers=1)) for _ in range(2)]
    heads = []
    for world, place in zip(worlds, (1, 9), strict=True):
        world.broker.returns = "place"
        for call_id in ("a", "b"):
            world.broker.publish("chain", encode_message(Message("run", call_id, "chain.leave")), 0)
        channel = world.processes[0].channel
        held = world.broker.queues["chain"].pop(0)
        world.broker.unacked[channel][1] = ("chain", held._replace(place=place))
        later = world.copy()
        later.broker.close_channel(channel, later.step)
        heads.append(later.broker.queues["chain"][0].body)
    assert heads[0] != heads[1]
    assert fingerprint(worlds[0]) != fingerprint(worlds[1])


def test_the_faults_that_a_law_asks_about_tell_worlds_apart() -> None:
    """A law that is silent after a stall must not speak for the same world without one."""
    world = until(world_of(fan(2)), Running)
    stalled = world.copy()
    stalled.record("fan/1", "begin", 1, "run", 1, "stall", None)
    assert stalled.struck("stall")
    assert not world.struck("stall")
    assert fingerprint(stalled) != fingerprint(world)


# ── time ──────────────────────────────────────────────────────────────────────────────────────


def test_time_stands_still_until_nothing_else_can_happen() -> None:
    world = world_of(chain("linger"))
    while (action := world.default()) is not None:
        apply(world, action)
        assert world.clock.time_ms == 0
    assert world.advance()
    assert world.clock.time_ms == 60_000


def test_time_passes_to_the_earliest_of_what_waits() -> None:
    world = world_of(fan(2))
    world.store.index_add(e.TIMERS, [(b"later", 900), (b"sooner", 400)])
    world.processes[0].frozen_until = 700
    for expected in (400, 700, 900):
        assert world.advance()
        assert world.clock.time_ms == expected
    assert not world.advance()


def test_a_worker_that_works_renews_its_lease_and_a_frozen_one_does_not() -> None:
    for frozen in (False, True):
        world = until(world_of(fan(2)), Running)
        process = next(p for p in world.processes if p.slots)
        (slot,) = process.slots.values()
        world.store.index_add(e.TIMERS, [(b"far", 5 * LEASE_MS)])
        if frozen:
            process.frozen_until = 9 * LEASE_MS
        world.advance()
        held = world.store.runs["run"].holder(slot.call_id, world.clock.time_ms)
        assert (held is None) == frozen


def test_a_frozen_worker_wakes_up_with_a_new_channel() -> None:
    world = until(world_of(fan(2)), Running)
    process = next(p for p in world.processes if p.slots)
    channel = process.channel
    world.broker.close_channel(channel, world.step)
    process.frozen_until = 50
    assert world.advance()
    assert process.frozen_until is None
    assert process.channel != channel
    assert process.slots


def test_a_world_in_which_nothing_can_happen_has_ended() -> None:
    world = world_of(fan(2))
    finish(world)
    assert world.enabled() == []
    assert not world.advance()


# ── the broker ────────────────────────────────────────────────────────────────────────────────


def broker_of(*bodies: bytes) -> tuple[Broker, int]:
    broker = Broker(["q"])
    for body in bodies:
        broker.publish("q", body, 0)
    return broker, broker.open_channel()


def test_messages_are_handed_over_in_order() -> None:
    broker, channel = broker_of(b"1", b"2", b"3")
    assert [broker.deliver("q", channel).body for _ in range(3)] == [b"1", b"2", b"3"]


def test_what_is_unacked_comes_back_to_its_place_when_the_channel_goes() -> None:
    broker, channel = broker_of(b"1", b"2", b"3")
    first, second = broker.deliver("q", channel), broker.deliver("q", channel)
    assert not first.redelivered
    broker.ack(second)
    broker.close_channel(channel, 5)
    again = [broker.deliver("q", broker.open_channel()) for _ in range(2)]
    assert [(delivery.body, delivery.redelivered) for delivery in again] == [(b"1", True), (b"3", False)]


def test_an_ack_on_a_channel_that_is_gone_does_nothing() -> None:
    broker, channel = broker_of(b"1")
    delivery = broker.deliver("q", channel)
    broker.close_channel(channel, 1)
    again = broker.deliver("q", broker.open_channel())
    broker.ack(delivery)
    assert not broker.is_empty()
    broker.ack(again)
    broker.ack(again)
    assert broker.is_empty()


def test_a_queue_that_does_not_exist_takes_nothing_and_that_is_said() -> None:
    broker, _ = broker_of()
    transport = SimTransport(broker)
    transport.publish([Publication(1, "q", b"x"), Publication(2, "nowhere", b"y")])
    assert transport.heard == [Confirmed(1), Confirmed(2, returned=True)]
    assert [queued.body for queued in broker.queues["q"]] == [b"x"]


def test_a_copy_of_the_broker_is_one_of_its_own() -> None:
    broker, channel = broker_of(b"1", b"2")
    copy = broker.copy()
    copy.ack(copy.deliver("q", channel))
    copy.publish("q", b"3", 0)
    assert [queued.body for queued in broker.queues["q"]] == [b"1", b"2"]
    assert broker.unacked == {channel: {}}


# ── laws and checks ───────────────────────────────────────────────────────────────────────────


def test_a_check_of_the_user_s_is_asked_at_the_end() -> None:
    program, asked = fan(2), []

    def check(world: World) -> None:
        asked.append(world.history.status["run"])
        raise Violated("mine", "because")

    program.checks = (check,)
    result = play(program, Schedule())
    assert asked == [k.COMPLETED]
    assert result.violation is not None
    assert result.violation.law == "mine"


def test_a_machine_that_cannot_go_on_is_a_violation() -> None:
    """Wrong, whatever it is: it is reported like a broken law, and not as a crash of the simulator."""

    class Broken(DeliveryMachine):
        def _ran(self, *_: object) -> object:  # type: ignore[override]
            raise KeyError("oops")

    result = play(fan(2, protocol=Protocol(delivery=Broken)), Schedule())
    assert result.violation is not None
    assert result.violation.law == "machine"
    assert "KeyError" in result.violation.sentence


def test_tokens_are_drawn_so_that_nobody_holds_them() -> None:
    """And used again when they are free, so that equal worlds are equal."""
    again = 0
    for seed in range(100):
        seen: list[str] = []
        for world in wander(fan(3, workers=3), seed=seed, faults="default", chance_of_fault=0.2):
            held = [slot.token for p in world.processes for slot in p.slots.values() if slot.token]
            assert len(held) == len(set(held))
            seen += [token for token in held if token not in seen[-9:]]
        again += len(seen) - len(set(seen))
    assert again > 0


# ── a program ─────────────────────────────────────────────────────────────────────────────────


def test_a_program_without_a_workflow_a_start_or_a_worker_is_refused() -> None:
    for wrong, said in (
        (lambda: Program([], [("begin", 1)]), "at least one Workflow"),
        (lambda: Program([workflows.fan], []), "at least one first task"),
        (lambda: fan(2, workers=0), "workers=0"),
        (lambda: Program([workflows.fan], [("nothing", 1)]), "there is no task 'fan.nothing'.*fan.begin"),
    ):
        with pytest.raises(UsageError, match=said):
            wrong()


def test_several_runs_are_told_apart_by_their_ids() -> None:
    world = world_of(Program([workflows.chain], [("leave", 1), ("leave", 2)]))
    finish(world)
    assert set(world.history.status) == {"run-1", "run-2"}
    assert {call.path.partition(":")[0] for call in world.history.calls.values()} == {"run-1", "run-2"}


def test_a_task_with_steps_remembers_them_in_the_store() -> None:
    result = struck(rich_program())
    assert result.violation is None
    assert ("begin > later", "remember") in {(step.path, step.effect) for step in result.trace}


def test_an_async_task_is_run_in_a_loop_that_the_program_closes() -> None:
    app = Workflow("aio")

    @app.task
    async def a(data: int) -> object:
        await asyncio.sleep(0)
        return result_of(data)

    program = program_of(app)
    try:
        result = play(program, Schedule())
        assert result.violation is None
        assert result.world.store.runs["run"].fields[k.RESULT] == b"\x01"
    finally:
        program.close()
    program.close()
