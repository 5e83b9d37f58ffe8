"""Frozen values to and from the bytes that a store keeps."""

from __future__ import annotations

from typing import TypeVar

from msgspec import Struct, msgpack

from .model import CallRecord, Failure, JoinRecord, NewCall, Outbox, Signal, StoredEvent, Timer, Waiter

T = TypeVar("T", bound=Struct)

encode = msgpack.Encoder().encode

decode_record = msgpack.Decoder(CallRecord).decode
decode_outbox = msgpack.Decoder(Outbox).decode
decode_failure = msgpack.Decoder(Failure).decode
decode_join = msgpack.Decoder(JoinRecord).decode
decode_waiter = msgpack.Decoder(Waiter).decode
decode_event = msgpack.Decoder(StoredEvent).decode
decode_signal = msgpack.Decoder(Signal).decode
decode_new_call = msgpack.Decoder(NewCall).decode
decode_timer = msgpack.Decoder(Timer).decode
decode_dead = msgpack.Decoder(tuple[str, str]).decode


def number(value: bytes | None) -> int:
    """A counter's value; a missing field counts as 0."""
    return int(value) if value is not None else 0
