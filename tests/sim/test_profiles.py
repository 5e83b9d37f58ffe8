"""A profile's rule for the broker: from the option to the world, and through a scenario file."""

from __future__ import annotations

from pathlib import Path

import pytest

from pwf_runtime import UsageError
from pwsim import testing
from pwsim.campaign import Campaign, Violation
from pwsim.commands.common import as_found
from pwsim.laws import Violated
from pwsim.runner import LAWS, Result
from pwsim.scenario import Scenario, StartEntry, dump, load
from pwsim.schedule import Schedule
from pwsim.world.broker import Broker
from pwsim.world.world import World

FAN = Scenario(("pwsim.planted.workflows:fan",), (StartEntry("begin", "2"),))


def returned(returns: str) -> list[bytes]:
    """a and c are taken by one channel, b by another; the first goes last."""
    broker = Broker(["q"], returns)  # type: ignore[arg-type]
    one, other = broker.open_channel(), broker.open_channel()
    for body in (b"a", b"b", b"c", b"d"):
        broker.publish("q", body, 0)
    for channel in (one, other, one):
        broker.deliver("q", channel)
    broker.close_channel(other, 1)
    broker.close_channel(one, 2)
    return [queued.body for queued in broker.queues["q"]]


def test_a_quorum_queue_takes_back_in_the_order_of_return() -> None:
    assert returned("first") == [b"b", b"a", b"c", b"d"]


def test_a_classic_queue_takes_back_to_the_place_it_was_in() -> None:
    assert returned("place") == [b"a", b"b", b"c", b"d"]


@pytest.mark.parametrize(
    ("faults", "returns"),
    [(None, "first"), ("crash", "first"), ("rabbitmq-quorum", "first"), ("crash, rabbitmq-classic", "place")],
)
def test_the_option_chooses_the_rule(faults: str | None, returns: str) -> None:
    program = FAN.program()
    Campaign(program, faults=faults)
    assert World(program, LAWS).broker.returns == returns
    assert World(program, LAWS).copy().broker.returns == returns


@pytest.mark.parametrize(("faults", "profile"), [("rabbitmq-classic", "rabbitmq-classic"), ("rabbitmq-quorum", "")])
def test_what_was_found_is_replayed_by_the_rule_it_was_found_with(tmp_path: Path, faults: str, profile: str) -> None:
    program = FAN.program()
    Campaign(program, faults=faults)
    broken = Violated("L1", "whatever")
    found = Violation("L1", "whatever", Result(World(program, LAWS), Schedule(), broken, 1))
    (tmp_path / "found.toml").write_text(dump(as_found(FAN, found)))
    saved = load(tmp_path / "found.toml")
    assert saved.profile == profile
    assert saved.program().returns == program.returns
    assert testing.replay(saved).program.returns == program.returns


def test_an_unknown_profile_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(dump(FAN) + 'profile = "kafka"\n')
    with pytest.raises(UsageError, match=r"'kafka'.*rabbitmq-quorum, rabbitmq-classic"):
        load(tmp_path / "a.toml").program()
