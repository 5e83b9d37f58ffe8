"""Every run is put on its list again, where the store has lost the list."""

from __future__ import annotations

import pytest

from pwf_runtime import Retry, Workflow, call
from pwf_runtime.core import keys as k
from pwf_runtime.core.effects import DEAD, FINISHED, OPEN
from pwf_runtime.core.txn import Put, Txn, TxnReply
from pwf_runtime.relist import Relisted, relist
from pwf_runtime.store.memory import MemoryStore

from .world import WAIT_S, World, eventually, world

app = Workflow("relisted")


@app.task(retry=Retry(max_attempts=1))
def die() -> None:
    raise RuntimeError


@app.task
def later() -> object:
    return call(end, delay=3_600.0)


@app.task
def end() -> None:
    """Nothing more."""


def listed(store: MemoryStore) -> dict[str, list[bytes]]:
    return {index: sorted(store.indexes.get(index, ())) for index in (OPEN, FINISHED, DEAD)}


def begun(w: World) -> dict[str, list[bytes]]:
    """Runs of each kind, and how they are listed."""
    for number in range(3):
        w.client.publish("end", run_id=f"ended-{number}").wait(WAIT_S)
    w.client.publish("later", run_id="open")
    for number in range(2):
        assert w.client.publish("die", run_id=f"dead-{number}").wait(WAIT_S).status == "dead"
    eventually(lambda: w.client.describe("open").calls and len(listed(w.store)[OPEN]) == 3)
    eventually(lambda: [len(names) for names in listed(w.store).values()] == [3, 3, 2])
    return listed(w.store)


def test_lists_that_are_lost_are_made_again_from_the_runs() -> None:
    with world(app) as w:
        before = begun(w)
        since = {index: dict(w.store.indexes[index]) for index in (OPEN, FINISHED)}
        assert relist(w.store, w.clock.now_ms()) == Relisted(runs=6)
        for index in before:
            w.store.indexes[index].clear()
        assert relist(w.store, 77) == Relisted(runs=6, open=3, ended=3, dead=2)
        assert listed(w.store) == before
        assert set(w.store.indexes[DEAD].values()) == {77}
        for index, members in since.items():
            for member, at in members.items():
                assert abs(w.store.indexes[index][member] - at) < 60_000, "since when it was so, not since now"
        assert [dead.run_id for dead in w.client.admin.dead()] == ["dead-1", "dead-0"]
        assert relist(w.store, 78) == Relisted(runs=6)


def test_a_run_that_cannot_be_read_holds_up_no_other() -> None:
    with world(app) as w:
        before = begun(w)
        w.store.txns([Txn("try", "dead-0", then=(Put(k.DEAD_COUNT, b"two"),))])
        w.store.txns([Txn("try", "ended-1", then=(Put(k.FINISHED, b"late"),))])
        for index in before:
            w.store.indexes[index].clear()
        found = relist(w.store, 77)
        assert (found.open, found.ended, found.dead, sorted(found.damaged)) == (3, 2, 1, ["dead-0", "ended-1"])
        assert listed(w.store)[OPEN] == before[OPEN]


def test_a_run_that_ends_meanwhile_does_not_stay_among_the_open_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    with world(app) as w:
        begun(w)
        w.store.indexes[OPEN].clear()
        txns = w.store.txns

        def ends(asked: list[Txn]) -> list[TxnReply]:
            replies = txns(asked)
            if len(asked) == 6:  # they have been asked what they are, and are not listed yet
                w.client.cancel("open")
            return replies

        monkeypatch.setattr(w.store, "txns", ends)
        assert relist(w.store, 77).open == 3
        assert sorted(w.store.indexes[OPEN]) == [b"dead-0", b"dead-1"]
