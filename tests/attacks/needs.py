"""What some tests need of a host besides a stack: root, a machine, a package for jobs."""

from __future__ import annotations

import functools
import platform
import subprocess

from executor.settings import Settings
from tests.executor import harness

_FINDS = "import importlib.util, sys; sys.exit(not importlib.util.find_spec(sys.argv[1]))"


@functools.cache
def lacking(need: str) -> str:
    """Say why a test with this need is skipped here; empty if it is not, or needs nothing."""
    if need == "root":
        return "" if harness.IS_ROOT else "not run by root"
    if need == "x86_64":
        return "" if platform.machine() == need else f"not an {need}"
    return "" if not need or _has_package(need) else f"jobs have no {need}"


def _has_package(name: str) -> bool:
    """Whether the interpreter of jobs finds it."""
    command = (Settings().python, "-I", "-c", _FINDS, name)
    return subprocess.run(command, check=False).returncode == 0
