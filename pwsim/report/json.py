"""Findings as one JSON object, for other programs. Its keys are a contract: add some, never rename one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..campaign import Report, Violation
from ..runner import Result
from .text import sentence


def dumps(value: Mapping[str, Any]) -> str:
    """As one line."""
    return json.dumps(value)


def campaign(report: Report, replays: Sequence[str]) -> dict[str, Any]:
    """What a campaign did and found. ``replays``: for each violation, the line that replays it."""
    return {
        "verdict": report.verdict,
        "bound": report.bound,
        "runs": report.runs,
        "steps": report.steps,
        "states": report.states,
        "seconds": round(report.seconds, 3),
        "crash_points": {"hit": report.hit, "defined": report.defined},
        "coverage": [
            {"role": role, "effect": effect, "mode": mode, "hit": hit, "defined": defined}
            for (role, effect, mode), (hit, defined) in report.kinds.items()
        ],
        "unseen": None if report.unseen is None else round(report.unseen, 4),
        "missed": report.missed,
        "violations": [violation(found, replay) for found, replay in zip(report.violations, replays, strict=True)],
    }


def replayed(result: Result, found: Violation | None, replay: str, expected: str, same: bool) -> dict[str, Any]:
    """What came of replaying one scenario. ``same``: the trace is the one recorded, if one was."""
    unmatched = result.unmatched()
    defined = len(result.schedule.faults)
    return {
        "verdict": "violation" if found else "pass",
        "runs": 1,
        "steps": result.steps,
        "states": 0,
        "seconds": 0,
        "crash_points": {"hit": defined - len(unmatched), "defined": defined},
        "violations": [violation(found, replay)] if found else [],
        "expected": expected,
        "same_trace": same,
        "unmatched": [str(fault) for fault in unmatched],
    }


def violation(found: Violation, replay: str) -> dict[str, Any]:
    """One violation."""
    return {
        "law": found.law,
        "sentence": sentence(found),
        "faults": [str(fault) for fault in found.faults],
        "replay": replay,
    }
