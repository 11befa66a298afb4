"""Opening what is in a workspace, and nothing else: openat2(2) beneath a descriptor.

Jobs own their workspace: they may put a link to /etc in it, swap a directory for a link while we
look, or leave a pipe that blocks whoever opens it. So no path string of the host is ever used for
what lies below a workspace. Everything is opened relative to the workspace's own descriptor, and
the kernel itself refuses every step that would leave it (RESOLVE_BENEATH), follow a link
(NO_SYMLINKS, NO_MAGICLINKS) or cross a mount (NO_XDEV). What has been opened is judged by fstat of
the descriptor, which no rename can change any more.

Paths are text relative to the workspace. Names that are not UTF-8 are carried by surrogates, as
everywhere in Python. A kernel without openat2 (before 5.6) is refused; there is no second way.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from attrs import define

from executor.errors import FileRefused

# The same number on every machine, like all system calls since 2019.
_SYS_OPENAT2 = 437
# linux/openat2.h
_RESOLVE = 0x01 | 0x02 | 0x04 | 0x08  # NO_XDEV, NO_MAGICLINKS, NO_SYMLINKS, BENEATH
_ALWAYS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
# open_how accepts no other flag beside O_PATH.
_WITH_O_PATH = os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_DIRECTORY
_HANDLE = os.O_PATH | os.O_DIRECTORY

# The kernel takes paths of 4,095 bytes; longer ones are opened in pieces.
_MOST_PATH = 4000
_MOST_NAME = 255
# No path of a file operation has a reason to be longer than this.
_MOST_GIVEN = 64 * 1024
_TRIES = 64

# Loaded now: once the privileges are given up, our own files may be out of reach.
_SYSCALL = ctypes.CDLL(None, use_errno=True).syscall


def openat2(directory: int, path: str, flags: int, mode: int = 0) -> int:
    """Open `path` strictly beneath `directory`, a descriptor; gives a descriptor.

    Raises OSError: EXDEV or ELOOP where the way leads out or over a link, ENOSYS on a kernel that
    cannot do this.
    """
    flags = (
        flags & _WITH_O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW
        if flags & os.O_PATH
        else (flags | _ALWAYS)
    )
    how = struct.pack("=3Q", flags, mode, _RESOLVE)
    for _ in range(_TRIES):
        number = _open(directory, os.fsencode(path), how)
        if number >= 0:
            return number
        if -number not in {errno.EAGAIN, errno.EINTR}:  # EAGAIN: something was renamed meanwhile
            break
    raise OSError(-number, os.strerror(-number))


def _open(directory: int, path: bytes, how: bytes) -> int:
    """Give a descriptor, or the error's number below zero."""
    result = _SYSCALL(
        ctypes.c_long(_SYS_OPENAT2),
        ctypes.c_int(directory),
        ctypes.c_char_p(path),
        ctypes.c_char_p(how),
        ctypes.c_size_t(len(how)),
    )
    return int(result) if result >= 0 else -ctypes.get_errno()


def parts_of(path: str) -> tuple[str, ...]:
    """Split a path of the workspace into names; `.` and empty ones fall away.

    Raises FileRefused for what can name nothing beneath the workspace.
    """
    remedy = "give a path relative to the workspace"
    if path.startswith("/") or len(path) > _MOST_GIVEN:
        what = "too long" if len(path) > _MOST_GIVEN else "absolute"
        raise FileRefused(f"the path {shown(path)} is {what}", remedy)
    names = tuple(name for name in path.split("/") if name not in {"", "."})
    for name in names:
        if name == ".." or "\0" in name or len(_encoded(name)) > _MOST_NAME:
            raise FileRefused(
                f"the path {shown(path)} has a name that cannot be: {shown(name)}", remedy
            )
    return names


def _encoded(name: str) -> bytes:
    try:
        return os.fsencode(name)
    except UnicodeEncodeError as error:
        raise FileRefused(f"{shown(name)} cannot be a file's name") from error


def shown(path: str) -> str:
    """A path for a message: in one line, not too long, and without what cannot be printed."""
    text = path if len(path) <= 200 else f"{path[:90]}...{path[-90:]}"  # noqa: PLR2004
    return ascii(text) if not text.isprintable() else f"'{text}'"


def _pieces(names: tuple[str, ...]) -> Iterator[str]:
    """Join names to paths that are short enough for the kernel."""
    piece: list[str] = []
    length = 0
    for name in names:
        size = len(os.fsencode(name)) + 1
        if piece and length + size > _MOST_PATH:
            yield "/".join(piece)
            piece, length = [], 0
        piece.append(name)
        length += size
    yield "/".join(piece) or "."


class Owner:
    """A block that closes what its object owns."""

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        raise NotImplementedError


