"""Small situations that together meet every row of every machine's table: a worker at each place where it can be
surprised. What must come of them is tested where the rule is; here they only have to happen.
"""

from __future__ import annotations

from collections.abc import Callable

from pwf_runtime.core import keys as k
from pwf_runtime.core import recover as r
from pwf_runtime.core import signal as g
from pwf_runtime.core import states as s
from pwf_runtime.core.effects import OPEN, TIMERS
from pwf_runtime.core.inputs import Damaged
from pwf_runtime.core.model import NewCall, NewFork, Outcome, Timer
from pwf_runtime.core.start import Closing
from pwf_runtime.core.sweep import ROUTES, Noting
from pwf_runtime.core.wire import encode

from .desk import BOOM, LEASE_MS, RUN, Desk, call, event, join, outside

LATER = 3_600_000
DAMAGED = Damaged(RUN, "the field 'open' holds no number")


def plain() -> Desk:
    """A fork, a join, a result: every task runs once."""
    fan = Outcome(calls=(call("part"), call("part")), joins=(join("last", ("done", 2)),))
    desk = Desk({"first": fan, "part": Outcome(events=(event("done"),)), "last": Outcome(result=b"1")})
    desk.begin_and_drain("first")
    return desk


def ranked() -> Desk:
    """One of two names is enough."""
    fan = Outcome(events=(event("a"),), joins=(join("last", "a", "b", at_least=1),))
    desk = Desk({"first": fan, "last": Outcome()})
    desk.begin_and_drain("first")
    return desk


def retried() -> Desk:
    """An attempt fails, the next does not; then a message comes too early, one too late, one for a dead call."""
    desk = Desk({"first": lambda asked: BOOM if asked.attempt == 1 else Outcome()})
    message = desk.begin("first")
    desk.deliver(message).finish()
    desk.deliver(message).finish()
    desk.drain()
    desk.deliver(message).finish()
    return desk


def died() -> Desk:
    """Every attempt fails."""
    desk = Desk({"first": BOOM})
    message = desk.begin("first")
    desk.deliver(message).finish()
    desk.drain()
    desk.deliver(message).finish()
    return desk


def taken_over() -> Desk:
    """Workers die after each step of a commit, and the next finds what they left."""
    outcome = Outcome(calls=(call("part"), call("part", delay_ms=5)), joins=(join("last", "done"),))
    desk = Desk({"first": outcome, "part": Outcome(events=(event("done"),)), "last": Outcome()})
    message = desk.begin("first")
    desk.deliver(message).until(s.Running)
    desk.deliver(message).finish()
    desk.clock.ms += LEASE_MS
    stale = desk.deliver(message).until(s.Running)
    desk.clock.ms += LEASE_MS
    for state in (s.Committing, s.Publishing, s.Delaying, s.Settling):
        desk.deliver(message).until(state).lose()
    stale.finish()
    desk.deliver(message).finish()
    part = desk.take("part")
    for state in (s.Satisfying, s.Firing):
        desk.deliver(part).until(state).lose()
    desk.drain()
    return desk


def beaten_at_a_join() -> Desk:
    """Two last arrivals: one finds that a name was marked meanwhile, then that the join has fired."""
    fan = Outcome(calls=(call("a"), call("b")), joins=(join("last", "a", "b", at_least=1),))
    desk = Desk(
        {"first": fan, "a": Outcome(events=(event("a"),)), "b": Outcome(events=(event("b"),)), "last": Outcome()}
    )
    desk.deliver(desk.begin("first")).finish()
    one, other = desk.deliver(desk.take("a")).until(s.Firing), desk.deliver(desk.take("b")).until(s.Firing)
    one.go()
    other.go()
    one.finish()
    other.finish()
    desk.drain()
    return desk


def unroutable() -> Desk:
    """Two children have no queue."""
    desk = Desk({"first": Outcome(calls=(NewCall("nowhere.a", b""), NewCall("nowhere.b", b"")))})
    desk.deliver(desk.begin("first")).finish()
    for _ in range(12):
        desk.clock.ms += LATER
        desk.sweep().finish()
    return desk


