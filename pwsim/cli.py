"""The command ``pwsim``. Each subcommand is a file of ``commands``.

Exit code 0: nothing found within the bound that it prints; 1: violation; 2: usage; 3: inconclusive.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pwf_runtime.errors import UsageError

from .commands import check, diff, explain, lint, planted, replay, run, show, shrink

COMMANDS = (run, replay, shrink, show, diff, explain, check, lint, planted)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser("pwsim", description="Simulate workflows through every crash that matters.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    options = parser.parse_args(argv)
    try:
        code: int = options.command(options)
        return code
    except UsageError as error:
        print(f"pwsim: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
