"""The suite on two cores: two pytests side by side, and then what judges the calls of both.

    python -m tests.harness.halves [OPTION OF PYTEST ...]

Folders are divided by hand, so that both halves take about as long; one that nobody names is in the
second. The first half is shown as it runs; what the second prints is kept, and shown as it ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Final

from attrs import frozen

from tests.harness import ledger

TESTS: Final = Path(__file__).parents[1]
FIRST: Final = ("crash", "daemon/chat", "demo", "inputs")
# Run alone: they judge what the halves have noted.
LAST: Final = ("oracles",)
# For `make test-peers`.
APART: Final = ("peers",)

PASSED, INTERRUPTED, NO_TESTS = 0, 2, 5  # pytest's exit codes


@frozen
class Parts:
    """Folders of tests, each in exactly one part."""

    first: tuple[Path, ...]
    second: tuple[Path, ...]
    last: tuple[Path, ...]


def divide(tests: Path = TESTS) -> Parts:
    """Who runs what. A folder of which only a part is named is gone through folder by folder."""
    first, last, apart = (tuple(tests / name for name in names) for names in (FIRST, LAST, APART))
    named = {*first, *last, *apart}
    return Parts(first, tuple(_others(tests, named)), last)


def _others(folder: Path, named: set[Path]) -> Iterator[Path]:
    """The fewest paths that hold all tests below `folder`, but for those of `named`."""
    for path in sorted(folder.iterdir()):
        if path in named or not _has_tests(path):
            continue
        if any(path in each.parents for each in named):
            yield from _others(path, named)
        else:
            yield path


def _has_tests(path: Path) -> bool:
    if path.is_dir():
        return any(path.rglob("test_*.py"))
    return path.match("test_*.py")


def verdict(codes: Sequence[int]) -> int:
    """One exit code for several; a part in which nothing was chosen is no failure, all are."""
    failed = [code for code in codes if code not in {PASSED, NO_TESTS}]
    return failed[0] if failed else min(codes)


def run(parts: Parts, options: Sequence[str]) -> int:
    """Run everything, and give the exit code."""
    with tempfile.TemporaryDirectory(prefix="famulus-ledger-") as folder, _passing_on() as running:
        start = partial(_pytest, options, {**os.environ, ledger.FOLDER: folder})
        with tempfile.TemporaryFile() as kept:
            running.append(start(parts.first))
            running.append(start(parts.second, kept))
            codes = [process.wait() for process in running]
            _show(kept)
        if INTERRUPTED not in codes:
            running.append(start(parts.last))
            codes.append(running[-1].wait())
    return verdict(codes)


@contextmanager
def _passing_on() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that are interrupted when we are to end, so that they end what is theirs.

    Ctrl-C reaches them by itself; that they end for it is what we wait for.
    """
    running: list[subprocess.Popen[bytes]] = []

    def interrupt(*_: object) -> None:
        for process in running:
            process.send_signal(signal.SIGINT)

    before = signal.signal(signal.SIGTERM, interrupt), signal.signal(signal.SIGINT, _wait)
    try:
        yield running
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])


def _wait(*_: object) -> None:
    """Another handler than SIG_IGN, which the processes would inherit."""


def _pytest(
    options: Sequence[str],
    environment: Mapping[str, str],
    paths: Sequence[Path],
    output: IO[bytes] | None = None,
) -> subprocess.Popen[bytes]:
    # Two would write over each other what pytest remembers of a run.
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options, *map(str, paths)]
    return subprocess.Popen(command, env=environment, stdout=output, stderr=output)


def _show(kept: IO[bytes]) -> None:
    kept.seek(0)
    sys.stdout.flush()
    sys.stdout.buffer.write(kept.read())
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(run(divide(), sys.argv[1:]))
