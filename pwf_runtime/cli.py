"""The command line: ``pwf`` and ``python -m pwf_runtime``.

What must live here: words, their meaning, and exit codes (0; 1: it did not work; 2: it was asked wrongly). What must
never: work. Each command is a function of ``commands``, which is loaded only when one is run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from .config import AMQP_URL_VARIABLE, QUEUE_TYPES, REDIS_URL_VARIABLE, REPLICAS_VARIABLE, TRACE_VARIABLE, Settings
from .errors import PwfError, UsageError

OK, FAILED, USAGE = 0, 1, 2

DEFAULTS = Settings()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    chosen = parser().parse_args(arguments)
    try:
        command = getattr(import_module(".commands", __package__), chosen.function)
        code: int = command(chosen)
    except UsageError as error:
        return _complain(error, USAGE)
    except PwfError as error:
        return _complain(error, FAILED)
    except BrokenPipeError:  # whoever read us has had enough, as `head` does
        sys.stderr.close()
        return FAILED
    except KeyboardInterrupt:
        return FAILED
    return code


def _complain(error: PwfError, code: int) -> int:
    print(f"pwf: {error}", file=sys.stderr)
    return code


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="pwf", description="Durable workflows on RabbitMQ and Redis.")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    common = _common()

    def command(name: str, function: str, text: str, where: Any = commands) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = where.add_parser(name, help=text, description=text, parents=[common])
        made.set_defaults(function=function)
        return made

    _worker(command("worker", "worker", "Run the tasks of one or more workflows."))
    _publish(command("publish", "publish", "Begin a run."))
    runs = command("runs", "runs", "List runs: those that are open, then those that have ended, newest first.")
    runs.add_argument("--limit", type=int, default=50, metavar="N", help="of each kind (default: 50)")
    for name, text in (
        ("show", "Show a run: its open calls, joins and events."),
        ("explain", "Say why a run is where it is, and what can be done."),
        ("cancel", "End a run now."),
    ):
        command(name, name, text).add_argument("run", metavar="RUN", help="the run's id")
    _signal(command("signal", "send_signal", "Bring an event into a run from outside."))
    _export(command("export", "export", "Write what happened in a run as a scenario for `pwsim replay`."))
    _dead(commands, command)
    command("relist", "relist", "Put every run and dead call on its list again, after Redis lost some of its lists.")
    command("doctor", "doctor", "Check both servers and their settings.")
    return top


def _common() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--amqp", metavar="URL", help=f"RabbitMQ (default: ${AMQP_URL_VARIABLE})")
    common.add_argument("--redis", metavar="URL", help=f"Redis (default: ${REDIS_URL_VARIABLE})")
    common.add_argument("--json", action="store_true", help="answer in JSON")
    return common


def _worker(made: argparse.ArgumentParser) -> None:
    made.add_argument("apps", nargs="+", metavar="MODULE:APP", help="where the Workflow is, as one would import it")
    made.add_argument("--processes", type=int, default=1, metavar="N", help="worker processes (default: 1)")
    made.add_argument(
        "--queue-type", choices=QUEUE_TYPES, default=DEFAULTS.queue_type, help="of its queues (default: quorum)"
    )
    for name, text in (
        ("concurrency", "tasks at a time in each process"),
        ("prefetch", "messages of each queue that a process holds; 0: chosen by the concurrency"),
        ("history", "facts of each run that are kept for `pwf export`; 0: none"),
        (
            "wait_replicas",
            f"replicas of Redis that must have a write before it counts as done, or ${REPLICAS_VARIABLE}",
        ),
    ):
        made.add_argument(
            _option(name), type=int, default=getattr(DEFAULTS, name), metavar="N", help=_with_default(name, text)
        )
    for name, text in (
        ("grace", "seconds that running tasks may go on after SIGTERM"),
        ("lease", "seconds after which a dead worker's calls are taken over"),
        ("retention", "seconds that an ended run's result can be read"),
        ("recovery", "seconds between two looks for lost messages"),
        ("wait_timeout", "seconds to wait for replicas before it is tried again"),
    ):
        made.add_argument(
            _option(name), type=float, default=getattr(DEFAULTS, name), metavar="S", help=_with_default(name, text)
        )
    made.add_argument(
        "--trace", default="", metavar="FILE", help=f"append each step to it (default: ${TRACE_VARIABLE})"
    )
    made.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="info",
        help="the least that is logged (default: %(default)s)",
    )
    made.add_argument("--supervised", default="", help=argparse.SUPPRESS)


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _with_default(name: str, text: str) -> str:
    return f"{text} (default: {getattr(DEFAULTS, name):g})"


def _publish(made: argparse.ArgumentParser) -> None:
    made.add_argument("task", metavar="QUEUE.TASK", help="the task that it begins with, such as users.register_user")
    made.add_argument("data", metavar="DATA_JSON", nargs="?", default="null", help="what the task gets (default: null)")
    made.add_argument("--run-id", metavar="ID", help="publishing the same twice under one id begins one run")
    made.add_argument("--wait", action="store_true", help="until the run has ended, and show its result")
    made.add_argument("--timeout", type=float, metavar="S", help="how long to wait (default: without end)")


def _signal(made: argparse.ArgumentParser) -> None:
    made.add_argument("run", metavar="RUN", help="the run's id")
    made.add_argument("event", metavar="EVENT", help="the event's name, as a join of the run waits for it")
    made.add_argument("data", metavar="DATA_JSON", nargs="?", default="null", help="its data (default: null)")
    made.add_argument("--signal-id", metavar="ID", help="sending the same twice under one id is one signal")


def _export(made: argparse.ArgumentParser) -> None:
    made.add_argument("run", metavar="RUN", help="the run's id")
    made.add_argument(
        "--apps", nargs="+", default=[], metavar="MODULE:APP", help="its workflows, to write them into it"
    )


def _dead(commands: Any, command: Callable[..., argparse.ArgumentParser]) -> None:
    text = "Calls that used up their attempts, and messages that cannot be read."
    dead = commands.add_parser("dead", help=text, description=text).add_subparsers(metavar="COMMAND", required=True)
    listed = command("list", "dead_list", "List them, newest first.", dead)
    listed.add_argument("--limit", type=int, default=50, metavar="N", help="of each kind (default: 50)")
    for name, text in (
        ("show", "Show one, with its traceback."),
        ("redrive", "Send it on: a call gets all its attempts anew."),
        ("drop", "Give it up: a call ends as if it had returned nothing."),
    ):
        made = command(name, f"dead_{name}", text, dead)
        made.add_argument("run", metavar="RUN|KEY", help="the run, or the key of an unreadable message")
        made.add_argument("call", metavar="CALL", nargs="?", help="the call's id; not for an unreadable message")
