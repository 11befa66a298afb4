"""Removing a file or a whole tree, of any depth, while somebody may be renaming things in it.

A tree is first renamed aside, which takes it away in one step, and is then taken apart: files are
unlinked, directories moved up next to it, until each is empty. So no path becomes long, three
descriptors are enough, and nothing is ever reached but by a name in a directory that is open.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time

from executor.beneath import Beneath, refusal, shown
from executor.errors import FileRefused
from executor.walk import opened_directory

# ext4 needs 1.5 ms for each directory.
_SECONDS = 60.0
_PREFIX = ".removing-"


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
        return _remove_tree(beneath, parent, name)
    except OSError as error:
        raise refusal(path, error) from error
    finally:
        os.close(parent)


def _remove_tree(beneath: Beneath, parent: int, name: str) -> int:
    top = opened_directory(beneath.descriptor, ".", stat.S_IRWXU)
    try:
        return _take_apart(top, parent, name)
    finally:
        os.close(top)


def _take_apart(top: int, parent: int, name: str) -> int:
    """Move a directory to the top under a name of ours, and all directories in it after it."""
    until = time.monotonic() + _SECONDS
    pending = [_moved(parent, name, top)]
    count = 0
    while pending:
        if time.monotonic() > until:
            cause = f"removing {shown(name)} takes longer than {_SECONDS:g} s"
            raise FileRefused(cause, "remove the rest of it")
        count += _emptied(top, pending)
    return count


def _emptied(top: int, pending: list[str]) -> int:
    """Take apart the last directory of `pending`; it stays there if it was filled meanwhile."""
    name = pending.pop()
    directory = opened_directory(top, name, stat.S_IRWXU)
    try:
        count = 0
        for entry in _names(directory):
            count += _unlinked(directory, entry, top, pending)
    finally:
        os.close(directory)
    try:
        os.rmdir(name, dir_fd=top)
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise
        pending.append(name)
        return count
    return count + 1


def _names(directory: int) -> list[str]:
    with os.scandir(directory) as found:
        return [entry.name for entry in found]


def _unlinked(directory: int, name: str, top: int, pending: list[str]) -> int:
    """Unlink a file; a directory is moved to the top, to be taken apart in its turn."""
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return 0
    except (IsADirectoryError, PermissionError):  # EPERM is what POSIX says for a directory
        with contextlib.suppress(FileNotFoundError):
            pending.append(_moved(directory, name, top))
        return 0
    return 1


def _moved(parent: int, name: str, top: int) -> str:
    """Rename a directory to the top. Its own permissions must allow it, for its `..` changes."""
    os.close(opened_directory(parent, name, stat.S_IRWXU))
    aside = f"{_PREFIX}{os.urandom(8).hex()}"
    os.rename(name, aside, src_dir_fd=parent, dst_dir_fd=top)
    return aside
