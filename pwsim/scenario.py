"""Scenarios: a program, a schedule and what to expect of it, as a TOML file that a person can read and write.

.. code-block:: toml

    version = 1
    apps = ["examples.registration:users", "examples.registration:documents"]
    start = [{ task = "register_user", data = '{"name": "Ada"}' }]   # data is JSON
    workers = 2
    prefetch = 1                # deliveries that a worker has at a time
    recovery = false            # whether the recovery scan runs; it always does where a fault needs it
    profile = "rabbitmq-quorum" # whose queues: where messages come back to; that of classic ones differs
    faults = ["register_user > verify_email #1 / commit / after"]
    deviations = [[12, 1]]      # at step 12, enabled action 1 instead of the default
    facts = [...]               # of an incident, as `pwf export` writes them: faults and order are found from them
    planted = "..."             # simulate with this planted bug
    once = ["charge"]           # demands, besides the laws: probed functions that are called exactly once
    at_most_once = ["mail"]
    once_per_key = ["charge"]   # no call of the workflow does it again under another idempotency key, or without one
    committed = { ship = 1 }    # so many calls of a task commit
    counts = ["effects by key charge <= 2"]         # other numbers of times: effects, effects by key, committed
    invariants = ["tests/test_orders.py:shipped"]   # functions that are given the end of the schedule
    setup = ["conftest.py", "fakes:install"]        # modules to import, functions to call, before it is played
    network = false             # whether tasks may open connections; else one that does is refused
    expect = "pass"             # or what is broken: a law, such as "L3", or "effects", "committed", "invariant"
    trace = "1f6c..."           # the trace's fingerprint, for a strict replay

    [[signals]]                 # what comes from outside while the runs go on
    event = "approved"
    data = '{"by": "Ada"}'      # JSON
    after = 0.0                 # seconds before which it is not sent
    run = 1                     # the number of its run's start
    id = "receipt-7"            # of the signal; by default its event, with a number where there are several
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from pwf_runtime.errors import UsageError
from pwf_runtime.workflow import Workflow

from .demands import Demands
from .faults import RETURNS, Returns, parse
from .incident import Enacted, Fact, enact
from .planted import protocol_of
from .program import Program, Signal
from .schedule import Schedule
from .targets import load_apps, set_up

VERSION = 1


class StartEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """A run to begin: its first task, and that task's data as JSON text."""

    task: str
    data: str = "null"


class SignalEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """A signal that is sent to a run; see ``program.Signal``. Its data are JSON text."""

    event: str
    data: str = "null"
    after: float = 0.0
    run: int = 1
    id: str = ""


class Scenario(Demands, frozen=True, forbid_unknown_fields=True):
    """What a scenario file says."""

    apps: tuple[str, ...]
    start: tuple[StartEntry, ...]
    version: int = VERSION
    workers: int = 2
    prefetch: int = 1
    recovery: bool = False
    profile: str = ""
    faults: tuple[str, ...] = ()
    deviations: tuple[tuple[int, int], ...] = ()
    facts: tuple[Fact, ...] = ()
    planted: str = ""
    setup: tuple[str, ...] = ()
    network: bool = False
    expect: str = "pass"
    trace: str = ""
    about: str = ""
    signals: tuple[SignalEntry, ...] = ()

    def sent(self) -> list[Signal]:
        """The signals to send. Raises ``UsageError``."""
        return [
            Signal(each.event, _json(each.data, f"signals: data of {each.event!r}"), each.after, each.run, each.id)
            for each in self.signals
        ]

    def starts(self) -> list[tuple[str, Any]]:
        """The runs to begin: pairs of a task and its data. Raises ``UsageError``."""
        return [(entry.task, _json(entry.data, f"start: data of {entry.task!r}")) for entry in self.start]

    def schedule(self) -> Schedule:
        """What goes wrong, and which order of steps is taken. Raises ``UsageError``."""
        if self.facts:
            return self.enacted().schedule
        return Schedule(tuple([parse(fault) for fault in self.faults]), self.deviations)

    def enacted(self) -> Enacted:
        """The schedule that does again what the facts tell, and those that it does not. Raises ``UsageError``."""
        if self.faults or self.deviations:
            raise UsageError("a scenario with facts has neither faults nor deviations: these follow from them")
        program = self.program()
        try:
            return enact(program, self.facts)
        finally:
            program.close()

    def set_up(self) -> None:
        """What it says is to be done before it is played. Raises ``UsageError``, and what the user's code raises."""
        for target in self.setup:
            set_up(target)

    def program(self, apps: Sequence[Workflow] = ()) -> Program:
        """Load the workflows, if they are not given, and build the program. Raises ``UsageError``."""
        program = Program(
            apps or load_apps(self.apps),
            self.starts(),
            workers=self.workers,
            prefetch=self.prefetch,
            protocol=protocol_of(self.planted),
            signals=self.sent(),
        )
        program.returns = returns_of(self.profile)
        program.scans, program.network = self.recovery, self.network
        program.checks = self.checks(program)
        return program


