"""Removing a file or a whole tree, of any depth, while somebody may be renaming things in it.

A tree is first renamed aside, which takes it away in one step, and is then taken apart: files are
unlinked, directories moved up next to it, until each is empty. So no path becomes long, three
descriptors are enough, and nothing is ever reached but by a name in a directory that is open.

What a removal that was killed or took too long has left aside, the next one takes apart as well, or
`sweep`. The names tell which of them are still at work: several may have the same top.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import time

from attrs import define, field

from executor.beneath import Beneath, Owner, refusal
from executor.errors import FileRefused
from executor.walk import opened, opened_directory

# ext4 needs 1.5 ms for each directory.
_SECONDS = 60.0
_ASIDE = re.compile(r"\.removing-([0-9a-f]{16})-[0-9a-f]{16}")
_MOST_TOLD = 3
# The marks of the removals that this process is at.
_at_work: set[str] = set()


def remove(beneath: Beneath, path: str) -> int:
    """Remove what has this name, a directory with all that is in it; gives how many names went.

    Raises FileRefused if there is nothing, or if somebody keeps filling what is being removed.
    """
    parent, name = beneath.open_parent(path)
    try:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISDIR(found.st_mode):
            os.unlink(name, dir_fd=parent)
            return 1
        with _Removal.at(beneath) as removal:
            removal.move_aside(parent, name)
            count = removal.take_apart()
    except OSError as error:
        raise refusal(path, error) from error
    finally:
        os.close(parent)
    sweep(beneath)
    return count


def left(beneath: Beneath) -> list[str]:
    """The names of what removals that have ended have left at the top."""
    top = opened(beneath.descriptor, stat.S_IRWXU)
    try:
        matches = [match for name in _names(top) if (match := _ASIDE.fullmatch(name))]
    finally:
        os.close(top)
    return [match[0] for match in matches if match[1] not in _at_work]


def sweep(beneath: Beneath) -> None:
    """Remove what is left, as far as can be done in 60 s."""
    with contextlib.suppress(OSError, FileRefused):
        names = left(beneath)
        if not names:
            return
        with _Removal.at(beneath) as removal:
            for name in names:
                with contextlib.suppress(FileNotFoundError):  # another one has taken it
                    removal.move_aside(removal.top, name)
            removal.take_apart()


@define
class _Removal(Owner):
    """Directories at the top that are to go. Owns the descriptor of the top."""

    top: int
    mark: str = field(factory=lambda: os.urandom(8).hex())
    pending: list[str] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        _at_work.add(self.mark)

    @classmethod
    def at(cls, beneath: Beneath) -> _Removal:
        return cls(opened(beneath.descriptor, stat.S_IRWXU))

    def close(self) -> None:
        _at_work.discard(self.mark)
        os.close(self.top)

    def move_aside(self, parent: int, name: str) -> None:
        """Rename a directory to the top. Its permissions must allow it, for its `..` changes."""
        os.close(opened_directory(parent, name, stat.S_IRWXU))
        aside = f".removing-{self.mark}-{os.urandom(8).hex()}"
        os.rename(name, aside, src_dir_fd=parent, dst_dir_fd=self.top)
        self.pending.append(aside)

    def take_apart(self) -> int:
        """Remove all of them, and all that is in them; gives how many names went."""
        until = time.monotonic() + _SECONDS
        count = 0
        while self.pending:
            if time.monotonic() > until:
                some = ", ".join(self.pending[:_MOST_TOLD])
                cause = f"to remove it takes longer than {_SECONDS:g} s"
                raise FileRefused(cause, f"the next removal goes on with what is left: {some}")
            count += self._empty(self.pending.pop())
        return count

    def _empty(self, name: str) -> int:
        """Take apart one directory; it stays pending if it was filled meanwhile."""
        directory = opened_directory(self.top, name, stat.S_IRWXU)
        try:
            count = sum(self._unlink(directory, entry) for entry in _names(directory))
        finally:
            os.close(directory)
        try:
            os.rmdir(name, dir_fd=self.top)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
            self.pending.append(name)
            return count
        return count + 1

    def _unlink(self, directory: int, name: str) -> int:
        """Unlink a file; a directory is moved to the top, to be taken apart in its turn."""
        try:
            os.unlink(name, dir_fd=directory)
        except FileNotFoundError:
            return 0
        except (IsADirectoryError, PermissionError):  # EPERM is what POSIX says for a directory
            with contextlib.suppress(FileNotFoundError):
                self.move_aside(directory, name)
            return 0
        return 1


def _names(directory: int) -> list[str]:
    with os.scandir(directory) as found:
        return [entry.name for entry in found]
