"""Random transactions, applied to every store alike: they must answer alike and end up alike.

The memory store is the oracle. The run goes on until every operation has been done, and every compare has both held and
failed: a generator that never reaches a case proves nothing about it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pwf_runtime.core import txn as t

from . import stores
from .stores import RUN, Arm, everything

MOST_ROUNDS = 40
TTL_MS = 100_000  # nothing runs out meanwhile; running out is tested clause by clause

# Few names, so that transactions meet. Numbers and bytes are kept apart: adding to bytes is an error, not an answer.
FIELDS = st.sampled_from(["a", "ü:#"])
NUMBERS = st.sampled_from(["n", "m"])
LISTS = st.sampled_from(["x", "y"])
NAMES = st.sampled_from([b"a", b"n", b"none"])
LEASES = st.sampled_from(["l", "k"])
TOKENS = st.sampled_from(["t1", "t2"])
VALUES = st.sampled_from([b"", b"\0\xff", b"v" * 100])
MANY = st.lists(st.one_of(FIELDS, NUMBERS), max_size=4).map(tuple)
TTLS = st.sampled_from([TTL_MS, TTL_MS, 0])

COMPARES = st.one_of(
    st.builds(t.Is, FIELDS, st.none() | VALUES),
    st.builds(t.Is, NUMBERS, st.sampled_from([None, b"1"])),
    st.builds(t.Has, st.one_of(FIELDS, NUMBERS)),
    st.builds(t.Held, LEASES, st.none() | TOKENS),
)
OPS = st.one_of(
    st.builds(t.Get, MANY),
    st.builds(t.Put, FIELDS, VALUES),
    st.builds(t.Add, NUMBERS, st.integers(-3, 3)),
    st.builds(t.Append, LISTS, VALUES),
    st.builds(t.Length, LISTS),
    st.builds(t.Range, LISTS, st.integers(0, 3), st.integers(0, 5)),
    st.builds(t.Delete, MANY),
    st.builds(t.Lease, LEASES, TOKENS, TTLS),
    st.builds(t.Release, LEASES),
    st.builds(t.Holder, LEASES),
    st.builds(t.Append, st.just("names"), NAMES),
    st.builds(t.Keep, MANY, st.sampled_from(["", "names"])),
    st.builds(t.Expire, TTLS | st.none()),
    st.just(t.Scan(0, 1000)),
)
TXNS = st.builds(
    t.Txn,
    st.just("random"),
    st.just(RUN),
    st.lists(COMPARES, max_size=2).map(tuple),
    st.lists(OPS, max_size=6).map(tuple),
    st.lists(OPS, max_size=3).map(tuple),
)
RUNS = (RUN, f"{RUN}-a", f"{RUN}-b")
BATCHES = st.lists(st.lists(TXNS, min_size=1, max_size=len(RUNS)), min_size=1, max_size=8)


def apart(batch: list[t.Txn]) -> list[t.Txn]:
    """Each on a run of its own: in which order a store does those of one run may differ where a compare fails."""
    return [replace(txn, run_id=run_id) for txn, run_id in zip(batch, RUNS, strict=False)]


def comparable(txn: t.Txn, reply: t.TxnReply) -> tuple[bool, tuple[Any, ...]]:
    """The reply without what may differ by a little: how much time a lease has left."""
    ops = txn.then if reply.held else txn.otherwise
    assert len(reply.replies) == len(ops)
    replies = []
    for op, answer in zip(ops, reply.replies, strict=True):
        if isinstance(op, t.Holder) and answer is not None:
            token, ms_left = answer
            assert 0 < ms_left <= TTL_MS
            replies.append((token, "some time"))
        else:
            replies.append(answer)
    return reply.held, tuple(replies)


def kind(compare: t.Compare) -> str:
    if isinstance(compare, t.Has):
        return "Has something"
    wanted = compare.value if isinstance(compare, t.Is) else compare.token
    return f"{type(compare).__name__} {'nothing' if wanted is None else 'something'}"


class Coverage:
    """What has been seen to happen."""

    def __init__(self) -> None:
        self.seen: set[tuple[str, str]] = set()

    def note(self, txn: t.Txn, reply: t.TxnReply) -> None:
        branch = "then" if reply.held else "otherwise"
        self.seen |= {(type(op).__name__, branch) for op in (txn.then if reply.held else txn.otherwise)}
        if reply.held or len(txn.compare) == 1:  # of several that failed, nobody knows which
            self.seen |= {(kind(compare), "held" if reply.held else "failed") for compare in txn.compare}

    def missing(self) -> set[tuple[str, str]]:
        ops = {(op.__name__, branch) for op in get_args(t.Op) for branch in ("then", "otherwise")}
        compares = {
            (f"{compare.__name__} {wanted}", outcome)
            for compare in get_args(t.Compare)
            for wanted in ("nothing", "something")
            if (compare, wanted) != (t.Has, "nothing")
            for outcome in ("held", "failed")
        }
        return (ops | compares) - self.seen


@contextmanager
def arms(*openings: Iterator[Arm]) -> Iterator[list[Arm]]:
    with ExitStack() as stack:
        yield [stack.enter_context(contextmanager(lambda opening=opening: opening)()) for opening in openings]


def agree(oracle: Arm, others: list[Arm], batches: list[list[t.Txn]], coverage: Coverage) -> None:
    for arm in (oracle, *others):
        arm.clear()
    for batch in map(apart, batches):
        replies = oracle.store.txns(batch)
        expected = [comparable(txn, reply) for txn, reply in zip(batch, replies, strict=True)]
        for txn, reply in zip(batch, replies, strict=True):
            coverage.note(txn, reply)
        for other in others:
            answers = other.store.txns(batch)
            found = [comparable(txn, reply) for txn, reply in zip(batch, answers, strict=True)]
            assert found == expected, f"{other.name} differs from {oracle.name}"
    for other in others:
        for run_id in RUNS:
            found, expected = everything(other.store, run_id), everything(oracle.store, run_id)
            assert found == expected, f"{other.name} ends otherwise than {oracle.name}"
        assert other.expires() == oracle.expires()


def hold(oracle: Iterator[Arm], *others: Iterator[Arm], rounds: int, phases: Sequence[Phase] = tuple(Phase)) -> None:
    """At least so many rounds of random transactions, and as many more as it takes to see every case."""
    coverage = Coverage()
    with arms(oracle, *others) as (first, *rest):

        @settings(
            max_examples=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
            phases=phases,
            derandomize=False,  # the default in CI, which would make all rounds the same
        )
        @given(BATCHES)
        def property_(batches: list[list[t.Txn]]) -> None:
            agree(first, rest, batches, coverage)

        for round_ in range(MOST_ROUNDS):
            if round_ >= rounds and not coverage.missing():
                return
            seed(round_)(property_)()
    assert not coverage.missing(), f"not seen in {MOST_ROUNDS} rounds"


@pytest.mark.servers
def test_memory_and_redis_agree(redis_url: str) -> None:
    hold(stores.memory(), stores.real(redis_url), rounds=6)


def test_memory_and_the_imitation_agree() -> None:
    """So that a machine without Redis has something to hold on to."""
    hold(stores.memory(), stores.imitation(), rounds=1)


# ── does it find anything? ────────────────────────────────────────────────────────────────────


def test_a_store_that_is_a_little_wrong_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted fault: the script's Keep forgets that an empty value is a value."""
    from pwf_runtime.store import redis as shell

    wrong = shell.SCRIPT.replace("if value then", "if value and value ~= '' then")
    assert wrong != shell.SCRIPT
    monkeypatch.setattr(shell, "SCRIPT", wrong)
    monkeypatch.setattr(shell, "SHA", "0" * 40)  # never known, so that it is sent each time
    with pytest.raises(AssertionError, match="fakeredis"):
        hold(stores.memory(), stores.imitation(), rounds=MOST_ROUNDS, phases=[Phase.generate])
