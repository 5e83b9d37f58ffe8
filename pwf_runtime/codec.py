"""From values to bytes and back: payloads in msgpack, messages in JSON.

What must live here: every use of a wire format, and the errors about it. What must never: pickle, or any other
format that can run code or that only Python reads.

**Payloads** are msgpack. What a payload may hold, and what the receiving task gets when its ``data`` has no annotation:

- ``None``, ``bool``, ``int`` (-2**63 to 2**64 - 1), ``float`` (nan and inf too), ``str``, ``bytes``, ``list``, ``dict``
  (with keys of any of these but lists and dicts): themselves.
- A tuple, a set: a list. A set has no order that is the same in every process, so sort it where order matters.
- An aware ``datetime``: itself, in UTC. A naive one, ``date``, ``time``, ``timedelta``, ``Decimal``,
  ``UUID``: a string.
- An ``Enum``: its value. A dataclass, a msgspec Struct, an attrs class, a pydantic model: a dict of its fields.

An annotation on ``data`` turns each of these back into what it was.

**Messages** are compact JSON, ``[version, hint, ...]``, so that a person can read a queue in the broker's own pages.
The version comes first: a message of a newer version is set aside, never guessed at. Elements behind those known here
(trace headers, say) are skipped.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ForwardRef

import msgspec

from .core.model import Marker, Message
from .errors import DataError, DecodeError

VERSION = 1
"""Of the messages that this code writes, and the newest that it reads."""

ALLOWED = (
    "a payload may hold None, bool, int, float, str, bytes, lists and dicts of these, dates and times, Decimal, UUID, "
    "Enum, dataclasses, msgspec Structs and pydantic models"
)

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that it cannot read. Depth is one of the ways: no message may kill its worker."""


class NewerVersion(DecodeError):
    """The message is of a ``version`` that only a newer worker reads. It is sound: keep it for that worker."""

    def __init__(self, version: int, body: bytes) -> None:
        super().__init__(
            f"version {version}, this worker reads up to {VERSION}: parked until a newer worker takes it", body
        )
        self.version = version


# ── payloads ──────────────────────────────────────────────────────────────────────────────────


def encode(value: object, where: str = "the payload") -> bytes:
    """The bytes of a payload.

    ``where`` names ``value`` in the error, which appends the path to what is wrong: ``data["when"]``.
    Raises DataError for a value that a payload cannot hold.
    """
    try:
        return _encoder.encode(value)
    except Exception as error:
        path, culprit, why = _culprit(value, where, error)
        raise DataError(f"{path}: {brief(culprit)} ({_type_name(culprit)}) cannot be sent: {why}") from error


def decode(body: bytes, type: Any = Any) -> Any:
    """The value of a payload, as a ``type`` (anything that msgspec takes as one, or a pydantic model).

    Raises DataError where the value does not have that shape and for a ``type`` that no payload can have, DecodeError
    (which keeps ``body``) for bytes that are no payload.
    """
    return decoder(type)(body)


def decoder(type: Any) -> Callable[[bytes], Any]:
    """``decode`` for one type, to be kept: looking the type up costs more than decoding a small payload.

    Raises DataError for a type that no payload can have.
    """
    try:
        return _cached_decoder(type)
    except TypeError as error:  # unhashable
        if "unhashable" not in str(error):
            raise
        return _new_decoder(type)


def _new_decoder(type: Any) -> Callable[[bytes], Any]:
    try:
        read = msgspec.msgpack.Decoder(type, dec_hook=_from_plain).decode
    except Exception as error:  # msgspec raises what it finds on the way, a NameError of a field's annotation too
        raise DataError(f"no payload can be a {type_text(type)}: {error}") from error

    def decode_one(body: bytes) -> Any:
        try:
            return read(body)
        except msgspec.ValidationError as error:
            raise DataError(f"{error}; wanted {shape(type)}") from error
        except _UNREADABLE as error:
            raise DecodeError(f"these {len(body)} bytes are no payload: {error}", body) from error

    return decode_one


_cached_decoder = functools.lru_cache(maxsize=1024)(_new_decoder)


def _to_plain(value: Any) -> Any:
    """What msgspec asks about a value that it does not know."""
    dump = getattr(value, "model_dump", None)
    if dump is None or isinstance(value, type):
        raise NotImplementedError(ALLOWED)
    return dump()


def _from_plain(wanted: type, plain: Any) -> Any:
    """What msgspec asks about a type that it does not know."""
    validate = getattr(wanted, "model_validate", None)
    if validate is None:
        raise DataError(
            f"data cannot be made into a {type_text(wanted)}: annotate with a dataclass, a msgspec Struct, "
            f"a pydantic model, a TypedDict or a plain type such as dict[str, int]"
        )
    return validate(plain)


