"""What a worker's log says of attempts that failed, whether they are tried again or leave a call dead."""

from __future__ import annotations

import logging

from .core.inputs import Input
from .core.states import Failing
from .core.txn import TxnReply

log = logging.getLogger("pwf")


def tell(failing: Failing, answer: Input, now_ms: int) -> None:
    """Say it once the store has noted it: whoever was too late with its failure has nothing to say."""
    if not isinstance(answer, TxnReply) or not answer.held:
        return
    claim, failure = failing.claim, failing.failure
    call = f"run {claim.message.run_id}: {claim.message.task} {claim.message.call_id}"
    why = f"{failure.kind}: {failure.message}"
    if failing.due_ms is not None:
        seconds = max(0, failing.due_ms - now_ms) / 1000
        log.info("%s failed in attempt %d: %s; it is tried again in %.1f s", call, claim.attempt, why, seconds)
    else:
        trace = f"\n{failure.traceback.rstrip()}" if failure.traceback else ""
        log.error("%s is dead after attempt %d: %s; kept, see `pwf dead list`%s", call, claim.attempt, why, trace)
