"""Runs a module as an installation would: without what only the tools for tests have brought.

Some libraries import others where they find them (httpx looks for rich, to print in colours), which
costs a start time and memory that no installation pays.

    python -m tests.bench.installed MODULE [ARGUMENT ...]
"""

from __future__ import annotations

import runpy
import sys
from typing import Final

# Packages that are looked for, and that `requirements.lock` has not.
FOUND_BY_CHANCE: Final = ("rich", "pygments")


def main() -> None:
    for name in FOUND_BY_CHANCE:
        sys.modules[name] = None  # type: ignore[assignment]  # to import it is an ImportError now
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
