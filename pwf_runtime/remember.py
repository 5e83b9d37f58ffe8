"""``ctx.step``: results that a call remembers over its attempts.

They stand in one field of the call, a map from the step's name to its result, and go with the call when it settles.
They are written under the same compare as a commit: only the current attempt may. Everything here happens in the task's
own thread, which waits for the store.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from . import codec
from .core import keys as k
from .core.model import Message
from .core.steps import remember
from .core.txn import Get, Txn
from .errors import PwfError
from .store.base import Store

_read_map = codec.decoder(dict[str, bytes])


class Remembered:
    """The steps of one attempt. Steps may run side by side in threads of the task's own."""

    __slots__ = ("_attempt", "_lock", "_message", "_results", "_store")

    def __init__(self, store: Store, message: Message, attempt: int) -> None:
        self._store = store
        self._message = message
        self._attempt = attempt
        self._results: dict[str, bytes] | None = None
        self._lock: threading.Lock | None = None

    def step(self, name: str, fn: Callable[[], Any]) -> Any:
        """The result of ``fn``; of an earlier attempt's, where there is one.

        Raises what ``fn`` raises, DataError for a result that cannot be kept, StoreUnavailable, and PwfError when this
        attempt is over: ``fn`` has run then, and nobody will know.
        """
        with self._guard():
            results = self._results if self._results is not None else self._load()
        if name in results:
            return codec.decode(results[name])
        result = codec.encode(fn(), f"the result of step {name!r}")
        with self._guard():
            results[name] = result
            self._save(results)
        return codec.decode(result)

    def _guard(self) -> threading.Lock:
        if self._lock is None:  # most tasks have no steps, and need no lock
            self._lock = threading.Lock()
        return self._lock

    def _load(self) -> dict[str, bytes]:
        field = k.steps(self._message.call_id)
        ((found,),) = self._store.txns([Txn("recall", self._message.run_id, then=(Get((field,)),))])[0].replies
        self._results = _read_map(found) if found is not None else {}
        return self._results

    def _save(self, results: dict[str, bytes]) -> None:
        txn = remember(self._message, self._attempt, codec.encode(results))
        if not self._store.txns([txn])[0].held:
            raise PwfError(
                f"attempt {self._attempt} of {self._message.task} is over: its lease ran out and another attempt "
                "began, or its run was cancelled; look at ctx.lost before doing what cannot be undone"
            )
