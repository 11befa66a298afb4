"""What operations on files give: the values that callers handle, and that cross the wire.

Apart from the code that makes them, which the daemon has no use for.
"""

from __future__ import annotations

from attrs import frozen

from executor.settings import Limits

# The most that `read` gives at once, in bytes.
MOST_READ = 1024 * 1024


@frozen
class Info:
    """One name: `kind` is "file", "directory", "symbolic link", "pipe", "socket" or "device".

    `size` in bytes, `modified` in seconds since 1970, `mode` the permission bits.
    """

    path: str
    kind: str
    size: int
    modified: float
    mode: int


@frozen
class Listing:
    """Names in order; `cut` when there were more than are given."""

    entries: tuple[Info, ...]
    cut: bool


@frozen
class Content:
    """A part of a file. `offset` is where it begins, in the unit that was asked in.

    `size` is of the whole file in bytes; `more` when the file goes on after `data`.
    """

    data: bytes
    offset: int
    size: int
    more: bool


@frozen
class Edit:
    """Replace `old` by `new` in the only place where it stands, or `everywhere`."""

    old: str
    new: str
    everywhere: bool = False


@frozen
class Edited:
    """How many places were changed, and the size of the file now."""

    replaced: int
    size: int


@frozen
class Patched:
    """What was done: the paths of files that were changed, made and removed."""

    changed: tuple[str, ...] = ()
    made: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


@frozen
class Usage:
    """What a workspace holds: bytes on the disk, and how many files, directories and links.

    Not `complete` when the walk was given up; the figures are then what had been found.
    """

    bytes: int = 0
    files: int = 0
    complete: bool = True

    def over(self, limits: Limits) -> bool:
        """Whether it is more than the limits allow; what cannot be measured is."""
        return not self.complete or self.found_over(limits)

    def found_over(self, limits: Limits) -> bool:
        """Whether what was found is more already."""
        return self.bytes > limits.workspace_bytes or self.files > limits.workspace_files


@frozen
class Written:
    """The size of a file that was written, or of what was read, in bytes."""

    size: int


@frozen
class Removed:
    """How many names were removed: files, directories and all else."""

    names: int


@frozen
class Held:
    """A workspace and what it holds."""

    key: str
    usage: Usage


@frozen
class Overview:
    """All workspaces; `cut` if there were more than fit."""

    workspaces: tuple[Held, ...]
    cut: bool
