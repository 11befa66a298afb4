"""Putting a file into a workspace so that it is there whole or not at all.

The bytes go to a file without a name (or, where the file system has no such files, to one with a
name of ours) in the directory where it will be, or the last one on the way there that exists. With
the last word the others are made, and a rename puts it in the place of the old one.
Nothing waits for the disk: a workspace outlives our process, not a power cut.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from attrs import define, frozen

from executor.beneath import Beneath, Owner, kind_of, openat2, parts_of, refusal, shown
from executor.errors import FileRefused
from executor.quota import measure
from executor.settings import Limits

_NEW_FILE = 0o644
_NEW_DIRECTORY = 0o755
_CLUSTER = 4096  # what even one byte takes on the disk
_NO_TMPFILE = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL})


@frozen
class Allowance:
    """How much more a workspace may hold, in bytes on the disk and in files."""

    bytes: int
    files: int

    @classmethod
    def of(cls, beneath: Beneath, limits: Limits) -> Allowance:
        """Measure what is left of the quota. Raises FileRefused if that cannot be done."""
        used = measure(beneath, most_files=2 * limits.workspace_files)
        if not used.complete and not used.found_over(limits):
            raise FileRefused(
                "the workspace cannot be measured",
                "see that it has fewer names and that all its directories can be read",
            )
        return cls(limits.workspace_bytes - used.bytes, limits.workspace_files - used.files)

    def check(self, path: str, size: int, made: int) -> None:
        """Raise FileRefused if `size` more bytes or `made` more files do not fit."""
        remedy = "remove some files"
        if on_disk(size) > max(0, self.bytes):
            left = max(0, self.bytes)
            raise FileRefused(f"{shown(path)} does not fit: {left} bytes are left", remedy)
        if made > max(0, self.files):
            raise FileRefused(f"{shown(path)} does not fit: no more files are allowed", remedy)


def on_disk(size: int) -> int:
    return -(-size // _CLUSTER) * _CLUSTER


@define
class Incoming(Owner):
    """A file that is being written. It appears under its name with `commit`, else never.

    Owns its two descriptors; leaving the block closes them, and drops what was not committed.
    `makes` is how many names it adds to the workspace, `made` how many directories it has made.
    """

    path: str
    allowance: Allowance
    old: os.stat_result | None
    makes: int
    _top: Beneath  # the last directory on the way that there is
    _missing: tuple[str, ...]
    _descriptor: int
    _name: str
    _temporary: str
    size: int = 0
    made: int = 0

    def close(self) -> None:
        if self._temporary:
            with contextlib.suppress(OSError):
                os.unlink(self._temporary, dir_fd=self._top.descriptor)
        os.close(self._descriptor)
        self._top.close()

    def write(self, data: bytes) -> None:
        """Add bytes. Raises FileRefused as soon as the quota would be passed."""
        freed = self.old.st_blocks * 512 if self.old and self.old.st_nlink == 1 else 0
        self.allowance.check(self.path, max(0, self.size + len(data) - freed), 0)
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
                name = _temporary_name()
                nameless = f"/proc/self/fd/{self._descriptor}"
                os.link(nameless, name, dst_dir_fd=self._top.descriptor)
                self._temporary = name
            self._take_place()
        except OSError as error:
            unmake(self._top, self._missing, self.made)
            raise refusal(self.path, error) from error

    def _take_place(self) -> None:
        directory = self._made_directories()
        try:
            both = {"src_dir_fd": self._top.descriptor, "dst_dir_fd": directory}
            os.rename(self._temporary, self._name, **both)
            self._temporary = ""
        finally:
            os.close(directory)

    def _made_directories(self) -> int:
        """Open the directory where the file will be, making what is missing."""
        directory = os.dup(self._top.descriptor)
        try:
            for name in self._missing:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, _NEW_DIRECTORY, dir_fd=directory)
                    self.made += 1
                further = openat2(directory, name, os.O_RDONLY | os.O_DIRECTORY)
                os.close(directory)
                directory = further
        except BaseException:
            os.close(directory)
            raise
        return directory


def incoming(beneath: Beneath, path: str, allowance: Allowance) -> Incoming:
    """Begin to write the file at `path`, in a directory that need not be there yet.

    Raises FileRefused where something other than a file has that name.
    """
    names = parts_of(path)
    if not names:
        raise FileRefused("that is the workspace itself", "name a file in it")
    try:
        top, missing = _last_there(beneath, names[:-1])
        with contextlib.ExitStack() as stack:
            stack.enter_context(top)
            old = None if missing else _replaceable(top.descriptor, path, names[-1])
            makes = len(missing) + (old is None or old.st_nlink > 1)
            allowance.check(path, 0, makes)
            descriptor, temporary = _scratch(top.descriptor)
            stack.pop_all()
    except OSError as error:
        raise refusal(path, error) from error
    return Incoming(path, allowance, old, makes, top, missing, descriptor, names[-1], temporary)


def write(beneath: Beneath, path: str, data: bytes, limits: Limits) -> int:
    """Write a whole file; gives its size. Raises FileRefused, and then nothing has changed."""
    with incoming(beneath, path, Allowance.of(beneath, limits)) as file:
        file.write(data)
        file.commit()
    return len(data)


def unmake(beneath: Beneath, names: tuple[str, ...], count: int) -> None:
    """Remove the last `count` of directories within each other that there are and are empty."""
    for depth in range(len(names), 0, -1):
        if count == 0:
            return
        with contextlib.suppress(OSError):
            parent = beneath.open(names[: depth - 1], os.O_PATH | os.O_DIRECTORY)
            try:
                os.rmdir(names[depth - 1], dir_fd=parent)
                count -= 1
            finally:
                os.close(parent)


def _last_there(beneath: Beneath, names: tuple[str, ...]) -> tuple[Beneath, tuple[str, ...]]:
    """Open the last of directories within each other that there is; gives the names after it."""
    flags = os.O_RDONLY | os.O_DIRECTORY
    with contextlib.suppress(FileNotFoundError):
        return Beneath(beneath.open(names, flags)), ()
    here = beneath.open((), flags)
    for number, name in enumerate(names):
        try:
            further = openat2(here, name, flags)
        except FileNotFoundError:
            return Beneath(here), names[number:]
        except BaseException:
            os.close(here)
            raise
        os.close(here)
        here = further
    return Beneath(here), ()


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
