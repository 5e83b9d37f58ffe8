"""The attempts that run in this worker: how many may be claimed, when they time out, when their leases are renewed.

What must live here: the book about them, kept by the engine's thread. What must never: threads (see ``tasks``) and
machines (see ``engine``). An attempt that timed out is answered for at once; while its code still runs it is a
*zombie*, and keeps its place, because a thread cannot be stopped from outside.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from time import monotonic

from .config import Settings
from .core.effects import RunTask
from .core.inputs import TaskFailed
from .core.model import Failure
from .driver import Answer, Owner
from .store.base import Store
from .tasks import Ended, Execution, TaskRunner
from .workflow import AnyTask

RENEWALS_PER_LEASE = 3
AHEAD_S = 0.02
"""Calls are claimed ahead of a free thread as long as they will be run within this time."""
MEMORY = 0.05
"""How much the latest task counts in the average of how long tasks take."""
NEVER = float("inf")


class Executions:
    """Times are monotonic seconds. ``report`` hears of each end, on the task's thread, and passes it to ``ended``."""

    def __init__(
        self, tasks: Mapping[str, AnyTask], store: Store, settings: Settings, report: Callable[[Ended], None]
    ) -> None:
        self._tasks = tasks
        self._store = store
        self._lease_s = settings.lease
        self._concurrency = settings.concurrency
        self._runner = TaskRunner(settings.concurrency, report)
        self._running: dict[Owner, Execution] = {}
        self._zombies = 0
        self._timeouts: list[tuple[float, Owner, Execution]] = []
        self._renew_at = NEVER
        self._task_s = AHEAD_S  # how long tasks have taken lately

    def room(self) -> int:
        """How many calls may be claimed at the moment: one for each thread, and more where tasks are short."""
        threads = self._concurrency - self._zombies
        return int(threads * max(1.0, AHEAD_S / (self._task_s + 1e-6)))

    def start(self, owner: Owner, asked: RunTask, claimed: float) -> None:
        """``claimed``: when the claim was asked for; its lease began a little later. Better lost too early."""
        execution = Execution(owner, asked, self._tasks[asked.message.task], claimed + self._lease_s, self._store)
        if not self._running:
            self._renew_at = claimed + self._lease_s / RENEWALS_PER_LEASE
        self._running[owner] = execution
        timeout = execution.task.timeout
        if timeout is not None:
            self._forget_old_timeouts()
            heapq.heappush(self._timeouts, (monotonic() + timeout, owner, execution))
        self._runner.start(execution)

    def ended(self, ended: Ended) -> Answer | None:
        """What to tell the machine; ``None``: it was told long ago that the task timed out."""
        execution = ended.execution
        self._task_s += MEMORY * (execution.seconds - self._task_s)
        if execution.over:
            self._zombies -= 1
            return None
        self._running.pop(execution.owner, None)
        return execution.owner, ended.input

    def give_up(self, owner: Owner) -> None:
        """Its machine cannot go on."""
        execution = self._running.pop(owner, None)
        if execution is not None:
            self._bury(execution)

    def is_running(self, execution: Execution) -> bool:
        return self._running.get(execution.owner) is execution

    def next_due(self) -> float:
        """When ``timed_out`` or ``to_renew`` has something."""
        timeout = self._timeouts[0][0] if self._timeouts else NEVER
        return min(timeout, self._renew_at) if self._running else timeout

    def timed_out(self, now: float) -> list[Answer]:
        answers: list[Answer] = []
        while self._timeouts and self._timeouts[0][0] <= now:
            _, owner, execution = heapq.heappop(self._timeouts)
            if not self.is_running(execution):
                continue
            timeout = execution.task.timeout or 0.0
            due = (execution.begun or now) + timeout  # it may have waited for a thread
            if due > now:
                heapq.heappush(self._timeouts, (due, owner, execution))
                continue
            del self._running[owner]
            self._bury(execution)
            failure = Failure("Timeout", f"the task did not end within its timeout of {timeout:g} s")
            answers.append((owner, TaskFailed(failure)))
        return answers

    def to_renew(self, now: float) -> list[Execution]:
        """Those whose leases want renewal, unless one is under way."""
        if not self._running or now < self._renew_at:
            return []
        self._renew_at = now + self._lease_s / RENEWALS_PER_LEASE
        return [execution for execution in self._running.values() if not execution.renewing]

    def give_up_all(self) -> list[RunTask]:
        """Give up all that still run; what they had claimed is to be released."""
        for execution in self._running.values():
            execution.lost_lease = True
        return [execution.asked for execution in self._running.values()]

    def close(self) -> None:
        self._runner.close()

    def _forget_old_timeouts(self) -> None:
        """Those of tasks that have ended stay until they are due, which may be hours: now and then, sort them out."""
        if len(self._timeouts) > 1_000 + 2 * len(self._running):
            self._timeouts = [each for each in self._timeouts if self.is_running(each[2])]
            heapq.heapify(self._timeouts)

    def _bury(self, execution: Execution) -> None:
        execution.over = True
        self._zombies += 1
        self._runner.cancel(execution)
