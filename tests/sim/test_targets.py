"""Things of the user's code by name: modules, files, functions."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pwf_runtime import UsageError
from pwsim import targets


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to be in; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if Path(getattr(module, "__file__", None) or "").is_relative_to(tmp_path):
            del sys.modules[name]


FAKES = """
import helper_of_targets
installed = []
def install():
    installed.append(helper_of_targets.NAME)
NOTHING = 3
"""


def lay_out(folder: Path) -> None:
    (folder / "tests").mkdir()
    (folder / "helper_of_targets.py").write_text("NAME = 'helper'\n")
    (folder / "tests" / "fakes_of_targets.py").write_text(FAKES)


def test_a_file_is_imported_once_and_sees_its_folder_and_this_one(folder: Path) -> None:
    lay_out(folder)
    install = targets.load_function("tests/fakes_of_targets.py:install")
    targets.set_up("tests/fakes_of_targets.py:install")
    targets.set_up("tests/fakes_of_targets.py")
    assert install.__globals__["installed"] == ["helper"]


def test_a_file_that_is_loaded_already_is_taken_as_it_is(folder: Path) -> None:
    lay_out(folder)
    sys.path.insert(0, str(folder / "tests"))
    install = targets.load_function("fakes_of_targets:install")
    assert targets.load_function("tests/fakes_of_targets.py:install") is install
    assert targets.name_of(install) == "tests/fakes_of_targets.py:install"


def test_a_function_is_named_by_its_module_where_that_leads_to_it(folder: Path) -> None:
    lay_out(folder)
    (folder / "helper_of_targets.py").write_text("def fn():\n    def inner(): ...\n    return inner\nfn.other = fn()\n")
    fn = targets.load_function("helper_of_targets:fn")
    assert targets.name_of(fn) == "helper_of_targets:fn"
    assert targets.name_of(fn.other) == ""
    assert targets.name_of(lambda: 0) == ""
    assert targets.name_of(re.compile) == "re:compile"


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("tests/none.py:install", "'tests/none.py:install': there is no file"),
        ("tests/fakes_of_targets.py:instal", "has no such function"),
        ("tests/fakes_of_targets.py:NOTHING", "has something else of that name"),
        ("nowhere_of_targets:install", "there is no module 'nowhere_of_targets'"),
        (":install", "write it as MODULE:FUNCTION"),
    ],
)
def test_what_is_not_there_is_named(folder: Path, target: str, said: str) -> None:
    lay_out(folder)
    with pytest.raises(UsageError, match=re.escape(said)):
        targets.set_up(target)


def test_a_file_that_fails_is_not_half_there(folder: Path) -> None:
    (folder / "broken_of_targets.py").write_text("1 / 0\n")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            targets.set_up("broken_of_targets.py")
