"""Side effects of the user's tasks, made visible: each becomes a crash point and a line in a ledger.

``probe(client)`` wraps a client that a task uses (payment, mail). Outside a simulation the wrapper passes calls through
and does nothing else. In a simulation a task's function is executed once for all that it is given, and what it did on
probed clients is written down as *inner effects*; the world then lets these happen one by one. Where a worker dies in
between, the later ones have not happened, whatever the function did.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast

from pwf_runtime import codec

T = TypeVar("T")

KEY_NAMES = ("idempotency_key", "key")
"""Keyword arguments by which a called service recognises a repetition."""


class ProbedCall(NamedTuple):
    """A call on a probed client. ``key``: the idempotency key it was given, if any."""

    name: str
    args: tuple[Any, ...]
    kwargs: tuple[tuple[str, Any], ...]
    key: str | None


class StepResult(NamedTuple):
    """A step of the task returned: from now on its result is to be remembered. ``results``: of all steps so far."""

    name: str
    results: bytes


Inner: TypeAlias = ProbedCall | StepResult


class Entry(NamedTuple):
    """A line of the ledger: a probed call that happened, in which call of the workflow and which attempt."""

    name: str
    args: tuple[Any, ...]
    kwargs: tuple[tuple[str, Any], ...]
    key: str | None
    path: str
    attempt: int


class Recorder:
    """What a task does while it is executed for a simulation. ``remembered``: its steps' results so far."""

    def __init__(self, remembered: dict[str, bytes]) -> None:
        self.inner: list[Inner] = []
        self._results = dict(remembered)

    def __enter__(self) -> Recorder:
        self._token = _recorder.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        _recorder.reset(self._token)

    def called(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        key = next((str(kwargs[word]) for word in KEY_NAMES if kwargs.get(word) is not None), None)
        self.inner.append(ProbedCall(name, args, tuple(kwargs.items()), key))

    def step(self, name: str, fn: Callable[[], Any]) -> Any:
        """``ctx.step`` of a simulated task."""
        if name not in self._results:
            self._results[name] = codec.encode(fn(), f"the result of step {name!r}")
            self.inner.append(StepResult(name, codec.encode(self._results)))
        return codec.decode(self._results[name])


_recorder: ContextVar[Recorder | None] = ContextVar("pwsim recorder", default=None)


class Probe:
    """Wraps ``wrapped``; its callable attributes are probed, the others are passed through."""

    def __init__(self, wrapped: object) -> None:
        self._pwsim_wrapped = wrapped

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._pwsim_wrapped, name)
        return _probed(name, value) if callable(value) else value

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        wrapped = cast(Callable[..., Any], self._pwsim_wrapped)
        return _probed(getattr(wrapped, "__name__", type(wrapped).__name__), wrapped)(*args, **kwargs)

    def __repr__(self) -> str:
        return f"probe({self._pwsim_wrapped!r})"


def probe(client: T) -> T:
    """Wrap a client, or a function, whose calls are effects on the world. Use the wrapper wherever tasks use it.

    Each call is named by the method (or the function), may be async, and shows up in ``report.effects``.
    """
    return cast(T, Probe(client))


def _probed(name: str, fn: Callable[..., Any]) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(fn):

        @functools.wraps(fn)
        async def call_async(*args: Any, **kwargs: Any) -> Any:
            _note(name, args, kwargs)
            return await fn(*args, **kwargs)

        return call_async

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        _note(name, args, kwargs)
        return fn(*args, **kwargs)

    return call


def _note(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    recorder = _recorder.get()
    if recorder is not None:
        recorder.called(name, args, kwargs)
