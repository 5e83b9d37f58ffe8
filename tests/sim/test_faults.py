"""Faults: their addresses, the families that name them, and what each mode does to a world."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pwf_runtime.actions import name_problem
from pwf_runtime.codec import decode_message
from pwf_runtime.core import effects as e
from pwf_runtime.core import keys as k
from pwf_runtime.core.ids import ROOT_CALL
from pwf_runtime.core.model import Message, Outcome
from pwf_runtime.errors import UsageError
from pwsim import faults as f
from pwsim.coverage import points
from pwsim.faults import FAMILIES, MODES, PROFILES, Fault, Point, core, describe, families, modes_at, parse
from pwsim.laws import Watch
from pwsim.planted import workflows
from pwsim.program import LEASE_MS, Program
from pwsim.runner import Result, apply, finish, play
from pwsim.schedule import Schedule
from pwsim.world.process import Process
from pwsim.world.strikes import BLOCKED_MS
from pwsim.world.world import World

from .programs import chain, fan, prepared, random_results, rich_program, struck

ALL_MODES = tuple(mode for modes in FAMILIES.values() for mode in modes)
PARTS = 2

# ── addresses ─────────────────────────────────────────────────────────────────────────────────

plain_names = st.text("abcXYZ019_-é", min_size=1, max_size=8)
names = st.text(min_size=1, max_size=8).filter(lambda name: not name_problem(name))
effects = st.sampled_from(["claim", "commit", "run", "add to timers", "remove from open", "receive", "ack"])


def paths(name: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    step = st.builds("{}{}".format, name, st.sampled_from(["", "[0]", "[12]"]))
    return st.lists(step, min_size=1, max_size=4).map(" > ".join)


def points_of(name: st.SearchStrategy[str]) -> st.SearchStrategy[Point]:
    what = effects | st.builds("publish {}".format, name)
    return st.builds(Point, paths(name), st.integers(1, 99), what, st.integers(1, 99))


@given(st.builds(Fault, points_of(plain_names), st.sampled_from(ALL_MODES)))
def test_an_address_is_read_back_as_it_was_written(fault: Fault) -> None:
    assert parse(str(fault)) == fault
    assert parse(f"  {fault}\n") == fault


def test_an_address_reads_as_people_write_it() -> None:
    fault = parse("register > verify #2 / publish part@3 / reply-lost")
    assert fault == Fault(Point("register > verify", 2, "publish part", 3), "reply-lost")
    assert str(Fault(Point("a > b", 1, "commit"), "after")) == "a > b #1 / commit / after"


@pytest.mark.parametrize("modes", ["default,loss,differs", "rollback"])
def test_every_point_of_a_schedule_has_an_address_of_its_own(modes: str) -> None:
    """Else a fault at one strikes at the other when it is replayed. Markers, sweeps and starts have points, too."""
    for program in (fan(3), rich_program(), chain("poison")):
        for result in random_results(program, 60, faults=modes):
            met = Counter(step.point for step in result.trace if step.fault not in (f.STALL, f.BLOCKED))
            assert met.most_common(1)[0][1] == 1, met.most_common(3)
            assert all(parse(str(fault)) == fault for fault in result.schedule.faults)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no address of a fault: write it as"),
        ("a / commit / after", "'a / commit / after' is no address"),
        ("a #1 / commit", "is no address"),
        ("a #x / commit / after", "is no address"),
        ("a #1 / commit / afterwards", "there is no mode 'afterwards'; there are before, after"),
    ],
)
def test_what_is_no_address_is_refused_and_shown(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        parse(text)


def test_faults_in_words_say_what_was_done_to_whom() -> None:
    one, other = parse("a > b #1 / commit / after"), parse("c #2 / run / stall")
    assert describe([]) == "no fault at all"
    assert describe([one, other]) == (
        "the worker dies after 'commit' of a > b (delivery 1), "
        "and the worker stalls beyond its lease before 'run' of c (delivery 2)"
    )
    for mode in ALL_MODES:
        assert "'claim' of a" in describe([Fault(Point("a", 1, "claim"), mode)])


# ── families ──────────────────────────────────────────────────────────────────────────────────


def test_families_are_named_in_a_text_or_a_list_and_profiles_too() -> None:
    assert families("crash,requeue") == families(["requeue", "crash"]) == {f.BEFORE, f.AFTER, f.REQUEUE}
    assert families(" crash , ") == families("crash")
    assert families("") == frozenset()
    assert families(None) == families("default") == families(PROFILES["default"])
    assert families("all") == frozenset(ALL_MODES)
    assert families("redis-failover") - families("redis-aof") == frozenset(f.ROLLBACK)
    assert families("rabbitmq-classic") - families("rabbitmq-quorum") == {f.LOST, f.QUEUE_LOST}
    assert families("rabbitmq-4") - families("rabbitmq-3.10") == {f.LIMIT}
    assert families("redis-evicting") - families("redis-aof") == {f.EVICTED, f.TIMERS_EVICTED, f.OPEN_EVICTED}


def test_no_family_is_left_out_of_all_and_every_mode_has_one() -> None:
    assert len(set(ALL_MODES)) == len(ALL_MODES)
    assert {mode for modes in MODES.values() for mode in modes} == set(ALL_MODES) - {f.PAUSE}


@pytest.mark.parametrize("wrong", ["crashes", "crash,nothing", ["default", "rabbitmq"]])
def test_a_family_that_does_not_exist_is_refused_with_those_that_do(wrong: str | list[str]) -> None:
    with pytest.raises(UsageError, match=r"there is no fault family '(crashes|nothing|rabbitmq)'; there are crash, "):
        families(wrong)


def test_the_core_of_some_modes_are_those_of_the_core_families() -> None:
    assert core(families("all")) == families(f.CORE)
    assert core(families("slow,crash")) == families("crash")


def test_which_modes_can_strike_depends_on_the_effect_and_on_who_does_it() -> None:
    assert modes_at("publish part", several=True) == MODES["publish"]
    assert set(MODES["publish"]) - set(modes_at("publish part")) == {f.PARTLY}
    assert set(MODES["receive"]) - set(modes_at("receive")) == {f.LIMIT}
    assert f.LIMIT in modes_at("receive", again=True)
    assert set(modes_at("read timers")) - set(modes_at("read timers", of_run=False)) == {f.EVICTED}
    assert modes_at("add to timers") == MODES[""]
    assert modes_at("claim", client=True) == f.CLIENT_MODES
    assert f.LEASE_LOST not in modes_at("claim")


# ── what each mode does ───────────────────────────────────────────────────────────────────────


def effects_of(result: Result, path: str) -> list[str]:
    """What happened in the deliveries of a call, each with its number and what struck."""
    return [f"{s.nth} {s.effect}{' ' + s.fault if s.fault else ''}" for s in result.trace if s.path == path]


def at(world: World, address: str) -> tuple[World, World]:
    """A world just before the fault of this address strikes, and just after."""
    fault = parse(address)
    while True:
        action = world.default()
        if action is None:
            assert world.advance(), f"never met: {address}"
            continue
        if (found := world.point(action)) is not None and found[0] == fault.point:
            before = world.copy()
            assert apply(world, action, fault.mode) is None
            return before, world
        assert apply(world, action) is None


def world_at(address: str, *, program: Program | None = None) -> tuple[World, World]:
    made = program or fan(PARTS)
    made.expects(frozenset([parse(address).mode]))
    return at(World(made, Watch(())), address)


def worker(world: World, path: str) -> Process:
    return next(p for p in world.processes for slot in p.slots.values() if slot.path == path)


def test_before_the_worker_dies_and_the_effect_is_not_done() -> None:
    before, after = world_at("begin #1 / commit / before")
    assert after.store.runs["run"].fields == before.store.runs["run"].fields
    assert not any(process.slots for process in after.processes)
    (queued,) = after.broker.queues["fan"]
    assert queued.redelivered


def test_after_the_effect_is_done_and_the_worker_dies() -> None:
    _, after = world_at("begin #1 / commit / after")
    assert after.store.runs["run"].fields[k.state(ROOT_CALL)] == k.COMMITTED
    assert not any(process.slots for process in after.processes)
    result = struck(fan(PARTS), "begin #1 / commit / after")
    assert "2 look" in effects_of(result, "begin")
    assert "2 run" not in effects_of(result, "begin")


def test_reply_lost_the_effect_is_done_and_done_again() -> None:
    result = struck(fan(PARTS), "begin #1 / claim / reply-lost")
    assert effects_of(result, "begin")[:4] == ["1 receive", "1 claim reply-lost", "1 claim", "1 run"]
    claims = [step for step in result.trace if (step.path, step.effect) == ("begin", "claim")]
    assert [claim.answer.held for claim in claims] == [True, False]
    assert [claim.occurrence for claim in claims] == [1, 2]


def test_requeue_all_that_is_unacked_is_delivered_anew_and_the_worker_goes_on() -> None:
    before, after = world_at("begin #1 / run / requeue")
    process = worker(after, "begin")
    assert process.channel != worker(before, "begin").channel
    assert len(after.broker.queues["fan"]) == 1
    assert process.slots
    result = struck(fan(PARTS), "begin #1 / run / requeue")
    assert "1 settle" in effects_of(result, "begin")
    assert "2 claim" in effects_of(result, "begin")


def test_stall_the_worker_freezes_beyond_its_lease_and_later_goes_on() -> None:
    _, after = world_at("begin #1 / commit / stall")
    process = worker(after, "begin")
    assert process.frozen_until == after.clock.time_ms + 2 * LEASE_MS
    assert len(after.broker.queues["fan"]) == 1
    result = struck(fan(PARTS), "begin #1 / commit / stall")
    commits = [step for step in result.trace if (step.path, step.effect) == ("begin", "commit") and not step.fault]
    assert [(step.nth > 1, step.answer.held) for step in commits] == [(True, True), (False, False)]


def test_duplicate_the_broker_hands_over_and_keeps_a_copy() -> None:
    _, after = world_at("begin #1 / receive / duplicate")
    assert len(after.broker.queues["fan"]) == 1
    assert worker(after, "begin")
    assert "2 claim" in effects_of(struck(fan(PARTS), "begin #1 / receive / duplicate"), "begin")


def test_shutdown_the_worker_gives_back_its_lease_and_its_messages() -> None:
    before, after = world_at("begin #1 / run / shutdown")
    run = after.store.runs["run"]
    assert before.store.runs["run"].leases
    assert not run.leases
    assert run.fields[k.uncounted(ROOT_CALL)] == b"1"
    assert len(after.broker.queues["fan"]) == 1
    assert not any(process.slots for process in after.processes)


def test_slow_the_task_takes_longer_than_the_lease_which_is_renewed() -> None:
    result = struck(fan(PARTS), "begin #1 / run / slow")
    steps = [step for step in result.trace if step.path == "begin"]
    assert next(step for step in steps if step.effect == "commit").time_ms > 2 * LEASE_MS
    assert {step.nth for step in steps} == {1}
    beside = struck(fan(PARTS), "begin #1 / receive / duplicate", "begin #1 / run / slow")
    runs = [step for step in beside.trace if (step.path, step.effect) == ("begin", "run")]
    assert len(runs) == 1, "the lease held all the while"


def test_blocked_the_broker_takes_the_publish_a_minute_later() -> None:
    result = struck(fan(PARTS), "begin #1 / publish part / blocked")
    published = [step for step in result.trace if step.effect == "publish part" and not step.fault]
    assert published[0].time_ms == BLOCKED_MS
    assert result.violation is None


def test_reordered_the_messages_of_one_publish_are_stored_in_the_opposite_order() -> None:
    def received(result: Result) -> list[str]:
        return [step.path for step in result.trace if step.effect == "receive" and " > part" in step.path]

    plain, turned = play(fan(PARTS), Schedule()), struck(fan(PARTS), "begin #1 / publish part / reordered")
    assert received(turned) == received(plain)[::-1]


def test_unrouted_the_queue_does_not_exist_and_the_message_comes_back() -> None:
    result = struck(fan(PARTS), "begin #1 / publish part / unrouted")
    assert "1 note" in effects_of(result, "begin")
    assert "1 add to timers" in effects_of(result, "begin")
    assert any(step.effect == "publish part" and step.path == "sweep" for step in result.trace)


def test_nacked_the_broker_does_not_take_it_and_the_driver_publishes_it_again_after_a_pause() -> None:
    before, after = world_at("begin #1 / publish part / nacked")
    assert len(after.broker.queues["fan"]) == len(before.broker.queues["fan"]) + 1
    (slot,) = worker(after, "begin").slots.values()
    assert slot.asleep_until == after.clock.time_ms + 100
    result = struck(fan(PARTS), "begin #1 / publish part / nacked")
    assert "2 receive" not in effects_of(result, "begin > part[0]")
    assert result.world.history.status["run"] == k.COMPLETED


def test_unconfirmed_the_broker_takes_it_and_gets_it_once_more() -> None:
    before, after = world_at("begin #1 / publish part / unconfirmed")
    first, second = after.broker.queues["fan"][len(before.broker.queues["fan"]) :]
    assert first.body == second.body
    result = struck(fan(PARTS), "begin #1 / publish part / unconfirmed")
    assert "2 receive" in effects_of(result, "begin > part[0]")
    assert result.world.history.status["run"] == k.COMPLETED


def test_partly_nacked_the_last_is_confirmed_first_and_the_others_are_published_after_it() -> None:
    _, after = world_at("begin #1 / publish part / partly-nacked", program=fan(3))
    names = [after.paths[m.run_id, m.call_id] for m in map(decode_message, bodies(after)) if isinstance(m, Message)]
    assert names == ["begin > part[2]", "begin > part[0]", "begin > part[1]"]
    result = struck(fan(3), "begin #1 / publish part / partly-nacked")
    assert [effect for effect in effects_of(result, "begin") if "publish" in effect] == ["1 publish part partly-nacked"]
    assert result.world.history.status["run"] == k.COMPLETED


def bodies(world: World) -> list[bytes]:
    return [queued.body for queued in world.broker.queues["fan"]]


def test_consumer_timeout_the_channel_goes_while_the_task_goes_on_and_keeps_its_lease() -> None:
    before, after = world_at("begin #1 / run / consumer-timeout")
    assert worker(after, "begin").channel != worker(before, "begin").channel
    assert len(after.broker.queues["fan"]) == 1
    result = struck(fan(PARTS), "begin #1 / run / consumer-timeout")
    runs = [step for step in result.trace if (step.path, step.effect) == ("begin", "run")]
    assert [step.nth for step in runs] == [1], "the other delivery finds the lease renewed"
    assert next(step for step in result.trace if step.effect == "commit").time_ms > 2 * LEASE_MS


def test_delivery_limit_what_was_delivered_before_is_dropped_and_found_by_the_scan() -> None:
    crash, drop = "begin > part[0] #1 / claim / before", "begin > part[0] #2 / receive / delivery-limit"
    result = struck(fan(PARTS), crash, drop)
    assert any(step.path == "scan of fan" and step.effect == "publish part" for step in result.trace)
    assert result.world.history.status["run"] == k.COMPLETED
    plain, _ = prepared(fan(PARTS), "limit")
    assert not any(f.LIMIT in possible for _, possible in points(plain)), "not at a first delivery"


def test_evicted_nothing_of_the_run_is_left_and_nothing_of_it_goes_on() -> None:
    before, after = world_at("begin > part[0] #1 / commit / evicted")
    assert before.store.runs["run"].fields
    assert not after.store.runs["run"].fields, "its leases have keys of their own"
    assert after.store.runs["run"].leases == before.store.runs["run"].leases
    assert "run" not in after.history.status
    assert finish(after) is None
    assert not after.store.indexes[e.OPEN]
    assert not any(step.effect == "run" for step in after.trace[len(before.trace) + 1 :] if "gather" in step.path)


def test_evicted_and_begun_again_it_is_another_run() -> None:
    program = fan(PARTS)
    result = struck(program, "start of run #1 / publish begin / after", "begin #1 / claim / evicted")
    assert result.violation is None
    _, after = world_at("begin #1 / claim / evicted")
    after.to_start = list(after.program.starts)
    assert finish(after) is None
    assert after.history.status["run"] == k.COMPLETED


def test_an_evicted_run_takes_no_other_with_it() -> None:
    program = Program([workflows.fan], [("begin", PARTS)] * 2)
    result = struck(program, "run-1: begin #1 / commit / evicted")
    assert result.violation is None
    assert result.world.history.status == {"run-2": k.COMPLETED}


def test_timers_evicted_what_waited_is_found_by_the_scan() -> None:
    before, after = world_at("linger #1 / settle / timers-evicted", program=chain("linger"))
    assert before.store.indexes[e.TIMERS]
    assert not after.store.indexes.get(e.TIMERS)
    assert finish(after) is None
    assert after.history.status["run"] == k.COMPLETED


def test_open_evicted_the_run_goes_on_by_its_messages_and_no_scan_finds_what_is_lost() -> None:
    """A positive control: it does harm where a message is lost, too. No law demands then that the run ends."""
    before, after = world_at("begin #1 / commit / open-evicted")
    assert before.store.indexes[e.OPEN]
    assert not after.store.indexes.get(e.OPEN)
    assert finish(after) is None
    assert after.history.status["run"] == k.COMPLETED
    lost = struck(fan(PARTS), "begin #1 / commit / open-evicted", "begin > gather #1 / receive / lost")
    assert lost.violation is None
    assert lost.world.history.status["run"] == k.RUNNING
    assert struck(fan(PARTS), "begin > gather #1 / receive / lost").world.history.status["run"] == k.COMPLETED


def test_lease_lost_the_lease_ends_early() -> None:
    before, after = world_at("begin #1 / commit / lease-lost")
    assert before.store.runs["run"].leases
    assert not after.store.runs["run"].leases


def test_lease_late_the_lease_outlives_its_time() -> None:
    _, after = world_at("begin #1 / claim / lease-late")
    (_, end) = after.store.runs["run"].leases[ROOT_CALL]
    assert end == after.clock.time_ms + 3 * LEASE_MS
    result = struck(fan(PARTS), "begin #1 / claim / lease-late", "begin #1 / run / before")
    again = next(step for step in result.trace if (step.path, step.effect) == ("begin", "run") and not step.fault)
    assert again.time_ms >= 3 * LEASE_MS


def test_old_code_it_is_delivered_to_a_worker_that_does_not_know_the_task() -> None:
    result = struck(fan(PARTS), "begin #1 / receive / old-code")
    assert effects_of(result, "begin")[1:5] == ["1 claim", "1 fail", "1 add to timers", "1 ack"]
    assert result.world.history.status["run"] == k.COMPLETED


def test_differs_the_task_answers_otherwise_than_it_would_have() -> None:
    result = struck(fan(PARTS), "begin #1 / run / differs")
    committed = dict(result.world.committed_graph())
    plain = dict(play(fan(PARTS), Schedule()).world.committed_graph())
    assert isinstance(plain["begin"], Outcome)
    assert committed["begin"] != plain["begin"]
    assert committed["begin"].joins == ()


def test_lost_the_broker_loses_the_message() -> None:
    before, after = world_at("begin > part[1] #1 / receive / lost")
    assert len(before.broker.queues["fan"]) == len(after.broker.queues["fan"]) + 1
    assert {queued.body for queued in after.broker.queues["fan"]} < {q.body for q in before.broker.queues["fan"]}


def test_queue_lost_the_broker_loses_all_that_is_in_the_queue() -> None:
    before, after = world_at("begin > part[0] #1 / receive / queue-lost")
    assert len(before.broker.queues["fan"]) == PARTS
    assert not after.broker.queues["fan"]
    assert finish(after) is None
    assert after.history.status["run"] == k.COMPLETED


@pytest.mark.parametrize("mode", f.ROLLBACK)
def test_rollback_the_store_falls_back_by_so_many_writes(mode: str) -> None:
    writes = int(mode.partition("-")[2])
    before, after = world_at(f"begin > gather #1 / gather / {mode}")
    past = before.past
    for _ in range(writes):
        assert past is not None
        past = past[0]
    assert past is not None
    _, store, history = past
    assert after.store.runs["run"].fields == store.runs["run"].fields
    assert after.store.indexes == store.indexes
    assert after.history.status == history.status
    assert {key: (call.commits, call.settled) for key, call in after.history.calls.items()} == {
        key: (call.commits, call.settled) for key, call in history.calls.items()
    }
    assert finish(after) is None


def test_a_rollback_beyond_the_beginning_is_one_to_the_beginning() -> None:
    _, after = world_at("begin #1 / claim / rollback-9")
    assert finish(after) is None


def test_a_crash_of_the_client_begins_its_runs_again() -> None:
    result = struck(fan(PARTS), "start of run #1 / start / after")
    assert [step.nth for step in result.trace if step.effect == "start"] == [1, 2]
    assert result.world.history.status["run"] == k.COMPLETED


def test_a_crash_takes_all_that_the_worker_was_doing() -> None:
    """Whoever was prefetched beside it, however innocent, is delivered again as well."""
    program = fan(3, workers=1, prefetch=3)
    result = struck(program, "begin > part[0] #1 / run / before")
    again = {step.path for step in result.trace if step.effect == "receive" and step.nth == 2}
    assert again >= {"begin > part[0]", "begin > part[1]"}


def test_a_fault_that_struck_is_in_the_trace_and_one_that_is_not_met_is_named() -> None:
    never = parse("begin #7 / run / before")
    result = play(fan(PARTS), Schedule((parse("begin #1 / run / before"), never)))
    assert result.unmatched() == (never,)
    assert [step.fault for step in result.trace if step.fault] == ["before"]


@pytest.mark.parametrize(
    ("name", "modes"),
    [
        ("fan", "all"),
        ("rich", "all"),
        ("poison", "all"),
    ],
)
def test_every_mode_at_every_point_can_strike_and_the_run_ends(name: str, modes: str) -> None:
    """Each single fault, at each place of the run without faults, breaks no law."""
    program, wanted = prepared({"fan": fan(PARTS), "rich": rich_program(), "poison": chain("poison")}[name], modes)
    met = [(point, mode) for point, possible in points(program) for mode in possible if mode in wanted]
    assert len(met) > 50
    for point, mode in met[:: 4 if name == "rich" else 1]:
        result = play(program, Schedule((Fault(point, mode),)))
        assert not result.unmatched()
        assert result.violation is None, f"{point} / {mode}: {result.violation}"


def test_every_mode_has_a_test_of_its_own_above() -> None:
    tested = set(re.findall(r"/ ([a-z0-9-]+)\"", Path(__file__).read_text("utf-8")))
    assert tested | {*f.ROLLBACK, f.PAUSE} >= set(ALL_MODES)  # of a pause: test_pauses
