"""A golden bad model: the protocol of go-pubsub-workflow as its readme describes it.

A message is handled by whoever gets it, however many do. What the handler returned is stored and published; that
something was stored before is looked up when a message comes, not when the result is stored. A trigger counts down
with every event that bears one of its names, and sees only events emitted after it was stored. A message whose handler
nobody registered is taken and dropped. Each of these is a known defect, and each must be convicted.
"""

from __future__ import annotations

from typing import Any

from pwf_runtime.workflow import Workflow

from ..program import Protocol
from . import workflows
from .base import Planted
from .claims import DropsUnknown, NoDedupe, NoLease
from .joins import CountsArrivals, NeverLooksBack


class _Steps(NoLease, NoDedupe, NeverLooksBack, CountsArrivals):
    """No claim keeps others away, no commit compares, joins count arrivals, and nothing is looked up afterwards."""


GO_PUBSUB_WORKFLOW = Protocol(steps=_Steps, delivery=DropsUnknown)


def _defect(name: str, about: str, law: str, faults: int, app: Workflow, start: tuple[str, Any]) -> Planted:
    return Planted(
        f"go-pubsub-{name}",
        f"go-pubsub-workflow {about}",
        law=law,
        faults=faults,
        protocol=GO_PUBSUB_WORKFLOW,
        apps=(app,),
        start=start,
    )


BUGS = (
    _defect(
        "a-twice",
        "fires a trigger of (a, b) when a is emitted twice",
        "L3",
        0,
        workflows.many,
        ("confuse", 1),
    ),
    _defect(
        "early-events",
        "loses events that are emitted before their trigger is stored",
        "L3",
        0,
        workflows.late,
        ("hurry", 1),
    ),
    _defect(
        "both-branches",
        "publishes both branches when a redelivery overlaps the first run",
        "L5",
        1,
        workflows.flaky,
        ("waver", 1),
    ),
    _defect(
        "unknown-handler",
        "drops messages whose handler is unknown",
        "L8",
        0,
        workflows.chain,
        ("mistype", 1),
    ),
)
