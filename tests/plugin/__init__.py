"""Tests of the pytest plugin, run by a pytest inside of pytest."""

from __future__ import annotations

import pytest

SHOP = """
import pytest
from pwf_runtime import Workflow, call, emit, join, result
import pwsim as simulator

class Bank:
    def charge(self, card, **more):
        return "paid"

bank = simulator.probe(Bank())
app = Workflow("shop")
START = [("order", {"card": "4000"})]

@app.task
def order(data):
    return [call(pay, data), join(ship, data, on=["paid"])]

@app.task
def pay(data, ctx):
    bank.charge(data["card"])
    return emit("paid")

@app.task
def ship(data):
    return result("shipped")
"""
"""A workflow that charges a card before it commits, without a key."""

HURRY = """
import pytest
from shop import START, app, bank, pay

pytestmark = pytest.mark.pwsim(faults="crash", runs=10, max_faults=1)
"""
"""How a test file begins that simulates the shop, quickly."""


PLUGINS = ("-p", "pwsim.plugin", "-p", "no:xdist", "-p", "no:hypothesispytest")
"""Hypothesis' plugin would load hypothesis anew, for a second, at the end of each pytest inside."""


def write(pytester: pytest.Pytester, tests: str, name: str = "test_shop") -> None:
    """The shop, and a file of tests about it."""
    pytester.makepyfile(shop=SHOP, **{name: HURRY + tests})


def run(pytester: pytest.Pytester, *options: str, code: int | pytest.ExitCode | None = None) -> pytest.RunResult:
    """Run pytest with the plugin, whether or not it is installed."""
    done = pytester.runpytest_inprocess(*PLUGINS, "--strict-markers", *options)
    if code is not None:
        assert done.ret == code, done.outlines
    return done