def returns_of(profile: str) -> Returns:
    """Where messages come back to by a profile's rule; "": the default one. Raises ``UsageError``."""
    if not profile:
        return "first"
    if profile not in RETURNS:
        raise UsageError(f"profile {profile!r}: there is no broker of this name; there are {', '.join(RETURNS)}")
    return RETURNS[profile]


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"{where}: {text!r} is no JSON: {error}") from error


def load(path: str | Path) -> Scenario:
    """Read a scenario file.

    Raises:
        UsageError: it cannot be read or does not say what a scenario needs; names the file and the key.
    """
    path = Path(path)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: no TOML: {error}") from error
    version = raw.get("version", VERSION)
    if version != VERSION:
        raise UsageError(f"{path}: version {version!r}; this pwsim reads version {VERSION}")
    try:
        return msgspec.convert(raw, Scenario)
    except msgspec.ValidationError as error:
        raise UsageError(f"{path}: {error}") from error


def dump(scenario: Scenario) -> str:
    """The text of a scenario file."""
    lines = [f"version = {scenario.version}"]
    if scenario.about:
        lines.append(f"about = {_string(scenario.about)}")
    lines.append(f"apps = [{', '.join(map(_string, scenario.apps))}]")
    starts = [f"{{ task = {_string(entry.task)}, data = {_string(entry.data)} }}" for entry in scenario.start]
    lines += [f"start = [{', '.join(starts)}]", f"workers = {scenario.workers}"]
    lines += [f"prefetch = {scenario.prefetch}"] if scenario.prefetch != 1 else []
    lines += ["recovery = true"] if scenario.recovery else []
    lines += [f"profile = {_string(scenario.profile)}"] if scenario.profile else []
    lines += ["faults = [", *[f"    {_string(fault)}," for fault in scenario.faults], "]"] if scenario.faults else []
    lines += ["facts = [", *[f"    {_row(fact)}," for fact in scenario.facts], "]"] if scenario.facts else []
    if scenario.deviations:
        lines.append(f"deviations = [{', '.join(f'[{step}, {number}]' for step, number in scenario.deviations)}]")
    lists = ("once", "at_most_once", "once_per_key", "counts", "invariants", "setup")
    lines += [f"{key} = [{', '.join(map(_string, value))}]" for key in lists if (value := getattr(scenario, key))]
    lines += ["network = true"] if scenario.network else []
    if scenario.committed:
        times = [f"{_string(task)} = {number}" for task, number in scenario.committed.items()]
        lines.append(f"committed = {{ {', '.join(times)} }}")
    lines += [
        f"{key} = {_string(value)}" for key in ("planted", "expect", "trace") if (value := getattr(scenario, key))
    ]
    for signal in scenario.signals:
        lines += ["", "[[signals]]", f"event = {_string(signal.event)}", f"data = {_string(signal.data)}"]
        lines += [f"after = {signal.after}"] if signal.after else []
        lines += [f"run = {signal.run}"] if signal.run != 1 else []
        lines += [f"id = {_string(signal.id)}"] if signal.id else []
    return "\n".join(lines) + "\n"


def _row(fact: Fact) -> str:
    values = [getattr(fact, name) for name in fact.__struct_fields__]
    return f"[{', '.join(_string(value) if isinstance(value, str) else str(value) for value in values)}]"


def _string(value: str) -> str:
    """As a TOML string: JSON's escapes are a subset of TOML's."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
