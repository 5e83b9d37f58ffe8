"""A worker's trace: each step of each machine as a line of JSON, so that it can be made again elsewhere.

What must live here: how machines are watched, and how a step becomes a line and a line a step. What must never: a
change of what machines do. Nothing is watched unless ``Settings.trace`` (or the environment variable ``PWF_TRACE``)
names a file; then the engine hands its machines to ``watch``, and that is all that production code knows of it.

A line has a part for people (when, which process, which machine, run and call, from which state to which, on what
answer, what it asks for) and a part for machines, ``raw``: everything that the step was given and came to. ``pwsim
check`` makes each step again on the pure machine and says which it does not accept.

- Lines are appended whole, in one write each, so that several processes may share a file. Who is killed in the middle
  of one leaves a cut line; the next is found behind it all the same (see ``read``).
- A line is written before what it asks for is performed: the last lines of a process that was killed may tell of
  effects that never happened. What it heard, has.
- ``raw`` names types and holds their fields. Only types of the core's machines are read back.
"""

from __future__ import annotations

import base64
import inspect
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.msgpack import Ext

from . import chores
from .clock import Clock
from .core import delivery, effects, inputs, model, recover, retry, signal, start, states, sweep, txn
from .core.machine import Machine
from .core.steps import Steps

VERSION = 1
_STRUCT = 1
"""The extension type of msgpack under which a typed value is kept."""


class Line(Struct, omit_defaults=True):
    """A line of the file. ``step``: ``begin``, or from which state to which. ``raised``: the step failed so."""

    time_ms: int
    process: str
    machine: str
    step: str
    run: str = ""
    call: str = ""
    task: str = ""
    heard: str = ""
    asks: str = ""
    raised: str = ""
    raw: str = ""


class Raw(Struct, array_like=True):
    """The part for machines; all but the time is packed (see ``pack``), so that equal values are equal bytes.

    ``begin``: ``given`` are the arguments; else: ``was`` is the state, ``given`` the input. A process's first line has
    its machines' settings as ``given``.
    """

    begin: bool
    was: bytes
    given: bytes
    now_ms: int
    state: bytes
    effect: bytes


# ── values ────────────────────────────────────────────────────────────────────────────────────


def _types(*modules: ModuleType) -> dict[str, type[Struct]]:
    found: dict[str, type[Struct]] = {}
    for module in modules:
        for name, thing in inspect.getmembers(module, inspect.isclass):
            if issubclass(thing, Struct) and thing.__module__ == module.__name__:
                found[f"{module.__name__.rpartition('.')[2]}.{name}"] = thing
    return found


TYPES = _types(model, txn, effects, inputs, states, start, signal, sweep, recover, retry, chores)
_NAMES = {kind: name for name, kind in TYPES.items()}


def pack(value: Any) -> bytes:
    """Bytes of a value: of frozen values by the names of their types, of tuples, and of what msgpack can say."""
    return _encode(_plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, Struct):
        fields = [_plain(getattr(value, name)) for name in value.__struct_fields__]
        return Ext(_STRUCT, _encode([_NAMES[type(value)], *fields]))
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return value


def unpack(body: bytes) -> Any:
    """The value again. Raises ValueError for bytes that ``pack`` did not write."""
    try:
        return _tuples(_decode(body))
    except (KeyError, TypeError, ValueError) as error:  # msgspec's errors are ValueErrors
        raise ValueError(f"no value of a trace: {type(error).__name__}: {error}") from error


def _tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple([_tuples(each) for each in value])
    if isinstance(value, dict):
        return {key: _tuples(each) for key, each in value.items()}
    return value


def _struct(code: int, data: memoryview) -> Any:
    if code != _STRUCT:
        raise ValueError(f"extension type {code}")
    name, *fields = _decode(bytes(data))
    kind = TYPES[name]
    return kind(**dict(zip(kind.__struct_fields__, map(_tuples, fields), strict=True)))


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ext_hook=_struct).decode
_raw_of = msgspec.msgpack.Decoder(Raw).decode
_line_of = msgspec.json.Decoder(Line).decode
_to_json = msgspec.json.Encoder().encode


# ── machines ──────────────────────────────────────────────────────────────────────────────────


class MachineSettings(Struct):
    """What a worker's machines were made with."""

    version: int
    lease_ms: int
    retention_ms: int
    recovery_ms: int
    policies: dict[str, retry.Retry]


NAMES: dict[type[Machine], str] = {
    delivery.DeliveryMachine: "delivery",
    sweep.SweepMachine: "sweep",
    recover.MarkMachine: "mark",
    recover.ScanMachine: "scan",
    chores.KeepMachine: "keep",
    chores.RenewMachine: "renew",
    chores.TrimMachine: "trim",
}


def machines(settings: MachineSettings) -> dict[str, Machine]:
    """The machines of a worker, by the names that its trace gives them."""
    steps = Steps(settings.lease_ms, settings.retention_ms)
    return {
        "delivery": delivery.DeliveryMachine(steps, settings.policies),
        "sweep": sweep.SweepMachine(steps),
        "mark": recover.MarkMachine(settings.recovery_ms),
        "scan": recover.ScanMachine(steps),
        "keep": chores.KeepMachine(),
        "renew": chores.RenewMachine(steps),
        "trim": chores.TrimMachine(),
    }


# ── writing ───────────────────────────────────────────────────────────────────────────────────


