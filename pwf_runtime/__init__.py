"""Durable workflows on RabbitMQ and Redis.

A task is a plain function that returns what happens next::

    from pwf_runtime import Workflow, call, emit, join

    app = Workflow("orders")

    @app.task
    def register_user(data):
        return [call(verify_email, data["email"]), join(finalize, data, on=["email_verified"])]

Only public names live here. Importing this package loads neither of the servers' clients: ``connect`` does.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any

from .actions import (
    Action,
    call,
    emit,
    emit_events,
    fork,
    join,
    publish_next,
    publish_on_events,
    result,
    signal,
)
from .core.retry import Retry
from .errors import (
    DataError,
    DecodeError,
    PwfError,
    RunConflict,
    RunDamaged,
    RunEnded,
    ServerRefused,
    SignalConflict,
    StoreUnavailable,
    TransportUnavailable,
    Unavailable,
    UsageError,
    WaitTimeout,
)
from .workflow import Context, Event, Task, Workflow

__all__ = [
    "Action",
    "Context",
    "DataError",
    "DecodeError",
    "Event",
    "PwfError",
    "Retry",
    "RunConflict",
    "RunDamaged",
    "RunEnded",
    "ServerRefused",
    "SignalConflict",
    "StoreUnavailable",
    "Task",
    "TransportUnavailable",
    "Unavailable",
    "UsageError",
    "WaitTimeout",
    "Workflow",
    "call",
    "connect",
    "emit",
    "emit_events",
    "fork",
    "join",
    "publish_next",
    "publish_on_events",
    "result",
    "signal",
]


def connect(*urls: str, apps: Iterable[Workflow], **options: Any) -> Any:
    """A client for several services at once: ``connect("memory://", apps=[users, documents])``.

    For one, ``app.connect(...)`` is shorter. ``urls`` and ``options`` are those of ``pwf_runtime.client.connect``.
    """
    return import_module(".client", __name__).connect(list(apps), *urls, **options)
