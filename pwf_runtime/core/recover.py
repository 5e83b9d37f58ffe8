"""The machines that find lost messages. The queues may lose everything: what is open is published again.

Publishing too much is harmless, but behind a long queue it must not snowball. So a *marker* goes through each queue:
when it comes back, all that was ahead of it was delivered, and a call that has been ready since before it was sent,
that nobody has and that no timer will bring, has lost its message. ``MarkMachine`` sends markers, ``ScanMachine``
runs when one comes back.
"""

from __future__ import annotations

from typing import ClassVar

from msgspec import DecodeError, Struct
from msgspec.structs import replace

from . import keys as k
from .effects import FINISHED, MARKERS, OPEN, Ack, IndexAdd, IndexRead, IndexRemove, Publish
from .inputs import Acked, Damaged, Entries, Indexed, Published
from .machine import Machine, Row, Step
from .model import Marker, Message
from .steps import Steps
from .txn import Holder, Scan, Txn, TxnReply
from .wire import decode_record, number

SLACK_MS = 5_000
"""How far clocks may be apart, and how long a publish may take after its commit, before a call counts as lost."""
FIELDS_AT_ONCE = 1_000
RUNS_AT_ONCE = 100_000
FOREVER = 2**53
"""As a score: all there is (the largest integer that a sorted set of Redis holds exactly)."""


class ReadingMarkers(Struct, frozen=True, gc=False):
    """When was this queue's last marker sent?"""

    queue: str


class SendingMarker(Struct, frozen=True, gc=False):
    """Sending one."""

    marker: Marker


class NotingMarker(Struct, frozen=True, gc=False):
    """Noting that it was sent."""

    marker: Marker


class Marked(Struct, frozen=True, gc=False):
    """Done; ``sent``: it was time for one."""

    sent: bool


class MarkMachine(Machine):
    """Sends a marker through a queue, if the last one is ``interval_ms`` old."""

    TABLE: ClassVar[tuple[Row, ...]] = (
        Row(ReadingMarkers, Entries, "_read", (SendingMarker, Marked)),
        Row(SendingMarker, Published, "_sent", (NotingMarker,)),
        Row(NotingMarker, Indexed, "_noted", (Marked,)),
    )

    def __init__(self, interval_ms: int) -> None:
        super().__init__()
        self.interval_ms = interval_ms

    def begin(self, queue: str) -> Step:
        return ReadingMarkers(queue), IndexRead(MARKERS, FOREVER, RUNS_AT_ONCE)

    def _read(self, state: ReadingMarkers, entries: Entries, now_ms: int) -> Step:
        sent = dict(entries.entries).get(state.queue.encode())
        if sent is not None and now_ms - sent < self.interval_ms:
            return Marked(False), None
        marker = Marker(state.queue, now_ms)
        return SendingMarker(marker), Publish((marker,))

    def _sent(self, state: SendingMarker, _published: Published, _now_ms: int) -> Step:
        marker = state.marker
        return NotingMarker(marker), IndexAdd(MARKERS, ((marker.queue.encode(), marker.sent_ms),))

    def _noted(self, _state: NotingMarker, _done: Indexed, _now_ms: int) -> Step:
        return Marked(True), None


class ReadingRuns(Struct, frozen=True, gc=False):
    """Which runs are open?"""

    marker: Marker


class Scanning(Struct, frozen=True, gc=False):
    """Reading the calls of the first of ``runs``; ``calls`` are those found so far."""

    marker: Marker
    runs: tuple[tuple[str, int], ...]
    fields: tuple[tuple[str, bytes], ...] = ()


class Probing(Struct, frozen=True, gc=False):
    """Does anybody have one of them?"""

    marker: Marker
    runs: tuple[tuple[str, int], ...]
    suspects: tuple[Message, ...]


class Republishing(Struct, frozen=True, gc=False):
    """Publishing those that nobody has."""

    marker: Marker
    runs: tuple[tuple[str, int], ...]