def broken_timer() -> Desk:
    """Somebody wrote nonsense among the timers."""
    desk = plain()
    desk.store.index_add(TIMERS, [(b"nonsense", 0)])
    desk.sweep().finish()
    return desk


def fell_back() -> Desk:
    """The store forgets what a worker has seen: the events that met a need, then the end of a run."""
    fan = Outcome(calls=(call("part"),), joins=(join("last", "done"),))
    desk = Desk({"first": fan, "part": Outcome(events=(event("done"),)), "last": Outcome()})
    desk.deliver(desk.begin("first")).finish()
    past, part = desk.fields(), desk.take("part")
    hand = desk.deliver(part).until(s.Satisfying)
    desk.fall_back(past)
    hand.finish()
    desk.fall_back(past)
    hand = desk.deliver(part).until(s.Settling)
    desk.fall_back(past)
    hand.finish()
    last, past = desk.take("last"), desk.fields()
    desk.fall_back(past)
    hand = desk.deliver(last).until(s.Gathering)
    desk.fall_back({})
    hand.finish()
    desk.fall_back(past)
    hand = desk.deliver(last).until(s.Confirming)
    desk.fall_back(past)
    hand.finish()
    return desk


def timed_out() -> Desk:
    """A join's time is over."""
    fan = Outcome(joins=(join("last", "done", timeout_ms=50, on_timeout=call("late")),))
    desk = Desk({"first": fan, "last": Outcome(), "late": Outcome()})
    desk.begin_and_drain("first")
    return desk


def forked() -> Desk:
    desk = Desk(
        {"first": Outcome(forks=(NewFork((call("part"),), call("last")),)), "part": Outcome(), "last": Outcome()}
    )
    desk.begin_and_drain("first")
    return desk


def begun_again() -> Desk:
    """The same run, another task, other data; before and after its end; and one without a queue."""
    desk = Desk({"first": Outcome(calls=(call("second"),)), "second": Outcome()})
    message = desk.begin("first")
    desk.start("first").finish()
    desk.start("second").finish()
    desk.deliver(message).finish()
    desk.start("first").finish()
    desk.drain()
    desk.start("first").finish()
    desk.start("second").finish()
    desk.queues.clear()
    desk.start("first", run_id="other").finish()
    return desk


def marked() -> Desk:
    """It is time for a marker, and then it is not."""
    desk = Desk()
    desk.mark().finish()
    desk.mark().finish()
    return desk


def recovered() -> Desk:
    """All queues are lost; runs that have ended are still listed, or are not there at all."""
    desk = Desk({"first": Outcome(calls=(call("second"),)), "second": Outcome()})
    message = desk.begin("first")
    desk.clock.ms += LATER
    desk.scan().finish()
    held = desk.deliver(message).until(s.Running)
    desk.scan().finish()
    held.finish()
    desk.deliver(desk.take("second")).until(s.Completing)
    desk.scan().finish()
    for status in (k.COMPLETED, k.CANCELLED):
        desk.put(k.STATUS, status)
        desk.store.index_add(OPEN, [(RUN.encode(), 0)])
        desk.scan().finish()
    desk.store.index_add(OPEN, [(b"no such run", 0), (b"a run to come", desk.clock.ms)])
    desk.scan().finish()
    return desk


def forgotten_during_recovery() -> Desk:
    """While a scan goes on, the store forgets the end of a run; while another goes on, that nothing of it is open."""
    desk = Desk({"first": Outcome(calls=(call("second"),)), "second": Outcome()})
    desk.deliver(desk.begin("first")).finish()
    past, second = desk.fields(), desk.take("second")
    desk.deliver(second).until(s.Completing)
    scan = desk.scan().until(r.Confirming)
    desk.fall_back(past)
    scan.finish()
    hand = desk.deliver(second).until(s.Completing)
    scan = desk.scan().until(r.Completing)
    desk.fall_back(past)
    scan.finish()
    hand.finish()
    return desk


