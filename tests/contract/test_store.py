"""The contract of a store, one test body per clause, on every implementation.

A clause is a sentence of ``core/txn.py`` or ``store/base.py``. What only Redis can do wrong is in ``test_redis.py``;
that all stores agree on whatever nobody thought of is in ``test_store_agreement.py``.
"""

from __future__ import annotations

import threading

import pytest

from pwf_runtime.core.txn import (
    Add,
    Append,
    Compare,
    Delete,
    Expire,
    Get,
    Has,
    Held,
    Holder,
    Is,
    Keep,
    Lease,
    Length,
    Op,
    Put,
    Range,
    Release,
    Scan,
    Txn,
    TxnReply,
)
from pwf_runtime.errors import RunDamaged

from .stores import RUN, Arm, everything

ODD_NAMES = [
    "ünïcode→",
    "with space",
    "c:0:x",
    "quote\"'",
    "back\\slash",
    "{brace}",
    "nul\0byte",
    "new\nline",
    "%41",
    "",
]
ODD_VALUES = [b"", b"\0", b"\xff\xfe", bytes(range(256)), "ü".encode(), b'{"json": null}', b"x" * 100_000]

# ── fields ────────────────────────────────────────────────────────────────────────────────────


def test_get_replies_the_values_in_the_order_asked(arm: Arm) -> None:
    arm.do(Put("a", b"1"), Put("b", b"2"))
    assert arm.do(Get(("b", "none", "a", "b"))) == TxnReply(True, ((b"2", None, b"1", b"2"),))


def test_get_of_nothing_is_an_empty_tuple(arm: Arm) -> None:
    assert arm.do(Get(()), Get(("a",)), Get(())).replies == ((), (None,), ())


def test_put_replies_none_and_the_last_one_stays(arm: Arm) -> None:
    assert arm.do(Put("a", b"1"), Put("a", b"2")).replies == (None, None)
    assert arm.get(Get(("a",))) == (b"2",)


@pytest.mark.parametrize("value", ODD_VALUES, ids=lambda value: repr(value[:8]))
def test_values_are_any_bytes(arm: Arm, value: bytes) -> None:
    arm.do(Put("a", value), Append("x", value))
    assert arm.do(Get(("a",)), Range("x", 0, 1), compare=(Is("a", value), Is("x:0", value))) == TxnReply(
        True, ((value,), (value,))
    )
    assert arm.fields()["a"] == value


@pytest.mark.parametrize("name", ODD_NAMES)
def test_names_are_any_text(arm: Arm, name: str) -> None:
    arm.do(Put(name, b"1"), Append(name, b"2"), Lease(name, name, 60_000))
    found = arm.do(Get((name,)), Range(name, 0, 9), Holder(name), compare=(Is(name, b"1"), Held(name, name)))
    assert found.held
    assert found.replies[:2] == ((b"1",), (b"2",))
    assert found.replies[2][0] == name
    assert arm.fields() == {name: b"1", f"{name}#": b"1", f"{name}:0": b"2"}


@pytest.mark.parametrize("run_id", ["a}b", "{", "}", "{}", "", "%7D", "a{b}c", "ü", "x y", "a:l:b", "a" * 500])
def test_a_run_has_its_fields_and_leases_to_itself(arm: Arm, run_id: str) -> None:
    others = [RUN, "a", "b", "a%7Db", "%", "%25", "a}"]
    arm.store.txns([Txn("put", other, then=(Put("f", b"other"), Lease("l", "other", 60_000))) for other in others])
    mine = (Is("f", None), Held("l", None))
    assert arm.store.txns([Txn("put", run_id, mine, (Put("f", b"mine"), Lease("l", "mine", 60_000)))])[0].held
    for other in others:
        unchanged = (Is("f", b"other"), Held("l", "other"))
        assert arm.store.txns([Txn("look", other, unchanged)])[0].held


