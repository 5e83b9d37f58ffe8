"""What a test shows that fails: which demand, in one sentence, by which faults, and the line that repeats it."""

from __future__ import annotations

import pytest

import pwsim.plugin.fixture  # noqa: F401  # so that it is not loaded anew for each pytest inside

from . import run, write

pytest_plugins = ["pytester"]

TWICE = "charge was called twice (by attempt 1 of order > pay, attempt 2 of order > pay) instead of once"
DIES = "when the worker dies after 'call charge' of order > pay (delivery 1)."
REPLAY = "replay: pytest test_shop.py::test_it --pwsim-replay .pwsim/failures/test_shop.py-test_it-*.toml"


def test_a_broken_law_is_told_without_a_traceback(pytester: pytest.Pytester) -> None:
    write(pytester, "def test_it(pwsim): pwsim.explore(app, start=START, planted='parked-call-forgotten')")
    done = run(pytester, code=1)
    done.stdout.fnmatch_lines(
        [
            "L4: order is ready *, when the worker dies after 'claim' of order (delivery 1).",
            "  fault: order #1 / claim / after",
            "*✗ dies after claim*",
            "*L4 is broken*",
            "parts from the passing run at step *",
            REPLAY,
            "FAILED test_shop.py::test_it - L4: order is ready*",
        ]
    )
    assert "Traceback" not in done.stdout.str()
    assert "def test_it" not in done.stdout.str()


@pytest.mark.parametrize(
    ("demand", "sentence"),
    [
        ("report.assert_once('charge')", f"effects: {TWICE}, {DIES}"),
        ("report.assert_at_most_once('charge')", f"effects: {TWICE.replace('of once', 'of at most once')}, {DIES}"),
        (
            "report.assert_at_most_once_per_key('charge')",
            f"effects: charge was called twice without a key by order > pay, {DIES}",
        ),
        ("assert report.effects['charge'] == 1", f"effects: {TWICE}, {DIES}"),
        (
            "assert report.effects.by_key['charge'] < 2",
            "effects: charge was called twice, one key counting as one (by * pay) instead of less than twice, when*",
        ),
        ("assert report.committed('ship') == 2", "committed: shop.ship committed once instead of twice, without any*"),
        ("assert report.committed(ship := 'shop.ship') > 1", "committed: shop.ship committed once instead of more*"),
    ],
)
def test_a_demand_is_shown_in_the_schedule_that_breaks_it(
    pytester: pytest.Pytester, demand: str, sentence: str
) -> None:
    write(pytester, f"def test_it(pwsim):\n    report = pwsim.explore(app, start=START)\n    {demand}")
    done = run(pytester, code=1)
    done.stdout.fnmatch_lines([_literal(sentence), REPLAY])


def _literal(sentence: str) -> str:
    return sentence.replace("[", "[[]")


def test_a_comparison_says_how_often_in_how_many_schedules(pytester: pytest.Pytester) -> None:
    write(pytester, "def test_it(pwsim): assert pwsim.explore(app, start=START).effects['charge'] == 1")
    done = run(pytester, code=1)
    done.stdout.fnmatch_lines(
        ["E * <calls of charge: 1 in * schedules, 2 in * schedules; 2 for example when the worker*"]
    )


def test_what_cannot_be_shown_does_not_end_the_session(pytester: pytest.Pytester) -> None:
    write(
        pytester,
        "def test_it(pwsim):\n    report = pwsim.explore(app, start=START)\n    report.explain = None\n"
        "    assert report.effects['charge'] == 1\ndef test_next(): pass",
    )
    done = run(pytester, code=1)
    done.stdout.fnmatch_lines(["the schedule in which it does not hold cannot be shown: TypeError*"])
    done.assert_outcomes(passed=1, failed=1)


@pytest.mark.parametrize(
    ("invariant", "sentence"),
    [
        ("def paid_once(end):\n    assert end.effects['charge'] == 1", "assert end.effects['charge'] == 1"),
        ("def paid_once(end):\n    assert end.effects['charge'] == 1, 'paid twice'", "paid twice"),
        ("def paid_once(end):\n    return end.effects['charge'] == 1", "it returned False"),
    ],
)
def test_an_invariant_says_what_it_demands(pytester: pytest.Pytester, invariant: str, sentence: str) -> None:
    """And pytest's way to show the values of an assertion stays out of the sentence."""
    write(pytester, f"{invariant}\ndef test_it(pwsim): pwsim.explore(app, start=START, invariant=paid_once)")
    done = run(pytester, code=1)
    done.stdout.fnmatch_lines([f"invariant: paid_once: {_literal(sentence)}, {DIES}", REPLAY])


