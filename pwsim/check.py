"""Is what real workers recorded a behaviour of the machines? (See ``pwf_runtime.trace``.)

Each step is made again on the pure machine, from what the line says it was given, and must come to what the line says
it came to. Steps must follow each other: a process goes on only from states that it has come to. And some laws hold
over the traces of all workers together (see ``trace_laws``).

A line that was cut, because its process was killed in the middle of it, is counted; a process may leave one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from pwf_runtime import trace
from pwf_runtime.core.machine import Machine
from pwf_runtime.errors import UsageError

from .trace_laws import Finding, TraceLaws

MOST_FINDINGS = 20
SHOWN_CHARS = 400


class Checked(Struct):
    """What came of a trace. ``under_way``: steps that a process had come to when its trace ends."""

    lines: int = 0
    steps: int = 0
    processes: int = 0
    cut: int = 0
    under_way: int = 0
    findings: list[Finding] = []

    @property
    def verdict(self) -> str:
        return "violation" if self.findings else "pass"


def check(paths: Sequence[str | Path]) -> Checked:
    """Check trace files together, as those of one system. Raises UsageError for files without a step in them."""
    checking = _Checking()
    for path in paths:
        try:
            for number, line in trace.read(path):
                where = f"{Path(path).name}:{number}" if len(paths) > 1 else f"line {number}"
                checking.line(where, line)
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror or error}") from error
    checked = checking.end()
    if not checked.steps and not checked.findings:
        names = ", ".join(map(str, paths))
        raise UsageError(f"{names}: no step in it; record one with `pwf worker --trace FILE` or PWF_TRACE=FILE")
    return checked


class _Process:
    """A process as its lines tell: its machines, and the states that it has come to and not gone on from."""

    def __init__(self, machines: dict[str, Machine]) -> None:
        self.machines = machines
        self.open: Counter[tuple[str, bytes]] = Counter()


class _Checking:
    def __init__(self) -> None:
        self.checked = Checked(findings=[])
        self.processes: dict[str, _Process] = {}
        self.cuts: list[str] = []
        self.laws = TraceLaws()

    def line(self, where: str, line: trace.Line | trace.Cut) -> None:
        self.checked.lines += 1
        if isinstance(line, trace.Cut):
            self.checked.cut += 1
            self.cuts.append(where)
            return
        try:
            raw = trace.raw_of(line)
            if not line.machine:
                self.processes[line.process] = _Process(trace.machines(trace.settings_of(raw)))
            else:
                self._step(where, line, raw)
        except ValueError as error:
            self._found(where, "step", str(error))

    def end(self) -> Checked:
        checked = self.checked
        checked.processes = len(self.processes)
        if len(self.cuts) > len(self.processes):
            last = self.cuts[-1]
            self._found(
                last, "order", f"{len(self.cuts)} lines are cut, and only {len(self.processes)} processes wrote"
            )
        for finding in self.laws.end():
            self._add(finding)
        checked.under_way = sum([process.open.total() for process in self.processes.values()])
        return checked

    def _found(self, where: str, law: str, sentence: str, expected: object = "", found: object = "") -> None:
        self._add(Finding(where, law, sentence, _shown(expected), _shown(found)))

    def _add(self, finding: Finding) -> None:
        if len(self.checked.findings) < MOST_FINDINGS:
            self.checked.findings.append(finding)

    def _step(self, where: str, line: trace.Line, raw: trace.Raw) -> None:
        self.checked.steps += 1
        process = self.processes.get(line.process)
        if process is None:
            return self._found(where, "order", f"process {line.process} has not said what its machines were made with")
        machine = process.machines.get(line.machine)
        if machine is None:
            return self._found(where, "step", f"there is no machine {line.machine!r}")
        if not raw.begin:
            key = (line.machine, raw.was)
            if not process.open[key]:
                sentence = f"process {line.process} goes on from a state that it has not come to: {line.step}"
                self._found(where, "order", sentence, found=trace.unpack(raw.was))
            else:
                process.open[key] -= 1
        self._again(where, line, raw, machine)
        if not line.raised and trace.unpack(raw.effect) is not None:
            process.open[line.machine, raw.state] += 1
        return None

    def _again(self, where: str, line: trace.Line, raw: trace.Raw, machine: Any) -> None:
        """Make the step again."""
        given, was = trace.unpack(raw.given), None if raw.begin else trace.unpack(raw.was)
        try:
            state, effect = machine.begin(*given) if raw.begin else machine.step(was, given, raw.now_ms)
        except Exception as error:
            raised = f"{type(error).__name__}: {error}"
            if raised.partition(":")[0] != line.raised.partition(":")[0]:
                self._found(where, "step", f"the machine refuses {line.step}", raised, line.raised or line.asks)
            return None
        for what, expected, found in (("state", state, raw.state), ("effect", effect, raw.effect)):
            if line.raised or trace.pack(expected) != found:
                there = line.raised or trace.unpack(found)
                return self._found(where, "step", f"another {what} follows in {line.step}", expected, there)
        if not raw.begin:
            for finding in self.laws.note(where, was, given, state):
                self._add(finding)
        return None


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}..."