def test_add_counts_from_nothing_in_both_directions(arm: Arm) -> None:
    assert arm.do(Add("n", 5), Add("n", -7), Add("n", 0)).replies == (5, -2, -2)
    assert arm.get(Get(("n",))) == (b"-2",)


def test_add_is_exact_where_a_double_is_not(arm: Arm) -> None:
    """Lua's numbers are doubles: they round from 2**53 on."""
    big = 2**53 + 1
    assert arm.do(Add("n", big), Add("n", 2), Add("m", -big)).replies == (big, big + 2, -big)


def test_delete_removes_and_forgives(arm: Arm) -> None:
    arm.do(Put("a", b"1"), Put("b", b"2"))
    assert arm.do(Delete(("a", "none")), Delete(()), Get(("a", "b"))).replies == (None, None, (None, b"2"))


# ── lists ─────────────────────────────────────────────────────────────────────────────────────


def test_append_replies_the_new_length(arm: Arm) -> None:
    assert arm.do(Append("x", b"a"), Append("x", b"b"), Append("y", b"c")).replies == (1, 2, 1)
    assert arm.do(Length("x"), Length("y"), Length("none")).replies == (2, 1, 0)


def test_a_list_is_kept_in_fields_that_can_be_compared(arm: Arm) -> None:
    arm.do(Append("x", b"a"), Append("x", b"b"))
    assert arm.fields() == {"x#": b"2", "x:0": b"a", "x:1": b"b"}


@pytest.mark.parametrize(
    ("start", "stop", "values"),
    [(0, 3, "abc"), (0, 2, "ab"), (1, 2, "b"), (1, 99, "bc"), (0, 2**62, "abc"), (3, 9, ""), (2, 1, ""), (0, 0, "")],
)
def test_range_is_half_open_and_ends_with_the_list(arm: Arm, start: int, stop: int, values: str) -> None:
    arm.do(Append("x", b"a"), Append("x", b"b"), Append("x", b"c"))
    assert arm.get(Range("x", start, stop)) == tuple(value.encode() for value in values)


def test_range_of_a_missing_list_is_empty(arm: Arm) -> None:
    assert arm.get(Range("none", 0, 10)) == ()


# ── compares ──────────────────────────────────────────────────────────────────────────────────

COMPARES: list[tuple[tuple[Compare, ...], bool]] = [
    ((), True),
    ((Is("a", b"1"),), True),
    ((Is("a", b"2"),), False),
    ((Is("a", b""),), False),
    ((Is("a", None),), False),
    ((Is("none", None),), True),
    ((Has("a"),), True),
    ((Has("none"),), False),
    ((Has("a"), Is("a", b"2")), False),
    ((Is("none", b""),), False),
    ((Held("l", "me"),), True),
    ((Held("l", "you"),), False),
    ((Held("l", ""),), False),
    ((Held("l", None),), False),
    ((Held("none", None),), True),
    ((Held("none", ""),), False),
    ((Held("none", "me"),), False),
    ((Is("a", b"1"), Is("none", None), Held("l", "me"), Held("none", None)), True),
    ((Held("none", None), Held("l", "me"), Is("none", None), Is("a", b"1")), True),
    ((Is("a", b"1"), Is("a", None)), False),
    ((Is("none", None), Is("a", b"2"), Held("l", "me")), False),
    ((Is("a", b"1"), Held("none", None), Held("l", "you")), False),
]


@pytest.mark.parametrize(("compare", "held"), COMPARES)
def test_then_if_every_compare_holds_else_otherwise(arm: Arm, compare: tuple[Compare, ...], held: bool) -> None:
    arm.do(Put("a", b"1"), Lease("l", "me", 60_000))
    reply = arm.do(Put("t", b"1"), Add("n", 1), compare=compare, otherwise=(Add("n", 10), Put("o", b"1"), Get(("a",))))
    assert reply == TxnReply(held, (None, 1) if held else (10, None, (b"1",)))
    assert arm.get(Get(("t", "o"))) == ((b"1", None) if held else (None, b"1"))


