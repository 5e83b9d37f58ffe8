"""What only the store in Redis can do wrong: its servers, its connections, its keys, its script.

The contract that it shares with the other stores is in ``test_store.py``.
"""

from __future__ import annotations

import re
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import get_args

import fakeredis
import pytest
import redis
from redis import exceptions as e
from redis.crc import key_slot

from pwf_runtime.core.txn import Add, Append, Expire, Get, Held, Holder, Is, Lease, Op, Put, Release, Txn
from pwf_runtime.doctor import Finding
from pwf_runtime.errors import PwfError, RunDamaged, ServerRefused, StoreUnavailable, UsageError
from pwf_runtime.store import redis as shell
from pwf_runtime.store.redis import RedisStore
from pwf_runtime.store.redis_server import explain
from tests.servers.redis import RedisServer

from .stores import RUN, everything

WAIT_S = 60.0


def txn(*then: Op) -> Txn:
    return Txn("test", RUN, then=then)


@pytest.fixture
def store(redis_url: str) -> Iterator[RedisStore]:
    store = RedisStore(redis_url, timeout=WAIT_S)
    yield store
    store.close()


@contextmanager
def server(*options: str) -> Iterator[RedisServer]:
    """A server of its own, for settings that would hurt the others."""
    own = RedisServer(*options)
    try:
        own.start()
        yield own
    finally:
        own.stop()


@contextmanager
def opened(url: str, timeout: float = WAIT_S) -> Iterator[RedisStore]:
    store = RedisStore(url, timeout=timeout)
    try:
        yield store
    finally:
        store.close()


@pytest.fixture
def user(redis_server: RedisServer, redis_url: str) -> Iterator[str]:
    """The URL of a user who may do everything but ask for the configuration and use hashes by ``HINCRBY``."""
    with redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "ann", "on", ">s3cret", "~*", "+@all", "-config", "-hincrby")
        yield redis_url.replace("//", "//ann:s3cret@")
        client.execute_command("ACL", "DELUSER", "ann")


# ── the script ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.servers
def test_a_lost_script_is_sent_again(store: RedisStore, redis_server: RedisServer) -> None:
    add = txn(Add("n", 1))
    store.txns([add])
    with redis_server.client() as client:
        client.script_flush()
        assert [reply.replies for reply in store.txns([add, add, add])] == [(2,), (3,), (4,)]
        client.config_resetstat()
        store.txns([add, add])
        stats = client.info("commandstats")
    assert stats["cmdstat_evalsha"]["calls"] == 2
    assert "cmdstat_eval" not in stats  # Redis knows it again


@pytest.mark.servers
def test_a_key_of_another_kind_is_the_damage_of_one_run(store: RedisStore, redis_server: RedisServer) -> None:
    """Somebody's script wrote there. That is no reason for the others to wait, nor for a worker to give up."""
    with redis_server.client() as client:
        client.set("pwf:{odd}", "not ours")
        client.hset("pwf:{lease}:l:c", "not", "ours")
    asked = [Txn("test", run, then=(Put("a", b"1"),)) for run in ("one", "odd", "two")]
    with pytest.raises(RunDamaged, match=r"run 'odd' is damaged: WRONGTYPE .*'test' in Redis at .*`pwf cancel odd`"):
        store.txns([*asked, Txn("test", "lease", (Held("c", None),), (Put("a", b"1"),))])
    assert [everything(store, run) for run in ("one", "two", "lease")] == [{"a": b"1"}, {"a": b"1"}, {}]


def test_a_delta_beyond_64_bits_is_not_sent() -> None:
    with fakeredis.FakeRedis() as client, pytest.raises(UsageError, match="64 bits"):
        RedisStore.from_client(client).txns([txn(Add("n", 2**63))])


def test_an_unknown_operation_is_not_passed_over() -> None:
    with fakeredis.FakeRedis() as client, pytest.raises(KeyError):
        RedisStore.from_client(client).txns([txn("put")])  # type: ignore[arg-type]


# ── keys ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.servers
def test_what_is_to_be_done_otherwise_is_sent_where_a_compare_failed(store: RedisStore) -> None:
    """It is done anew as a whole, after the others, so it may hold by then."""
    ready, never = (Is("state", b"ready"),), (Is("state", b"dead"),)
    first = Txn("test", RUN, ready, (Add("n", 1),), (Get(("state",)),))
    replies = store.txns([first, txn(Put("state", b"ready")), Txn("test", RUN, never, (), (Get(("state",)),))])
    assert [(reply.held, reply.replies) for reply in replies] == [
        (True, (1,)),
        (True, (None,)),
        (False, ((b"ready",),)),
    ]


