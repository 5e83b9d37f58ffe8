"""What a function says about itself: its parameters, the type of its data, the place where it stands.

What must live here: every look into a user's function, so that decorators, partials, methods and callable objects are
understood in one place. What must never: a call of it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, get_type_hints

from .codec import brief
from .errors import UsageError

TAKES = ("data", "events", "ctx")
"""What a task can ask for, by the names of its parameters."""


def task_parameters(fn: Callable[..., Any], task: str) -> tuple[str, ...]:
    """Which of ``TAKES`` the function has as parameters. Raises UsageError when it wants anything else."""
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise UsageError(f"{task} ({place_of(fn)}): a task returns its actions and cannot yield them: return a list")
    parameters = inspect.signature(fn).parameters.values()
    for parameter in parameters:
        if problem := _problem(parameter):
            raise UsageError(f"{task} ({place_of(fn)}): parameter `{parameter}` {problem}")
    return tuple(parameter.name for parameter in parameters if parameter.name in TAKES)


def _problem(parameter: inspect.Parameter) -> str:
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        return "hides what the task takes: name any of data, events, ctx (in a decorator, use functools.wraps)"
    if parameter.name in TAKES and parameter.kind is parameter.POSITIONAL_ONLY:
        return "is positional-only, and a task is called by name: drop the `/`"
    if parameter.name in TAKES or parameter.default is not parameter.empty:
        return ""
    return "is nothing a task can get: it takes any of data, events, ctx; give others a default or put them into data"


def data_type(fn: Callable[..., Any], task: str) -> Any:
    """The annotation of ``data``, resolved where it is text. For the first use: what it names may be defined later.

    Raises UsageError when it cannot be resolved.
    """
    annotation = inspect.signature(fn).parameters["data"].annotation
    if annotation is inspect.Parameter.empty:
        return Any
    holder = SimpleNamespace(__annotations__={"data": annotation})
    try:
        return get_type_hints(holder, globalns=_globals(fn), include_extras=True)["data"]
    except Exception as error:
        raise UsageError(
            f"{task} ({place_of(fn)}): the annotation {brief(annotation)} of data cannot be resolved ({error}): name a "
            f"type that its module has at run time, or leave the annotation out"
        ) from error


def innermost(fn: Any) -> Any:
    """The function below decorators, partials, methods and callable objects."""
    while True:
        inner = getattr(fn, "__wrapped__", None) or getattr(fn, "__func__", None)
        if inner is None and isinstance(fn, functools.partial):
            inner = fn.func
        if inner is None and not hasattr(fn, "__code__"):
            inner = getattr(type(fn).__call__, "__wrapped__", None) or type(fn).__call__
            return inner if hasattr(inner, "__code__") else fn
        if inner is None:
            return fn
        fn = inner


def _globals(fn: Any) -> dict[str, Any]:
    return dict(getattr(innermost(fn), "__globals__", {}))


def place_of(fn: Any) -> str:
    """Where a function stands, for an error: "name, file:line"."""
    code = getattr(innermost(fn), "__code__", None)
    name = getattr(fn, "__qualname__", brief(fn))
    return f"{name}, {code.co_filename}:{code.co_firstlineno}" if code else name