class Completing(Struct, frozen=True, gc=False):
    """The run has nothing open but did not end: ending it."""

    marker: Marker
    runs: tuple[tuple[str, int], ...]


class Listing(Struct, frozen=True, gc=False):
    """Adding a run that has ended to the finished ones."""

    marker: Marker
    runs: tuple[tuple[str, int], ...]


class Unlisting(Struct, frozen=True, gc=False):
    """Taking a run that has ended or is gone off the open ones."""

    marker: Marker
    runs: tuple[tuple[str, int], ...]


class Confirming(Struct, frozen=True, gc=False):
    """Looking whether it is still ended: a store that fell back meanwhile may have forgotten it."""

    marker: Marker
    runs: tuple[tuple[str, int], ...]


class Relisting(Struct, frozen=True, gc=False):
    """It is not: adding it to the open ones again."""

    marker: Marker
    runs: tuple[tuple[str, int], ...]


class Acking(Struct, frozen=True, gc=False):
    """All runs are looked at: dealing the marker done."""

    marker: Marker


class Scanned(Struct, frozen=True, gc=False):
    """Done."""

    marker: Marker


NEXT = (Scanning, Acking)


class ScanMachine(Machine):
    """A marker came back: publishes the calls of its queue whose messages were lost."""

    TABLE: ClassVar[tuple[Row, ...]] = (
        Row(ReadingRuns, Entries, "_read", NEXT),
        Row(Scanning, TxnReply, "_scanned", (Probing, Completing, Listing, Unlisting, *NEXT)),
        Row(Probing, TxnReply, "_probed", (Republishing, *NEXT)),
        Row(Republishing, Published, "_republished", NEXT),
        Row(Completing, TxnReply, "_completed", (Listing, *NEXT)),
        Row(Listing, Indexed, "_listed", (Unlisting,)),
        Row(Unlisting, Indexed, "_unlisted", (Confirming,)),
        Row(Confirming, TxnReply, "_confirmed", (Relisting, *NEXT)),
        Row(Relisting, Indexed, "_relisted", NEXT),
        Row(Acking, Acked, "_acked", (Scanned,)),
        Row(Scanning, Damaged, "_damaged", NEXT),
        Row(Probing, Damaged, "_damaged", NEXT),
        Row(Completing, Damaged, "_damaged", NEXT),
        Row(Confirming, Damaged, "_damaged", NEXT),
    )

    def __init__(self, steps: Steps) -> None:
        super().__init__()
        self.steps = steps

    def begin(self, marker: Marker) -> Step:
        return ReadingRuns(marker), IndexRead(OPEN, FOREVER, RUNS_AT_ONCE)

    def _read(self, state: ReadingRuns, entries: Entries, _now_ms: int) -> Step:
        return self._next(state.marker, tuple([(member.decode(), since) for member, since in entries.entries]))

    def _next(self, marker: Marker, runs: tuple[tuple[str, int], ...]) -> Step:
        if not runs:
            return Acking(marker), Ack()
        return Scanning(marker, runs), self._scan(runs[0][0], 0)

    def _scanned(self, state: Scanning, reply: TxnReply, now_ms: int) -> Step:
        cursor, page = reply.replies[0]
        fields = (*state.fields, *page.items())
        if cursor:
            return replace(state, fields=fields), self._scan(state.runs[0][0], cursor)
        try:
            return self._found(state, dict(fields), now_ms)
        except ValueError:  # text where a number should be; who delivers its calls will tell
            return self._next(state.marker, state.runs[1:])

    def _found(self, state: Scanning, there: dict[str, bytes], now_ms: int) -> Step:
        """Go on from all that there is of the first run."""
        run_id, since = state.runs[0]
        status = there.get(k.STATUS)
        if status == k.RUNNING and number(there.get(k.OPEN)) == 0:
            armed = number(there.get(k.ARMED))
            return Completing(state.marker, state.runs), self.steps.complete(run_id, armed, now_ms)
        if status is None and since > state.marker.sent_ms - SLACK_MS:  # it may be about to be created
            return self._next(state.marker, state.runs[1:])
        if status is None or status == k.CANCELLED:
            return self._unlist(state.marker, state.runs)
        if status != k.RUNNING:
            return self._list(state.marker, state.runs, now_ms)
        suspects = _suspects(run_id, there, state.marker)
        if not suspects:
            return self._next(state.marker, state.runs[1:])
        probe = Txn("probe", run_id, then=tuple([Holder(call.call_id) for call in suspects]))
        return Probing(state.marker, state.runs, suspects), probe

    def _probed(self, state: Probing, reply: TxnReply, _now_ms: int) -> Step:
        lost = [call for call, holder in zip(state.suspects, reply.replies, strict=True) if holder is None]
        if not lost:
            return self._next(state.marker, state.runs[1:])
        return Republishing(state.marker, state.runs), Publish(tuple(lost))

    def _republished(self, state: Republishing, _published: Published, _now_ms: int) -> Step:
        return self._next(state.marker, state.runs[1:])

    def _completed(self, state: Completing, reply: TxnReply, now_ms: int) -> Step:
        if not reply.held and reply.replies[0][0] == k.RUNNING:
            return self._next(state.marker, state.runs[1:])
        return self._list(state.marker, state.runs, now_ms)

    def _listed(self, state: Listing, _done: Indexed, _now_ms: int) -> Step:
        return self._unlist(state.marker, state.runs)

    def _unlisted(self, state: Unlisting, _done: Indexed, _now_ms: int) -> Step:
        return Confirming(state.marker, state.runs), self.steps.confirm(state.runs[0][0])

    def _confirmed(self, state: Confirming, reply: TxnReply, _now_ms: int) -> Step:
        if not reply.held:
            return self._next(state.marker, state.runs[1:])
        run_id, since = state.runs[0]
        return Relisting(state.marker, state.runs), IndexAdd(OPEN, ((run_id.encode(), since),))

    def _relisted(self, state: Relisting, _done: Indexed, _now_ms: int) -> Step:
        return self._next(state.marker, state.runs[1:])

    def _damaged(self, state: Scanning | Probing | Completing | Confirming, _what: Damaged, _now_ms: int) -> Step:
        """One damaged run must not keep the others from being found."""
        return self._next(state.marker, state.runs[1:])

    def _acked(self, state: Acking, _done: Acked, _now_ms: int) -> Step:
        return Scanned(state.marker), None

    def _scan(self, run_id: str, cursor: int) -> Txn:
        return Txn("scan", run_id, then=(Scan(cursor, FIELDS_AT_ONCE),))

    def _list(self, marker: Marker, runs: tuple[tuple[str, int], ...], now_ms: int) -> Step:
        return Listing(marker, runs), IndexAdd(FINISHED, ((runs[0][0].encode(), now_ms),))

    def _unlist(self, marker: Marker, runs: tuple[tuple[str, int], ...]) -> Step:
        return Unlisting(marker, runs), IndexRemove(OPEN, (runs[0][0].encode(),))


def _suspects(run_id: str, there: dict[str, bytes], marker: Marker) -> tuple[Message, ...]:
    """The run's calls on the marker's queue whose message was ahead of the marker, if there was one."""
    before = marker.sent_ms - SLACK_MS
    found = []
    for call in sorted([field[2:-2] for field in there if field.startswith("c:") and field.endswith(":r")]):
        try:
            record = decode_record(there[k.record(call)])
        except DecodeError:  # one broken record must not keep the others from being found
            continue
        message = Message(run_id, call, record.task)
        since = max(record.created_ms, number(there.get(k.due(call))))
        if message.queue == marker.queue and since < before and there.get(k.state(call)) != k.DEAD:
            found.append(message)
    return tuple(found)