def test_a_mistake_in_an_invariant_is_shown_as_that(pytester: pytest.Pytester) -> None:
    write(pytester, "def test_it(pwsim): pwsim.explore(app, start=START, invariant=lambda end: 1 / 0)")
    run(pytester, code=1).stdout.fnmatch_lines(["E * ZeroDivisionError*"])


def test_an_invariant_sees_commits_results_and_faults(pytester: pytest.Pytester) -> None:
    write(
        pytester,
        "def check(end):\n"
        "    assert end.committed('ship') == 1 and end.results == ['shipped'] and end.dead == []\n"
        "    assert len(end.faults) <= 3 and end.ledger[0].name == 'charge'\n"
        "def test_it(pwsim): pwsim.explore(app, start=START, invariant=[check])",
    )
    run(pytester, code=0)


def test_a_test_in_which_no_fault_struck_fails(pytester: pytest.Pytester) -> None:
    write(pytester, "def test_it(pwsim): pwsim.explore(app, start=START, max_faults=0, strategy='faults')")
    run(pytester, code=1).stdout.fnmatch_lines(['vacuous: no fault struck in 1 schedule, *say faults="" if *'])


def test_a_test_may_ask_for_no_faults(pytester: pytest.Pytester) -> None:
    write(pytester, "def test_it(pwsim): pwsim.explore(app, start=START, faults='').assert_once('charge')")
    run(pytester, code=0).stdout.fnmatch_lines(["pwsim: 1 simulation, * schedules; crash points hit 0 of 0"])


BROKEN = """
import pwf_runtime
broken = pwf_runtime.Workflow("broken")
@broken.task(retry=pwf_runtime.Retry(max_attempts=2))
def dies(data):
    raise KeyError("card")
@broken.task
def misspells(data):
    return [pwf_runtime.emit("payed"), pwf_runtime.join(after, data, on=["paid"])]
@broken.task
def miscounts(data):
    return [*[pwf_runtime.emit("done")] * 2, pwf_runtime.join(after, data, on=[{"done": 3}])]
@broken.task
def after(data):
    return None
"""


@pytest.mark.parametrize(
    ("task", "sentence"),
    [
        ("dies", "without any fault, dies died of KeyError: 'card'. If that is meant, say allow_unfinished=True"),
        (
            "misspells",
            "without any fault, the join of after, armed by misspells, waits for 'paid' for ever (emitted: 'payed')*",
        ),
        ("miscounts", "without any fault, the join of after, * waits for 3 times 'done' (which came twice) for ever *"),
    ],
)
def test_a_workflow_that_never_works_does_not_pass(pytester: pytest.Pytester, task: str, sentence: str) -> None:
    write(pytester, f"{BROKEN}\ndef test_it(pwsim): pwsim.explore(broken, start=('{task}', 1))")
    run(pytester, code=1).stdout.fnmatch_lines([sentence])


def test_unless_that_is_meant(pytester: pytest.Pytester) -> None:
    write(pytester, f"{BROKEN}\ndef test_it(pwsim): pwsim.explore(broken, start=('dies', 1), allow_unfinished=True)")
    run(pytester, code=0)


def test_a_task_that_reads_the_clock_is_named_with_its_line_and_its_answers(pytester: pytest.Pytester) -> None:
    write(
        pytester,
        f"{BROKEN}\nimport itertools\ntimes = itertools.count()\n@broken.task\ndef now(data):\n"
        "    return pwf_runtime.result(next(times))\n"
        "def test_it(pwsim): pwsim.explore(broken, start=(now, 1))",
    )
    run(pytester, code=1).stdout.fnmatch_lines(
        [
            "L6: task 'broken.now' (now, *test_shop.py:*) is no function of its input: at first it returned result(*), "
            "given the same again it returned result(*); *"
        ]
    )


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        ("explore(app, start=START, faults='crsh')", "there is no fault family 'crsh'; there are crash, *"),
        ("explore(app, start=START, strategy='luck')", "there is no strategy 'luck'; there are portfolio, *"),
        ("explore(app, start=START, depth=3)", "depth: there is no such option; there are faults, *"),
        ("explore(app, start=('oder', 1))", "there is no task 'shop.oder' to begin with; there are shop.order, *"),
        ("explore(app, start=START, invariant=[1])", "invariant=1: give a function *"),
        ("explore(app, start=START).committed('shp')", "*'shp': there is no such task; there are shop.order, *"),
        ("explore(app, start=START).effects['mail']", "*no probed function 'mail' was called in any*there are charge"),
    ],
)
def test_what_cannot_be_meant_is_told(pytester: pytest.Pytester, call: str, sentence: str) -> None:
    write(pytester, f"def test_it(pwsim): pwsim.{call}")
    run(pytester, code=1).stdout.fnmatch_lines([sentence])


