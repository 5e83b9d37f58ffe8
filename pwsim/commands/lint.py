"""``pwsim lint``: mistakes that can be seen without running anything."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from msgspec.structs import asdict, replace

from ..lint import Finding, lint
from ..numbers import counted
from ..report import json
from ..targets import load_apps
from .common import add_command, add_json


def add(commands: Any) -> None:
    parser = add_command(commands, "lint", "find mistakes without running anything")
    parser.add_argument("target", help="MODULE:APP[,MODULE:APP...]: all services that call each other")
    add_json(parser)
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    apps = load_apps(options.target.split(","))
    findings = [_nearby(finding) for finding in lint(apps)]
    if options.json:
        print(json.dumps({"findings": [asdict(finding) for finding in findings]}))
    else:
        for finding in findings:
            print(finding)
        tasks = sum(len(app.tasks) for app in apps)
        names = ", ".join(app.name for app in apps)
        print(f"{len(findings) or 'nothing'} found in {counted(tasks, 'task')} of {names}")
    return 1 if findings else 0


def _nearby(finding: Finding) -> Finding:
    """With its file as seen from here, if it lies below."""
    path = Path(finding.file)
    return replace(finding, file=str(path.relative_to(Path.cwd()))) if path.is_relative_to(Path.cwd()) else finding
