"""A deterministic simulator for workflows of ``pwf_runtime``.

For tests there is the pytest plugin with its fixture ``pwsim``; the same without pytest is ``simulate``. Only public
names live here, and each is loaded when it is first used: to import this package is to import nothing else.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import strategies
    from .probes import probe
    from .program import Signal
    from .scenario import Scenario
    from .testing import Failure, Report, replay, simulate

_HOME = {
    "Failure": "testing",
    "Report": "testing",
    "Scenario": "scenario",
    "Signal": "program",
    "probe": "probes",
    "replay": "testing",
    "simulate": "testing",
}

__all__ = ["Failure", "Report", "Scenario", "Signal", "probe", "replay", "simulate", "strategies"]


def __getattr__(name: str) -> Any:
    if name == "strategies":
        return _strategies()
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    return value


def _strategies() -> Any:
    try:
        return import_module(f"{__name__}.strategies")
    except ModuleNotFoundError as error:
        if error.name != "hypothesis":
            raise
        raise ImportError("pwsim.strategies needs hypothesis: pip install hypothesis") from error


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