def test_an_unknown_option_of_the_mark_is_told(pytester: pytest.Pytester) -> None:
    write(pytester, "@pytest.mark.pwsim(fault='crash')\ndef test_it(pwsim): pwsim.explore(app, start=START)")
    run(pytester, code=1).stdout.fnmatch_lines(
        ["@pytest.mark.pwsim of test_shop.py::test_it: fault: there is no such option; there are faults, *"]
    )


def test_an_async_test_is_refused(pytester: pytest.Pytester) -> None:
    write(
        pytester,
        "import asyncio\ndef test_it(pwsim):\n    async def inside(): pwsim.explore(app, start=START)\n"
        "    asyncio.run(inside())",
    )
    run(pytester, code=1).stdout.fnmatch_lines(["a simulation runs its own event loop: call it from a plain test *"])


def test_a_failure_may_be_expected(pytester: pytest.Pytester) -> None:
    """And is then not kept."""
    write(
        pytester,
        "def test_it(pwsim):\n    with pytest.raises(pwsim.Failure, match='L4'):\n"
        "        pwsim.explore(app, start=START, planted='parked-call-forgotten')",
    )
    run(pytester, code=0)
    assert not list(pytester.path.glob(".pwsim/failures/*"))


CONFTEST = """
import pwsim, shop
class Fake:
    def charge(self, card): return "fake"
shop.bank = pwsim.probe(Fake())
"""


def test_a_failure_is_replayed_with_its_stand_ins_without_pytest(pytester: pytest.Pytester) -> None:
    """Its file says which conftest.py puts them in place, and what is demanded."""
    write(pytester, "def test_it(pwsim): pwsim.explore(app, start=START).assert_once('charge')")
    pytester.makeconftest(CONFTEST)
    shop = pytester.path / "shop.py"
    real = "import socket\n        return socket.create_connection(('127.0.0.1', 9))"
    shop.write_text(shop.read_text().replace('return "paid"', real))
    run(pytester, "-p", "no:cacheprovider", code=1).stdout.fnmatch_lines([f"effects: {TWICE}, {DIES}"])
    (file,) = pytester.path.glob(".pwsim/failures/*.toml")
    assert 'setup = ["conftest.py"]' in file.read_text()
    assert 'once = ["charge"]' in file.read_text()
    replay = f"import pwsim.cli, sys; sys.exit(pwsim.cli.main(['replay', {str(file)!r}]))"
    done = pytester.runpython_c(replay)
    assert done.ret == 1
    done.stdout.fnmatch_lines([f"effects: {TWICE}, {DIES}"])
    file.write_text(file.read_text().replace('setup = ["conftest.py"]', ""))
    done = pytester.runpython_c(replay)
    assert done.ret == 2
    done.stderr.fnmatch_lines(
        ["pwsim: task 'shop.pay' opens a connection to 127.0.0.1:9 while it is simulated: shop.py:*"]
    )


def test_a_task_that_calls_the_real_world_is_named_in_one_sentence(pytester: pytest.Pytester) -> None:
    write(
        pytester,
        "import socket\nfrom pwf_runtime import Workflow\nreal = Workflow('real')\n@real.task\ndef calls(data):\n"
        "    socket.create_connection(('127.0.0.1', 9))\n"
        "def test_it(pwsim): pwsim.explore(real, start=('calls', 1))",
    )
    run(pytester, code=1).stdout.fnmatch_lines(
        ["task 'real.calls' opens a connection to 127.0.0.1:9 *test_shop.py:10, in calls*"]
    )
