"""A worker that is killed with SIGKILL at one place, once: ``python -m tests.integration.dying LABEL TASK FILE``.

It dies when it is about to send the transaction ``LABEL`` of a call of ``TASK``, unless ``FILE`` is there already: then
somebody died of it before. That is how a window of microseconds is hit, without a hook in production code.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pwf_runtime import Event, Workflow, call, emit, join, result
from pwf_runtime import signal as outside
from pwf_runtime.client import connections
from pwf_runtime.config import Settings
from pwf_runtime.core.ids import ROOT_CALL, derive, signal_call
from pwf_runtime.core.txn import Is, Txn, TxnReply
from pwf_runtime.worker import Worker

app = Workflow("incident")
SIGNAL_ID = "receipt-7"
CALLS = {"begin": ROOT_CALL, "left": derive(ROOT_CALL, "c0"), "signal": signal_call(SIGNAL_ID)}
SETTINGS = Settings(lease=1.0, history=50, recovery=3600.0)
"""The recovery scan is kept out: where the machine stalls it would add to what happens."""


@app.task
def begin(data: dict[str, Any]) -> Any:
    return [call(left, data["left"]), call(right, data["right"]), join(end, on=["left", "right"])]


@app.task
def left(data: str) -> Any:
    return emit("left", data)


@app.task
def right(data: str) -> Any:
    return emit("right", data)


@app.task
def wait(data: str) -> Any:
    """For a call and for the outside."""
    return [call(left, data), join(end, on=["left", outside("right")])]


@app.task
def trust(data: str) -> Any:
    """Without saying what comes from outside."""
    return [call(left, data), join(end, on=["left", "right"])]


@app.task
def end(events: list[Event]) -> Any:
    return result([event.data for event in events])


class Dying:
    """A store that ends its process."""

    def __init__(self, store: Any, label: str, task: str, file: Path) -> None:
        self._store, self._label, self._call, self._file = store, label, CALLS[task], file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def txns(self, txns: Sequence[Txn]) -> Sequence[TxnReply]:
        if any(txn.label == self._label and _call_of(txn) == self._call for txn in txns):
            try:
                self._file.touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        answered: Sequence[TxnReply] = self._store.txns(txns)
        return answered


def _call_of(txn: Txn) -> str:
    """The call whose state the transaction compares."""
    fields = [compare.field for compare in txn.compare if isinstance(compare, Is) and compare.field.startswith("c:")]
    return fields[0].split(":")[1] if fields else ""


def main(label: str, task: str, file: str) -> None:
    store, transport = connections(None, None, SETTINGS)
    worker = Worker(
        app,
        Dying(store, label, task, Path(file)),
        transport,
        SETTINGS,
        on_ready=lambda: print("ready", file=sys.stderr, flush=True),
    )
    signal.signal(signal.SIGTERM, lambda *_: worker.request_stop())
    worker.run()
    store.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
