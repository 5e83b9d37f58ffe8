"""Things of the user's code by name, as scenario files and command lines say them: ``MODULE:NAME``, ``FILE.py:NAME``.

A file is for what lies where nothing imports it by name, as a ``conftest.py`` or a test file may. One that is loaded
already (by pytest, say) is not loaded a second time.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from pwf_runtime.errors import UsageError
from pwf_runtime.workflow import Workflow


def load_apps(targets: Sequence[str]) -> list[Workflow]:
    """Import workflows, each ``MODULE:APP``; from the current folder, too.

    Raises:
        UsageError: a module, an attribute, or a Workflow is not there.
    """
    return [_app(target.strip()) for target in targets]


def _app(target: str) -> Workflow:
    module, name = _split(target, "MODULE:APP, such as examples.registration:users")
    app = getattr(module, name, None)
    if not isinstance(app, Workflow):
        there = ", ".join(sorted(name for name, value in vars(module).items() if isinstance(value, Workflow))) or "none"
        raise UsageError(f"{target!r}: {name!r} is no Workflow of {module.__name__} (it has: {there})")
    return app


def load_function(target: str) -> Any:
    """A function by name. Raises ``UsageError``."""
    module, name = _split(target, "MODULE:FUNCTION or FILE.py:FUNCTION")
    found = getattr(module, name, None)
    if not callable(found):
        problem = "has no such function" if found is None else "has something else of that name"
        raise UsageError(f"{target!r}: {module.__name__} {problem}")
    return found


def set_up(target: str) -> None:
    """Import a module (``MODULE``, ``FILE.py``), or call a function of one (``MODULE:FUNCTION``). Raises ``UsageError``
    for what is not there, and whatever the module or the function raises."""
    if ":" in target:
        load_function(target)()
    else:
        _module(target, target)


def name_of(value: Any) -> str:
    """The ``MODULE:NAME`` or ``FILE.py:NAME`` of a function; "": nothing imports it, for it stands within another."""
    module = sys.modules.get(getattr(value, "__module__", None) or "")
    name = getattr(value, "__qualname__", "")
    if module is None or getattr(module, name, None) is not value:
        return ""
    return f"{place_of_module(module)}:{name}"


def place_of_module(module: ModuleType) -> str:
    """How to name a module here: by its file, where its name alone would not lead to it."""
    file = getattr(module, "__file__", None)
    here = Path.cwd()
    if file is None or not Path(file).is_relative_to(here):
        return module.__name__
    path = Path(file).relative_to(here)
    dotted = ".".join(path.with_suffix("").parts)
    return module.__name__ if dotted.removesuffix(".__init__") == module.__name__ else path.as_posix()


def _split(target: str, form: str) -> tuple[ModuleType, str]:
    place, colon, name = target.rpartition(":")
    if not colon or not place or not name:
        raise UsageError(f"{target!r}: write it as {form}")
    return _module(place, target), name


def _module(place: str, target: str) -> ModuleType:
    if place.endswith(".py"):
        return _from_file(Path(place), target)
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is not None and place.startswith(error.name):
            raise UsageError(
                f"{target!r}: there is no module {error.name!r} in {Path.cwd()} or the Python path"
            ) from error
        raise


def _from_file(path: Path, target: str) -> ModuleType:
    """As pytest does it: what lies beside the file can be imported by it."""
    path = path.absolute()
    for module in list(sys.modules.values()):
        if getattr(module, "__file__", None) == str(path):
            return module
    if not path.is_file():
        raise UsageError(f"{target!r}: there is no file {path}")
    for folder in (str(Path.cwd()), str(path.parent)):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    name = path.stem if path.stem not in sys.modules else f"{path.stem} of {path.parent}"
    spec = spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
