"""Workers and clients that wait for a replica: what it has not got is not done, and nothing follows from it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from msgspec import structs

from pwf_runtime import StoreUnavailable, Workflow, call, result
from pwf_runtime.client import Client, connect, connections
from pwf_runtime.config import Settings
from pwf_runtime.core import keys as k
from pwf_runtime.core.ids import ROOT_CALL
from pwf_runtime.core.txn import Add, Get, Is, Put, Txn
from pwf_runtime.store.redis import RedisStore
from pwf_runtime.worker import Worker
from tests.servers.redis import RedisServer

from .processes import END_S, Servers, eventually

STRICT = Settings(timeout=END_S, lease=5.0, wait_replicas=1, wait_timeout=0.2)
IMPATIENT = structs.replace(STRICT, timeout=1.0)


class Pair:
    """A master and its replica. Both are ours: the replica may be paused and killed."""

    def __init__(self) -> None:
        self.master = RedisServer()
        self.master.start()
        self.replica = RedisServer("--replicaof", "127.0.0.1", str(self.master.port), "--repl-diskless-sync-delay", "0")

    def connect(self) -> None:
        """Start the replica, unless it runs, and wait until it has all that its master has."""
        self.replica.start()
        self.replica.resume()
        eventually(lambda: self.told("replication")["master_link_status"] == "up", END_S)

    def told(self, section: str) -> dict[str, Any]:
        with self.replica.client() as client:
            return dict(client.info(section))

    def close(self) -> None:
        self.replica.stop()
        self.master.stop()


@pytest.fixture(scope="module")
def running() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.close()


@pytest.fixture
def pair(running: Pair) -> Pair:
    running.connect()
    running.master.flush()
    return running


@contextmanager
def opened(pair: Pair, replicas: int = 1, timeout: float = 0.2) -> Iterator[RedisStore]:
    store = RedisStore(pair.master.url, replicas=replicas, replicas_timeout=timeout)
    try:
        yield store
    finally:
        store.close()


def add(run_id: str = "run") -> Txn:
    return Txn("count", run_id, then=(Add("n", 1),))


def test_what_a_replica_has_got_is_done(pair: Pair) -> None:
    with opened(pair, timeout=END_S) as store:
        assert [reply.replies for reply in store.txns([add(), add()])] == [(1,), (2,)]
        store.index_add("timers", [(b"a", 5), (b"b", 7)])
        store.index_remove("timers", [b"a"])
        assert store.index_read("timers", 9, 9) == [(b"b", 7)]
    with pair.replica.client() as client:
        assert client.hget("pwf:{run}", "n") == b"2"
        assert client.zrange("pwf:timers", 0, -1, withscores=True) == [(b"b", 7.0)]


@pytest.mark.parametrize("replicas", [1, 2])
def test_what_too_few_have_got_is_an_unknown_outcome(pair: Pair, replicas: int) -> None:
    if replicas == 1:
        pair.replica.pause()
    said = rf"{replicas - 1} of {replicas} replicas of Redis at .* after 0.2 s; it counts as not known"
    with opened(pair, replicas) as store:
        eventually(lambda: re.search(said, refusal(lambda: store.txns([add()]))), END_S)
        eventually(lambda: re.search(said, refusal(lambda: store.index_add("timers", [(b"a", 5)]))), END_S)


def refusal(ask: Callable[[], Any]) -> str:
    """What is said. On a busy machine the replica that is there may also have been too late."""
    with pytest.raises(StoreUnavailable) as raised:
        ask()
    return str(raised.value)


def test_what_is_found_done_already_counts_only_once_a_replica_has_it(pair: Pair) -> None:
    """The first try was done and not replicated. The second finds that, writes nothing, and has another connection: it
    must wait for what the first one wrote all the same, and so must whoever only reads it."""
    once = Txn("once", "run", (Is("mine", None),), (Put("mine", b"1"),))
    pair.replica.pause()
    for _ in range(2):
        with opened(pair) as store, pytest.raises(StoreUnavailable):
            store.txns([once])
    with opened(pair) as store, pytest.raises(StoreUnavailable):
        store.txns([Txn("read", "run", then=(Get(("mine",)),))])
    pair.replica.resume()
    with opened(pair, timeout=END_S) as store:
        assert store.txns([Txn("read", "run", then=(Get(("mine",)),))])[0].replies == ((b"1",),)
    with pair.replica.client() as client:
        assert client.hget("pwf:{run}", "mine") == b"1"


@pytest.mark.parametrize(("replicas", "level"), [(1, "ok"), (2, "fail")])
def test_doctor_counts_them_where_they_are_waited_for(pair: Pair, replicas: int, level: str) -> None:
    with opened(pair, replicas) as store:
        (found,) = [finding for finding in store.check() if finding.subject == "redis replicas"]
    assert found.level == level
    assert found.message.startswith(f"1 connected, {replicas} waited for")
    with opened(pair, replicas=0) as store:
        assert "redis replicas" not in [finding.subject for finding in store.check()]


def test_every_program_can_be_told_by_the_environment(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here there is no replica at all: a run that is begun counts as not known to be begun, and a doctor says why."""
    monkeypatch.setitem(servers.environ, "PWF_WAIT_REPLICAS", "1")
    refused = servers.pwf("publish", "strict.task")
    assert (refused.returncode, "0 of 1 replicas of Redis at" in refused.stderr) == (1, True)
    assert "publish with the same run_id again to be sure" in refused.stderr
    checked = servers.pwf("doctor")
    assert (checked.returncode, "0 connected, 1 waited for: nothing goes on until they are" in checked.stdout) == (
        1,
        True,
    )


