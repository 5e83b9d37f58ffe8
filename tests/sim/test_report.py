"""What a failure looks like in a terminal, and the views that stand behind it."""

from __future__ import annotations

import io
import re

import pytest

from pwf_runtime.core.inputs import TaskFailed
from pwf_runtime.core.model import Failure
from pwsim.faults import parse
from pwsim.planted.workflows import fan
from pwsim.program import Program
from pwsim.report import divergence, paint, sequence, state, text, why
from pwsim.report.recording import Recording, record
from pwsim.report.view import look
from pwsim.runner import Result, play
from pwsim.schedule import Schedule

from .failures import AT_ONCE, EARLY, TWICE, fault_of, found, played, step_of

SCHEDULES = [
    (),
    ("begin #1 / commit / after",),
    ("begin #1 / run / stall", "begin #3 / commit / before"),
    ("begin > part[1] #1 / receive / duplicate",),
    ("start of run #1 / start / reply-lost",),
    ("begin > gather #1 / complete / requeue",),
]


# ── the sentence and the whole view ─────────────────────────────────────────────────────────────


def test_a_sentence_says_law_what_and_when() -> None:
    sentence = text.sentence(found(*TWICE))
    assert sentence.startswith("L1: begin committed 2 times, when the worker stalls beyond its lease")
    assert sentence.endswith(".")


def test_a_failure_without_faults_is_no_failure_when_no_fault_at_all() -> None:
    lines = text.failure(found(*AT_ONCE), "pwsim replay x.toml")
    assert lines[0].endswith(", without any fault.")
    assert "it fails without any fault" in lines[-2]


@pytest.mark.parametrize("failure", [TWICE, EARLY, AT_ONCE], ids=lambda failure: failure[0])
def test_a_failure_is_a_sentence_a_short_diagram_where_it_parts_and_the_replay_line(failure: tuple[str, ...]) -> None:
    lines = text.failure(found(*failure), "pwsim replay x.toml")
    drawn = lines[lines.index(next(line for line in lines if line.startswith("step"))) : -3]
    assert len(drawn) <= sequence.MAX_LINES
    assert max(map(len, drawn)) <= paint.WIDEST
    assert sum("✗" in line for line in drawn) == len(failure) - 1, "each fault is marked"
    assert any("▶" in line for line in drawn[-2:])
    assert lines[-1] == "replay: pwsim replay x.toml"


def test_a_law_that_forbids_a_step_names_the_step_that_was_not_made() -> None:
    ending = text.ending(played(*AT_ONCE))
    assert ending.startswith("▶ L8 forbids what follows: fan/1  begin #1 / ack: the last delivery of begin was acked")
    assert text.ending(played(*TWICE)) == "▶ L1 is broken: begin committed 2 times"
    assert text.ending(played()) == "▶ the end: no law is broken"


# ── the diagram ─────────────────────────────────────────────────────────────────────────────────


def test_lanes_show_who_is_frozen_while_others_go_on() -> None:
    lines = sequence.diagram(played(*TWICE).trace, limit=None)
    lane = lines[0].index("fan/1")
    struck = next(i for i, line in enumerate(lines) if "✗ stalls before run" in line)
    assert lines[struck + 1][lane] == "┊"
    assert lines[-1][lane] == "│"


def test_lanes_begin_each_delivery_with_its_name() -> None:
    lines = sequence.diagram(played(*EARLY).trace, limit=None)
    assert sum("┌ begin #1: receive" in line for line in lines) == 1
    assert sum("┌ part[0] #2: receive" in line for line in lines) == 1, "by its last name, which is enough"


@pytest.mark.parametrize("limit", [8, 20, 39, 40])
def test_a_long_run_is_cut_to_the_limit_and_what_is_skipped_is_counted(limit: int) -> None:
    trace = played(*TWICE).trace
    lines = sequence.diagram(trace, limit=limit)
    shown = [line for line in lines[1:] if re.match(r" *\d+ ", line)]
    skipped = [int(line.split()[1]) for line in lines if line.strip().startswith("...")]
    assert len(lines) <= limit
    assert len(shown) + sum(skipped) == len(trace)
    assert any("✗" in line for line in shown), "the fault is among what is shown"
    assert shown[-1].split()[0] == str(len(trace)), "and so is the end"


def test_where_lanes_do_not_fit_the_steps_are_a_list() -> None:
    lines = sequence.diagram(played(*TWICE).trace, limit=12, width=70)
    assert any(line.endswith("fan/1  begin #1  ✗ stalls before run") for line in lines)
    assert not any("│" in line for line in lines)
    assert any("more steps" in line for line in lines)


