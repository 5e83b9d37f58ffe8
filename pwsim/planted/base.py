"""What a planted bug is."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from pwf_runtime.workflow import Workflow

from ..program import Program, Protocol
from . import workflows


class Planted(Struct, frozen=True):
    """A variant of the protocol.

    ``law`` is the one that must convict it, named beforehand; "" for a sound variant. ``faults`` is the fewest that are
    needed for it to show. ``start`` is where ``apps`` begin: the workflow on which it is tried.
    """

    name: str
    about: str
    law: str
    faults: int
    protocol: Protocol
    apps: tuple[Workflow, ...] = (workflows.fan,)
    start: tuple[str, Any] = ("begin", 3)

    def program(self, workers: int = 2) -> Program:
        return Program(self.apps, [self.start], workers=workers, protocol=self.protocol)
