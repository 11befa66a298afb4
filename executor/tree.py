"""Finding and killing every descendant of a process, however it has tried to get away.

A descendant can leave its process group and its session, but not its ancestry: as long as the
root is a child subreaper, an orphan becomes the root's own child. So the root's children, and
theirs, are all there is, and `ECHILD` from wait(2) is proof that none is left.

Linux only, standard library only: these run in the small processes that watch over jobs.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import time
from collections.abc import Collection, Iterable

_PR_SET_CHILD_SUBREAPER = 36

# Loaded when the module is, because the interpreter's own files may be out of reach after the
# process has given up root.
_LIBC = ctypes.CDLL(None, use_errno=True)


def become_subreaper() -> None:
    """Have orphaned descendants become this process's children instead of init's."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    if _LIBC.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def descendants(root: int, spare: Collection[int] = ()) -> list[int]:
    """List the pids below `root`, leaving out those in `spare` and everything below them."""
    children: dict[int, list[int]] = {}
    for pid, parent in _parents():
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    waiting = [root]
    while waiting:
        below = [pid for pid in children.get(waiting.pop(), ()) if pid not in spare]
        found += below
        waiting += below
    return found


def _parents() -> Iterable[tuple[int, int]]:
    for name in os.listdir("/proc"):
        if name.isdigit() and (parent := _parent_of(name)) is not None:
            yield int(name), parent


def _parent_of(pid: str) -> int | None:
    """Read the parent from /proc/PID/stat; the name in it may hold spaces and parentheses."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, IndexError):
        return None


def memory_below(root: int) -> int:
    """Add up the private memory, in bytes, of everything below `root`.

    Pages shared since a fork count for each process and shared memory for none: an estimate.
    """
    return sum(_private_pages(pid) for pid in descendants(root)) * os.sysconf("SC_PAGE_SIZE")


def _private_pages(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            _, resident, shared, *_ = map(int, file.read().split())
    except (OSError, ValueError):
        return 0
    return resident - shared


def kill_all(root: int, spare: Collection[int] = ()) -> None:
    """Send SIGKILL to everything below `root` once."""
    for pid in descendants(root, spare):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def reap(statuses: dict[int, int]) -> bool:
    """Collect children that have ended into `statuses`; True when there are no children at all."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return True
        if pid == 0:
            return False
        statuses[pid] = status


def kill_until_empty(statuses: dict[int, int], seconds: float) -> bool:
    """Kill all descendants of this process; True is proof that none is left.

    Repeats until wait(2) says ECHILD, because a process may fork between being listed and being
    killed. Gives up after `seconds`.
    """
    deadline = time.monotonic() + seconds
    pause = 0.0005
    while not reap(statuses):
        if time.monotonic() > deadline:
            return False
        kill_all(os.getpid())
        if reap(statuses):
            return True
        time.sleep(pause)
        pause = min(pause * 2, 0.02)
    return True


def give_back_memory() -> None:
    """Let the kernel have what start-up used once: half a megabyte of an executor that waits."""
    gc.collect()
    trim = getattr(_LIBC, "malloc_trim", None)  # glibc's; another libc has none
    if trim is not None:
        trim(0)