def signalled() -> Desk:
    """A signal before its join, one after, one again, one of the same id that says something else; with answers lost,
    and without a queue."""
    desk = Desk({"first": Outcome(joins=(join("last", outside("a"), outside("b")),)), "last": Outcome()})
    message = desk.begin("first")
    desk.signal("a").until(g.Signalling).lose().finish()
    desk.deliver(message).finish()
    desk.drain()
    for name in ("a", "b"):
        desk.signal(name).finish()
    queue = desk.queues.pop("q")
    desk.signal("b", signal_id="t").finish()
    desk.queues["q"] = queue
    desk.drain()
    for name in ("a", "c"):
        desk.signal(name).finish()
    desk.signal("late", signal_id="u").finish()
    desk.signal("a", run_id="no such run").finish()
    return desk


def stranded_desk(then: Outcome = Outcome()) -> Desk:  # noqa: B008
    """A run in which nothing is open, with a join that waits for "a"."""
    desk = Desk({"first": Outcome(joins=(join("last", "a"),)), "last": then})
    desk.begin_and_drain("first")
    return desk


def revived() -> Desk:
    """A stranded run gets its event from outside; another sender, and one who begins it again, are about it, too."""
    desk = stranded_desk(Outcome(joins=(join("last", ("a", 2)),)))
    slow, slower = desk.signal("b", signal_id="slow").until(g.Signalling), desk.start("first").until(Closing)
    desk.signal("a").finish()
    slower.finish()
    slow.finish()
    desk.drain()
    return desk


def revived_in_vain() -> Desk:
    """While a sender is about to revive a run, it has been revived with the very signal and is stranded again; then,
    while the sender takes it off the list, another signal revives it. Another is too late: the run has completed."""
    desk = stranded_desk()
    again = desk.signal("b").until(g.Signalling)
    desk.signal("b").finish()
    desk.drain()
    again.until(g.Closing).go()
    late = desk.signal("c", signal_id="late").until(g.Signalling)
    desk.signal("a", signal_id="t").finish()
    again.finish()
    desk.drain()
    late.finish()
    return desk


def many_fields() -> Desk:
    """A run too large to be scanned at once, and a join with more events than are read at once."""
    fan = Outcome(events=tuple(event("done") for _ in range(1_200)), joins=(join("last", ("done", 1_200)),))
    desk = Desk({"first": fan, "last": Outcome()})
    desk.deliver(desk.begin("first")).finish()
    desk.scan().finish()
    desk.drain()
    return desk


def damaged() -> Desk:
    """The store cannot work with what it holds of a run: told to a scan wherever it is, and to a sweep that notes that
    no queue took two messages, once with some tries left and once without."""
    desk = Desk({"first": Outcome(calls=(call("second"),)), "second": Outcome()})
    message = desk.begin("first")
    desk.clock.ms += LATER
    for state in (r.Scanning, r.Probing):
        desk.scan().until(state).answer(DAMAGED)
    desk.deliver(message).finish()
    desk.deliver(desk.take("second")).until(s.Completing)
    desk.scan().until(r.Completing).answer(DAMAGED)
    desk.scan().until(r.Confirming).answer(DAMAGED)
    for tries in (1, ROUTES.max_attempts):
        for call_id in "ab":
            desk.store.index_add(TIMERS, [(encode(Timer(RUN, call_id, "nowhere.task", "t", tries)), 0)])
        sweep = desk.sweep().until(Noting)
        sweep.answer(DAMAGED)
        sweep.answer(DAMAGED)
        sweep.finish()
        desk.store.indexes[TIMERS].clear()
    return desk


SITUATIONS: tuple[Callable[[], Desk], ...] = (
    plain,
    ranked,
    retried,
    died,
    taken_over,
    beaten_at_a_join,
    unroutable,
    broken_timer,
    fell_back,
    timed_out,
    forked,
    begun_again,
    marked,
    recovered,
    forgotten_during_recovery,
    signalled,
    revived,
    revived_in_vain,
    many_fields,
    damaged,
)
