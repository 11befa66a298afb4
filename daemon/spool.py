"""Files that wait to be sent or have just come, in a directory of our own beside the database.

A file is here before the row that names it, and goes after that row is over, so a row always finds
its bytes, whatever killed us in between; what a kill leaves behind is a file that no row names, and
`sweep` removes those at the start. The names are random: nothing of what a job called its file
reaches a path of the host.

Everything here blocks, in the manner of disks, and is meant for a thread.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import threading
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO

from attrs import define, field, frozen

# What waits shares its disk with the database, which a full disk would stop. With Telegram out of
# reach, this is the files of some 25 jobs that give back all they may.
MOST_BYTES = 500_000_000

_KEY = re.compile(r"[0-9a-f]{32}")
_OURS = re.compile(r"[0-9a-f]{32}(\.new)?")


class SpoolFull(Exception):
    """There is no room for the file until others have been sent."""


@frozen
class Spool:
    """The directory `path`, made when the first file is kept; only its owner may look into it."""

    path: Path
    most_bytes: int = MOST_BYTES
    _keeping: threading.Lock = field(factory=threading.Lock, init=False, repr=False, eq=False)

    def keep(self, data: bytes) -> str:
        """Write a file that survives a power failure, and give the key that it has here.

        Raises OSError or SpoolFull, and leaves nothing then (what a failing disk does not let us
        take back is the next start's to remove).
        """
        key = secrets.token_hex(16)
        unfinished, finished = self.path / f"{key}.new", self.path / key
        with self._keeping:  # one at a time, so that the room is still there when it is used
            self._make()
            self._make_room(len(data))
            try:
                _write(unfinished, data)
                unfinished.rename(finished)
                _sync_directory(self.path)
            except OSError:
                self.remove([unfinished.name, key])
                raise
        return key

    def begin(self) -> Growing:
        """Begin a file whose bytes come in pieces. Raises OSError."""
        key = secrets.token_hex(16)
        with self._keeping:
            self._make()
        path = self.path / f"{key}.new"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        return Growing(self, key, descriptor)

    def _make_room(self, size: int) -> None:
        """Raises SpoolFull. What grows beside this one counts with what it has so far."""
        if self._used() + size > self.most_bytes:
            raise SpoolFull

    def _make(self) -> None:
        if not self.path.is_dir():
            self.path.mkdir(mode=0o700)
            _sync_directory(self.path.parent)

    def _used(self) -> int:
        return sum(_size(entry) for entry in self._files())

    def _files(self) -> Iterator[os.DirEntry[str]]:
        """What is ours here: a file system of its own may hold a `lost+found`."""
        with os.scandir(self.path) as entries:
            for entry in entries:
                if _OURS.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                    yield entry

    def open(self, key: str) -> BinaryIO:
        """Open a file for reading; the caller closes it.

        Raises FileNotFoundError if it is gone for good, and any other OSError for now.
        """
        if not _KEY.fullmatch(key):
            raise FileNotFoundError(key)
        return (self.path / key).open("rb")

    def remove(self, keys: Collection[str]) -> None:
        """Remove files; those that are gone already are no matter. Raises OSError."""
        for key in keys:
            (self.path / key).unlink(missing_ok=True)

    def sweep(self, named: Collection[str]) -> int:
        """Remove all files that are not `named` by a row; gives their number. Raises OSError.

        For the start, while nobody keeps anything: a file comes before its row.
        """
        if not self.path.is_dir():
            return 0
        _sync_directory(self.path.parent)  # a kill may have come between its making and this
        orphans = [entry.name for entry in self._files() if entry.name not in named]
        self.remove(orphans)
        return len(orphans)


@define
class Growing:
    """A file of the spool that is being written; there under its key after `finish`, or never.

    It is closed by `finish` and by `drop`, one of which its owner calls.
    """

    spool: Spool
    key: str
    _descriptor: int
    size: int = 0

    def write(self, data: bytes) -> None:
        """Append a piece. Raises OSError or SpoolFull."""
        with self.spool._keeping:  # noqa: SLF001  (a part of it)
            self.spool._make_room(len(data))  # noqa: SLF001
            _write_all(self._descriptor, data)
        self.size += len(data)

    def finish(self) -> str:
        """Make it survive a power failure; gives its key. Raises OSError."""
        os.fsync(self._descriptor)
        (self.spool.path / f"{self.key}.new").rename(self.spool.path / self.key)
        _sync_directory(self.spool.path)
        self._close()
        return self.key

    def drop(self) -> None:
        """Leave nothing of it, whatever has become of it. Raises OSError."""
        self._close()
        self.spool.remove([f"{self.key}.new", self.key])

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _size(entry: os.DirEntry[str]) -> int:
    with contextlib.suppress(FileNotFoundError):  # it was sent meanwhile
        return entry.stat(follow_symlinks=False).st_size
    return 0


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        _write_all(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
