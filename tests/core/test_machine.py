"""The tables: every row is met, nothing passes that is not in them, and all that machines deal with is a value."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
import pytest
from msgspec import Struct

from pwf_runtime.core import delivery, effects, inputs, model, recover, signal, start, states, steps, sweep, txn
from pwf_runtime.core.delivery import DeliveryMachine
from pwf_runtime.core.effects import Ack
from pwf_runtime.core.inputs import Acked, Published, TaskDone
from pwf_runtime.core.machine import Machine, MissingTransition, Row
from pwf_runtime.core.model import Message, Outcome
from pwf_runtime.core.recover import MarkMachine, ScanMachine
from pwf_runtime.core.signal import SignalMachine
from pwf_runtime.core.start import StartMachine
from pwf_runtime.core.states import Acking, Claiming, Done, Running
from pwf_runtime.core.steps import Steps
from pwf_runtime.core.sweep import SweepMachine

from .desk import Met
from .situations import SITUATIONS

MACHINES: tuple[type[Machine], ...] = (
    *(DeliveryMachine, StartMachine, SignalMachine),
    *(SweepMachine, MarkMachine, ScanMachine),
)
ROWS = [(machine, row) for machine in MACHINES for row in machine.TABLE]
MODULES = (model, txn, effects, inputs, states, steps, start, signal, sweep, recover, delivery)
INPUTS: tuple[type[Struct], ...] = (
    txn.TxnReply,
    inputs.TaskDone,
    inputs.TaskFailed,
    inputs.Published,
    inputs.Indexed,
    inputs.Entries,
    inputs.Acked,
    inputs.Damaged,
)


def _said(machine: type[Machine], row: Row) -> str:
    return f"{machine.__name__}: {row.state.__name__} + {row.input.__name__}"


@pytest.fixture(scope="module")
def met() -> set[Met]:
    """All steps that machines take in any situation."""
    return set().union(*(situation().met for situation in SITUATIONS))


@pytest.mark.parametrize(("machine", "row"), ROWS, ids=[_said(*row) for row in ROWS])
def test_every_row_is_met_in_some_situation(machine: type[Machine], row: Row, met: set[Met]) -> None:
    """A row that nothing meets is a guess. Add the situation, or take the row out."""
    assert any(step[:3] == (machine, row.state, row.input) for step in met)


def test_no_step_is_met_that_no_row_allows(met: set[Met]) -> None:
    allowed = {(machine, row.state, row.input, to) for machine, row in ROWS for to in row.to}
    assert met <= allowed


@pytest.mark.parametrize("machine", MACHINES)
def test_no_pair_has_two_rows(machine: type[Machine]) -> None:
    """The later row would silently win."""
    pairs = [(row.state, row.input) for row in machine.TABLE]
    assert len(set(pairs)) == len(pairs)


@pytest.mark.parametrize("machine", MACHINES)
def test_every_state_but_the_last_is_left_and_every_one_but_the_first_is_reached(machine: type[Machine]) -> None:
    left = {row.state for row in machine.TABLE}
    reached = {state for row in machine.TABLE for state in row.to}
    first = machine.TABLE[0].state
    assert left - reached <= {first}
    ends = {states.Done, start.Begun, start.Conflict, sweep.Swept, recover.Marked, recover.Scanned}
    ends |= {signal.Signalled, signal.Conflict, signal.Refused}
    assert reached - left <= ends


def _made(machine: type[Machine]) -> Machine:
    if machine is MarkMachine:
        return MarkMachine(1)
    return DeliveryMachine(Steps(1, 1), {}) if machine is DeliveryMachine else machine(Steps(1, 1))  # type: ignore[call-arg]


def _empty(struct: type[Struct]) -> Struct:
    return struct(*[None] * len(struct.__struct_fields__))


@pytest.mark.parametrize("machine", MACHINES)
def test_every_pair_that_is_no_row_raises(machine: type[Machine]) -> None:
    """A missing row raises, it never passes silently. No method is even asked: the values are empty shells."""
    made = _made(machine)
    rows = {(row.state, row.input) for row in machine.TABLE}
    there = {row.state for row in machine.TABLE} | {state for row in machine.TABLE for state in row.to}
    missing = [(state, given) for state in there for given in INPUTS if (state, given) not in rows]
    assert len(missing) == len(there) * len(INPUTS) - len(rows)
    for state, given in missing:
        with pytest.raises(MissingTransition, match=f"{state.__name__} does not expect {given.__name__}"):
            made.step(_empty(state), _empty(given), 0)


def test_a_method_that_leads_where_its_row_does_not_raises() -> None:
    class Astray(DeliveryMachine):
        def _acked(self, state: Any, _done: Any, _now_ms: int) -> Any:
            return Claiming(state.message, "token"), Ack()

    message = Message("run", "call", "q.task")
    with pytest.raises(MissingTransition, match="Acking may not lead to Claiming"):
        Astray(Steps(1, 1), {}).step(Acking(message), Acked(), 0)
    assert DeliveryMachine(Steps(1, 1), {}).step(Acking(message), Acked(), 0) == (Done(message), None)


def test_a_subclass_of_a_state_is_another_state() -> None:
    """The table goes by the exact type, so nothing slips through under a family name."""

    class Similar(Acking, frozen=True):
        pass

    with pytest.raises(MissingTransition, match="Similar does not expect Acked"):
        DeliveryMachine(Steps(1, 1), {}).step(Similar(Message("run", "call", "q.task")), Acked(), 0)


def test_a_row_without_its_method_is_found_when_the_machine_is_made() -> None:
    class Unfinished(Machine):
        TABLE: ClassVar[tuple[Row, ...]] = (Row(Running, TaskDone, "_nobody_wrote_this", (Done,)),)

    with pytest.raises(AttributeError, match="_nobody_wrote_this"):
        Unfinished()


STRUCTS = sorted(
    {
        thing
        for module in MODULES
        for thing in vars(module).values()
        if isinstance(thing, type) and issubclass(thing, Struct) and thing is not Struct
    },
    key=lambda struct: (struct.__module__, struct.__name__),
)


@pytest.mark.parametrize("struct", STRUCTS, ids=[f"{s.__module__}.{s.__name__}" for s in STRUCTS])
def test_every_noun_state_effect_and_input_is_frozen(struct: type[Struct]) -> None:
    """A machine's state is a value: the simulator compares, hashes, prints and copies it."""
    config = struct.__struct_config__
    assert config.frozen
    assert config.eq
    assert struct.__hash__ is not None


def test_there_are_structs_to_look_at() -> None:
    assert {Message, Outcome, Claiming, Ack, Published} < set(STRUCTS)
    assert len(STRUCTS) > 80


@pytest.mark.parametrize("situation", SITUATIONS, ids=[situation.__name__ for situation in SITUATIONS])
def test_every_state_and_effect_that_is_met_is_hashable_and_equals_its_copy(situation: Any) -> None:
    """Also what is inside: a list or a dict in a field would make a state unhashable only when it is met."""
    for state, effect in situation().seen:
        for value in filter(None, (state, effect)):
            copy = type(value)(*[getattr(value, name) for name in value.__struct_fields__])
            assert copy == value
            assert hash(copy) == hash(value)
            with pytest.raises(AttributeError):
                setattr(value, (value.__struct_fields__ or ("nothing",))[0], None)
            assert value != msgspec.UNSET


def test_the_same_situation_leads_through_the_same_states() -> None:
    """Nothing is drawn and nothing is remembered between: machines hold settings only."""
    for situation in SITUATIONS:
        assert situation().seen == situation().seen