@pytest.mark.parametrize("run_id", ["user-42", "a}b", "{", "}", "{}", "", "a{b}c", "%"])
def test_all_keys_of_a_run_fall_into_one_slot(store: RedisStore, redis_server: RedisServer, run_id: str) -> None:
    store.txns([Txn("t", run_id, then=(Put("a", b"1"), Lease("l", "me", 60_000), Lease("}{", "me", 60_000)))])
    with redis_server.client() as client:
        keys = client.keys("*")
    assert len(keys) == 3
    assert len({key_slot(key) for key in keys}) == 1


@pytest.mark.servers
def test_two_runs_are_not_always_in_one_slot(store: RedisStore, redis_server: RedisServer) -> None:
    store.txns([Txn("t", f"run{i}", then=(Put("a", b"1"),)) for i in range(10)])
    with redis_server.client() as client:
        assert len({key_slot(key) for key in client.keys("*")}) > 5


@pytest.mark.servers
def test_nothing_is_left(store: RedisStore, redis_server: RedisServer) -> None:
    """L7."""
    store.txns([txn(Put("a", b"1"), Append("x", b"v"), Lease("l", "me", 60_000), Holder("l"))])
    store.index_add("timers", [(b"a", 1)])
    store.txns([txn(Release("l"), Expire(0))])
    store.index_remove("timers", [b"a"])
    with redis_server.client() as client:
        assert client.keys("*") == []


@pytest.mark.servers
def test_stores_with_different_prefixes_are_apart(redis_url: str, store: RedisStore) -> None:
    other = RedisStore(redis_url, prefix="other")
    store.txns([txn(Put("a", b"1"))])
    store.index_add("open", [(b"a", 1)])
    assert everything(other) == {}
    assert other.index_size("open") == 0
    other.close()


@pytest.mark.parametrize("prefix", ["", "a{b", "}"])
def test_a_prefix_that_would_break_the_slots_is_refused(prefix: str) -> None:
    with pytest.raises(UsageError, match=re.escape(repr(prefix))):
        RedisStore("redis://localhost", prefix=prefix)


# ── outages ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.servers
def test_a_killed_server_is_unavailable_and_a_restarted_one_is_not(
    store: RedisStore, redis_server: RedisServer
) -> None:
    store.txns([txn(Put("a", b"1"))])
    redis_server.kill()
    for ask in (
        lambda: store.txns([txn(Put("a", b"2"))]),
        lambda: store.index_add("timers", [(b"a", 1)]),
        lambda: store.index_read("timers", 1, 1),
        lambda: store.index_remove("timers", [b"a"]),
        lambda: store.index_size("timers"),
    ):
        with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{redis_server.port}") as caught:
            ask()
        assert isinstance(caught.value.__cause__, e.ConnectionError)
    redis_server.start()
    assert store.txns([txn(Get(("a",)))])[0].replies == ((b"1",),)


@pytest.mark.servers
def test_a_restart_between_two_calls_goes_unnoticed(store: RedisStore, redis_server: RedisServer) -> None:
    """The pooled connection is dead and the script is gone; neither is an unknown outcome."""
    store.txns([txn(Put("a", b"1"))])
    redis_server.restart()
    assert store.txns([txn(Get(("a",)))])[0].replies == ((b"1",),)


class DeafProxy:
    """Passes on what comes, either way, and hangs up instead of passing on an answer while ``deaf`` is set."""

    def __init__(self, port: int) -> None:
        self.deaf = False
        self._target = ("127.0.0.1", port)
        self._door = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._door.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        self._thread.join(WAIT_S)

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._door.accept()
            except OSError:
                return
            with client, socket.create_connection(self._target) as target:
                self._pass_on(client, target)

    def _pass_on(self, client: socket.socket, target: socket.socket) -> None:
        while True:
            for ready in select.select([client, target], [], [])[0]:
                came = ready.recv(1 << 20)
                if not came or (ready is target and self.deaf):
                    return
                (client if ready is target else target).sendall(came)


@pytest.mark.servers
def test_a_lost_reply_is_told_and_nothing_is_sent_again(store: RedisStore, redis_server: RedisServer) -> None:
    proxy = DeafProxy(redis_server.port)
    try:
        with opened(proxy.url) as through:
            assert through.txns([txn(Add("n", 1))])[0].replies == (1,)
            proxy.deaf = True
            with pytest.raises(StoreUnavailable, match="may or may not have been done"):
                through.txns([txn(Add("n", 1))])
            proxy.deaf = False
            assert through.txns([txn(Add("n", 1))])[0].replies == (3,)
    finally:
        proxy.close()