_encoder = msgspec.msgpack.Encoder(enc_hook=_to_plain)


# ── what an error shows ───────────────────────────────────────────────────────────────────────


def brief(value: object, limit: int = 60) -> str:
    """``repr`` of a value for an error, cut to ``limit`` characters. Never raises."""
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__name__} whose repr() fails>"
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def shape(kind: Any) -> str:
    """A type as an error shows it, with its fields where it has some: ``User(name: str, age: int)``."""
    fields: dict[str, Any] = {}
    for base in reversed(getattr(kind, "__mro__", ())):
        fields |= getattr(base, "__annotations__", {})
    text = ", ".join(f"{name}: {type_text(part)}" for name, part in fields.items())
    return f"{kind.__name__}({text if len(text) <= 300 else text[:297] + '...'})" if fields else type_text(kind)


def type_text(kind: Any) -> str:
    """A type as it stands in source: ``list[int]``, ``User``."""
    if isinstance(kind, ForwardRef):
        return kind.__forward_arg__
    return kind.__name__ if isinstance(kind, type) and not hasattr(kind, "__args__") else str(kind)


def _type_name(value: object) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _culprit(value: object, path: str, error: Exception, depth: int = 0) -> tuple[str, object, str]:
    """The innermost part of ``value`` that cannot be encoded: its path, itself and why."""
    if depth > 100:
        return f"{path[:40]}...", value, "it is nested too deep, or holds itself"
    for below, part in _parts(value):
        try:
            _encoder.encode(part)
        except Exception as inner:
            return _culprit(part, path + below, inner, depth + 1)
    if isinstance(error, TypeError | NotImplementedError):
        return path, value, ALLOWED
    return path, value, str(error)


def _parts(value: object) -> Iterable[tuple[str, object]]:
    """What ``value`` consists of, each with the text that leads to it."""
    if isinstance(value, Mapping):
        yield from ((f"'s key {brief(key)}", key) for key in value)
        yield from ((f"[{brief(key)}]", part) for key, part in value.items())
    elif isinstance(value, list | tuple):
        yield from ((f"[{index}]", part) for index, part in enumerate(value))
    elif isinstance(value, set | frozenset):
        yield from (("'s member", part) for part in value)
    elif dataclasses.is_dataclass(value) or isinstance(value, msgspec.Struct) or hasattr(value, "model_dump"):
        names = getattr(type(value), "__annotations__", {})
        yield from ((f".{name}", getattr(value, name)) for name in names if hasattr(value, name))


# ── messages ──────────────────────────────────────────────────────────────────────────────────


class _Call(msgspec.Struct, frozen=True, array_like=True, tag="call"):
    run_id: str
    call_id: str
    task: str


class _Marker(msgspec.Struct, frozen=True, array_like=True, tag="marker"):
    queue: str
    sent_ms: int


class _Envelope(msgspec.Struct, frozen=True, array_like=True):
    version: int
    hint: _Call | _Marker


_write = msgspec.json.Encoder().encode
_read = msgspec.json.Decoder(_Envelope).decode
_read_version = msgspec.json.Decoder(list[Any]).decode


def encode_message(message: Message | Marker) -> bytes:
    """What goes to the broker: ``[1,["call","run","call","queue.task"]]`` or ``[1,["marker","queue",sent_ms]]``."""
    if isinstance(message, Message):
        return _write(_Envelope(VERSION, _Call(message.run_id, message.call_id, message.task)))
    return _write(_Envelope(VERSION, _Marker(message.queue, message.sent_ms)))


def decode_message(body: bytes) -> Message | Marker:
    """What came from the broker.

    Raises NewerVersion for a message that a newer worker can read, DecodeError for bytes that are no message; both
    keep ``body``.
    """
    try:
        envelope = _read(body)
    except _UNREADABLE as error:
        raise _unreadable(body, error) from error
    if envelope.version != VERSION:
        raise _unreadable(body, f"there is no version {envelope.version}")
    hint = envelope.hint
    if isinstance(hint, _Call):
        return Message(hint.run_id, hint.call_id, hint.task)
    return Marker(hint.queue, hint.sent_ms)


def _unreadable(body: bytes, why: object) -> DecodeError:
    try:
        version = _read_version(body)[0]
    except (*_UNREADABLE, IndexError):
        version = None
    if type(version) is int and version > VERSION:
        return NewerVersion(version, body)
    return DecodeError(f"these {len(body)} bytes are no message: {why}; they begin with {body[:40]!r}", body)
