"""``pwsim replay``: play a scenario file, and say what came of it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..campaign import Violation
from ..invariants import INVARIANT
from ..report import json, paint, text
from ..runner import Result
from .common import Loaded, add_command, add_file, add_json, add_setup, open_file, violation_of, write_page


def add(commands: Any) -> None:
    parser = add_command(commands, "replay", "play a scenario file")
    add_file(parser)
    parser.add_argument("--strict", action="store_true", help="the trace must be the same, too")
    parser.add_argument("--html", type=Path, metavar="OUT", help="write a page to step through (a file, or a folder)")
    parser.add_argument("--apps", default="", metavar="MODULE:APP[,...]", help="its workflows, if not those it names")
    add_setup(parser)
    add_json(parser)
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    loaded = open_file(options.file, options.apps, options.setup)
    return show(loaded, strict=options.strict, as_json=options.json, page=options.html)


def show(loaded: Loaded, *, strict: bool = False, as_json: bool = False, page: Path | None = None) -> int:
    """Play one file. 0: no law is broken, as it expects (and, if ``strict``, by the same trace); else 1."""
    result = loaded.play()
    found = violation_of(result)
    if page is not None:
        write_page(page, loaded.path.stem, result, loaded.replay)
    same = not loaded.scenario.trace or loaded.scenario.trace == result.fingerprint()
    if as_json:
        print(json.dumps(json.replayed(result, found, loaded.replay, loaded.scenario.expect, same)))
    else:
        _tell(loaded, result, found, same)
    if found is not None or loaded.scenario.expect != "pass":
        return 1
    return 0 if same or not strict else 1


def _tell(loaded: Loaded, result: Result, found: Violation | None, same: bool) -> None:
    if found is not None:
        paint.show(text.failure(found, loaded.replay, width=paint.width()))
    else:
        paint.show([f"{loaded.path}: no law is broken", "", *text.timeline(result, width=paint.width())])
    for line in _enacted(loaded):
        print(line)
    for fault in result.unmatched():
        print(f"no longer matched: {fault}")
    if not same:
        print("the trace differs from the one recorded: the code or its schedule has changed")
    if (found.law if found else "pass") != loaded.scenario.expect:
        print(f"expected: {loaded.scenario.expect}")
        if loaded.scenario.expect == INVARIANT and not loaded.scenario.invariants:
            print("its invariant has no name in a module, so this file cannot hold it: play it by the test that has it")


def _enacted(loaded: Loaded) -> list[str]:
    """How much of an incident was done again, and by which faults."""
    facts = loaded.scenario.facts
    if not facts:
        return []
    enacted = loaded.scenario.enacted()
    lines = [f"re-enacted: {len(facts) - len(enacted.missing)} of {len(facts)} facts, in their order, by"]
    lines += [f"    {fault}" for fault in enacted.schedule.faults] or ["    no fault at all"]
    return lines + [f"did not come about: {fact.what} of {fact.task} ({fact.call_id})" for fact in enacted.missing]