@define
class Beneath(Owner):
    """A workspace's directory, as the descriptor beneath which everything is opened.

    Owns `descriptor` and closes it with the block. All functions are synchronous and short, but
    they wait for the disk. Every descriptor given is the caller's to close.
    """

    descriptor: int

    @classmethod
    def at(cls, path: str) -> Beneath:
        """Open the directory at `path`, a path of the host whose last name may be no link."""
        return cls(os.open(path, _HANDLE | os.O_NOFOLLOW | os.O_CLOEXEC))

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def copy(self) -> Beneath:
        """The same directory with a descriptor of its own, for another thread."""
        return Beneath(os.dup(self.descriptor))

    def open(self, names: tuple[str, ...], flags: int, mode: int = 0) -> int:
        """Open what `names` lead to. Raises OSError as `openat2` does."""
        *ways, last = _pieces(names)
        directory = self.descriptor
        try:
            for way in ways:
                further = openat2(directory, way, _HANDLE)
                self._let_go(directory)
                directory = further
            return openat2(directory, last, flags, mode)
        finally:
            self._let_go(directory)

    def _let_go(self, descriptor: int) -> None:
        if descriptor != self.descriptor:
            os.close(descriptor)

    def check_directory(self, path: str) -> None:
        """Raise FileRefused unless there is a directory, be it one that is closed to everybody."""
        try:
            os.close(self.open(parts_of(path), _HANDLE))
        except OSError as error:
            raise refusal(path, error) from error

    def open_directory(self, path: str) -> int:
        """Open a directory for reading its names. Raises FileRefused."""
        try:
            return self.open(parts_of(path), os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise refusal(path, error) from error

    def open_file(self, path: str, most: int) -> tuple[int, os.stat_result]:
        """Open a regular file with one name and at most `most` bytes for reading.

        Raises FileRefused for anything else.
        """
        try:
            descriptor = self.open(parts_of(path), os.O_RDONLY)
        except OSError as error:
            raise refusal(path, error) from error
        try:
            return descriptor, plain(path, os.fstat(descriptor), most)
        except BaseException:
            os.close(descriptor)
            raise

    def open_parent(self, path: str) -> tuple[int, str]:
        """Open the directory that `path` is in; gives its descriptor and the last name."""
        names = parts_of(path)
        if not names:
            raise FileRefused("that is the workspace itself", "name something in it")
        try:
            return self.open(names[:-1], os.O_RDONLY | os.O_DIRECTORY), names[-1]
        except OSError as error:
            raise refusal(path, error) from error


def plain(path: str, found: os.stat_result, most: int) -> os.stat_result:
    """Give `found` back if it is of a regular file with one name and at most `most` bytes."""
    if not stat.S_ISREG(found.st_mode):
        raise FileRefused(f"{shown(path)} is a {kind_of(found.st_mode)}, not a file")
    if found.st_nlink != 1:
        remedy = "make a copy of it under a name of its own"
        raise FileRefused(f"{shown(path)} has {found.st_nlink} names (hard links)", remedy)
    if found.st_size > most:
        raise FileRefused(f"{shown(path)} has {found.st_size} bytes, more than {most}")
    return found


_KINDS = (
    (stat.S_ISREG, "file"),
    (stat.S_ISDIR, "directory"),
    (stat.S_ISLNK, "symbolic link"),
    (stat.S_ISFIFO, "pipe"),
    (stat.S_ISSOCK, "socket"),
)


def kind_of(mode: int) -> str:
    return next((name for test, name in _KINDS if test(mode)), "device")


_WHY = {
    errno.ENOENT: ("does not exist", "list the directory to see what there is"),
    errno.ENOTDIR: ("leads through what is not a directory, or is none", ""),
    errno.ELOOP: ("is or leads over a symbolic link", "name the file that it points to"),
    errno.EXDEV: ("leads out of the workspace", "name a file in the workspace"),
    errno.EISDIR: ("is a directory", "name a file"),
    errno.EEXIST: ("exists already", "choose another name"),
    errno.EACCES: ("may not be opened", "change its permissions (chmod u+rwX) in a job"),
    errno.EPERM: ("may not be opened", "change its permissions (chmod u+rwX) in a job"),
    errno.ENXIO: ("is a pipe, a socket or a device", "name a file"),
    errno.ENAMETOOLONG: ("is too long", "choose shorter names"),
    errno.ENOTEMPTY: ("is not empty", "something is being written there; try again"),
    errno.ENOSPC: ("does not fit on the disk", "free some space on the host"),
    errno.EDQUOT: ("does not fit on the disk", "free some space on the host"),
    errno.ENOSYS: ("cannot be opened safely by this kernel", "use Linux 5.6 or newer"),
}


def refusal(path: str, error: OSError) -> FileRefused:
    """Say in a person's words what the system said of `path`."""
    plainly = (error.strerror or str(error), "")
    what, remedy = _WHY.get(error.errno or 0, plainly)
    return FileRefused(f"{shown(path)} {what}", remedy)
