"""Draws the protocol's machines for ``docs/protocol.md`` from the tables that production runs.

``python -m scripts.protocol_diagram`` says whether the page is up to date (exit code 1: it is not); with ``--write`` it
replaces what stands between the markers ``<!-- machine: NAME -->`` and ``<!-- end -->``. Read the difference before you
commit it: it is what your change did to the protocol.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pwf_runtime.core.delivery import FOUND, GRANTED, ONWARD, DeliveryMachine
from pwf_runtime.core.machine import Machine, Row
from pwf_runtime.core.recover import MarkMachine, ScanMachine
from pwf_runtime.core.signal import SignalMachine
from pwf_runtime.core.start import StartMachine
from pwf_runtime.core.sweep import SweepMachine

PAGE = Path(__file__).resolve().parent.parent / "docs" / "protocol.md"

MACHINES: Mapping[str, type[Machine]] = {
    "delivery": DeliveryMachine,
    "start": StartMachine,
    "signal": SignalMachine,
    "sweep": SweepMachine,
    "mark": MarkMachine,
    "scan": ScanMachine,
}

GROUPS: Mapping[str, Sequence[type]] = {"as_found": FOUND, "granted": GRANTED, "onward": ONWARD}
"""States to which several rows lead together: drawn as one place, from which the arrows go on. The larger first."""

_BLOCK = re.compile(r"(?P<begin><!-- machine: (?P<name>\w+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)


def rendered(page: str) -> str:
    """The page with every block between markers drawn anew. Raises ValueError when a machine has none, or two."""
    names = [match["name"] for match in _BLOCK.finditer(page)]
    if sorted(names) != sorted(MACHINES):
        raise ValueError(f"the page must have one block each for {', '.join(MACHINES)}; it has {', '.join(names)}")
    return _BLOCK.sub(lambda match: match["begin"] + block(MACHINES[match["name"]]) + match["end"], page)


def block(machine: type[Machine]) -> str:
    """A diagram, and the table with what each state is."""
    return "\n".join(["", *diagram(machine.TABLE), "", *table(machine.TABLE), "", ""])


def diagram(rows: Sequence[Row]) -> list[str]:
    """A state diagram for mermaid. Several rows from one state to another are one arrow."""
    arrows: dict[tuple[str, str], list[str]] = {}
    used: list[str] = []
    for row in rows:
        for target in _folded(row.to, used):
            labels = arrows.setdefault((row.state.__name__, target), [])
            if row.input.__name__ not in labels:
                labels.append(row.input.__name__)
    lines = [f"    [*] --> {rows[0].state.__name__}"]
    lines += [f"    {state} --> {target}: {', '.join(labels)}" for (state, target), labels in arrows.items()]
    for name in used:  # which grows by the groups inside this one
        lines += [f"    {name} --> {target}" for target in _folded(GROUPS[name], used, inside=name)]
    lines += [f"    {end.__name__} --> [*]" for end in _ends(rows)]
    return ["```mermaid", "stateDiagram-v2", *[f"    state {name} <<choice>>" for name in used], *lines, "```"]


def table(rows: Sequence[Row]) -> list[str]:
    """The rows, with what each state's docstring says."""
    used: list[str] = []
    lines = ["| state | what goes on | input | leads to |", "|---|---|---|---|"]
    for row in rows:
        targets = _shown(_folded(row.to, used))
        lines.append(f"| `{row.state.__name__}` | {_about(row.state)} | `{row.input.__name__}` | {targets} |")
    lines += [f"| `{end.__name__}` | {_about(end)} | | the end |" for end in _ends(rows)]
    groups = [f"*{name.replace('_', ' ')}*: {_shown(_folded(GROUPS[name], used, inside=name))}" for name in used]
    return [*lines, "", "; ".join(groups) + "."] if groups else lines


def _folded(targets: Sequence[type], used: list[str], inside: str = "") -> list[str]:
    """The names of ``targets``, with whole groups of them by the group's name, which is noted in ``used``."""
    left, names = list(targets), []
    for name, group in GROUPS.items():
        if name != inside and set(group) <= set(left) and len(group) > 1:
            left = [target for target in left if target not in group]
            names.append(name)
            if name not in used:
                used.append(name)
    return [*[target.__name__ for target in left], *names]


def _shown(names: Sequence[str]) -> str:
    return ", ".join(f"*{name.replace('_', ' ')}*" if name in GROUPS else f"`{name}`" for name in names)


def _ends(rows: Sequence[Row]) -> list[type]:
    """States that no row leaves, in the order in which rows lead there."""
    left = {row.state for row in rows}
    return list(dict.fromkeys(target for row in rows for target in row.to if target not in left))


def _about(state: type) -> str:
    text = " ".join((state.__doc__ or "").split())
    return text.replace("``", "`").replace("|", "\\|")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Draw the machines in docs/protocol.md from their tables.")
    parser.add_argument("--write", action="store_true", help="change the page")
    options = parser.parse_args(argv)
    page = PAGE.read_text("utf-8")
    new = rendered(page)
    if new == page:
        return 0
    if options.write:
        PAGE.write_text(new, "utf-8")
        return 0
    print(f"{PAGE.name} is out of date: python -m scripts.protocol_diagram --write", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