def watch(path: str, clock: Clock, recovery_ms: int, watched: Iterable[Machine]) -> None:
    """From now on, each step of these machines is appended to the file, whoever makes it. One delivery machine must be
    among them."""
    writer = _Writer(path, clock)
    each = {id(machine): machine for machine in watched}.values()
    (main,) = [machine for machine in each if isinstance(machine, delivery.DeliveryMachine)]
    policies = dict(main.policies)
    writer.settings(
        MachineSettings(VERSION, main.steps.lease_ms, main.steps.retention_ms, recovery_ms, policies),
    )
    for machine in each:
        machine.step = writer.stepping(machine)  # type: ignore[assignment, method-assign]
        machine.begin = writer.beginning(machine)  # type: ignore[attr-defined]


class _Writer:
    """Appends to one file for one process. Used on the engine's thread only."""

    def __init__(self, path: str, clock: Clock) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._clock = clock
        self._process = f"{os.getpid()}-{secrets.token_hex(4)}"

    def settings(self, settings: MachineSettings) -> None:
        fields = tuple([getattr(settings, name) for name in settings.__struct_fields__])
        raw = Raw(True, b"", pack(fields), self._clock.now_ms(), b"", b"")
        self._write(Line(raw.now_ms, self._process, "", "worker", raw=_text(raw)))

    def beginning(self, machine: Any) -> Callable[..., Any]:
        begin, name = machine.begin, NAMES[type(machine)]

        def traced(*arguments: Any) -> Any:
            begun = begin(*arguments)
            state, effect = begun
            now_ms = self._clock.now_ms()
            raw = Raw(True, b"", pack(arguments), now_ms, pack(state), pack(effect))
            step = f"begin -> {_name(state)}"
            self._write(_line(now_ms, self._process, name, step, raw, state, asks=in_words(effect)))
            return begun

        return traced

    def stepping(self, machine: Machine) -> Callable[[Any, Any, int], Any]:
        step, name = machine.step, NAMES[type(machine)]

        def traced(state: Any, input: Any, now_ms: int) -> Any:
            given = (False, pack(state), pack(input), now_ms)
            time_ms, heard = self._clock.now_ms(), answer_in_words(input)
            try:
                after, effect = step(state, input, now_ms)
            except Exception as error:
                line = _line(time_ms, self._process, name, f"{_name(state)} -> ?", Raw(*given, b"", b""), state, heard)
                line.raised = f"{type(error).__name__}: {error}"
                self._write(line)
                raise
            raw = Raw(*given, pack(after), pack(effect))
            steps = f"{_name(state)} -> {_name(after)}"
            self._write(_line(time_ms, self._process, name, steps, raw, state, heard, in_words(effect)))
            return after, effect

        return traced

    def _write(self, line: Line) -> None:
        os.write(self._file, _to_json(line) + b"\n")


def _line(
    time_ms: int, process: str, machine: str, step: str, raw: Raw, state: Any, heard: str = "", asks: str = ""
) -> Line:
    message = message_of(state)
    about = (message.run_id, message.call_id, message.task) if message is not None else ("", "", "")
    return Line(time_ms, process, machine, step, *about, heard, asks, raw=_text(raw))


def message_of(state: Any) -> model.Message | None:
    """The message that a state of a delivery is about."""
    holder = getattr(state, "claim", None) or getattr(state, "work", None) or state
    message = getattr(holder, "message", None)
    return message if isinstance(message, model.Message) else None


def _name(state: Any) -> str:
    return type(state).__name__


def _text(raw: Raw) -> str:
    return base64.b64encode(_encode(raw)).decode()


def in_words(effect: Any) -> str:
    """An effect in a word or two."""
    if effect is None:
        return ""
    if isinstance(effect, txn.Txn):
        return effect.label
    if isinstance(effect, effects.Publish):
        return f"publish {len(effect.messages)}"
    if isinstance(effect, effects.IndexAdd | effects.IndexRead | effects.IndexRemove):
        return f"{type(effect).__name__} {effect.index}"
    return type(effect).__name__


def answer_in_words(input: Any) -> str:
    """An answer in a word or two."""
    if isinstance(input, txn.TxnReply):
        return "held" if input.held else "did not hold"
    if isinstance(input, inputs.TaskFailed):
        return f"failed: {input.failure.kind}: {input.failure.message}"[:120]
    if isinstance(input, inputs.Published) and input.unroutable:
        return f"{len(input.unroutable)} unroutable"
    return type(input).__name__


# ── reading ───────────────────────────────────────────────────────────────────────────────────


class Cut(Struct):
    """A line that was not written to its end, or is none of a trace."""

    text: bytes


def read(path: str | Path) -> Iterator[tuple[int, Line | Cut]]:
    """The lines of a file with their numbers, from 1. Behind a cut line the one that follows it is found."""
    with Path(path).open("rb") as file:
        for number, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                yield number, _line_of(text)
                continue
            except msgspec.DecodeError:
                begin = text.rfind(b'{"time_ms":')
            try:
                line = _line_of(text[begin:]) if begin > 0 else None
            except msgspec.DecodeError:
                line = None
            yield number, Cut(text if line is None else text[:begin])
            if line is not None:
                yield number, line


def raw_of(line: Line) -> Raw:
    """Raises ValueError when there is none in it."""
    try:
        return _raw_of(base64.b64decode(line.raw, validate=True))
    except (ValueError, msgspec.DecodeError) as error:
        raise ValueError(f"its part for machines cannot be read: {error}") from error


def settings_of(raw: Raw) -> MachineSettings:
    """What a process's first line says. Raises ValueError when it says something else, or in another version."""
    fields = unpack(raw.given)
    if not isinstance(fields, tuple) or not fields or fields[0] != VERSION:
        raise ValueError(f"its settings are of another version than {VERSION}: {fields!r:.80}")
    version, lease_ms, retention_ms, recovery_ms, policies = fields
    checked: Mapping[str, retry.Retry] = policies
    return MachineSettings(version, lease_ms, retention_ms, recovery_ms, dict(checked))
