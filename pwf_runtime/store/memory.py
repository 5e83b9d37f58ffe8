"""The store in memory: the plainest reading of the contract.

It serves embedded runs (``memory://``), and it is the oracle that Redis is compared with and the store of the simulated
world. So every operation is a line or two that can be checked by eye against ``core/txn.py``; keep it that way.
"""

from __future__ import annotations

import heapq
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..clock import Clock
from ..core import txn as t
from ..errors import RunDamaged
from .base import no_number, whole


class Run:
    """The keys of one run."""

    __slots__ = ("expires_ms", "fields", "leases")

    def __init__(self) -> None:
        self.fields: dict[str, bytes] = {}
        self.leases: dict[str, tuple[str, int]] = {}  # lease -> (token, end)
        self.expires_ms: int | None = None

    def holder(self, lease: str, now_ms: int) -> tuple[str, int] | None:
        """``(token, ms left)``, or ``None``."""
        held = self.leases.get(lease)
        if held is None or held[1] <= now_ms:
            return None
        return held[0], held[1] - now_ms


class MemoryStore:
    """Implements ``store.base.Store``. Safe to share between threads. ``clock`` decides when leases and runs end."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.runs: dict[str, Run] = {}
        self.indexes: dict[str, dict[bytes, int]] = {}
        self._expiring: list[tuple[int, str]] = []  # a heap of (when, run_id)
        self._lock = threading.Lock()

    def txns(self, txns: Sequence[t.Txn]) -> list[t.TxnReply]:
        replies: list[t.TxnReply | RunDamaged] = []
        is_damaged = False
        with self._lock:
            for txn in txns:
                try:
                    replies.append(self._perform(txn))
                except RunDamaged as damage:
                    replies.append(damage)
                    is_damaged = True
        return whole(replies) if is_damaged else replies  # type: ignore[return-value]

    def index_add(self, index: str, entries: Sequence[tuple[bytes, int]]) -> None:
        with self._lock:
            self.indexes.setdefault(index, {}).update(entries)

    def index_read(self, index: str, upto: int, limit: int) -> list[tuple[bytes, int]]:
        with self._lock:
            found = [(score, member) for member, score in self.indexes.get(index, {}).items() if score <= upto]
        return [(member, score) for score, member in sorted(found)[:limit]]

    def index_remove(self, index: str, members: Sequence[bytes]) -> None:
        with self._lock:
            entries = self.indexes.get(index, {})
            for member in members:
                entries.pop(member, None)

    def index_size(self, index: str) -> int:
        with self._lock:
            return len(self.indexes.get(index, {}))

    def run_ids(self) -> Iterator[str]:
        with self._lock:
            self._expire(self.clock.now_ms())
            ids = [run_id for run_id, run in self.runs.items() if run.fields]
        yield from ids

    def close(self) -> None:
        """Nothing to give up."""

    # ── one transaction ───────────────────────────────────────────────────────────────────────

    def _perform(self, txn: t.Txn) -> t.TxnReply:
        now_ms = self.clock.now_ms()
        if self._expiring and self._expiring[0][0] <= now_ms:
            self._expire(now_ms)
        run = self.runs.get(txn.run_id) or Run()
        fields = run.fields
        held = True
        for compare in txn.compare:
            if isinstance(compare, t.Is):
                held = fields.get(compare.field) == compare.value
            elif isinstance(compare, t.Has):
                held = compare.field in fields
            else:
                holder = run.holder(compare.lease, now_ms)
                held = (holder and holder[0]) == compare.token
            if not held:
                break
        ops = txn.then if held else txn.otherwise
        for op in ops:  # nothing is rolled back, so what can fail is looked at before the first write
            if type(op) in _SUMS:
                _check_number(txn, run, _SUMS[type(op)](op))
        replies = []
        for op in ops:
            perform = _PERFORM[type(op)]
            try:
                replies.append(perform(run, op, now_ms))
            except (ValueError, KeyError) as error:  # a list whose length is none, or not its own
                raise RunDamaged(txn.run_id, f"{error} ({txn.label!r} {op!r})") from error
            if not run.fields:
                run.expires_ms = None  # as in Redis: a map without fields is no key, and has no expiry
        self._file(txn.run_id, run, now_ms)
        return t.TxnReply(held, tuple(replies))

    def _file(self, run_id: str, run: Run, now_ms: int) -> None:
        """Keep a run that holds something, and only such."""
        if run.fields:
            self.runs[run_id] = run
            if run.expires_ms is not None:
                heapq.heappush(self._expiring, (run.expires_ms, run_id))
            return
        run.leases = {lease: held for lease, held in run.leases.items() if held[1] > now_ms}
        if run.leases:
            self.runs[run_id] = run
            heapq.heappush(self._expiring, (max(end for _, end in run.leases.values()), run_id))
        else:
            self.runs.pop(run_id, None)

    def _expire(self, now_ms: int) -> None:
        """Remove what has run out. An entry of the heap may be stale: the run itself knows."""
        while self._expiring and self._expiring[0][0] <= now_ms:
            _, run_id = heapq.heappop(self._expiring)
            run = self.runs.get(run_id)
            if run is None:
                continue
            if run.expires_ms is not None and run.expires_ms <= now_ms:
                run.fields, run.expires_ms = {}, None
            if not run.fields:
                self._file(run_id, run, now_ms)


_SUMS: dict[type, Callable[[Any], str]] = {
    t.Add: lambda op: op.field,
    t.Append: lambda op: op.list + "#",
}
"""The field that must hold a number, or nothing, for an operation to be done."""


def _check_number(txn: t.Txn, run: Run, field: str) -> None:
    value = run.fields.get(field)
    if value is not None and (len(value) > 18 or not _NUMBER.fullmatch(value)):
        raise RunDamaged(txn.run_id, f"{no_number(field)} ({txn.label!r})")


_NUMBER = re.compile(rb"0|-?[1-9][0-9]*")

# ── one operation ─────────────────────────────────────────────────────────────────────────────


def _get(run: Run, op: t.Get, now_ms: int) -> tuple[bytes | None, ...]:
    return tuple([run.fields.get(field) for field in op.fields])


def _put(run: Run, op: t.Put, now_ms: int) -> None:
    run.fields[op.field] = op.value


def _add(run: Run, op: t.Add, now_ms: int) -> int:
    total = int(run.fields.get(op.field, b"0")) + op.delta
    run.fields[op.field] = b"%d" % total
    return total


def _append(run: Run, op: t.Append, now_ms: int) -> int:
    length = int(run.fields.get(op.list + "#", b"0"))
    run.fields[f"{op.list}:{length}"] = op.value
    run.fields[op.list + "#"] = b"%d" % (length + 1)
    return length + 1


def _length(run: Run, op: t.Length, now_ms: int) -> int:
    return int(run.fields.get(op.list + "#", b"0"))


def _range(run: Run, op: t.Range, now_ms: int) -> tuple[bytes, ...]:
    stop = min(op.stop, int(run.fields.get(op.list + "#", b"0")))
    return tuple([run.fields[f"{op.list}:{i}"] for i in range(op.start, stop)])


def _delete(run: Run, op: t.Delete, now_ms: int) -> None:
    for field in op.fields:
        run.fields.pop(field, None)


def _lease(run: Run, op: t.Lease, now_ms: int) -> None:
    run.leases[op.lease] = (op.token, now_ms + op.ttl_ms)


def _release(run: Run, op: t.Release, now_ms: int) -> None:
    run.leases.pop(op.lease, None)


def _holder(run: Run, op: t.Holder, now_ms: int) -> tuple[str, int] | None:
    return run.holder(op.lease, now_ms)


def _keep(run: Run, op: t.Keep, now_ms: int) -> None:
    listed = [run.fields.get(f"{op.listed}:{i}") for i in range(int(run.fields.get(op.listed + "#", b"0")))]
    names = dict.fromkeys([*op.fields, *[name.decode() for name in listed if name is not None]])
    run.fields = {field: run.fields[field] for field in names if field in run.fields}


def _expire(run: Run, op: t.Expire, now_ms: int) -> None:
    if op.ttl_ms is None:
        run.expires_ms = None
    elif op.ttl_ms <= 0:
        run.fields = {}
    else:
        run.expires_ms = now_ms + op.ttl_ms


def _scan(run: Run, op: t.Scan, now_ms: int) -> tuple[int, dict[str, bytes]]:
    names = sorted(run.fields)[op.cursor : op.cursor + op.limit]
    following = op.cursor + len(names)
    return (0 if following >= len(run.fields) else following), {name: run.fields[name] for name in names}


_PERFORM: dict[type, Callable[[Run, Any, int], Any]] = {
    t.Get: _get,
    t.Put: _put,
    t.Add: _add,
    t.Append: _append,
    t.Length: _length,
    t.Range: _range,
    t.Delete: _delete,
    t.Lease: _lease,
    t.Release: _release,
    t.Holder: _holder,
    t.Keep: _keep,
    t.Expire: _expire,
    t.Scan: _scan,
}