def test_a_compare_that_fails_leaves_everything_as_it_was(arm: Arm) -> None:
    arm.do(Put("a", b"1"), Lease("l", "me", 60_000), Append("x", b"v"))
    before = arm.fields()
    all_writes = (
        Put("a", b"2"),
        Add("n", 1),
        Append("x", b"w"),
        Delete(("a",)),
        Lease("l", "you", 1),
        Release("l"),
        Keep(()),
        Expire(0),
    )
    assert arm.do(*all_writes, compare=(Is("a", None),)) == TxnReply(False, ())
    assert arm.fields() == before
    assert arm.do(compare=(Held("l", "me"),)).held


def test_operations_see_the_ones_before_them(arm: Arm) -> None:
    reply = arm.do(
        Put("a", b"7"), Add("a", 1), Get(("a",)), Delete(("a",)), Get(("a",)), Append("x", b"v"), Range("x", 0, 9)
    )
    assert reply.replies == (None, 8, (b"8",), None, (None,), 1, (b"v",))


def test_a_transaction_of_nothing(arm: Arm) -> None:
    assert arm.store.txns([]) == []
    assert arm.do() == TxnReply(True, ())


# ── leases ────────────────────────────────────────────────────────────────────────────────────


def test_a_lease_is_held_until_released(arm: Arm) -> None:
    assert arm.do(Holder("l"), Lease("l", "me", 60_000)).replies == (None, None)
    token, ms_left = arm.get(Holder("l"))
    assert token == "me"
    assert type(ms_left) is int
    assert 30_000 < ms_left <= 60_000
    assert arm.do(Release("l"), Holder("l"), Release("l")).replies == (None, None, None)
    assert arm.do(compare=(Held("l", None),)).held


def test_a_lease_goes_to_whoever_asks_last(arm: Arm) -> None:
    arm.do(Lease("l", "me", 60_000), Lease("l", "you", 90_000))
    token, ms_left = arm.get(Holder("l"))
    assert (token, ms_left > 60_000) == ("you", True)


def test_a_lease_runs_out_by_the_clock_of_the_store(arm: Arm) -> None:
    arm.do(Lease("l", "me", 40), Lease("long", "me", 60_000))
    arm.advance(40)
    assert arm.do(Holder("l"), compare=(Held("l", None), Held("long", "me"))) == TxnReply(True, (None,))


def test_a_renewed_lease_runs_from_its_renewal(arm: Arm) -> None:
    arm.do(Lease("l", "me", 40))
    arm.do(Lease("l", "me", 60_000))
    arm.advance(40)
    assert arm.do(compare=(Held("l", "me"),)).held


@pytest.mark.parametrize("ttl_ms", [0, -5])
def test_a_lease_without_time_is_not_held(arm: Arm, ttl_ms: int) -> None:
    arm.do(Lease("l", "me", 60_000))
    assert arm.do(Lease("l", "me", ttl_ms), Holder("l")).replies == (None, None)


def test_leases_are_no_fields(arm: Arm) -> None:
    arm.do(Lease("l", "me", 60_000))
    assert arm.fields() == {}
    arm.do(Put("a", b"1"), Expire(0))
    assert arm.do(compare=(Held("l", "me"), Is("a", None))).held


# ── keep and expire ───────────────────────────────────────────────────────────────────────────


def test_keep_removes_every_other_field(arm: Arm) -> None:
    arm.do(Put("a", b"1"), Put("b", b"\0\xff"), Append("x", b"v"), Lease("l", "me", 60_000))
    assert arm.do(Keep(("b", "none"))).replies == (None,)
    assert arm.fields() == {"b": b"\0\xff"}
    assert arm.do(compare=(Held("l", "me"),)).held


