"""Writes ``docs/reference/`` from docstrings, the commands' parsers and the plugin's options.

``python -m scripts.reference`` says whether the pages are up to date (exit code 1: they are not); with ``--write`` it
writes them. Nothing in those pages is written by hand: to change one, change the docstring.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pwf_runtime.cli
import pwsim.cli
from pwsim.plugin import settings

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "reference"
NOTE = "<!-- Written by `make docs` from docstrings: change those. -->"

PAGES: Mapping[str, tuple[str, str, Mapping[str, Sequence[str]]]] = {
    "workflows.md": (
        "Writing workflows",
        "What `pwf_runtime` has for those who write tasks and begin runs. Durations are in seconds.",
        {
            "pwf_runtime": ("Workflow", "Task", "Retry", "Context", "Event"),
            "pwf_runtime.actions": ("call", "emit", "join", "signal", "fork", "result"),
            "pwf_runtime ": ("publish_next", "emit_events", "publish_on_events", "connect"),
            "pwf_runtime.client": ("Client", "RunHandle", "RunOutcome", "SentSignal"),
            "pwf_runtime.admin": ("Admin",),
            "pwf_runtime.errors": (
                *("PwfError", "UsageError", "DataError", "DecodeError", "RunConflict", "RunEnded", "SignalConflict"),
                *("RunDamaged", "WaitTimeout", "Unavailable", "StoreUnavailable", "TransportUnavailable"),
                *("ServerRefused",),
            ),
        },
    ),
    "simulating.md": (
        "Simulating in tests",
        "The fixture `pwsim` is a `Simulator`. Without pytest, `pwsim.simulate` takes the same arguments.",
        {
            "pwsim.plugin.fixture": ("Simulator",),
            "pwsim": ("simulate", "replay", "Signal", "probe", "Report", "Failure", "Scenario"),
            "pwsim.testing": ("Search",),
            "pwsim.tally": ("Count", "Effects"),
            "pwsim.checks": ("Played",),
            "pwsim.probes": ("Entry",),
            "pwsim.strategies": (
                "payloads",
                "fault_plans",
                "Plan",
                "crash_points",
                "workflows",
                "cases",
                "Case",
                "every_fault",
            ),
        },
    ),
}
"""Each page: its title, what it is, and the names in it by the module that has them."""

GIVEN = (
    "Admin",
    "Client",
    "Count",
    "Effects",
    "Entry",
    "Failure",
    "Played",
    "Report",
    "RunHandle",
    "Simulator",
    "Task",
)
"""Classes that users are given, so that how they are made is no concern of theirs."""

INSIDE = (
    "Simulator.tested",
    "Simulator.close",
    "Report.explain",
    "Scenario.program",
    "Count.compare",
    "Task.arguments",
)
"""Members that other modules of ours use, and users need not."""


def pages() -> dict[str, str]:
    """The pages as they should be, by name."""
    made = {name: _page(title, about, _names(modules)) for name, (title, about, modules) in PAGES.items()}
    made["commands.md"] = _page("Commands", "`pwf` runs workflows, `pwsim` simulates them.", _commands())
    made["pytest.md"] = _page("Options for pytest", "An option beats its variable, which beats the test.", _options())
    return made


def _page(title: str, about: str, lines: Iterator[str]) -> str:
    return "\n".join([f"# {title}", "", NOTE, "", about, *lines]) + "\n"


# ── names ─────────────────────────────────────────────────────────────────────────────────────


def _names(modules: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for module, names in modules.items():
        for name in names:
            thing = getattr(importlib.import_module(module.strip()), name)
            yield from ["", f"## {name}", "", *_described(name, thing)]
            if inspect.isclass(thing):
                yield from _members(thing)


def _members(cls: type) -> Iterator[str]:
    """What is public in a class and has a docstring, its own and what it inherits from ours."""
    for name, member in inspect.getmembers_static(cls, _is_documented):
        if name.startswith("_") or not _is_ours(cls, name) or f"{cls.__name__}.{name}" in INSIDE:
            continue
        yield from ["", f"### {cls.__name__}.{name}", ""]
        yield from [_text(member)] if isinstance(member, property) else _described(name, getattr(cls, name))


def _is_documented(member: object) -> bool:
    return (inspect.isfunction(member) or isinstance(member, property | staticmethod)) and bool(inspect.getdoc(member))


def _is_ours(cls: type, name: str) -> bool:
    return any(name in vars(base) for base in cls.__mro__ if base.__module__.startswith(("pwf_runtime", "pwsim")))


def _described(name: str, thing: Any) -> list[str]:
    return [_text(thing)] if name in GIVEN else [f"`{name}{_signature(thing)}`", "", _text(thing)]


def _signature(thing: Any) -> str:
    try:
        signature = inspect.signature(thing)
    except (TypeError, ValueError):  # a class that is not made by its users
        return ""
    bare = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in signature.parameters.values()
        if parameter.name != "self"
    ]
    return str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))


def _text(thing: Any) -> str:
    """A docstring as Markdown. An indented example in it stays one."""
    return (inspect.getdoc(thing) or "").replace("``", "`").replace("::\n", ":\n")


# ── commands ──────────────────────────────────────────────────────────────────────────────────


def _commands() -> Iterator[str]:
    simulator = argparse.ArgumentParser("pwsim")
    commands = simulator.add_subparsers()
    for command in pwsim.cli.COMMANDS:
        command.add(commands)
    for parser in (pwf_runtime.cli.parser(), simulator):
        yield from _parser(parser, "")


def _parser(parser: argparse.ArgumentParser, about: str) -> Iterator[str]:
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for group in groups:
        helps = {choice.dest: choice.help or "" for choice in group._choices_actions}
        for name, command in group.choices.items():
            yield from _parser(command, helps.get(name, ""))
    if groups:
        return
    rows = [_row(action, parser) for action in parser._actions if not _is_hidden(action)]
    about = (parser.description or about).rstrip(".")
    yield from ["", f"## {parser.prog}", "", f"{about[:1].upper()}{about[1:]}.", ""]
    yield from ["| | |", "|---|---|", *rows]


def _is_hidden(action: argparse.Action) -> bool:
    return action.help == argparse.SUPPRESS or isinstance(action, argparse._HelpAction)


def _row(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    value = action.metavar or (action.dest.upper() if action.option_strings else action.dest)
    if action.choices is not None:
        value = "|".join(map(str, action.choices))
    shown = (
        f"{', '.join(action.option_strings)} {value if action.nargs != 0 else ''}" if action.option_strings else value
    )
    text = (action.help or "") % {**vars(action), "prog": parser.prog}
    return f"| `{_cell(str(shown).strip())}` | {_cell(text)} |"


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("|", "\\|"))


# ── the plugin ────────────────────────────────────────────────────────────────────────────────


def _options() -> Iterator[str]:
    yield from ["", "| option | variable | |", "|---|---|---|"]
    for option in settings.OPTIONS:
        yield f"| `{option.flag} {option.metavar}` | `{option.variable}` | {_cell(option.help)} |"
    yield from ["", "The mark `@pytest.mark.pwsim(...)`, and `pwsim.explore(app, start=..., ...)`, take by name:", ""]
    yield from [f"- `{name}`" for name in settings.MARK]
    yield from ["", "What they mean: [simulate](simulating.md#simulate) and [Search](simulating.md#search)."]


# ── the command ───────────────────────────────────────────────────────────────────────────────


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write docs/reference/ from docstrings.")
    parser.add_argument("--write", action="store_true", help="change the pages")
    options = parser.parse_args(argv)
    stale = {name: text for name, text in pages().items() if _as_it_is(name) != text}
    if options.write:
        FOLDER.mkdir(parents=True, exist_ok=True)
        for name, text in stale.items():
            (FOLDER / name).write_text(text, "utf-8")
        return 0
    if stale:
        print(f"{', '.join(stale)} out of date: python -m scripts.reference --write", file=sys.stderr)
    return 1 if stale else 0


def _as_it_is(name: str) -> str:
    path = FOLDER / name
    return path.read_text("utf-8") if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
