"""Files that wait to be sent, in a directory of our own beside the database.

A file is here before the row that names it, and goes after that row is over, so a row always finds
its bytes, whatever killed us in between; what a kill leaves behind is a file that no row names, and
`sweep` removes those at the start. The names are random: nothing of what a job called its file
reaches a path of the host.

Everything here blocks, in the manner of disks, and is meant for a thread.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Collection
from pathlib import Path
from typing import BinaryIO

from attrs import frozen

_KEY = re.compile(r"[0-9a-f]{32}")


@frozen
class Spool:
    """The directory `path`, made when the first file is kept; only its owner may look into it."""

    path: Path

    def keep(self, data: bytes) -> str:
        """Write a file that survives a power failure, and give the key that it has here.

        Raises OSError, and leaves nothing then.
        """
        self.path.mkdir(mode=0o700, exist_ok=True)
        key = secrets.token_hex(16)
        unfinished = self.path / f"{key}.new"
        try:
            _write(unfinished, data)
            unfinished.rename(self.path / key)
        except OSError:
            unfinished.unlink(missing_ok=True)
            raise
        _sync_directory(self.path)
        return key

    def open(self, key: str) -> BinaryIO:
        """Open a file for reading; the caller closes it. Raises OSError if it is not there."""
        if not _KEY.fullmatch(key):
            raise FileNotFoundError(key)
        return (self.path / key).open("rb")

    def remove(self, keys: Collection[str]) -> None:
        """Remove files; those that are gone already are no matter."""
        for key in keys:
            (self.path / key).unlink(missing_ok=True)

    def sweep(self, named: Collection[str]) -> int:
        """Remove all files that are not `named` by a row; gives their number.

        For the start, while nobody keeps anything: a file comes before its row.
        """
        if not self.path.is_dir():
            return 0
        orphans = [entry.name for entry in os.scandir(self.path) if entry.name not in named]
        self.remove(orphans)
        return len(orphans)


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb", buffering=0) as file:  # noqa: PTH123  (of a descriptor)
        left = memoryview(data)
        while left:
            left = left[file.write(left) :]
        os.fsync(descriptor)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
