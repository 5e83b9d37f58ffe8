"""Where each noun stands among a run's fields. The only place that knows their names.

=========================  ==================================================================
field                      holds
=========================  ==================================================================
``status``                 ``running``, then ``completed``, ``stranded`` or ``cancelled``
``task`` ``digest``        what the run was begun with; tells a repeated start from a conflict
``started`` ``finished``   creation and end, ms
``open``                   calls created and not yet settled; a dead call stays open; and armed joins that wait for
                           the outside and have no timer
``armed``                  joins that may still fire
``dead``                   calls that used up their attempts
``result``                 what the run returns: the result committed last
``c:ID:s``                 a call's state: ``ready``, ``committed`` or ``dead``
``c:ID:a``                 its latest attempt; the fencing token
``c:ID:u``                 not before this time, ms (a delay or a retry)
``c:ID:r`` ``o`` ``e``     its record, its outbox, its latest failure
``c:ID:b``                 attempts that do not count: before a redrive, claims given back, claims without its task
``c:ID:n``                 how many claims were by workers that do not have its task
``c:ID:x``                 what its steps (``ctx.step``) have returned
``s:ID``                   the signal that the call ID is: that it was received, kept as long as the run's result
``inbox`` (list)           the names of these fields
``h`` (list)               what happened, where workers keep a history (outside the core: ``facts``)
``e:NAME`` (list)          the events of a name in commit order
``w:NAME`` (list)          the joins that wait for a name
``j:ID:s`` ``r``           a join's state (``armed``, ``fired``, ``expired``) and record
``j:ID:got`` (list)        the names it has enough of, in the order in which they were marked
``j:ID:m:NAME``            that this name is marked
=========================  ==================================================================

A call's lease is named by the call's id.
"""

from __future__ import annotations

STATUS, TASK, DIGEST, RESULT = "status", "task", "digest", "result"
STARTED, FINISHED = "started", "finished"
OPEN, ARMED, DEAD_COUNT = "open", "armed", "dead"
SUMMARY = (STATUS, TASK, DIGEST, RESULT, STARTED, FINISHED, OPEN, ARMED, DEAD_COUNT)
"""What is kept of a run that has ended, until its retention is over."""

RUNNING, COMPLETED, STRANDED, CANCELLED = b"running", b"completed", b"stranded", b"cancelled"
READY, COMMITTED, DEAD = b"ready", b"committed", b"dead"
ARMED_STATE, FIRED, EXPIRED = b"armed", b"fired", b"expired"
MARKED = b"1"
OWN = "~"
"""Names that begin so are the library's own."""


def state(call: str) -> str:
    return f"c:{call}:s"


def attempt(call: str) -> str:
    return f"c:{call}:a"


def due(call: str) -> str:
    return f"c:{call}:u"


def record(call: str) -> str:
    return f"c:{call}:r"


def outbox(call: str) -> str:
    return f"c:{call}:o"


def failure(call: str) -> str:
    return f"c:{call}:e"


def uncounted(call: str) -> str:
    return f"c:{call}:b"


def strangers(call: str) -> str:
    return f"c:{call}:n"


def steps(call: str) -> str:
    return f"c:{call}:x"


INBOX = "inbox"


def received(call: str) -> str:
    return f"s:{call}"


def call_fields(call: str) -> tuple[str, ...]:
    """Every field a call can have: what settling it removes."""
    return tuple([f"c:{call}:{kind}" for kind in "sarouebnx"])


def events(name: str) -> str:
    return f"e:{name}"


def waiters(name: str) -> str:
    return f"w:{name}"


def join_state(join: str) -> str:
    return f"j:{join}:s"


def join_record(join: str) -> str:
    return f"j:{join}:r"


def got(join: str) -> str:
    return f"j:{join}:got"


def mark(join: str, name: str) -> str:
    return f"j:{join}:m:{name}"


def length(list_name: str) -> str:
    """The field in which a list keeps its length."""
    return f"{list_name}#"


def item(list_name: str, index: int) -> str:
    """The field of one of a list's values, from 0."""
    return f"{list_name}:{index}"


def private_event(call: str) -> str:
    """The event by which a member of a fork reports its result."""
    return f"{OWN}{call}"
