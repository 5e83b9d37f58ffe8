"""What several commands do: load a scenario with its program, and play it."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace

from ..campaign import Violation
from ..faults import RETURNS
from ..program import Program
from ..report import html, text
from ..runner import Result, play, rehearse
from ..scenario import Scenario, load, returns_of


class Loaded(NamedTuple):
    """A scenario file, ready to be played."""

    path: Path
    scenario: Scenario
    program: Program

    def play(self) -> Result:
        return play(self.program, self.scenario.schedule())

    @property
    def replay(self) -> str:
        """The line that replays it."""
        return replay_line(self.path)


def replay_line(path: Path) -> str:
    """What to type to play a scenario file again."""
    return f"pwsim replay {shlex.quote(str(path))}"


def prepare(scenario: Scenario) -> Program:
    """The scenario's program, prepared for its faults. It knows what a run without faults commits, for the law that
    compares with that."""
    program = scenario.program()
    program.expects(frozenset([fault.mode for fault in scenario.schedule().faults]))
    rehearse(program)
    return program


def open_file(name: str | Path, apps: str = "", setup: Sequence[str] = ()) -> Loaded:
    """Load a scenario file. ``apps``: its workflows, ``setup``: what is done before, if not what it names. Raises
    ``UsageError``."""
    path = Path(name)
    scenario = load(path)
    if apps:
        scenario = replace(scenario, apps=tuple(apps.split(",")))
    if setup:
        scenario = replace(scenario, setup=tuple(setup))
    scenario.set_up()
    return Loaded(path, scenario, prepare(scenario))


def add_command(commands: Any, name: str, about: str) -> argparse.ArgumentParser:
    """The parser of a subcommand, which says what it does in the list of all, and in its own help."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=about, description=f"{about[:1].upper()}{about[1:]}."
    )
    return parser


def add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help="a scenario file")


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="answer in JSON")


def add_setup(parser: argparse.ArgumentParser) -> None:
    """The option by which a command is told of the user's stand-ins."""
    parser.add_argument(
        "--setup",
        action="append",
        default=[],
        metavar="MODULE:FUNC",
        help="call this first, such as what puts stand-ins in the place of clients; MODULE or FILE.py: import it",
    )


def violation_of(result: Result) -> Violation | None:
    """The law that the result broke, if it broke one."""
    broken = result.violation
    return None if broken is None else Violation(broken.law, broken.sentence, result)


def as_found(scenario: Scenario, found: Violation) -> Scenario:
    """The scenario in which this violation, found in the scenario's program, happens again."""
    schedule, program = found.result.schedule, found.result.world.program
    return replace(
        scenario,
        prefetch=program.prefetch,
        recovery=program.recovers,
        profile=_profile_of(program),
        facts=(),
        faults=tuple([str(fault) for fault in schedule.faults]),
        deviations=schedule.deviations,
        expect=found.law,
        trace=found.result.fingerprint(),
        about=text.sentence(found),
    )


def _profile_of(program: Program) -> str:
    """The profile whose rule its broker follows; "" for the default one."""
    return (
        "" if program.returns == returns_of("") else next(n for n, rule in RETURNS.items() if rule == program.returns)
    )


REPLAYS = 10


def repeats(scenario: Scenario) -> bool:
    """Whether it is the same in ``REPLAYS`` replays, by programs that remember nothing of each other."""
    played = [play(prepare(scenario), scenario.schedule()) for _ in range(REPLAYS)]
    return all(result.fingerprint() == scenario.trace for result in played)


def is_folder(path: Path) -> bool:
    """Whether ``--html`` names a folder: one that is there, or a name without an ending such as ``.html``."""
    return path.is_dir() or not path.suffix


def write_page(where: Path, name: str, result: Result, replay: str) -> None:
    """Write a page to a file, or as ``name`` into a folder, and say where it is."""
    path = where / f"{name}.html" if is_folder(where) else where
    html.write(path, result, replay)
    print(f"page: {path}", file=sys.stderr)