def test_a_long_error_does_not_widen_a_lane() -> None:
    failed = TaskFailed(Failure("ValueError", "very long " * 20))
    steps = [step._replace(answer=failed) if step.effect == "run" else step for step in played(*TWICE).trace]
    lines = sequence.diagram(steps, limit=None)
    assert max(map(len, lines)) <= paint.WIDEST
    assert any("run (raised ValueError: ve...)" in line for line in lines)


# ── where it parts from the passing run ─────────────────────────────────────────────────────────


def test_it_parts_from_the_passing_run_where_something_else_happens_not_where_the_fault_strikes() -> None:
    result = played(*TWICE)
    parting = divergence.from_passing(result.world.program, result)
    assert parting is not None
    struck = fault_of(result)
    assert parting.number == struck + 1
    assert "begin #2  receive (redelivered)" in parting.here
    assert "begin #1  commit" in parting.there
    assert str(parting).startswith(f"parts from the passing run at step {parting.number}: here ")


def test_the_nearest_passing_run_lacks_only_the_last_fault_if_that_is_enough() -> None:
    result = played("no-dedupe", "start of run #1 / add to open / reply-lost", *TWICE[1:])
    assert result.violation is not None
    passing = divergence.nearest_passing(result.world.program, result)
    assert passing is not None
    assert passing[0].schedule.faults == result.schedule.faults[:1]
    assert passing[1] == "the last fault"


def test_two_plays_of_the_same_do_not_part() -> None:
    assert divergence.first(played(*TWICE).trace, played(*TWICE).trace) is None


def test_a_run_parts_from_a_longer_one_where_it_ends() -> None:
    trace = played().trace
    assert divergence.first(trace[:5], trace) == 5
    assert divergence.at(trace[:5], 5) == divergence.NOTHING


# ── recordings ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("faults", SCHEDULES)
@pytest.mark.parametrize("deviations", [(), ((6, 1), (11, 1), (14, 2))])
def test_a_recording_is_the_run_that_it_records(
    faults: tuple[str, ...], deviations: tuple[tuple[int, int], ...]
) -> None:
    """The recorder plays by itself; it must not play anything else than the runner does."""
    program = played().world.program
    recording = record(program, Schedule(tuple(map(parse, faults)), deviations))
    assert [moment.step for moment in recording.moments] == recording.result.trace
    assert [moment.number for moment in recording.moments] == list(range(1, len(recording.result.trace) + 1))


@pytest.mark.parametrize("faults", SCHEDULES)
def test_the_differences_add_up_to_the_last_view(faults: tuple[str, ...]) -> None:
    recording = _recorded(played("", *faults))
    last = look(recording.result.world, recording.holders)
    assert recording.view(len(recording.moments)) == last
    assert recording.view(0) == recording.first


def test_a_run_that_does_not_end_is_watched_for_its_end_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pwsim.report.recording.LONGEST", 20)
    monkeypatch.setattr("pwsim.report.recording.TAIL", 10)
    recording = _recorded(played())
    trace = recording.result.trace
    assert 5 <= len(recording.moments) <= 10
    assert [moment.step for moment in recording.moments] == trace[-len(recording.moments) :]
    assert recording.moments[-1].number == len(trace)
    assert recording.view(len(trace)) == look(recording.result.world, recording.holders)


# ── the state after a step ──────────────────────────────────────────────────────────────────────


def test_the_state_names_what_processes_queues_and_store_hold() -> None:
    recording = _recorded(played(*TWICE))
    struck = next(moment.number for moment in recording.moments if moment.step.fault)
    lines = "\n".join(state.after(recording, struck))
    assert f"after step {struck}, at 0.000s" in lines
    assert "* fan/1   begin #1, Running: the user's function runs, attempt 1, frozen until 20.000s" in lines
    assert "* fan  begin, ready, redelivered yes" in lines
    assert "begin  ready, attempt 1, lease fan/1 until 10.000s, data 3" in lines
    assert "run  status running, open calls 1" in lines


def test_the_state_shows_joins_events_and_what_is_gone() -> None:
    recording = _recorded(played(*EARLY))
    lines = "\n".join(state.after(recording, len(recording.moments)))
    assert "gather, armed by begin  fired, need part_0 met, need part_1 met, need part_2 not yet" in lines
    assert "part_1  by begin > part[1], data 1" in lines
    acked = next(moment.number for moment in recording.moments if moment.step.effect == "ack")
    assert "gone with this step\n  - queue fan  begin, unacked by fan/1" in "\n".join(state.after(recording, acked))


