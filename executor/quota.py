"""The quota of a workspace: what it holds, and a watcher that notices when that is too much.

No file system gives a directory a quota of its own on every host, so it is watched. Free space is
sampled every 20 ms, which costs a microsecond, and more often when little is left; only when it has
fallen by more than the quota has left, or a second has passed, is the workspace walked. The job
stands still during the walk, or it could hide what it writes behind the walker's back.

A file that is open and has no name any more is found by no walk. What the file system has lost
since the job began and no file accounts for may well be somebody else's doing, so only very much of
it ends the job: an eighth of what was free, between 64 MiB and 2 GiB. It is all free again when the
job has ended.

`Watcher` decides and does nothing; `watch` acts.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable

import trio
from attrs import define, frozen

from executor.beneath import Beneath
from executor.errors import FileRefused
from executor.file_values import Usage
from executor.settings import Limits
from executor.walk import Budget, Place, Tree, is_gone

SAMPLE_SECONDS = 0.02
_LEAST_SECONDS = 0.004
# Two cores write so much into the page cache in a second.
_FASTEST = 4 * 1024**3
# Others use the same disk, and what they free hides what the job writes: so look anyway.
_ANYWAY_SECONDS = 1.0
# A walk may take a third of the job's time at most, however busy the disk is.
_PAUSE_PER_WALK = 2.0
_BLOCK = 512  # the unit of st_blocks, whatever the file system's own is
_WALK_SECONDS = 10.0
_LEAST_UNNAMED = 64 * 1024**2
_MOST_UNNAMED = 2 * 1024**3
_UNNAMED_SHARE = 8  # of what was free


_EMPTY = Usage()


@frozen
class Free:
    """What is free on the file system: bytes and inodes (0 where it does not count them)."""

    bytes: int
    files: int


_NOTHING = Free(0, 0)


# ---- measuring ----


def measure(beneath: Beneath, *, most_files: int = 1_000_000) -> Usage:
    """Walk the workspace and add up what is allocated; a file with several names counts once.

    Stops, incomplete, beyond `most_files` entries, after 10 s, or where something cannot be read.
    """
    count = _Count()
    try:
        with Tree(beneath, Budget(most_files, _WALK_SECONDS)) as tree:
            count.walk(tree)
    except (FileRefused, OSError):
        return Usage(count.bytes, count.files, complete=False)
    return Usage(count.bytes, count.files)


@define
class _Count:
    bytes: int = 0
    files: int = 0

    def walk(self, tree: Tree) -> None:
        pending = [Place()]
        linked: set[tuple[int, int]] = set()
        while pending:
            place = pending.pop()
            try:
                for name, found in tree.entries(place):
                    self._add(found, linked)
                    if stat.S_ISDIR(found.st_mode):
                        pending.append(Place(place, name))
            except OSError as error:
                if not is_gone(error):
                    raise

    def _add(self, found: os.stat_result, linked: set[tuple[int, int]]) -> None:
        if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
            inode = (found.st_dev, found.st_ino)
            if inode in linked:
                return
            linked.add(inode)
        self.bytes += found.st_blocks * _BLOCK
        self.files += 1


def free_space(beneath: Beneath) -> Free:
    found = os.fstatvfs(beneath.descriptor)
    return Free(found.f_bfree * found.f_frsize, found.f_ffree)


# ---- deciding ----


@define
class Watcher:
    """Decides when to walk, and whether the walk found too much. Times are seconds of one clock.

    A workspace that was over its limits when the job began may stay so, but not grow.
    """

    limits: Limits
    began_with: Usage = _EMPTY
    began_free: Free = _NOTHING
    _usage: Usage | None = None
    _free: Free = _NOTHING
    _walked: float = 0.0
    _not_before: float = 0.0

    def begin(self, now: float) -> None:
        """Begin with what was measured before the job; without that, the first look is a walk."""
        if self.began_with.complete:
            self._usage, self._free, self._walked = self.began_with, self.began_free, now

    def pause(self, free: Free) -> float:
        """Seconds until the next sample: before then, what is left cannot be used up."""
        used = self._usage.bytes if self._usage else 0
        left = self.limits.workspace_bytes - used - (self._free.bytes - free.bytes)
        return min(SAMPLE_SECONDS, max(_LEAST_SECONDS, left / _FASTEST))

    def suspicious(self, now: float, free: Free) -> bool:
        """Whether this sample calls for a walk. The first one does."""
        if self._usage is None:
            return True
        if now < self._not_before:
            return False
        left_bytes = self.limits.workspace_bytes - self._usage.bytes
        left_files = self.limits.workspace_files - self._usage.files
        fell = self._free.bytes - free.bytes > left_bytes
        return (
            fell
            or self._free.files - free.files > left_files
            or now - self._walked >= _ANYWAY_SECONDS
        )

    def walked(self, began: float, ended: float, free: Free, usage: Usage) -> bool:
        """Take in the result of a walk and the free space at its beginning; whether it is over."""
        self._usage, self._free, self._walked = usage, free, ended
        self._not_before = ended + _PAUSE_PER_WALK * (ended - began)
        return self._unnamed(free, usage) or (usage.over(self.limits) and not self._no_worse(usage))

    def _unnamed(self, free: Free, usage: Usage) -> bool:
        """Whether far more has gone from the disk than the files with names have taken."""
        lost = self.began_free.bytes - free.bytes - (usage.bytes - self.began_with.bytes)
        share = self.began_free.bytes // _UNNAMED_SHARE
        return lost > max(_LEAST_UNNAMED, min(_MOST_UNNAMED, share))

    def _no_worse(self, usage: Usage) -> bool:
        before = self.began_with
        return (
            before.over(self.limits)
            and usage.complete
            and usage.bytes <= max(before.bytes, self.limits.workspace_bytes)
            and usage.files <= max(before.files, self.limits.workspace_files)
        )


# ---- acting ----


async def watch(  # noqa: PLR0913 - three of them are what it may do to the job
    beneath: Beneath,
    limits: Limits,
    *,
    began_with: Usage = _EMPTY,
    freeze: Callable[[], None],
    thaw: Callable[[], None],
    over: Callable[[Usage], None],
) -> None:
    """Watch a workspace while a job runs in it, until cancelled or over the quota.

    `freeze` stops the job's processes and `thaw` lets them go on. When there is too much, `over`
    is called while they are still frozen, and the watching has ended: kill them. Otherwise every
    freeze is followed by a thaw, on cancellation too. `beneath` must stay open until then.
    """
    watcher = Watcher(limits, began_with, free_space(beneath))
    watcher.begin(time.monotonic())
    pause = _LEAST_SECONDS
    while True:
        await trio.sleep(pause)
        free = free_space(beneath)
        pause = watcher.pause(free)
        if not watcher.suspicious(time.monotonic(), free):
            continue
        usage = await _frozen_walk(watcher, beneath, freeze, thaw)
        if usage is not None:
            over(usage)
            return


async def _frozen_walk(
    watcher: Watcher, beneath: Beneath, freeze: Callable[[], None], thaw: Callable[[], None]
) -> Usage | None:
    """Give what the frozen workspace holds if that is too much; else thaw and give None."""
    began, too_much = time.monotonic(), False
    freeze()
    try:
        free = free_space(beneath)
        usage = await _measured(beneath, watcher.limits)
        too_much = watcher.walked(began, time.monotonic(), free, usage)
    finally:
        if not too_much:
            thaw()
    return usage if too_much else None


async def _measured(beneath: Beneath, limits: Limits) -> Usage:
    """Measure in a thread that has its own descriptor: the end of the job does not wait for it.

    Whoever takes the descriptor out of `held` closes it: the thread, or we if it has never begun.
    """
    held = [beneath.copy()]
    try:
        return await trio.to_thread.run_sync(
            _measure_and_close, held, limits, abandon_on_cancel=True
        )
    finally:
        _take_out(held).close()


def _measure_and_close(held: list[Beneath], limits: Limits) -> Usage:
    with _take_out(held) as beneath:
        # Names of one file count once, so it takes more names than that to know.
        return measure(beneath, most_files=2 * limits.workspace_files + 2)


def _take_out(held: list[Beneath]) -> Beneath:
    """What is held, for one of two threads; a closed one for the other."""
    try:
        return held.pop()
    except IndexError:
        return Beneath(-1)
