"""What a known bug shape is."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from pwf_runtime.workflow import Workflow

from ..campaign import Campaign, Report, Violation
from ..planted import workflows
from ..program import Program, Protocol
from ..runner import Result, play

RUNS = 1_000
"""So many random schedules are tried where few faults in the default order convict nothing."""


class Shape(Struct, frozen=True):
    """A way in which workflows have gone wrong elsewhere, as a model.

    ``model`` makes the same mistake in our protocol; ``law`` is the one that must convict it, named beforehand, with
    ``faults`` faults of ``families`` at the least. ``apps`` and ``start``: a workflow of ours on which it shows, and
    which must survive the same faults with the protocol as it is. ``sources``: where people report it.
    """

    name: str
    symptom: str
    ours: str
    sources: tuple[str, ...]
    law: str
    faults: int
    model: Protocol
    apps: tuple[Workflow, ...] = (workflows.fan,)
    start: tuple[str, Any] = ("begin", 2)
    families: str = "crash"

    def program(self, protocol: Protocol | None = None) -> Program:
        return Program(self.apps, [self.start], protocol=protocol)

    def convict(self) -> Violation | None:
        """The first violation of the model that is found, shrunk: few faults first, then random schedules."""
        report = self._campaign(self.model, "faults")
        if not report.violations:
            report = self._campaign(self.model, "random")
        return report.violations[0] if report.violations else None

    def survive(self, violation: Violation) -> Result:
        """Our protocol under the faults that convicted the model."""
        program = self.program()
        program.expects(frozenset([fault.mode for fault in violation.faults]))
        return play(program, violation.result.schedule)

    def search(self) -> Report:
        """Our protocol under all faults that the model is tried with."""
        return self._campaign(Protocol(), "faults")

    def _campaign(self, protocol: Protocol, strategy: str) -> Report:
        program = self.program(protocol)
        families, most = (self.families, self.faults) if self.faults else ("", 0)
        return Campaign(program, strategy=strategy, faults=families, max_faults=most, runs=RUNS).run()
