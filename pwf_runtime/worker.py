"""A worker: the engine with the tasks of one or more workflows, to be run in the foreground or in a thread.

What must live here: the life of an engine. What must never: signals and processes, which belong to whoever owns the
process (see ``cli.py``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from .clock import Clock
from .config import Settings
from .engine import Engine
from .errors import PwfError, UsageError
from .store.base import Store
from .transport.base import Transport
from .workflow import Workflow


class Worker:
    """Runs the tasks of ``apps``. Made for one ``run``; it closes the transport at its end, the store stays open.

    ``on_ready`` is called, on the worker's thread, once it consumes.
    Raises UsageError when no app is given or two have the same name.
    """

    def __init__(
        self,
        apps: Sequence[Workflow] | Workflow,
        store: Store,
        transport: Transport,
        settings: Settings | None = None,
        *,
        clock: Clock | None = None,
        on_ready: Callable[[], None] | None = None,
    ) -> None:
        apps = [apps] if isinstance(apps, Workflow) else list(apps)
        names = [app.name for app in apps]
        if not apps or len(set(names)) != len(names):
            raise UsageError(f"a worker takes one or more workflows of different names, not {names}")
        tasks = {task.full_name: task for app in apps for task in app.tasks.values()}
        self._on_ready = on_ready
        self._ready = threading.Event()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._engine = Engine(
            names, tasks, store, transport, settings or Settings(), clock=clock, on_ready=self._announce
        )

    def run(self) -> None:
        """Work in this thread until ``stop``. Raises ServerRefused when a server is there and will not have us."""
        self._engine.run()

    def start(self, timeout: float = 10.0) -> None:
        """Work in a thread of its own; returns when it consumes.

        Raises ServerRefused as ``run``, and PwfError when it does not consume within ``timeout`` seconds (it goes on
        trying).
        """
        self._thread = threading.Thread(target=self._run_in_thread, name="pwf-engine", daemon=True)
        self._thread.start()
        if not self._ready.wait(timeout):
            raise PwfError(f"the worker does not consume after {timeout:g} s; it goes on trying: its log says why")
        if self._error is not None:
            raise self._error

    def stop(self, grace: float | None = None) -> None:
        """Take no more deliveries, give running tasks ``grace`` seconds (the setting's, if left out), end.

        From any thread or signal handler. After ``start`` it waits for the end.
        """
        self._engine.stop(grace)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def request_stop(self, grace: float | None = None) -> None:
        """As ``stop``, without waiting."""
        self._engine.stop(grace)

    def _announce(self) -> None:
        self._ready.set()
        if self._on_ready is not None:
            self._on_ready()

    def _run_in_thread(self) -> None:
        try:
            self._engine.run()
        except BaseException as error:
            self._error = error
        finally:
            self._ready.set()