def test_the_state_says_what_a_machine_does_in_words() -> None:
    result = played(*EARLY)
    recording = _recorded(result)
    relisting = state.after(recording, step_of(result, "begin > part[0]", "receive", nth=2))
    assert "  * fan/2   begin > part[0] #2, Relisting: adding the run to the open ones again" in relisting
    recalling = state.after(recording, step_of(result, "begin > part[0]", "satisfy", nth=2))
    assert "  * fan/2   begin > part[0] #2, Recalling: reading the join of part_0" in recalling


@pytest.mark.parametrize("failure", [(), TWICE, EARLY, AT_ONCE])
def test_no_state_is_told_in_the_words_of_the_source(failure: tuple[str, ...]) -> None:
    recording = _recorded(played(*failure))
    for moment in recording.moments:
        assert "work.todo" not in "\n".join(state.after(recording, moment.number))


def test_a_lease_whose_holder_died_says_so() -> None:
    recording = _recorded(played("", "begin #1 / run / before"))
    struck = next(moment.number for moment in recording.moments if moment.step.fault)
    assert "begin  ready, attempt 1, lease fan/1 (gone) until 10.000s" in "\n".join(state.after(recording, struck))


def test_before_the_first_step_there_is_nothing() -> None:
    lines = state.after(_recorded(played()), 0)
    assert lines[0] == "before the first step"
    assert not any("queues" in line for line in lines)


# ── why did this run? ───────────────────────────────────────────────────────────────────────────


def test_a_joined_call_is_explained_by_its_join_and_who_emitted_what() -> None:
    recording = _recorded(played(*EARLY))
    lines = why.explain(recording, "begin > gather")
    assert lines[2].startswith("created by a join that had all it waits for (step ")
    assert any(line.startswith("  the join was armed by the commit of begin (step ") for line in lines)
    assert any(line.startswith("    emitted by begin > part[1] (step ") for line in lines)
    assert lines[lines.index("  part_2") + 1] == "    not emitted when the join fired"
    assert lines[-1].startswith("  begin: created when the client began the run")


def test_each_delivery_is_explained_by_who_brought_it() -> None:
    result = played(*TWICE)
    lines = why.explain(_recorded(result), "begin")
    explained = "\n".join(lines)
    published, struck = step_of(result, "start of run", "publish begin"), fault_of(result)
    timer = step_of(result, "begin", "add to timers", nth=2)
    assert f"delivery 1, to fan/1\n  published by start of run (step {published}, " in explained
    assert f"delivery 2, to fan/2\n  given back at step {struck}: fan/1  begin #1  ✗ stalls before run" in explained
    assert "published because a timer of it was due" in explained
    assert f"the timer was set by begin #2 (step {timer}, after its claim (refused))" in explained
    assert "committed by attempt 2, delivery 3" in explained
    assert "committed by attempt 1, delivery 1" in explained


def test_a_copy_is_explained_by_the_broker() -> None:
    recording = _recorded(played("", "begin > part[1] #1 / receive / duplicate"))
    assert any("a copy that the broker kept" in line for line in why.explain(recording, "begin > part[1]"))


def test_events_of_another_run_are_not_taken_for_causes() -> None:
    result = play(Program([fan], [("begin", 2), ("begin", 2)], prefetch=2), Schedule())
    lines = why.explain(_recorded(result), "run-2: begin > gather")
    emitters = [line for line in lines if "emitted by" in line]
    assert len(emitters) == 2
    assert all("emitted by run-2: begin > part[" in line for line in emitters)


def test_every_call_of_every_schedule_can_be_explained() -> None:
    for faults in SCHEDULES:
        recording = _recorded(played("", *faults))
        for path in why.Story(recording).calls():
            lines = why.explain(recording, path)
            assert any(line.startswith("created ") for line in lines)
            assert sum(line.startswith("committed by ") for line in lines) == 1, lines


# ── colour ──────────────────────────────────────────────────────────────────────────────────────


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _shown(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO) -> str:
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setenv("TERM", "xterm")
    paint.show(["plain", "  ✗ dies", "  ▶ broken"])
    return stream.getvalue()


def test_a_terminal_gets_faults_in_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert _shown(monkeypatch, _Terminal()).splitlines() == [
        "plain",
        "\x1b[31m  ✗ dies\x1b[0m",
        "\x1b[1;31m  ▶ broken\x1b[0m",
    ]


def test_no_colour_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in _shown(monkeypatch, _Terminal())


def test_a_pipe_gets_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b" not in _shown(monkeypatch, io.StringIO())


def _recorded(result: Result) -> Recording:
    return record(result.world.program, result.schedule)
