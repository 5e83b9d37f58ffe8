"""The driver: many machines' effects in one go, and each performed until its outcome is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from pwf_runtime.clock import SystemClock
from pwf_runtime.codec import decode_message
from pwf_runtime.core.effects import Ack, Effect, IndexAdd, IndexRead, IndexRemove, Publish, RunTask
from pwf_runtime.core.inputs import Acked, Damaged, Entries, Indexed, Published
from pwf_runtime.core.model import Marker, Message
from pwf_runtime.core.txn import Add, Get, Put, Txn, TxnReply
from pwf_runtime.driver import PORTION, Driver
from pwf_runtime.errors import StoreUnavailable
from pwf_runtime.pause import FIRST_S, LONGEST_S, NEVER
from pwf_runtime.store.memory import MemoryStore
from pwf_runtime.transport.base import Confirmed, Delivery, Down, Lost, Publication, Up

A, B = Message("run", "a", "q.task"), Message("run", "b", "p.task")


class Store(MemoryStore):
    """Counts round trips; ``away`` makes each raise, ``does_it_first`` only after it was done."""

    def __init__(self) -> None:
        super().__init__(SystemClock())
        self.trips: list[str] = []
        self.away = False
        self.does_it_first = False

    def txns(self, txns: Sequence[Txn]) -> list[TxnReply]:
        self.trips.append(f"{len(txns)} txns")
        replies = super().txns(txns) if self.does_it_first or not self.away else []
        self._check()
        return replies

    def index_add(self, index: str, entries: Sequence[tuple[bytes, int]]) -> None:
        self.trips.append(f"add {len(entries)} to {index}")
        self._check()
        super().index_add(index, entries)

    def index_remove(self, index: str, members: Sequence[bytes]) -> None:
        self.trips.append(f"remove {len(members)} from {index}")
        self._check()
        super().index_remove(index, members)

    def index_read(self, index: str, upto: int, limit: int) -> list[tuple[bytes, int]]:
        self.trips.append(f"read {index}")
        self._check()
        return super().index_read(index, upto, limit)

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailable("gone")


class Transport:
    """Takes publications and acks, and says nothing by itself."""

    def __init__(self) -> None:
        self.batches: list[list[Publication]] = []
        self.acked: list[list[Delivery]] = []

    def publish(self, publications: Sequence[Publication]) -> None:
        self.batches.append(list(publications))

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        self.acked.append(list(deliveries))

    @property
    def published(self) -> list[Publication]:
        return [publication for batch in self.batches for publication in batch]

    @property
    def tickets(self) -> list[int]:
        return [publication.ticket for publication in self.published]


class Bench:
    def __init__(self) -> None:
        self.store = Store()
        self.transport = Transport()
        self.ran: list[tuple[int, RunTask]] = []
        self.driver = Driver(self.store, self.transport, lambda *asked: self.ran.append(asked))  # type: ignore[arg-type]

    def perform(self, *effects: Effect) -> list[Any]:
        """Effects of owners 0, 1, 2 ..."""
        return self.driver.perform(list(enumerate(effects)))

    def heard(self, *events: Any) -> list[Any]:
        return [answer for event in events for answer in self.driver.heard(event)]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def put(field: str, run_id: str = "run") -> Txn:
    return Txn("put", run_id, then=(Put(field, b"1"),))


def delivery(tag: int) -> Delivery:
    return Delivery("q", b"body", 1, tag)


# ── batches ───────────────────────────────────────────────────────────────────────────────────


def test_transactions_of_many_machines_are_one_round_trip(bench: Bench) -> None:
    answers = bench.perform(*[put(f"f{i}", f"run {i % 3}") for i in range(50)])
    assert bench.store.trips == ["50 txns"]
    assert answers == [(i, TxnReply(True, (None,))) for i in range(50)]


def test_each_machine_gets_the_reply_to_its_own_transaction(bench: Bench) -> None:
    count = Txn("add", "run", then=(Add("n", 1),))
    assert bench.perform(count, count, count) == [(i, TxnReply(True, (i + 1,))) for i in range(3)]


def test_messages_of_many_machines_are_one_batch(bench: Bench) -> None:
    assert bench.perform(Publish((A, B)), Publish((A,))) == []
    assert [len(batch) for batch in bench.transport.batches] == [3]
    assert [publication.queue for publication in bench.transport.published] == ["q", "p", "q"]
    assert [decode_message(publication.body) for publication in bench.transport.published] == [A, B, A]
    assert len(set(bench.transport.tickets)) == 3


def test_entries_of_many_machines_go_to_an_index_together(bench: Bench) -> None:
    adds = [IndexAdd("timers", ((b"%d" % i, i),)) for i in range(5)]
    answers = bench.perform(*adds, IndexRemove("open", (b"x",)), IndexRemove("open", (b"y",)))
    assert bench.store.trips == ["add 5 to timers", "remove 2 from open"]
    assert answers == [(i, Indexed()) for i in range(7)]
    assert bench.perform(IndexRead("timers", 2, 10)) == [(0, Entries(((b"0", 0), (b"1", 1), (b"2", 2))))]


def test_acks_go_together_and_each_once(bench: Bench) -> None:
    """L8: what is acked is what the machine held, and only when it asked."""
    for owner in (0, 1):
        bench.driver.holds(owner, delivery(owner))
    assert bench.perform(Ack(), Ack()) == [(0, Acked()), (1, Acked())]
    assert bench.transport.acked == [[delivery(0), delivery(1)]]
    assert bench.perform(Ack()) == [(0, Acked())], "a second one is answered, and sends nothing"
    assert bench.transport.acked[1:] == [[]]


def test_a_task_is_started_and_not_answered(bench: Bench) -> None:
    task = RunTask(A, 1, "token", b"data", ())
    assert bench.perform(task) == []
    assert bench.ran == [(0, task)]


def test_all_kinds_at_once(bench: Bench) -> None:
    bench.driver.holds(3, delivery(3))
    answers = bench.perform(put("f"), IndexAdd("open", ((b"r", 1),)), Publish((A,)), Ack())
    assert dict(answers) == {0: TxnReply(True, (None,)), 1: Indexed(), 3: Acked()}
    assert len(bench.transport.published) == 1


def test_nothing_to_do_is_no_round_trip(bench: Bench) -> None:
    assert bench.perform() == []
    assert (bench.store.trips, bench.transport.batches, bench.transport.acked) == ([], [], [])


# ── a store that is away ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "effect", [put("f"), IndexAdd("open", ((b"r", 1),)), IndexRemove("open", (b"r",)), IndexRead("open", 9, 9)]
)
def test_what_the_store_does_not_answer_waits_and_is_done_again(bench: Bench, effect: Effect) -> None:
    """An effect is performed until its outcome is known. The machine never sees any of that."""
    bench.store.away = True
    assert bench.perform(effect) == []
    assert bench.driver.deferred == [(0, effect)]
    assert isinstance(bench.driver.store_error, StoreUnavailable)
    assert bench.driver.retry() == []
    assert bench.driver.deferred == [(0, effect)]
    bench.store.away = False
    ((owner, _),) = bench.driver.retry()
    assert owner == 0
    assert (bench.driver.deferred, bench.driver.store_error) == ([], None)
    assert bench.driver.retry() == []


def test_what_was_done_and_not_answered_is_done_again(bench: Bench) -> None:
    """A lost reply is an unknown outcome: nobody may take it for a yes or a no."""
    bench.store.away = bench.store.does_it_first = True
    assert bench.perform(Txn("add", "run", then=(Add("n", 1),))) == []
    bench.store.away = False
    assert bench.driver.retry() == [(0, TxnReply(True, (2,)))]


def test_what_waits_goes_out_together(bench: Bench) -> None:
    bench.store.away = True
    for field in "abc":
        bench.perform(put(field))
    bench.store.trips.clear()
    bench.store.away = False
    assert len(bench.driver.retry()) == 3
    assert bench.store.trips == ["3 txns"]


def test_a_store_that_is_away_holds_up_no_publish_and_no_ack(bench: Bench) -> None:
    bench.store.away = True
    bench.driver.holds(2, delivery(2))
    assert bench.perform(put("f"), Publish((A,)), Ack()) == [(2, Acked())]
    assert len(bench.transport.published) == 1


def test_entries_that_were_added_before_the_store_went_are_added_again(bench: Bench) -> None:
    """Adding is idempotent, so all of a round that broke off in the middle is done again."""

    class Breaks(Store):
        def index_remove(self, index: str, members: Sequence[bytes]) -> None:
            self.away = True
            super().index_remove(index, members)

    bench.driver.store = store = Breaks()
    assert bench.perform(IndexAdd("timers", ((b"t", 1),)), IndexRemove("open", (b"r",))) == []
    assert len(bench.driver.deferred) == 2
    assert store.indexes["timers"] == {b"t": 1}


def test_a_damaged_run_is_told_to_its_machine_and_the_others_get_their_replies(bench: Bench) -> None:
    bench.perform(Txn("put", "run", then=(Put("n", b"much"),)))
    count = Txn("add", "run", then=(Add("n", 1),))
    answers = bench.perform(put("f"), count, Txn("add", "other", then=(Add("n", 1),)))
    damaged = Damaged("run", "the field 'n' holds no number ('add')")
    assert answers == [(0, TxnReply(True, (None,))), (1, damaged), (2, TxnReply(True, (1,)))]
    assert not bench.driver.deferred


def test_another_error_of_the_store_is_not_taken_for_its_absence(bench: Bench) -> None:
    with pytest.raises(KeyError):
        bench.perform(Txn("odd", "run", then=("no operation",)))  # type: ignore[arg-type]
    assert not bench.driver.deferred


# ── publishing ────────────────────────────────────────────────────────────────────────────────


def test_a_publish_is_answered_when_its_last_message_is_confirmed(bench: Bench) -> None:
    """L8: not before; confirms may come in any order."""
    bench.perform(Publish((A, B, A)))
    first, second, third = bench.transport.tickets
    assert bench.heard(Confirmed(third), Confirmed(first)) == []
    assert bench.heard(Confirmed(second)) == [(0, Published(()))]
    assert bench.heard(Confirmed(second), Confirmed(first)) == [], "said twice, answered once"


def test_confirms_of_several_machines_do_not_mix(bench: Bench) -> None:
    bench.perform(Publish((A,)), Publish((B, B)))
    mine, *others = bench.transport.tickets
    assert bench.heard(Confirmed(others[0]), Confirmed(mine)) == [(0, Published(()))]
    assert bench.heard(Confirmed(others[1])) == [(1, Published(()))]


def test_what_no_queue_took_is_named(bench: Bench) -> None:
    """Returned, then confirmed: it is not stored, and must not count as sent."""
    marker = Marker("nowhere", 1)
    bench.perform(Publish((A, B, marker)))
    first, second, third = bench.transport.tickets
    answers = bench.heard(Confirmed(third, returned=True), Confirmed(second, returned=True), Confirmed(first))
    assert answers == [(0, Published((marker, B)))]


def test_a_lost_publish_is_published_again(bench: Bench) -> None:
    """With a fresh ticket; an answer to the old one means nothing any more."""
    bench.perform(Publish((A, B)))
    first, second = bench.transport.tickets
    assert bench.heard(Confirmed(first), Lost(second)) == []
    after_a_pause(bench)
    third = bench.transport.tickets[-1]
    assert third not in (first, second)
    assert decode_message(bench.transport.published[-1].body) == B
    assert bench.heard(Confirmed(second)) == []
    assert bench.heard(Confirmed(third)) == [(0, Published(()))]


def after_a_pause(bench: Bench, now: float = 100.0) -> float:
    """Publish again what was refused; when the next pause is over."""
    due = bench.driver.publish_again(now)
    return bench.driver.publish_again(due)


def test_a_broker_that_refuses_is_asked_ever_later(bench: Bench) -> None:
    """And not at once: a full queue refuses again, as fast as the way there and back is short."""
    bench.perform(Publish((A,)))
    now, gaps = 100.0, []
    for _ in range(8):
        bench.heard(Lost(bench.transport.tickets[-1]))
        published = len(bench.transport.published)
        due = bench.driver.publish_again(now)
        assert bench.driver.publish_again((now + due) / 2) == due, "its pause is not over"
        assert len(bench.transport.published) == published
        gaps.append(due - now)
        bench.driver.publish_again(due)
        assert len(bench.transport.published) == published + 1
        now = due
    assert gaps == pytest.approx([0.1, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0])
    assert bench.heard(Confirmed(bench.transport.tickets[-1])) == [(0, Published(()))]
    assert bench.driver.publish_again(now + LONGEST_S) == NEVER, "nothing waits any more"


def test_what_is_taken_at_last_makes_pauses_short_again(bench: Bench) -> None:
    bench.perform(Publish((A,)))
    now = 100.0
    for _ in range(6):
        bench.heard(Lost(bench.transport.tickets[-1]))
        now = after_a_pause(bench, now)
    bench.heard(Confirmed(bench.transport.tickets[-1]))
    assert bench.driver.publish_again(now) == NEVER
    bench.perform(Publish((B,)))
    bench.heard(Lost(bench.transport.tickets[-1]))
    assert bench.driver.publish_again(now) == pytest.approx(now + FIRST_S)


def test_what_was_refused_goes_out_in_portions_of_each_queue(bench: Bench) -> None:
    """One queue is full and the other is not: neither waits behind all that the other has. None is forgotten."""
    many = 3 * PORTION - 10
    bench.perform(Publish((A,) * many + (B,)))
    bench.heard(*map(Lost, bench.transport.tickets))
    assert bench.driver.refused() == {"q": many, "p": 1}
    now, answers = bench.driver.publish_again(100.0), []
    for _ in range(3):
        now = bench.driver.publish_again(now)
        batch = bench.transport.batches[-1]
        assert len(batch) <= PORTION + 1
        answers += bench.heard(*[Confirmed(publication.ticket) for publication in batch])
    assert answers == [(0, Published(()))]
    assert [publication.queue for publication in bench.transport.batches[1]].count("p") == 1
    assert bench.driver.refused() == {}


def test_while_the_connection_is_down_no_pause_is_over(bench: Bench) -> None:
    bench.perform(Publish((A,)))
    bench.heard(Lost(bench.transport.tickets[-1]))
    due = bench.driver.publish_again(100.0)
    bench.heard(Down("gone"))
    assert bench.driver.publish_again(due) == NEVER
    assert len(bench.transport.published) == 1
    bench.heard(Up())
    assert len(bench.transport.published) == 2
    assert bench.driver.publish_again(due) == NEVER


def test_what_is_lost_while_the_connection_is_down_waits_for_it(bench: Bench) -> None:
    """Else it would be lost again and again, in a hot loop."""
    bench.perform(Publish((A, B)))
    first, second = bench.transport.tickets
    bench.heard(Down("gone"), Lost(first), Lost(second))
    assert len(bench.transport.published) == 2
    bench.heard(Up())
    assert [len(batch) for batch in bench.transport.batches] == [2, 2]
    assert [decode_message(publication.body) for publication in bench.transport.published[2:]] == [A, B]
    assert bench.heard(*map(Confirmed, bench.transport.tickets[2:])) == [(0, Published(()))]
    bench.heard(Up())
    assert len(bench.transport.batches) == 2, "sent again once, not with every connection"


def test_a_publish_during_an_outage_is_lost_and_waits_too(bench: Bench) -> None:
    bench.heard(Down("gone"))
    bench.perform(Publish((A,)))
    bench.heard(Lost(bench.transport.tickets[-1]))
    bench.heard(Up())
    assert bench.heard(Confirmed(bench.transport.tickets[-1])) == [(0, Published(()))]


def test_what_nobody_asked_for_is_dropped(bench: Bench) -> None:
    assert bench.heard(Confirmed(99), Lost(98), Up(), Down("x"), delivery(1)) == []
    assert bench.transport.published == []


def test_a_reply_reads_what_its_own_transaction_wrote(bench: Bench) -> None:
    """In the order in which a machine asked, whatever others ask in the same round."""
    both = Txn("both", "run", then=(Put("f", b"x"), Get(("f",))))
    other = Txn("both", "run", then=(Put("f", b"y"), Get(("f",))))
    assert bench.perform(both, other) == [(0, TxnReply(True, (None, (b"x",)))), (1, TxnReply(True, (None, (b"y",))))]