def test_keep_of_nothing_removes_all(arm: Arm) -> None:
    arm.do(Put("a", b"1"), Keep(()))
    assert arm.fields() == {}
    arm.do(Keep(("a",)))
    assert arm.fields() == {}


def test_keep_spares_what_a_list_names(arm: Arm) -> None:
    """The list itself goes, and so does a field that is named nowhere; a name without a field is no error."""
    arm.do(Put("a", b"1"), Put("b", b"2"), Put("c", b"3"), Append("x", b"b"), Append("x", b"none"), Append("x", b"a"))
    assert arm.do(Keep(("a",), "x"), Length("x")).replies == (None, 0)
    assert arm.fields() == {"a": b"1", "b": b"2"}


def test_keep_with_a_list_that_is_not_there_or_has_a_hole(arm: Arm) -> None:
    arm.do(Put("a", b"1"), Put("b", b"2"), Keep(("a",), "x"))
    assert arm.fields() == {"a": b"1"}
    arm.do(Put("b", b"2"), Append("x", b"gone"), Append("x", b"b"), Delete(("x:0",)), Keep(("a",), "x"))
    assert arm.fields() == {"a": b"1", "b": b"2"}


def test_expire_removes_the_fields_in_time(arm: Arm) -> None:
    made = arm.do(Put("a", b"1"), Append("x", b"v"), Expire(40), Get(("a",)))
    assert made.replies == (None, 1, None, (b"1",))
    arm.advance(40)
    assert arm.do(Get(("a",)), Length("x"), compare=(Is("a", None),)) == TxnReply(True, ((None,), 0))


@pytest.mark.parametrize("ttl_ms", [0, -1])
def test_expire_without_time_removes_now(arm: Arm, ttl_ms: int) -> None:
    assert arm.do(Put("a", b"1"), Expire(ttl_ms), Get(("a",)), Put("b", b"2")).replies == (None, None, (None,), None)
    assert arm.fields() == {"b": b"2"}
    assert not arm.expires()


def test_the_last_expire_counts(arm: Arm) -> None:
    arm.do(Put("a", b"1"), Expire(40), Expire(60_000))
    arm.advance(40)
    assert arm.get(Get(("a",))) == (b"1",)
    arm.do(Expire(40))
    arm.advance(40)
    assert arm.fields() == {}


def test_an_expiry_can_be_taken_back(arm: Arm) -> None:
    assert arm.do(Put("a", b"1"), Expire(40), Expire(None)).replies == (None, None, None)
    arm.advance(40)
    assert arm.get(Get(("a",))) == (b"1",)
    assert not arm.expires()
    arm.do(Expire(None))
    arm.do(Expire(40))
    arm.advance(40)
    assert arm.fields() == {}


def test_writing_leaves_an_expiry_as_it_is(arm: Arm) -> None:
    arm.do(Put("a", b"1"), Expire(60_000))
    arm.do(Put("a", b"2"), Add("n", 1), Append("x", b"v"), Delete(("a",)))
    assert arm.expires()


def test_keep_leaves_an_expiry_as_it_is(arm: Arm) -> None:
    arm.do(Put("a", b"1"), Put("b", b"2"), Expire(60_000))
    arm.do(Keep(("a",)))
    assert arm.expires()
    arm.do(Expire(40), Put("b", b"2"), Keep(("a",)))
    arm.advance(40)
    assert arm.fields() == {}


EMPTYING = [Delete(("a",)), Keep(()), Expire(0)]


@pytest.mark.parametrize("emptying", EMPTYING, ids=lambda op: type(op).__name__)
@pytest.mark.parametrize("at_once", [True, False])
def test_the_expiry_goes_with_the_last_field(arm: Arm, emptying: Delete | Keep | Expire, at_once: bool) -> None:
    """Also when a field is put right after, in the same transaction."""
    arm.do(Put("a", b"1"), Expire(60_000))
    if at_once:
        arm.do(emptying, Put("b", b"2"))
    else:
        arm.do(emptying)
        arm.do(Put("b", b"2"))
    assert not arm.expires()


