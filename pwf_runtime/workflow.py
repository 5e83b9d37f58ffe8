"""Authoring: a ``Workflow`` collects the tasks of one service, a ``Task`` is a function with its policies.

What must live here: what a task's author meets, and the step from a claimed call to the function's arguments. What must
never: connections, threads, clocks. Whoever runs a task (the worker's threads, its event loop, the simulator) calls
``run_task`` or ``run_task_async`` and gets the ``Outcome`` to commit; what these raise goes through ``failure_of``.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from msgspec import Struct

from . import codec
from .actions import name_problem, seconds
from .codec import brief
from .core import model
from .core.model import Outcome
from .core.retry import DEFAULT, Retry
from .errors import DataError, DecodeError, UsageError
from .outcome import failure_of, outcome_of
from .signature import data_type, place_of, task_parameters

if TYPE_CHECKING:
    from .client import Client

__all__ = ["Context", "Event", "Task", "Workflow", "failure_of", "outcome_of", "run_task", "run_task_async"]

P = ParamSpec("P")
R = TypeVar("R")


class Event(Struct, frozen=True):
    """A named fact of the run, as a joined task gets it: the ``name`` and the ``data`` it was emitted with."""

    name: str
    data: Any


class Context:
    """What a task can know about the attempt that runs it.

    ``run_id``: of the run. ``call_id``: of this call, the same for every attempt. ``task``: its full name,
    "queue.task". ``attempt``: from 1; a worker that died has used one up as well.
    """

    __slots__ = ("_lost", "_step", "attempt", "call_id", "run_id", "task")

    def __init__(
        self,
        run_id: str,
        call_id: str,
        task: str,
        attempt: int,
        *,
        lost: Callable[[], bool] | None = None,
        step: Callable[[str, Callable[[], Any]], Any] | None = None,
    ) -> None:
        """``lost`` and ``step`` are what the runtime that makes the context answers with."""
        self.run_id = run_id
        self.call_id = call_id
        self.task = task
        self.attempt = attempt
        self._lost = lost
        self._step = step

    @property
    def idempotency_key(self) -> str:
        """For a payment or mail service: the same for every attempt of this call, and for no other call."""
        return f"{self.run_id}/{self.call_id}"

    @property
    def lost(self) -> bool:
        """Whether the lease is gone: another worker may run this call, and if one does, what this attempt returns is
        dropped. Raise rather than return: if no other has begun yet, what this attempt returns is the call's answer.
        """
        return self._lost is not None and self._lost()

    def step(self, name: str, fn: Callable[[], Any]) -> Any:
        """Run ``fn``, once it has succeeded never again for this call: later attempts get its remembered result.

        ``name`` tells the steps of one task apart. The result travels as a payload does (a tuple comes back as a list).
        Raises what ``fn`` raises, and UsageError for a name that is no name and where the runtime has no steps.
        """
        if not isinstance(name, str) or not name:
            raise UsageError(f"ctx.step({brief(name)}, ...): a step needs a name of its own, a str")
        if not callable(fn):
            raise UsageError(f"ctx.step({name!r}, {brief(fn)}): give the function uncalled: lambda: charge(card)")
        if self._step is None:
            raise UsageError(f"ctx.step({name!r}, ...): this context has no steps: make it with Context(..., step=...)")
        return self._step(name, fn)

    def __repr__(self) -> str:
        return f"<Context {self.task} {self.idempotency_key} attempt {self.attempt}>"


class Task(Generic[P, R]):
    """A registered function. To call it is to call the function; ``call(task, data)`` makes it a step of a run.

    ``name``, ``queue`` and both as ``full_name`` ("queue.name"); ``fn``: the function; ``retry``: what follows an
    attempt that fails; ``timeout``: seconds that one attempt may take, None for any; ``is_async``: whether ``fn`` is a
    coroutine function; ``takes``: which of data, events and ctx it has as parameters.
    """

    def __init__(self, queue: str, name: str, fn: Callable[P, R], retry: Retry, timeout: float | None) -> None:
        functools.update_wrapper(self, fn)
        self.queue = queue
        self.name = name
        self.full_name = f"{queue}.{name}"
        self.fn = fn
        self.retry = retry
        self.timeout = timeout
        self.is_async = inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004
        self.takes = task_parameters(fn, self.full_name)
        self.__pwf_tasks__ = (self.full_name,)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.fn(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<task {self.full_name}>"

    def arguments(self, data: bytes, events: tuple[model.Event, ...], ctx: Context) -> dict[str, Any]:
        """What to call ``fn`` with, by name: only what it takes is decoded.

        Raises DataError where a payload cannot be read or lacks the shape of the annotation of ``data``, and UsageError
        for an annotation that cannot be used.
        """
        given: dict[str, Any] = {}
        for name in self.takes:
            if name == "data":
                given[name] = self._read(self._read_data, data, "its data")
            elif name == "events":
                given[name] = [
                    Event(event.name, self._read(_read_any, event.data, f"event {event.name!r}")) for event in events
                ]
            else:
                given[name] = ctx
        return given

    def _read(self, read: Callable[[bytes], Any], body: bytes, what: str) -> Any:
        try:
            return read(body)
        except (DataError, DecodeError) as error:
            raise DataError(
                f"{self.full_name} cannot take {what}: {error}; send what it wants, or change its annotation"
            ) from error

    @functools.cached_property
    def _read_data(self) -> Callable[[bytes], Any]:
        return codec.decoder(data_type(self.fn, self.full_name))


AnyTask = Task[Any, Any]

_read_any = codec.decoder(Any)


class Workflow:
    """The tasks of one service. Its ``name`` is the name of its queue.

    Raises UsageError for a name that a queue cannot have: empty, with dots or blanks, longer than 100 bytes.
    """

    def __init__(self, name: str) -> None:
        if problem := name_problem(name):
            raise UsageError(f"Workflow({brief(name)}): {problem}")
        self.name = name
        self._tasks: dict[str, AnyTask] = {}

    @property
    def tasks(self) -> Mapping[str, AnyTask]:
        """Every task by its name (without the queue), in the order of registration."""
        return MappingProxyType(self._tasks)

    @overload
    def task(self, fn: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def task(
        self,
        task_name: str | None = None,
        /,
        *,
        name: str | None = None,
        retry: Retry | None = None,
        timeout: float | None = None,
    ) -> Callable[[Callable[P, R]], Task[P, R]]: ...
    def task(
        self,
        fn: Callable[..., Any] | str | None = None,
        /,
        *,
        name: str | None = None,
        retry: Retry | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Register a function: ``@app.task``, ``@app.task("name")``, ``@app.task(retry=Retry(...), timeout=30.0)``.

        Without a name it gets the function's. ``timeout``: seconds that one attempt may take, any when left out.
        Raises UsageError for a name that is taken or cannot be one, and for a function that cannot be a task.
        """
        if isinstance(fn, str):
            if name is not None:
                raise UsageError(f"@{self.name}.task({fn!r}, name={name!r}): two names: give one")
            fn, name = None, fn
        if fn is None:
            return lambda function: self.subscribe(name, function, retry=retry, timeout=timeout)
        return self.subscribe(name, fn, retry=retry, timeout=timeout)

    def subscribe(
        self,
        name: str | None,
        fn: Callable[P, R],
        *,
        retry: Retry | None = None,
        timeout: float | None = None,
    ) -> Task[P, R]:
        """Register ``fn`` as the task ``name`` without decorating it; from then on ``call(fn, data)`` works too.

        Arguments and errors are those of ``task``.
        """
        name = getattr(fn, "__name__", "") if name is None else name
        place = f"task {brief(name)} of {self.name}"
        self._check(name, fn, place)
        if retry is not None and not isinstance(retry, Retry):
            raise UsageError(f"{place}: retry={brief(retry)}: give a Retry(...), such as Retry(max_attempts=5)")
        if timeout is not None and seconds(timeout, place, "timeout") == 0:
            raise UsageError(f"{place}: timeout={timeout!r}: must be more than 0; leave it out for none")
        task = Task(self.name, name, fn, retry or DEFAULT, timeout)
        self._tasks[name] = task
        _remember(fn, task.full_name)
        return task

    def _check(self, name: str, fn: object, place: str) -> None:
        if isinstance(fn, Task):
            raise UsageError(f"{place}: {fn!r} is a task already: give its function, {fn.name}.fn")
        if not callable(fn):
            raise UsageError(
                f"{place}: {brief(fn)} is no function: use @app.task above one, or app.subscribe(name, fn)"
            )
        if problem := "a lambda has no name: give one" if name == "<lambda>" else name_problem(name):
            raise UsageError(f"{place} ({place_of(fn)}): {problem}")
        if taken := self._tasks.get(name):
            raise UsageError(f"{place} ({place_of(fn)}): the name is taken by {place_of(taken.fn)}: choose another")

    def connect(
        self, amqp: str | None = None, redis: str | None = None, *, settings: Mapping[str, Any] | None = None
    ) -> Client:
        """A client for this workflow: ``pwf_runtime.connect`` with ``apps=`` this one."""
        made: Client = import_module(".client", __package__).connect(self, amqp, redis, settings=settings)
        return made

    def __repr__(self) -> str:
        return f"<Workflow {self.name}: {', '.join(self._tasks) or 'no tasks'}>"


