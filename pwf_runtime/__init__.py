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

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from .client import Client

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


def connect(
    amqp: str | None = None,
    redis: str | None = None,
    *,
    apps: Workflow | Iterable[Workflow] = (),
    settings: Mapping[str, Any] | None = None,
) -> Client:
    """A client of the services at ``amqp`` and ``redis`` (else ``PWF_AMQP_URL``, ``PWF_REDIS_URL``).

    ``apps``: the workflows whose tasks it may name without their queue; for one, ``app.connect(...)`` is shorter. With
    ``"memory://"`` there are no servers: a worker for ``apps`` runs in this process, and all is gone when the client is
    closed. Raises UsageError for a URL that cannot be meant. A server that is down is told by the first use.
    """
    made: Client = import_module(".client", __name__).connect(apps, amqp, redis, settings=settings)
    return made