def test_expire_of_a_run_without_fields_does_nothing(arm: Arm) -> None:
    arm.do(Expire(60_000), Put("a", b"1"))
    assert not arm.expires()


# ── scan ──────────────────────────────────────────────────────────────────────────────────────


def test_scan_of_nothing(arm: Arm) -> None:
    assert arm.get(Scan(0, 10)) == (0, {})


@pytest.mark.parametrize(("count", "limit"), [(5, 100), (5, 1), (3000, 100), (3000, 5000)])
def test_scans_see_every_field(arm: Arm, count: int, limit: int) -> None:
    expected = {f"f{i}": b"%d" % i for i in range(count)}
    arm.do(*[Put(field, value) for field, value in expected.items()])
    assert everything(arm.store, limit=limit) == expected


def test_a_field_that_stays_is_seen_however_others_come_and_go(arm: Arm) -> None:
    stay = {f"stay{i}" for i in range(1000)}
    arm.do(*[Put(field, b"1") for field in sorted(stay)])
    cursor, seen, round_ = 0, set(), 0
    while True:
        cursor, some = arm.get(Scan(cursor, 50))
        seen |= set(some)
        if cursor == 0:
            break
        round_ += 1
        arm.do(Delete((f"zgone{round_ - 1}",)), Put(f"zgone{round_}", b"1"))
    assert stay <= seen


# ── many ──────────────────────────────────────────────────────────────────────────────────────

MANY = 20_000  # a fork of this width is one commit