@pytest.mark.servers
def test_a_server_that_does_not_answer_is_waited_for_so_long(redis_server: RedisServer, redis_url: str) -> None:
    with opened(redis_url, timeout=0.2) as store, redis_server.client() as client:
        until_it_answers(store)
        client.client_pause(60_000, all=False)
        try:
            with pytest.raises(StoreUnavailable, match="in time"):
                store.txns([txn(Put("a", b"2"))])
        finally:
            client.client_unpause()


def until_it_answers(store: RedisStore) -> None:
    """A busy machine may take longer than an impatient store."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        with suppress(StoreUnavailable):
            store.txns([txn(Put("a", b"1"))])
            return
    raise AssertionError(f"it was never in time in {WAIT_S} s")


def test_something_that_is_no_redis_is_refused() -> None:
    def serve() -> None:
        client, _ = door.accept()
        with client, suppress(ConnectionError):
            while client.recv(1 << 16):  # until it hangs up: what is unread when we do would overtake our answer
                client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as door:
        thread = threading.Thread(target=serve)
        thread.start()
        with opened(f"redis://127.0.0.1:{door.getsockname()[1]}") as store, pytest.raises(ServerRefused, match="port"):
            store.index_size("timers")
        thread.join(WAIT_S)


# ── refusals ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.servers
@pytest.mark.parametrize("who", ["ann:wr0ng", "nobody:s3cret"])
def test_a_wrong_password_is_refused_and_not_shown(user: str, who: str) -> None:
    url = user.replace("ann:s3cret", who)
    with opened(url) as store, pytest.raises(ServerRefused, match="user name or password") as caught:
        store.txns([txn(Put("a", b"1"))])
    assert who.split(":")[1] not in str(caught.value)
    assert store.server in str(caught.value)


@pytest.mark.servers
@pytest.mark.parametrize("who", ["", ":wr0ng@"])
def test_a_missing_password_is_refused(who: str) -> None:
    with (
        server("--requirepass", "s3cret") as own,
        opened(own.url.replace("//", f"//{who}")) as store,
        pytest.raises(ServerRefused, match="password"),
    ):
        store.txns([txn(Put("a", b"1"))])


def test_doctor_tries_every_operation_there_is() -> None:
    assert {type(op) for op in shell._ONE_OF_EACH} == set(get_args(Op))


@pytest.mark.servers
def test_a_missing_right_is_named(user: str) -> None:
    with opened(user) as store:
        store.txns([txn(Put("a", b"1"))])
        with pytest.raises(ServerRefused, match="denies this user a right"):
            store.txns([txn(Add("n", 1))])


@pytest.mark.servers
def test_a_replica_is_refused() -> None:
    with server("--replicaof", "127.0.0.1", "1") as own, opened(own.url) as store:
        with pytest.raises(ServerRefused, match="read-only replica"):
            store.txns([txn(Put("a", b"1"))])
        assert level(store.check(), "redis role") == "fail"


@pytest.mark.servers
def test_a_full_server_is_worth_another_try() -> None:
    with server("--maxmemory", "100kb") as own, opened(own.url) as store:
        with pytest.raises(StoreUnavailable, match="maxmemory"):
            store.txns([txn(Put("a", b"1"))])
        with pytest.raises(StoreUnavailable, match="maxmemory"):
            store.index_add("timers", [(b"a", 1)])


@pytest.mark.parametrize(
    ("error", "ours", "says"),
    [
        (e.BusyLoadingError("Redis is loading the dataset in memory"), StoreUnavailable, "loading"),
        (e.MasterDownError("Link with MASTER is down"), StoreUnavailable, "master"),
        (e.ClusterDownError("The cluster is down"), StoreUnavailable, "cluster"),
        (e.TryAgainError("Multiple keys request during rehashing of slot"), StoreUnavailable, "moving"),
        (e.MovedError("3999 127.0.0.1:6381"), ServerRefused, "cluster"),
        (e.ResponseError("MISCONF Redis is configured to save RDB snapshots"), StoreUnavailable, "disk"),
        (e.ResponseError("NOREPLICAS Not enough good replicas to write."), StoreUnavailable, "replicas"),
        (e.ResponseError("BUSY Redis is busy running a script."), StoreUnavailable, "busy"),
        (e.ResponseError("ERR Error running script (call to f_1): @u:1: -READONLY You"), ServerRefused, "replica"),
        (e.ResponseError("ERR unknown command 'HSCAN'"), ServerRefused, "unknown command"),
        (e.ResponseError("DB index is out of range"), ServerRefused, "number in its URL"),
        (e.ConnectionError("Error 111 connecting to h:1. Connection refused."), StoreUnavailable, "cannot be reached"),
        (
            e.ResponseError("ERR Unknown Redis command called from script f: 1, on @user_script:5."),
            ServerRefused,
            "lacks",
        ),
        (e.ConnectionError("max number of clients reached"), StoreUnavailable, "max number"),
        (ConnectionResetError(104, "Connection reset by peer"), StoreUnavailable, "reset"),
    ],
)
def test_what_a_fault_means(error: Exception, ours: type[PwfError], says: str) -> None:
    told = explain(error, "redis.example:6379", "'commit' of run 'r'")
    assert type(told) is ours
    assert says in str(told)
    assert "redis.example:6379" in str(told)
    assert "'commit' of run 'r'" in str(told)


# ── URLs ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "not the URL"),
        ("localhost:6379", "localhost:6379"),
        ("http://localhost", "http://localhost"),
        ("redis://h:port", "the port"),
        ("redis://h:99999", "the port"),
        ("redis://h/zero", "number of a database"),
        ("redis://h?nonsense=1", r"\?nonsense="),
        ("redis://h?socket_timeout=soon", r"\?socket_timeout="),
        ("redis://h?protocol=9", "not the URL"),
        ("redis://[bad", "not the URL"),
        ("unix://", "path of the socket"),
    ],
)
def test_a_wrong_url_is_shown_beside_a_right_one(url: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        RedisStore(url)
    assert repr(url) in str(caught.value)
    assert "redis://localhost:6379/0" in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["redis://u:s3cret@h:port", "redis://:s3c/ret@h", "redis://u:s3cret@h/x", "unix://?password=s3cret&db=0", "x://u:s3cret@h"],
)  # fmt: skip
def test_a_wrong_url_does_not_give_the_password_away(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        RedisStore(url)
    told = str(caught.value)
    assert "s3c" not in told
    assert "ret" not in told
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("redis://", "localhost:6379"),
        ("redis://u:s3cret@h:1234/2", "h:1234"),
        ("rediss://h:1234", "h:1234"),
        ("unix:///run/redis.sock?db=1", "/run/redis.sock"),
        ("redis://h?decode_responses=yes&retry_on_timeout=yes", "h:6379"),
    ],
)
def test_a_right_url_names_its_server(url: str, server: str) -> None:
    with closing(RedisStore(url)) as store:
        assert store.server == server
        options = store._redis.connection_pool.connection_kwargs
        assert options["retry"].get_retries() == 0
        assert (options["decode_responses"], options["retry_on_timeout"]) == (False, False)
        assert options["socket_timeout"] == 5.0


# ── doctor ────────────────────────────────────────────────────────────────────────────────────


def level(findings: list[Finding], subject: str) -> str:
    [found] = [finding.level for finding in findings if finding.subject == subject]
    return found


@pytest.mark.servers
def test_a_server_as_recommended_is_found_well(store: RedisStore, redis_server: RedisServer) -> None:
    findings = store.check()
    with redis_server.client() as client:
        assert client.keys("*") == []
    assert [finding.level for finding in findings] == ["ok"] * len(findings)
    assert {finding.subject for finding in findings} == {
        "redis version",
        "redis role",
        "redis maxmemory-policy",
        "redis persistence",
        "redis rights",
    }


@pytest.mark.servers
@pytest.mark.parametrize(
    ("setting", "value", "subject", "expected"),
    [
        ("maxmemory-policy", "allkeys-lru", "redis maxmemory-policy", "fail"),
        ("maxmemory-policy", "volatile-ttl", "redis maxmemory-policy", "fail"),
        ("appendonly", "no", "redis persistence", "fail"),
        ("appendfsync", "no", "redis persistence", "warn"),
        ("appendfsync", "always", "redis persistence", "ok"),
    ],
)
def test_a_setting_that_loses_work_is_found(setting: str, value: str, subject: str, expected: str) -> None:
    with server(f"--{setting}", value) as own, opened(own.url) as store:
        [finding] = [finding for finding in store.check() if finding.subject == subject]
    assert finding.level == expected
    if expected == "fail":
        assert f"`{setting} " in finding.message  # the remedy


@pytest.mark.servers
def test_what_cannot_be_checked_is_said(user: str, redis_server: RedisServer) -> None:
    with opened(user) as store:
        assert level(store.check(), "redis persistence") == "warn"
        assert level(store.check(), "redis rights") == "fail"
        with redis_server.client() as client:
            client.execute_command("ACL", "SETUSER", "ann", "-info")
        assert level(store.check(), "redis") == "warn"


def test_a_server_that_is_not_there_is_a_finding() -> None:
    with opened("redis://:s3cret@127.0.0.1:1") as store:
        [finding] = store.check()
    assert finding.level == "fail"
    assert "127.0.0.1:1" in finding.message
    assert "s3cret" not in finding.message


@pytest.mark.servers
def test_a_ready_made_client_can_be_brought_along(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        store = RedisStore.from_client(client)
        assert store.txns([txn(Add("n", 1))])[0].replies == (1,)
        assert store.server in redis_url
        store.close()
