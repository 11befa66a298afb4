"""Putting a file into a workspace so that it is there whole or not at all.

The bytes go to a file without a name in the directory where it will be (or, where the file system
has no such files, to one with a name of ours), which takes the place of the old one by a rename.
Nothing waits for the disk: a workspace outlives our process, not a power cut.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from types import TracebackType
from typing import Self

from attrs import define, frozen

from executor.beneath import Beneath, kind_of, openat2, parts_of, refusal, shown
from executor.errors import FileRefused
from executor.quota import measure
from executor.settings import Limits

_NEW_FILE = 0o644
_NEW_DIRECTORY = 0o755
_CLUSTER = 4096  # what even one byte takes on the disk
_NO_TMPFILE = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL})


@frozen
class Room:
    """How much more a workspace may hold, in bytes on the disk and in files."""

    bytes: int
    files: int

    @classmethod
    def of(cls, beneath: Beneath, limits: Limits) -> Room:
        """Measure what is left of the quota."""
        used = measure(beneath, most_files=2 * limits.workspace_files)
        if not used.complete:
            return cls(0, 0)
        return cls(limits.workspace_bytes - used.bytes, limits.workspace_files - used.files)

    def check(self, path: str, size: int, made: int) -> None:
        """Raise FileRefused if `size` more bytes or `made` more files do not fit."""
        remedy = "remove some files"
        if _on_disk(size) > max(0, self.bytes):
            left = max(0, self.bytes)
            raise FileRefused(f"{shown(path)} does not fit: {left} bytes are left", remedy)
        if made > self.files:
            raise FileRefused(f"{shown(path)} does not fit: no more files are allowed", remedy)


def _on_disk(size: int) -> int:
    return -(-size // _CLUSTER) * _CLUSTER


@define
class Incoming:
    """A file that is being written. It appears under its name with `commit`, else never.

    Owns its two descriptors; leaving the block closes them, and drops what was not committed.
    """

    path: str
    room: Room
    old: os.stat_result | None
    _directory: int
    _descriptor: int
    _name: str
    _temporary: str
    _freed: int
    size: int = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._temporary:
            with contextlib.suppress(OSError):
                os.unlink(self._temporary, dir_fd=self._directory)
        os.close(self._descriptor)
        os.close(self._directory)

    def write(self, data: bytes) -> None:
        """Add bytes. Raises FileRefused as soon as the quota would be passed."""
        self.room.check(self.path, max(0, self.size + len(data) - self._freed), 0)
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            raise refusal(self.path, error) from error
        self.size += len(data)

    def commit(self, mode: int | None = None) -> None:
        """Give the file its name, with the permissions of the one it replaces, or `mode`."""
        kept = stat.S_IMODE(self.old.st_mode) & 0o777 if self.old else _NEW_FILE
        try:
            os.fchmod(self._descriptor, kept if mode is None else mode & 0o777)
            if not self._temporary:
                self._temporary = _temporary_name()
                nameless = f"/proc/self/fd/{self._descriptor}"
                os.link(nameless, self._temporary, dst_dir_fd=self._directory)
            both = {"src_dir_fd": self._directory, "dst_dir_fd": self._directory}
            os.rename(self._temporary, self._name, **both)
            self._temporary = ""
        except OSError as error:
            raise refusal(self.path, error) from error


def incoming(beneath: Beneath, path: str, room: Room) -> Incoming:
    """Begin to write the file at `path`; directories on the way are made.

    Raises FileRefused where something other than a file has that name.
    """
    names = parts_of(path)
    if not names:
        raise FileRefused("that is the workspace itself", "name a file in it")
    room.check(path, 0, 1)
    directory = _made_parents(beneath, path, names[:-1], room)
    try:
        old = _replaceable(directory, path, names[-1])
        descriptor, temporary = _scratch(directory)
    except OSError as error:
        os.close(directory)
        raise refusal(path, error) from error
    except BaseException:
        os.close(directory)
        raise
    freed = old.st_blocks * 512 if old is not None and old.st_nlink == 1 else 0
    return Incoming(path, room, old, directory, descriptor, names[-1], temporary, freed)


def write(beneath: Beneath, path: str, data: bytes, limits: Limits) -> int:
    """Write a whole file; gives its size. Raises FileRefused, and then nothing has changed."""
    with incoming(beneath, path, Room.of(beneath, limits)) as file:
        file.write(data)
        file.commit()
    return len(data)


def _made_parents(beneath: Beneath, path: str, names: tuple[str, ...], room: Room) -> int:
    """Open the directory that `names` lead to, making what is missing."""
    try:
        return beneath.open(names, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        room.check(path, 0, len(names) + 1)
    except OSError as error:
        raise refusal(path, error) from error
    try:
        return _made_each(beneath, names)
    except OSError as error:
        raise refusal(path, error) from error


def _made_each(beneath: Beneath, names: tuple[str, ...]) -> int:
    directory = os.dup(beneath.descriptor)
    try:
        for name in names:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, _NEW_DIRECTORY, dir_fd=directory)
            further = openat2(directory, name, os.O_RDONLY | os.O_DIRECTORY)
            os.close(directory)
            directory = further
    except BaseException:
        os.close(directory)
        raise
    return directory


def _replaceable(directory: int, path: str, name: str) -> os.stat_result | None:
    """What is there now, if it is a file; None if nothing is. Raises FileRefused otherwise."""
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        remedy = "remove it first, or choose another name"
        raise FileRefused(f"{shown(path)} is a {kind_of(found.st_mode)}", remedy)
    return found


def _scratch(directory: int) -> tuple[int, str]:
    """Open a new file in a directory; gives its descriptor, and its name if it needs one."""
    try:
        return openat2(directory, ".", os.O_WRONLY | os.O_TMPFILE, 0o600), ""
    except OSError as error:
        if error.errno not in _NO_TMPFILE:
            raise
    name = _temporary_name()
    return openat2(directory, name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), name


def _temporary_name() -> str:
    return f".incoming-{os.urandom(8).hex()}"
