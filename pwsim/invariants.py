"""A user's own function as a check: what it says of a schedule that it does not hold for, in one line.

A sentence names the function and what it demands: the message of its assertion, else its docstring and the assertion as
it is written. Nothing in here counts; that is for ``checks``.
"""

from __future__ import annotations

import ast
import functools
import inspect
import linecache
from collections.abc import Callable
from traceback import walk_tb
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from pwf_runtime.errors import UsageError
from pwf_runtime.signature import place_of

from .checks import Check, Played
from .laws import Violated

if TYPE_CHECKING:
    from .world.world import World

INVARIANT = "invariant"
"""The name under which one that does not hold is violated."""

LONGEST = 100
"""Characters of an assertion that are shown."""

Invariant: TypeAlias = Callable[[Played], Any]
"""A user's function, called with the end of every schedule; see ``invariant``."""


def invariant(fn: Invariant) -> Check:
    """Call ``fn`` at the end of a schedule. It does not hold if it raises ``AssertionError`` or returns ``False``."""
    if not callable(fn):
        raise UsageError(f"invariant={fn!r}: give a function that takes one schedule's end and asserts something of it")

    def check(world: World) -> None:
        try:
            answer = fn(Played(world))
        except AssertionError as error:
            raise Violated(INVARIANT, f"{_named(fn)}: {_said(fn, error)}") from error
        if answer is False:
            raise Violated(INVARIANT, f"{_named(fn)}: {_about(fn) or 'it returned False'}")

    return check


def _named(fn: Invariant) -> str:
    name = getattr(fn, "__name__", type(fn).__name__)
    return name if name != "<lambda>" else place_of(fn)


def _about(fn: Invariant) -> str:
    """The first line of its docstring."""
    lines = (inspect.getdoc(fn) or "").splitlines() if inspect.isroutine(fn) else []
    return lines[0].strip().removesuffix(".") if lines else ""


def _said(fn: Invariant, error: AssertionError) -> str:
    """What it says is not so: the assertion's message; without one, the docstring and the assertion itself. What pytest
    has to say about an assertion is left out: it is many lines, about values."""
    made = _assertion(error)
    message, *_ = str(error).strip().splitlines() or [""]
    if made is None or made.has_message:
        return message or _about(fn) or "an assertion failed"
    return f"{about} ({made.text})" if (about := _about(fn)) else made.text


class _Assertion(NamedTuple):
    """A statement, from its first line to its last; its text is on one line and without a message."""

    first: int
    last: int
    text: str
    has_message: bool


def _assertion(error: AssertionError) -> _Assertion | None:
    """The statement that raised it, if it was one whose source is there."""
    *_, (frame, line) = walk_tb(error.__traceback__)
    around = [made for made in _assertions(frame.f_code.co_filename) if made.first <= line <= made.last]
    return around[-1] if around else None


@functools.cache
def _assertions(file: str) -> tuple[_Assertion, ...]:
    source = "".join(linecache.getlines(file))
    try:
        nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assert)]
    except SyntaxError:
        return ()
    return tuple([_of_node(source, node) for node in nodes])


def _of_node(source: str, node: ast.Assert) -> _Assertion:
    text = " ".join(f"assert {ast.get_source_segment(source, node.test) or ''}".split())
    shown = text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
    return _Assertion(node.lineno, node.end_lineno or node.lineno, shown, node.msg is not None)
