"""As a new user would: an empty folder, a fresh environment, the built wheel, and the tutorial word for word."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.repo import LISTED

from . import DOCS, PATIENCE_S, ROOT, blocks, follow

TUTORIAL = DOCS / "tutorial.md"


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """Built from the files that git does not ignore: what was left behind by an earlier build is not in it."""
    listed = [*LISTED, "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file() and name.startswith(("pwf_runtime/", "pwsim/", "pyproject", "README", "LICENSE")):
            (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / "source" / name)
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path / "dist"), "."]
    subprocess.run(build, cwd=tmp_path / "source", check=True, timeout=PATIENCE_S)
    (built,) = (tmp_path / "dist").glob("*.whl")
    return built


@pytest.mark.skipif(not os.environ.get("CI"), reason="builds a wheel and an environment, from a package index; CI does")
def test_the_tutorial_works_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    (install,) = [block for block in blocks(TUTORIAL) if block.kind == "install"]
    typed, replaced = re.subn(r"pip install '[^']*\[pytest\]'", f"pip install -q '{wheel}[pytest]'", install.body)
    assert replaced == 1
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    subprocess.run(["bash", "-ec", typed], cwd=tmp_path, env=clean, check=True, timeout=PATIENCE_S)
    shop = tmp_path / "shop"
    assert sorted(path.name for path in shop.iterdir()) == [".venv"]
    follow(TUTORIAL, shop, shop / ".venv" / "bin")
