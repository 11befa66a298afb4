"""Walking a tree of unknown depth with few descriptors and no recursion.

A job can make a tree of thousands of levels, deeper than the kernel takes paths, than Python
recurses, and than a process has descriptors. So a place in the tree is a chain of names, and the
directories that were opened last stay open, a fixed number of them: the parent of the next place
is nearly always among those. Where it is not, it is opened again from the top.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections import OrderedDict
from collections.abc import Iterator

from attrs import define, field, frozen

from executor.beneath import Beneath, Owner, openat2
from executor.errors import FileRefused

_MOST_OPEN = 48


@frozen(eq=False)
class Place:
    """A directory in the tree, by its name and the directory that it is in."""

    parent: Place | None = None
    name: str = ""

    def names(self, *further: str) -> tuple[str, ...]:
        """All names from the top to here, and `further`."""
        found = list(reversed(further))
        place: Place | None = self
        while place is not None and place.parent is not None:
            found.append(place.name)
            place = place.parent
        return tuple(reversed(found))


@define
class Budget:
    """What a walk may cost: entries looked at, and seconds. Raises FileRefused beyond that."""

    entries: int
    seconds: float
    seen: int = 0
    _until: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._until = time.monotonic() + self.seconds

    def spend(self) -> None:
        self.seen += 1
        if self.seen > self.entries:
            raise FileRefused(f"there are more than {self.entries} files", "name a directory")
        if self.seen % 256 == 0 and time.monotonic() > self._until:
            raise FileRefused(f"it takes longer than {self.seconds:g} s", "name a directory")


@define
class Tree(Owner):
    """Reads directories by their place. Owns the descriptors that it keeps; closes them at the end.

    `start` are the names of the directory that is the top of the walk.
    """

    beneath: Beneath
    budget: Budget
    start: tuple[str, ...] = ()
    _open: OrderedDict[Place, int] = field(factory=OrderedDict)

    def close(self) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

    def entries(self, place: Place) -> Iterator[tuple[str, os.stat_result]]:
        """Give the names in a directory, with lstat of each. One that has vanished has none.

        Raises OSError if the directory cannot be read, FileRefused when the budget is spent.
        """
        try:
            descriptor = self.descriptor(place)
        except FileNotFoundError:
            return
        with os.scandir(descriptor) as found:
            for entry in found:
                self.budget.spend()
                try:
                    yield entry.name, entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue

    def descriptor(self, place: Place) -> int:
        """Open a directory; the descriptor stays the tree's."""
        if place in self._open:
            self._open.move_to_end(place)
            return self._open[place]
        parent = self._open.get(place.parent) if place.parent else None
        found = opened_directory(parent, place.name) if parent else self._from_top(place)
        self._open[place] = found
        if len(self._open) > _MOST_OPEN:
            os.close(self._open.popitem(last=False)[1])
        return found

    def _from_top(self, place: Place) -> int:
        names = (*self.start, *place.names())
        if not names:
            return opened(self.beneath.descriptor)
        above = self.beneath.open(names[:-1], os.O_PATH | os.O_DIRECTORY)
        try:
            return opened_directory(above, names[-1])
        finally:
            os.close(above)


_READABLE = stat.S_IRUSR | stat.S_IXUSR


def opened_directory(parent: int, name: str, need: int = _READABLE) -> int:
    """Open a directory for reading, as `opened` does."""
    handle = openat2(parent, name, os.O_PATH | os.O_DIRECTORY)
    try:
        return opened(handle, need)
    finally:
        os.close(handle)


def opened(handle: int, need: int = _READABLE) -> int:
    """Open a directory for reading; one that its owner has closed to itself is opened up first.

    A job may take away its own permissions to hide what it wrote. The directory is held by a
    descriptor, `handle`, while they (`need`, mode bits) are given back, so nothing else can be in
    its place.
    """
    mode = stat.S_IMODE(os.fstat(handle).st_mode)
    if mode & need != need:
        os.chmod(f"/proc/self/fd/{handle}", mode | need)
    return openat2(handle, ".", os.O_RDONLY | os.O_DIRECTORY)


def is_gone(error: OSError) -> bool:
    """Whether what was to be opened is not there, or no longer a directory."""
    return error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
