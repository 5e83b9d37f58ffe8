"""Real servers for tests, one file each: started on a free loopback port, with all their data in a temporary folder.

A server is ended by the process id of what was started here, never by name. A machine without the server skips the
tests that need it; in CI that would be a hole nobody sees, so there it fails.
"""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def missing(server: str) -> NoReturn:
    """Skip the test that asked for ``server``, or fail it where the environment variable ``CI`` is set."""
    reason = f"{server} is not installed (or not on PATH)"
    if os.environ.get("CI"):
        pytest.fail(f"{reason}; with CI set, a missing server is a failure: install it", pytrace=False)
    pytest.skip(reason)
