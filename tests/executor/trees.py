"""Trees for the tests of workspaces: deep ones, and names that nobody would choose."""

from __future__ import annotations

import contextlib
import os
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

from executor.settings import Limits

ROOMY = Limits(workspace_bytes=1 << 40, workspace_files=1_000_000)

# A new line, bytes that are not UTF-8, a name as long as they come, and what shells trip over.
NAMES = ("a\nb", os.fsdecode(b"\xff\xfe"), "é" * 127, "n" * 255, "-rf", "* ?", "\\", "'\"")


def deep(top: Path, levels: int, name: str = "d") -> None:
    """Make directories within each other, a file in the last, by descriptors."""
    directory = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=directory)
        further = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=directory)
        os.close(directory)
        directory = further
    file = os.open("last", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=directory)
    os.write(file, b"the end")
    os.close(file)
    os.close(directory)


@contextlib.contextmanager
def in_memory() -> Iterator[Path]:
    """A directory on a tmpfs where there is one: ext4 needs seconds for thousands of directories.

    Must be empty at the end.
    """
    shared = Path("/dev/shm")
    top = Path(tempfile.mkdtemp(dir=shared if os.access(shared, os.W_OK) else None))
    yield top
    top.rmdir()


def descriptors() -> int:
    """How many descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def peak(work: Callable[[], object]) -> int:
    """The most memory that the work takes at once, in bytes."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