def test_a_transaction_of_many_operations(arm: Arm) -> None:
    names = tuple(f"c{i}" for i in range(MANY))
    reply = arm.do(*[Put(name, name.encode()) for name in names], Add("open", MANY))
    assert reply.replies == (*[None] * MANY, MANY)
    values = tuple(name.encode() for name in names)
    assert arm.get(Get(names)) == values
    assert arm.do(compare=tuple(Is(name, name.encode()) for name in names)).held
    assert not arm.do(compare=(*[Is(name, name.encode()) for name in names], Is("last", b""))).held
    half = names[: MANY // 2]
    arm.do(Delete(half))
    assert len(arm.fields()) == MANY // 2 + 1
    arm.do(Keep(names[-9000:]))
    assert arm.fields() == {name: name.encode() for name in names[-9000:]}


def test_a_list_of_many_values(arm: Arm) -> None:
    arm.do(*[Append("x", b"%d" % i) for i in range(9000)])
    assert arm.get(Range("x", 0, 10**9)) == tuple(b"%d" % i for i in range(9000))
    assert arm.get(Range("x", 4500, 4503)) == (b"4500", b"4501", b"4502")


# ── several transactions, several clients ─────────────────────────────────────────────────────


def test_transactions_of_one_call_are_answered_in_order(arm: Arm) -> None:
    runs = [f"r{i}" for i in range(100)]
    replies = arm.store.txns([Txn("t", run, then=(Put("me", run.encode()), Get(("me",)))) for run in runs])
    assert [reply.replies[1] for reply in replies] == [(run.encode(),) for run in runs]
    held = [Txn("t", run, (Is("me", b"r7"),), (Add("n", 1),)) for run in runs]
    assert [reply.held for reply in arm.store.txns(held)] == [run == "r7" for run in runs]


def test_a_transaction_sees_the_ones_before_it_in_the_same_call(arm: Arm) -> None:
    take = Txn("take", RUN, (Held("l", None),), (Lease("l", "me", 60_000),), (Holder("l"),))
    first, second = arm.store.txns([take, take])
    assert (first.held, second.held, second.replies[0][0]) == (True, False, "me")


def test_a_claim_sent_twice_is_recognised(arm: Arm) -> None:
    """What the protocol does about a lost reply: the second finds its own token."""
    claim = Txn("claim", RUN, (Held("l", None), Is("s", None)), (Lease("l", "t1", 60_000),), (Holder("l"),))
    assert arm.store.txns([claim])[0].held
    again = arm.store.txns([claim])[0]
    assert (again.held, again.replies[0][0]) == (False, "t1")


def test_two_clients_see_one_truth(arm: Arm) -> None:
    mine = Txn("mine", RUN, (Is("owner", None),), (Put("owner", b"me"),), (Get(("owner",)),))
    yours = Txn("yours", RUN, (Is("owner", None),), (Put("owner", b"you"),), (Get(("owner",)),))
    assert arm.store.txns([mine])[0].held
    assert arm.other.txns([yours])[0] == TxnReply(False, ((b"me",),))
    arm.other.txns([Txn("drop", RUN, (Is("owner", b"me"),), (Delete(("owner",)),))])
    assert arm.other.txns([yours])[0].held
    assert arm.store.txns([mine])[0] == TxnReply(False, ((b"you",),))


def test_clients_that_run_into_each_other_lose_nothing(arm: Arm) -> None:
    """Each thread marks and counts ``per`` things; things named alike are counted once, whoever comes first."""
    threads, per = 6, 40
    won: list[int] = []

    def work(number: int) -> None:
        store = arm.store if number % 2 else arm.other
        count = 0
        for i in range(per):
            once = Txn("once", RUN, (Is(f"mark{i}", None),), (Put(f"mark{i}", b"%d" % number), Add("n", 1)))
            count += store.txns([once, Txn("each", RUN, then=(Append("x", b"%d" % number),))])[0].held
        won.append(count)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert len(won) == threads
    assert sum(won) == per
    assert arm.do(Get(("n",)), Length("x")).replies == ((b"%d" % per,), threads * per)


# ── damage ────────────────────────────────────────────────────────────────────────────────────

NO_NUMBERS = [b"x", b"007", b"1.5", b"", b"9" * 19, b"-"]


@pytest.mark.parametrize("bad", NO_NUMBERS)
@pytest.mark.parametrize("op", [Add("n", 1), Append("x", b"v")], ids=["add", "append"])
def test_nothing_is_done_when_an_operation_cannot_be(arm: Arm, op: Op, bad: bytes) -> None:
    """Nobody rolls back, so a store looks before it writes. The error names the run, the field and the remedy."""
    arm.do(Put("n", bad), Put("x#", bad))
    said = rf"run '{RUN}' is damaged: the field '?(n|x#)'? holds no number .*'test'.*`pwf cancel {RUN}`"
    with pytest.raises(RunDamaged, match=said):
        arm.do(Put("before", b"1"), op)
    with pytest.raises(RunDamaged, match=said):
        arm.do(compare=(Is("n", b"other"),), otherwise=(Put("before", b"1"), op))
    assert arm.fields() == {"n": bad, "x#": bad}
    assert arm.do(op, compare=(Is("n", b"other"),), otherwise=(Get(("n",)),)).replies == ((bad,),)


@pytest.mark.parametrize("op", [Length("x"), Range("x", 0, 9)], ids=["length", "range"])
def test_a_list_whose_length_is_no_number_cannot_be_read(arm: Arm, op: Op) -> None:
    arm.do(Put("x#", b"many"))
    with pytest.raises(RunDamaged, match=rf"run '{RUN}' is damaged: .*(x#|many)"):
        arm.do(op)


def test_a_damaged_run_holds_up_no_other(arm: Arm) -> None:
    """All others of the batch are done, and what they were answered is told with the damage."""
    arm.store.txns([Txn("put", run, then=(Put("n", b"much"),)) for run in ("b", "d")])
    with pytest.raises(RunDamaged, match="run 'b' is damaged") as caught:
        arm.store.txns([Txn("count", run, then=(Add("n", 1),)) for run in "abcde"])
    told = [each.run_id if isinstance(each, RunDamaged) else each for each in caught.value.replies]
    one = TxnReply(True, (1,))
    assert told == [one, "b", one, "d", one]
    assert [everything(arm.store, run)["n"] for run in "abcde"] == [b"1", b"much", b"1", b"much", b"1"]


# ── which runs there are ──────────────────────────────────────────────────────────────────────


def test_every_run_that_has_fields_is_named_as_it_was_given(arm: Arm) -> None:
    strange = ["{", "}", "{}", "%", "%7B", "100%", "a:l:b", "a*b?[c]", "ü", "x" * 200]
    for run_id in [*strange, *[f"run {i}" for i in range(1_500)]]:
        arm.store.txns([Txn("try", run_id, then=(Put("a", b"1"),))])
    arm.store.txns([Txn("try", "only a lease", then=(Lease("l", "t", 60_000),))])
    arm.store.txns([Txn("try", "run 3", then=(Delete(("a",)),))])
    arm.store.index_add("open", [(b"listed and not there", 1)])
    found = list(arm.store.run_ids())
    assert set(found) == {*strange, *[f"run {i}" for i in range(1_500) if i != 3]}


def test_no_run_is_named_where_there_is_none(arm: Arm) -> None:
    assert list(arm.store.run_ids()) == []


# ── indexes ───────────────────────────────────────────────────────────────────────────────────


def test_an_index_is_read_by_score_then_member(arm: Arm) -> None:
    arm.store.index_add("timers", [(b"z", 5), (b"b", 10), (b"a", 10), (b"\xff\0", 10), (b"late", 11), (b"neg", -3)])
    due = [(b"neg", -3), (b"z", 5), (b"a", 10), (b"b", 10), (b"\xff\0", 10)]
    assert arm.store.index_read("timers", 10, 100) == due
    assert arm.other.index_read("timers", 10, 2) == due[:2]
    assert arm.store.index_read("timers", 10, 0) == []
    assert arm.store.index_read("timers", -4, 100) == []
    assert arm.store.index_size("timers") == 6


def test_scores_are_milliseconds_exactly(arm: Arm) -> None:
    now_ms = 1_764_000_000_123
    arm.store.index_add("timers", [(b"a", now_ms), (b"b", now_ms + 1)])
    [(member, score)] = arm.store.index_read("timers", now_ms, 10)
    assert (member, score, type(score)) == (b"a", now_ms, int)


def test_index_add_is_idempotent_and_moves(arm: Arm) -> None:
    for _ in range(2):
        arm.store.index_add("timers", [(b"a", 1), (b"b", 2)])
    assert arm.store.index_size("timers") == 2
    arm.store.index_add("timers", [(b"a", 9), (b"a", 7)])
    assert arm.store.index_read("timers", 100, 10) == [(b"b", 2), (b"a", 7)]


def test_index_remove_is_idempotent(arm: Arm) -> None:
    arm.store.index_add("timers", [(b"a", 1), (b"b", 2)])
    for _ in range(2):
        arm.store.index_remove("timers", [b"a", b"none"])
    assert arm.store.index_read("timers", 100, 10) == [(b"b", 2)]
    arm.store.index_remove("timers", [b"b"])
    assert arm.store.index_size("timers") == 0


def test_an_index_of_nothing(arm: Arm) -> None:
    arm.store.index_add("timers", [])
    arm.store.index_remove("timers", [])
    arm.store.index_remove("timers", [b"a"])
    assert arm.store.index_read("timers", 100, 10) == []
    assert arm.store.index_size("timers") == 0


def test_indexes_and_runs_are_apart(arm: Arm) -> None:
    arm.store.index_add("open", [(b"a", 1)])
    arm.store.index_add("dead", [(b"b", 2)])
    arm.do(Put("a", b"1"))
    assert arm.store.index_read("open", 9, 9) == [(b"a", 1)]
    assert arm.store.index_read("dead", 9, 9) == [(b"b", 2)]
    assert everything(arm.store, "open") == {}
