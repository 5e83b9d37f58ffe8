"""The mini-transaction: all that the protocol asks of a store, as values.

``Txn(run_id, compare, then, otherwise)`` looks at the keys of one run: if every compare holds the
operations of ``then`` are done, else those of ``otherwise``; all of it atomically, whichever it is.
The idea is Sinfonia's mini-transaction (Aguilera et al., SOSP 2007), known from etcd's ``Txn``.

What a store holds for a run:

- *fields*: a flat map from names to bytes;
- *lists*: append-only; list ``x`` is kept in the fields ``x#`` (its length) and ``x:0``, ``x:1`` ...;
- *leases*: a name held with a token until its time runs out **by the store's clock**.

Each operation is one line of the memory store and one or two commands in Redis; see ``store/``.
Every transaction the protocol sends is safe to send twice (a reply may be lost after it was done).
"""

from __future__ import annotations

from typing import Any, TypeAlias

from msgspec import Struct

# ── compares ──────────────────────────────────────────────────────────────────────────────────


class Is(Struct, frozen=True, gc=False):
    """``field`` has exactly this value; ``None`` means: the field is missing."""

    field: str
    value: bytes | None


class Has(Struct, frozen=True, gc=False):
    """``field`` is there, whatever its value."""

    field: str


class Held(Struct, frozen=True, gc=False):
    """The lease is held with this token; ``None`` means: nobody holds it."""

    lease: str
    token: str | None


Compare: TypeAlias = Is | Has | Held

# ── operations ────────────────────────────────────────────────────────────────────────────────


class Get(Struct, frozen=True, gc=False):
    """Reply: a tuple with the value (bytes) or ``None`` of each field, in order."""

    fields: tuple[str, ...]


class Put(Struct, frozen=True, gc=False):
    """Set a field. Reply: ``None``."""

    field: str
    value: bytes


class Add(Struct, frozen=True, gc=False):
    """Add to a decimal number (a missing field counts as 0). Reply: the sum (int)."""

    field: str
    delta: int


class Append(Struct, frozen=True, gc=False):
    """Append to a list. Reply: its new length (int)."""

    list: str
    value: bytes


class Length(Struct, frozen=True, gc=False):
    """Reply: the length of a list (int)."""

    list: str


class Range(Struct, frozen=True, gc=False):
    """Reply: a tuple of the list's values from ``start`` up to, not including, ``stop``."""

    list: str
    start: int
    stop: int


class Delete(Struct, frozen=True, gc=False):
    """Remove fields; a missing one is no error. Reply: ``None``."""

    fields: tuple[str, ...]


class Lease(Struct, frozen=True, gc=False):
    """Hold a lease with ``token`` for ``ttl_ms`` from now, whoever held it before. Reply: ``None``."""

    lease: str
    token: str
    ttl_ms: int


class Release(Struct, frozen=True, gc=False):
    """Give a lease up, whoever holds it. Reply: ``None``."""

    lease: str


class Holder(Struct, frozen=True, gc=False):
    """Reply: ``(token, ms left)`` of a lease, or ``None`` when nobody holds it."""

    lease: str


class Keep(Struct, frozen=True, gc=False):
    """Remove every field but these, and but those whose names the list ``listed`` holds ("": there is no such list).

    The list itself goes, unless it is named. Leases are left to run out. Reply: ``None``.
    """

    fields: tuple[str, ...]
    listed: str = ""


class Expire(Struct, frozen=True, gc=False):
    """Remove the run's fields after ``ttl_ms``; 0 or less removes them now, ``None``: never. Reply: ``None``."""

    ttl_ms: int | None


class Scan(Struct, frozen=True, gc=False):
    """Read the run's fields piecewise, from cursor 0 until the reply's cursor is 0 again.

    Reply: ``(next cursor, {field: value})``. A field present during the whole scan is seen at least
    once; ``limit`` is a hint.
    """

    cursor: int
    limit: int


Op: TypeAlias = Get | Put | Add | Append | Length | Range | Delete | Lease | Release | Holder | Keep | Expire | Scan


class Txn(Struct, frozen=True, gc=False, cache_hash=True):
    """One atomic step on one run. ``label`` names the protocol's step, for traces and fault addresses."""

    label: str
    run_id: str
    compare: tuple[Compare, ...] = ()
    then: tuple[Op, ...] = ()
    otherwise: tuple[Op, ...] = ()


class TxnReply(Struct, frozen=True, gc=False, cache_hash=True):
    """Whether every compare held, and one reply per operation that was done (of ``then`` or ``otherwise``)."""

    held: bool
    replies: tuple[Any, ...]
