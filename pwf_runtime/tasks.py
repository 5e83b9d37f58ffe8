"""Runs the user's functions: plain ones in threads, async ones in one event loop, both away from the engine's thread.

What must live here: all that touches a user's function while it runs, and what the function's context can ask. What
must never: a decision about the call. Whatever a task does, exactly one ``Ended`` is reported for each execution, when
its code has really ended: a thread cannot be stopped from outside, so it keeps its place until it returns.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from time import monotonic

from .core.effects import RunTask
from .core.inputs import TaskDone, TaskFailed
from .remember import Remembered
from .store.base import Store
from .workflow import AnyTask, Context, failure_of, run_task, run_task_async


class Execution:
    """One attempt that runs. ``over``: the engine has given it up, so what it returns is dropped."""

    __slots__ = (
        "asked",
        "begun",
        "future",
        "lease_end",
        "lost_lease",
        "over",
        "owner",
        "remembered",
        "renewing",
        "seconds",
        "task",
    )

    def __init__(self, owner: int, asked: RunTask, task: AnyTask, lease_end: float, store: Store) -> None:
        self.owner = owner
        self.asked = asked
        self.task = task
        self.lease_end = lease_end
        self.lost_lease = False
        self.over = False
        self.renewing = False
        self.begun = 0.0  # monotonic; 0 while it waits for a thread
        self.seconds = 0.0  # how long it took
        self.future: asyncio.Task[None] | None = None
        self.remembered = Remembered(store, asked.message, asked.attempt)

    def lost(self) -> bool:
        """Whether somebody else may run this call by now. Also true when nobody could say for too long."""
        return self.lost_lease or self.over or monotonic() > self.lease_end

    def context(self) -> Context:
        message = self.asked.message
        return Context(
            message.run_id,
            message.call_id,
            message.task,
            self.asked.attempt,
            lost=self.lost,
            step=self.remembered.step,
        )


class Ended:
    """The task's code has ended."""

    __slots__ = ("execution", "input")

    def __init__(self, execution: Execution, input: TaskDone | TaskFailed) -> None:
        self.execution = execution
        self.input = input


class TaskRunner:
    """Starts tasks; each end goes to ``report``, on the thread that the task ran in.

    At most ``concurrency`` plain tasks and as many async ones run at a time; those started beyond that wait here.
    """

    def __init__(self, concurrency: int, report: Callable[[Ended], None]) -> None:
        self._concurrency = concurrency
        self._report = report
        self._waiting: SimpleQueue[Execution | None] = SimpleQueue()
        self._threads = 0
        self._in_threads = 0
        self._count = threading.Lock()
        self._places = asyncio.Semaphore(concurrency)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread: threading.Thread | None = None

    def start(self, execution: Execution) -> None:
        if execution.task.is_async:
            loop = self._loop or self._start_loop()
            loop.call_soon_threadsafe(self._spawn, execution)
            return
        with self._count:
            self._in_threads += 1
            short = self._threads < min(self._in_threads, self._concurrency)
            self._threads += short
        self._waiting.put(execution)
        if short:
            threading.Thread(target=self._work, name="pwf-task", daemon=True).start()

    def cancel(self, execution: Execution) -> None:
        """Ask it to end. A plain function cannot be asked: it runs on."""
        if self._loop is not None and execution.task.is_async:
            self._loop.call_soon_threadsafe(_cancel, execution)

    def close(self) -> None:
        """No more tasks. Threads end with their task; what still runs in the event loop is cancelled."""
        for _ in range(self._threads):
            self._waiting.put(None)
        if self._loop is not None and self._loop_thread is not None:
            asyncio.run_coroutine_threadsafe(_cancel_all(), self._loop)
            self._loop_thread.join(timeout=1.0)

    # ── plain functions ───────────────────────────────────────────────────────────────────────

    def _work(self) -> None:
        while (execution := self._waiting.get()) is not None:
            answer = _answer(execution)
            with self._count:
                self._in_threads -= 1
            self._report(Ended(execution, answer))

    # ── async functions ───────────────────────────────────────────────────────────────────────

    def _start_loop(self) -> asyncio.AbstractEventLoop:
        self._loop = loop = asyncio.new_event_loop()
        self._loop_thread = threading.Thread(target=_run, args=(loop,), name="pwf-async", daemon=True)
        self._loop_thread.start()
        return loop

    def _spawn(self, execution: Execution) -> None:
        assert self._loop is not None
        execution.future = self._loop.create_task(self._run_async(execution))

    async def _run_async(self, execution: Execution) -> None:
        asked = execution.asked
        answer: TaskDone | TaskFailed
        try:
            async with self._places:
                execution.begun = monotonic()
                answer = TaskDone(await run_task_async(execution.task, asked.data, asked.events, execution.context()))
        except BaseException as error:  # also SystemExit, which would end the loop and all that runs in it
            answer = TaskFailed(failure_of(error))
        execution.seconds = monotonic() - (execution.begun or monotonic())
        self._report(Ended(execution, answer))


def _answer(execution: Execution) -> TaskDone | TaskFailed:
    asked = execution.asked
    execution.begun = monotonic()
    try:
        return TaskDone(run_task(execution.task, asked.data, asked.events, execution.context()))
    except BaseException as error:  # also SystemExit and KeyboardInterrupt: a task cannot end its worker by raising
        return TaskFailed(failure_of(error))
    finally:
        execution.seconds = monotonic() - execution.begun


def _run(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()  # by its own thread: whoever stops it waits for a while only


def _cancel(execution: Execution) -> None:
    if execution.future is not None:
        execution.future.cancel()


async def _cancel_all() -> None:
    running = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running, timeout=0.5)
    asyncio.get_running_loop().stop()
