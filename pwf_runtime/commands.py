"""What each command of the command line does: ask a client, show the answer, give the exit code."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib import import_module
from typing import Any

import msgspec

from . import supervise
from .cli import FAILED, OK
from .client import Client, connections
from .clock import SystemClock
from .config import Settings, amqp_url, redis_url, wait_replicas
from .describe import RunDescription, named
from .doctor import Finding
from .errors import PwfError, ServerRefused, UsageError
from .relist import Relisted
from .relist import relist as relist_all
from .worker import Worker
from .workflow import Workflow

CLIENT = Settings(timeout=5.0)
NUMBERS = (
    "concurrency",
    "prefetch",
    "grace",
    "lease",
    "retention",
    "recovery",
    "history",
    "wait_replicas",
    "wait_timeout",
)
"""The settings that ``pwf worker`` has as options, and hands on to its processes."""

# ── worker ────────────────────────────────────────────────────────────────────────────────────


def worker(chosen: Namespace) -> int:
    if chosen.processes < 1:
        raise UsageError(f"--processes {chosen.processes}: give 1 or more")
    apps = [load_app(target) for target in chosen.apps]
    settings = Settings(**{name: getattr(chosen, name) for name in (*NUMBERS, "queue_type", "trace")})
    os.environ["PWF_AMQP_URL"], os.environ["PWF_REDIS_URL"] = amqp_url(chosen.amqp), redis_url(chosen.redis)
    logging.basicConfig(
        level=chosen.log_level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    if chosen.processes > 1:
        return _supervise(chosen, settings)
    return _work(apps, settings, chosen.supervised)


def _work(apps: list[Workflow], settings: Settings, supervised: str) -> int:
    store, transport = connections(None, None, settings)
    made = Worker(apps, store, transport, settings, on_ready=lambda: say_ready())
    say_ready = supervise.tie_to_parent(supervised, made.request_stop) if supervised else _say_ready
    signals = 0

    def on_signal(_number: int, _frame: object) -> None:
        nonlocal signals
        signals += 1
        if signals > 1:
            os._exit(FAILED)
        made.request_stop()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    try:
        made.run()
    except ServerRefused as error:
        print(f"pwf: {error}", file=sys.stderr)
        return supervise.REFUSED if supervised else FAILED
    finally:
        store.close()
    return OK


def _say_ready() -> None:
    print("ready", file=sys.stderr, flush=True)


def _supervise(chosen: Namespace, settings: Settings) -> int:
    arguments = ["worker", *chosen.apps, "--log-level", chosen.log_level, "--queue-type", settings.queue_type]
    arguments += ["--trace", settings.trace] if settings.trace else []
    for name in NUMBERS:
        arguments += [f"--{name.replace('_', '-')}", str(getattr(settings, name))]
    command = supervise.command_line(arguments)
    return supervise.Supervisor(command, chosen.processes, settings.grace, _say_ready).run()


def load_app(target: str) -> Workflow:
    """The Workflow at ``MODULE:APP``. Raises UsageError when there is none."""
    module_name, colon, name = target.partition(":")
    if not colon or not module_name or not name:
        raise UsageError(f"{target!r}: write MODULE:APP, such as examples.bulk:app")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise UsageError(f"{target!r}: importing {module_name} failed: {error}") from error
        raise UsageError(f"{target!r}: there is no module {error.name!r} in {os.getcwd()} or on sys.path") from error
    except Exception as error:
        raise UsageError(f"{target!r}: importing {module_name} failed: {type(error).__name__}: {error}") from error
    found = getattr(module, name, None)
    if not isinstance(found, Workflow):
        what = "has no such name" if found is None else f"has a {type(found).__name__} there, not a Workflow"
        there = [key for key, value in vars(module).items() if isinstance(value, Workflow)]
        raise UsageError(f"{target!r}: {module_name} {what}; its workflows are: {', '.join(there) or 'none'}")
    return found


# ── runs ──────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _client(chosen: Namespace) -> Iterator[Client]:
    logging.basicConfig(level="WARNING", stream=sys.stderr, format="pwf: %(message)s")
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    with Client([], *connections(chosen.amqp, chosen.redis, CLIENT), CLIENT) as client:
        yield client


def _data(chosen: Namespace) -> Any:
    try:
        return json.loads(chosen.data)
    except ValueError as error:
        raise UsageError(f"DATA_JSON {chosen.data!r} is no JSON: {error}; quote it for the shell") from error


def publish(chosen: Namespace) -> int:
    data = _data(chosen)
    if "." not in chosen.task:
        raise UsageError(f"{chosen.task!r}: write QUEUE.TASK, such as users.register_user")
    with _client(chosen) as client:
        run = client.publish(chosen.task, data, run_id=chosen.run_id)
        if not chosen.wait:
            put({"run_id": run.id, "created": run.created} if chosen.json else run.id, chosen)
            return OK
        outcome = run.wait(chosen.timeout)
        if chosen.json:
            put(outcome, chosen)
        else:
            put(f"{run.id} {outcome.status}: {outcome.reason or to_json(outcome.result)}", chosen)
        return OK if outcome.status == "completed" else FAILED


def runs(chosen: Namespace) -> int:
    with _client(chosen) as client:
        found = client.admin.runs(chosen.limit)
    if chosen.json:
        put(found, chosen)
    elif not found:
        _say("no run is open, and none has ended within its retention")
    for run in () if chosen.json else found:
        dead = f", {run.dead} dead" if run.dead else ""
        print(f"{run.run_id}  {run.status:<9}  {when(run.since_ms)}  {run.task}  {run.open} open{dead}")
    return OK


def _print_run(run: RunDescription) -> None:
    ended = f", ended {when(run.finished_ms)}" if run.finished_ms else ""
    print(f"{run.run_id}  {run.task}  {run.status}  begun {when(run.started_ms)}{ended}")
    for call in run.calls:
        print(f"  call {call.call_id}  {call.task}  {call.state}  attempt {call.attempt}  {call.error}".rstrip())
    for join in run.joins:
        needs = ", ".join(f"{named(need)} {need.have}/{need.count}" for need in join.needs)
        print(f"  join {join.join_id}  -> {join.task}  {join.state}  {needs}")
    for name, count in run.events.items():
        print(f"  event {name}  {count}")
    for each in run.signals:
        print(f"  signal {each.signal_id}  {each.event}  sent {when(each.sent_ms)}")
    if run.result is not None:
        print(f"  result {to_json(run.result)}")


def show(chosen: Namespace) -> int:
    with _client(chosen) as client:
        run = client.describe(chosen.run)
    if chosen.json:
        put(run, chosen)
    else:
        _print_run(run)
    return OK


def explain(chosen: Namespace) -> int:
    with _client(chosen) as client:
        text = client.explain(chosen.run)
    put({"run_id": chosen.run, "text": text} if chosen.json else text, chosen)
    return OK


def send_signal(chosen: Namespace) -> int:
    data = _data(chosen)
    with _client(chosen) as client:
        sent = client.signal(chosen.run, chosen.event, data, signal_id=chosen.signal_id)
    put(sent if chosen.json else sent.signal_id, chosen)
    return OK


def cancel(chosen: Namespace) -> int:
    with _client(chosen) as client:
        client.cancel(chosen.run)
    put({"run_id": chosen.run, "status": "cancelled"} if chosen.json else f"{chosen.run} is cancelled", chosen)
    return OK


def export(chosen: Namespace) -> int:
    from .export import export as exported
    from .store.redis import RedisStore

    store = RedisStore(redis_url(chosen.redis))
    try:
        text = exported(store, chosen.run, chosen.apps)
    finally:
        store.close()
    put({"run_id": chosen.run, "scenario": text} if chosen.json else text.rstrip("\n"), chosen)
    return OK


def relist(chosen: Namespace) -> int:
    from .store.redis import RedisStore

    store = RedisStore(redis_url(chosen.redis), replicas=wait_replicas(CLIENT))
    try:
        found = relist_all(store, SystemClock().now_ms())
    finally:
        store.close()
    put(found if chosen.json else _relisted(found), chosen)
    return OK


def _relisted(found: Relisted) -> str:
    text = f"{found.runs} runs; listed again: {found.open} open, {found.ended} ended, {found.dead} dead calls"
    return "\n".join(
        [text, *[f"run {run_id} cannot be read: `pwf show {run_id}` says why" for run_id in found.damaged]]
    )


# ── dead calls and unreadable messages ────────────────────────────────────────────────────────


def dead_list(chosen: Namespace) -> int:
    with _client(chosen) as client:
        calls, bodies = client.admin.dead(chosen.limit), client.admin.unreadable(chosen.limit)
    if chosen.json:
        put({"calls": calls, "unreadable": bodies}, chosen)
        return OK
    if not calls and not bodies:
        _say("nothing is dead, and every message could be read")
    for call in calls:
        print(
            f"{call.run_id} {call.call_id}  {when(call.since_ms)}  {call.task}  {call.attempts} attempts  {call.error}"
        )
    for body in bodies:
        last = body.reason.strip().rpartition("\n")[2]
        print(f"{body.key}  {when(body.since_ms)}  unreadable in {body.queue}: {last}  {body.body[:60]!r}")
    return OK


def dead_show(chosen: Namespace) -> int:
    with _client(chosen) as client:
        if chosen.call:
            call = client.admin.dead_call(chosen.run, chosen.call)
            text = f"{call.task}, {call.attempts} attempts: {call.error}\n{call.traceback}".rstrip()
            put(call if chosen.json else text, chosen)
        else:
            body = client.admin.unreadable_one(chosen.run)
            put(body if chosen.json else f"{body.queue}: {body.body!r}\n{body.reason}".rstrip(), chosen)
    return OK


def dead_redrive(chosen: Namespace) -> int:
    with _client(chosen) as client:
        if chosen.call:
            client.admin.redrive(chosen.run, chosen.call)
        else:
            client.admin.redrive_unreadable(chosen.run)
    return _done("redriven", chosen)


def dead_drop(chosen: Namespace) -> int:
    with _client(chosen) as client:
        if chosen.call:
            client.admin.drop(chosen.run, chosen.call)
        else:
            client.admin.drop_unreadable(chosen.run)
    return _done("dropped", chosen)


def _done(what: str, chosen: Namespace) -> int:
    name = " ".join(part for part in (chosen.run, chosen.call) if part)
    put({what: name} if chosen.json else f"{name} is {what}", chosen)
    return OK


# ── doctor ────────────────────────────────────────────────────────────────────────────────────


def doctor(chosen: Namespace) -> int:
    from .store.redis import RedisStore
    from .transport import rabbitmq

    broker, data = amqp_url(chosen.amqp), redis_url(chosen.redis)
    store = RedisStore(data, replicas=wait_replicas(CLIENT))
    try:
        findings: list[Finding] = [*rabbitmq.check(broker), *store.check()]
    except PwfError as error:
        findings = [Finding("fail", "servers", str(error))]
    finally:
        store.close()
    if chosen.json:
        put(findings, chosen)
    for each in () if chosen.json else findings:
        print(f"{each.level:<4}  {each.subject}: {each.message}")
    return FAILED if any(each.level == "fail" for each in findings) else OK


# ── showing ───────────────────────────────────────────────────────────────────────────────────


def _say(text: str) -> None:
    """To people, beside an answer that is empty."""
    print(f"pwf: {text}", file=sys.stderr)


def put(answer: Any, chosen: Namespace) -> None:
    print(to_json(answer) if chosen.json else answer)


def to_json(value: Any) -> str:
    return msgspec.json.encode(value, enc_hook=repr).decode()


def when(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000).strftime("%Y-%m-%d %H:%M:%S")
