"""A simulated task calls the real world: it is stopped before anything is sent, and named with its line."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from pwf_runtime import UsageError, Workflow, result
from pwsim import simulate
from pwsim.network import Refused
from pwsim.testing import Report

LOCAL = "127.0.0.1"


@pytest.fixture
def service() -> Iterator[socket.socket]:
    """Somebody who would hear of a connection."""
    with socket.create_server((LOCAL, 0)) as server:
        server.settimeout(0)
        yield server


def simulated(fn: Any, port: int, **options: Any) -> Report:
    app = Workflow("shop")
    app.subscribe("pay", fn)
    return simulate(app, start=("pay", port), faults="crash", max_faults=1, runs=2, **options)


def was_called(server: socket.socket) -> bool:
    try:
        server.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def hears_of_it(server: socket.socket) -> bool:
    """The same where it must be so: a connection may reach its server a moment after it was made."""
    server.settimeout(60)
    return was_called(server)


def connects(data: int) -> Any:
    with socket.create_connection((LOCAL, data)):
        return result("paid")


def connects_and_catches(data: int) -> Any:
    try:
        connects(data)
    except Exception:
        return result("not paid")
    return result("paid")


async def connects_async(data: int) -> Any:
    _, writer = await asyncio.open_connection(LOCAL, data)
    writer.close()
    return result("paid")


def sends(data: int) -> Any:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as packets:
        packets.sendto(b"pay", (LOCAL, data))
    return result("paid")


@pytest.mark.parametrize("fn", [connects, connects_and_catches, connects_async, sends])
def test_it_is_refused_with_the_task_its_line_and_the_remedy(fn: Any, service: socket.socket) -> None:
    port = service.getsockname()[1]
    with pytest.raises(UsageError) as caught:
        simulated(fn, port)
    said = str(caught.value)
    assert re.search(rf"task 'shop\.pay' (opens a connection to|sends to) {LOCAL}:{port} while", said)
    assert re.search(rf"test_network\.py:\d+, in {fn.__name__}: ", said)
    assert "Nothing was sent" in said
    assert "pwsim.probe(...)" in said
    assert not was_called(service)


def test_who_says_so_may_call_a_stand_in_over_the_network(service: socket.socket) -> None:
    report = simulated(connects, service.getsockname()[1], network=True)
    report.assert_passed()
    assert hears_of_it(service)


def test_a_step_is_part_of_the_task(service: socket.socket) -> None:
    def pay(data: int, ctx: Any) -> Any:
        return result(ctx.step("paid", lambda: connects(data) and "paid"))

    with pytest.raises(Refused, match="in pay: return result"):
        simulated(pay, service.getsockname()[1])
    assert not was_called(service)


def test_who_is_no_simulated_task_connects_as_ever(service: socket.socket) -> None:
    """Before, beside and after a simulation: an invariant, a fixture."""
    port = service.getsockname()[1]

    def asks(end: Any) -> None:
        connects(port)

    app = Workflow("shop")
    app.subscribe("pay", lambda data: result("paid"))
    simulate(app, start=("pay", 1), faults="", runs=1, invariant=asks).assert_passed()
    connects(port)
    assert hears_of_it(service)
