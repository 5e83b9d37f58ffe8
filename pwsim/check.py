"""Is what real workers recorded a behaviour of the machines? (See ``pwf_runtime.trace``.)

Each step is made again on the pure machine, from what the line says it was given, and must come to what the line says
it came to. Steps must follow each other: a process goes on only from states that it has come to. And some laws hold
over the traces of all workers together, whatever order their lines are in:

====  =====================================================================================
T1    a call commits at most once
T2    an attempt is granted to one claim only, and none is granted beyond the one that commits
T3    a join fires at most once
T4    a call settles at most once
T5    a delivery is acked only after the call is settled, listed, parked, or somebody else's
====  =====================================================================================

A line that was cut, because its process was killed in the middle of it, is counted; a process may leave one. T1 to T4
speak of what the store answered, so they are no laws for a store that fell back meanwhile (a failover, a power cut),
and none for a run that was begun again under its old id after its retention.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from msgspec import Struct

from pwf_runtime import trace
from pwf_runtime.core import keys as k
from pwf_runtime.core import states as s
from pwf_runtime.core.inputs import Input
from pwf_runtime.core.machine import Machine
from pwf_runtime.core.steps import read_snapshot
from pwf_runtime.core.txn import TxnReply
from pwf_runtime.errors import UsageError

MOST_FINDINGS = 20
SHOWN_CHARS = 400


class Finding(Struct, frozen=True):
    """A line that is not accepted, and why. ``law``: ``step`` (not the machine's), ``order``, or a law's number."""

    line: str
    law: str
    sentence: str
    expected: str = ""
    found: str = ""


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
        self.laws = _Laws()

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
            for finding in self.laws.note(where, line, was, given, state):
                self._add(finding)
        return None


# ── laws over the traces of all workers ───────────────────────────────────────────────────────

_Key: TypeAlias = tuple[str, str]


class _Laws:
    """Remembers, by run and call (or join), on which line the store answered what."""

    def __init__(self) -> None:
        self.once: dict[tuple[str, str, str], str] = {}  # (law, run, call or join) -> where
        self.granted: dict[_Key, dict[int, tuple[str, str]]] = {}  # call -> attempt -> token, where
        self.committed: dict[_Key, tuple[int, str]] = {}

    def note(self, where: str, line: trace.Line, was: Any, given: Input, state: Any) -> Iterable[Finding]:
        if isinstance(given, TxnReply) and given.held:
            if isinstance(was, s.Committing):
                self.committed[line.run, line.call] = was.claim.attempt, where
                yield from self._once(where, "T1", line.run, line.call, f"call {line.call} of run {line.run} commits")
            elif isinstance(was, s.Firing):
                join = was.work.todo[0].join
                yield from self._once(where, "T3", line.run, join, f"join {join} of run {line.run} fires")
            elif isinstance(was, s.Settling):
                yield from self._once(where, "T4", line.run, line.call, f"call {line.call} of run {line.run} settles")
        if isinstance(was, s.Claiming) and (claim := getattr(state, "claim", None)) is not None:
            yield from self._granted(where, line, claim)
        if isinstance(state, s.Acking):
            yield from self._acked(where, line, was, given)

    def _once(self, where: str, law: str, run: str, name: str, what: str) -> Iterable[Finding]:
        before = self.once.setdefault((law, run, name), where)
        if before != where:
            yield Finding(where, law, f"{what} a second time; the first was {before}")

    def _granted(self, where: str, line: trace.Line, claim: s.Claim) -> Iterable[Finding]:
        granted = self.granted.setdefault((line.run, line.call), {})
        token, before = granted.setdefault(claim.attempt, (claim.token, where))
        if token != claim.token:
            sentence = f"attempt {claim.attempt} of call {line.call} of run {line.run} is granted twice: {before}"
            yield Finding(where, "T2", sentence, token, claim.token)

    def _acked(self, where: str, line: trace.Line, was: Any, given: Any) -> Iterable[Finding]:
        if isinstance(was, (s.Parking, s.Burying, s.Settling, s.Confirming, s.Completing)):
            return
        if isinstance(was, s.Committing) and was.leaf and given.held:
            return
        if isinstance(was, (s.Claiming, s.Committing, s.Failing)) and not given.held:
            found = read_snapshot(given.replies)
            later = not isinstance(was, s.Claiming) and found.state == k.READY and found.attempt >= was.claim.attempt
            if found.state is None or found.status != k.RUNNING or later:
                return
        yield Finding(where, "T5", f"{line.task} ({line.call}) of run {line.run} is acked while its call is open")

    def end(self) -> Iterable[Finding]:
        for (run, call), (attempt, where) in self.committed.items():
            for later, (_, granted) in self.granted.get((run, call), {}).items():
                if later > attempt:
                    sentence = f"attempt {attempt} of call {call} of run {run} commits, though {later} was granted"
                    yield Finding(where, "T2", f"{sentence} ({granted})")


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}..."