def test_nobody_waits_for_replicas_unless_asked(pair: Pair) -> None:
    pair.replica.pause()
    with opened(pair, replicas=0) as store:
        assert store.txns([add()])[0].replies == (1,)


class Unlucky:
    """A store whose replica goes away when it is about to send its first commit: nothing else is in between, that would
    be waited for before."""

    def __init__(self, store: Any, goes_away: Callable[[], None]) -> None:
        self._store, self._left = store, [goes_away]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def txns(self, txns: Sequence[Txn]) -> Any:
        if self._left and any(txn.label == "commit" for txn in txns):
            self._left.pop()()
        return self._store.txns(txns)


@contextmanager
def working(
    servers: Servers, pair: Pair, *apps: Workflow, goes_away: Callable[[], None] = lambda: None
) -> Iterator[Client]:
    store, transport = connections(servers.amqp_url, pair.master.url, STRICT)
    worker = Worker(apps, Unlucky(store, goes_away), transport, STRICT)  # type: ignore[arg-type]
    worker.start(END_S)
    try:
        with connect(apps, servers.amqp_url, pair.master.url, settings=STRICT) as client:
            yield client
    finally:
        worker.stop(grace=0)
        store.close()


def waits(pair: Pair) -> int:
    """How often anybody has waited for the replica."""
    with pair.master.client() as behind:
        return int(behind.info("commandstats").get("cmdstat_wait", {}).get("calls", 0))


def committed(pair: Pair, run_id: str) -> bool:
    with pair.master.client() as behind:
        return behind.hget(f"pwf:{{{run_id}}}", k.state(ROOT_CALL)) == k.COMMITTED


@pytest.mark.parametrize("how", ["pause", "kill"])
def test_nothing_is_published_while_the_replica_is_away_and_all_goes_on_when_it_is_back(
    servers: Servers, pair: Pair, how: str
) -> None:
    """It is away when a task is committed: what that created is on the master, and is not published."""
    app, following = Workflow(f"strict_{how}"), Workflow(f"strict_{how}_next")
    following.subscribe("second", lambda: result("done"))

    @app.task
    def first() -> Any:
        return call(f"strict_{how}_next.second")

    with working(servers, pair, following):
        pass  # which leaves its queue
    with working(servers, pair, app, goes_away=getattr(pair.replica, how)) as client:
        before = waits(pair)
        run = client.publish(first)
        eventually(lambda: committed(pair, run.id) and waits(pair) >= before + 6, END_S)
        assert servers.depth(following.name) == 0
        with (
            connect(app, servers.amqp_url, pair.master.url, settings=IMPATIENT) as impatient,
            pytest.raises(StoreUnavailable, match="0 of 1 replicas"),
        ):
            impatient.publish(first, run_id="another")
        pair.connect()
        eventually(lambda: servers.depth(following.name) == 1, END_S)
    with working(servers, pair, following) as client:
        assert client.wait(run.id, END_S).result == "done"
