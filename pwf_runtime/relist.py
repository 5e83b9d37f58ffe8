"""Every run in the store is put on its list again, where it is missing: what ``pwf relist`` does.

The lists of open runs, ended runs and dead calls are written beside the runs. A store that falls back at a bad moment,
or evicts a list, leaves runs that no list names: nobody sees them, and the recovery scan does not find what they lost.
Here every run is asked for, whatever the lists say. Any number may do this at once, beside workers that go on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from msgspec import Struct

from .core import keys as k
from .core.effects import DEAD, FINISHED, OPEN
from .core.recover import FOREVER
from .core.txn import Get, Txn
from .core.wire import encode, number
from .describe import dead_calls, read_fields
from .errors import RunDamaged
from .store.base import Store

AT_ONCE = 500
_ENDED = (k.COMPLETED, k.STRANDED, k.CANCELLED)


class Relisted(Struct, frozen=True):
    """How many runs were looked at, and how many runs and dead calls were put on a list. ``damaged``: the ids of those
    that cannot be read; `pwf show` says why."""

    runs: int = 0
    open: int = 0
    ended: int = 0
    dead: int = 0
    damaged: tuple[str, ...] = ()


def relist(store: Store, now_ms: int) -> Relisted:
    """Look at every run. ``now_ms`` stands for when a call died, which its run does not tell.

    Raises StoreUnavailable; what was put on a list until then stays there, and doing it again is safe.
    """
    listed = {index: _members(store, index) for index in (OPEN, FINISHED, DEAD)}
    runs, damaged = 0, dict[str, None]()
    missing: dict[str, int] = dict.fromkeys(listed, 0)
    for ids in _batches(store.run_ids()):
        runs += len(ids)
        entries: dict[str, list[tuple[bytes, int]]] = {index: [] for index in listed}
        for run_id, summary in zip(ids, _summaries(store, ids), strict=True):
            try:
                for index, member, since in _belongs(store, run_id, summary, now_ms):
                    if member not in listed[index]:
                        entries[index].append((member, since))
                        listed[index].add(member)  # a run can be named twice while keys come and go
            except (RunDamaged, ValueError):  # ValueError: text where a number should be
                damaged[run_id] = None
        _add(store, entries)
        for index, added in entries.items():
            missing[index] += len(added)
    return Relisted(runs, missing[OPEN], missing[FINISHED], missing[DEAD], tuple(damaged))


Summary = tuple[bytes | None, ...]
"""Its status, when it began and ended, how many of its calls are dead."""


def _summaries(store: Store, ids: Sequence[str]) -> Iterator[Summary | RunDamaged]:
    get = Get((k.STATUS, k.STARTED, k.FINISHED, k.DEAD_COUNT))
    try:
        replies: Sequence[object] = store.txns([Txn("describe", run_id, then=(get,)) for run_id in ids])
    except RunDamaged as damage:
        replies = damage.replies
    for reply in replies:
        yield reply if isinstance(reply, RunDamaged) else reply.replies[0]  # type: ignore[attr-defined]


def _belongs(store: Store, run_id: str, summary: Summary | RunDamaged, now_ms: int) -> Iterator[tuple[str, bytes, int]]:
    """On which lists, as what, since when."""
    if isinstance(summary, RunDamaged):
        raise summary
    status, started, finished, dead = summary
    if status == k.RUNNING:
        yield OPEN, run_id.encode(), number(started)
        if number(dead):
            for call_id in dead_calls(read_fields(store, run_id)):
                yield DEAD, encode((run_id, call_id)), now_ms
    elif status in _ENDED:
        yield FINISHED, run_id.encode(), number(finished)


def _add(store: Store, entries: dict[str, list[tuple[bytes, int]]]) -> None:
    """Also, a run that has ended meanwhile is taken off the open ones again."""
    for index, added in entries.items():
        store.index_add(index, added)
    ids = [member.decode() for member, _ in entries[OPEN]]
    ended = [run for run, summary in zip(ids, _summaries(store, ids), strict=True) if _has_ended(summary)]
    store.index_remove(OPEN, [run_id.encode() for run_id in ended])


def _has_ended(summary: Summary | RunDamaged) -> bool:
    return not isinstance(summary, RunDamaged) and summary[0] != k.RUNNING


def _members(store: Store, index: str) -> set[bytes]:
    return {member for member, _ in store.index_read(index, FOREVER, store.index_size(index))}


def _batches(ids: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(ids)
    while batch := list(islice(rest, AT_ONCE)):
        yield batch