# ── running ───────────────────────────────────────────────────────────────────────────────────


def run_task(task: AnyTask, data: bytes, events: tuple[model.Event, ...], ctx: Context) -> Outcome:
    """One attempt, in this thread.

    Raises what the task raises, and DataError and UsageError about what it got and what it returned.
    """
    if task.is_async:
        raise UsageError(f"{task.full_name} is async: run it with run_task_async")
    returned = task.fn(**task.arguments(data, events, ctx))
    return outcome_of(returned, task.queue, task.full_name)


async def run_task_async(task: AnyTask, data: bytes, events: tuple[model.Event, ...], ctx: Context) -> Outcome:
    """One attempt, in the running event loop. A task that is not async holds up the loop.

    Raises as ``run_task`` does.
    """
    returned = task.fn(**task.arguments(data, events, ctx))
    if inspect.isawaitable(returned):
        returned = await returned
    return outcome_of(returned, task.queue, task.full_name)


def _remember(fn: Any, full_name: str) -> None:
    """Note on the function itself which tasks it is, for ``call(fn)``. A method or a builtin takes no notes."""
    known: tuple[str, ...] = getattr(fn, "__pwf_tasks__", ())
    if full_name not in known:
        try:
            fn.__pwf_tasks__ = (*known, full_name)
        except AttributeError:
            return
