"""Finding and killing every descendant of a process, however it has tried to get away.

A descendant can leave its process group and its session, but not its ancestry: as long as the
root is a child subreaper, an orphan becomes the root's own child. So the root's children, and
theirs, are all there is, and `ECHILD` from wait(2) is proof that none is left.

These run in the small processes that watch over jobs.
"""

from __future__ import annotations

import os
import signal
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

_ZOMBIE = b"Z"


def descendants(root: int, spare: Collection[int] = ()) -> list[int]:
    """List the pids below `root`, leaving out those in `spare` and everything below them.

    Zombies are not listed: they are dead, and have nothing below them.
    """
    children: dict[int, list[int]] = {}
    for pid, parent, state in _parents():
        if state != _ZOMBIE:
            children.setdefault(parent, []).append(pid)
    found: list[int] = []
    waiting = [root]
    while waiting:
        below = [pid for pid in children.get(waiting.pop(), ()) if pid not in spare]
        found += below
        waiting += below
    return found


def _parents() -> Iterable[tuple[int, int, bytes]]:
    """All processes: pid, parent's pid, and state."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            yield from _parent_of(name)


def _parent_of(pid: str) -> Iterable[tuple[int, int, bytes]]:
    """Read one from /proc/PID/stat, if it is there; the name in it may hold any character."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            state, parent = file.read().rpartition(b")")[2].split()[:2]
    except (OSError, ValueError):
        return
    yield int(pid), int(parent), state


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
        kill(pid)


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal to a process that may be gone, or out of our reach, by now."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


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


def children(parent: int) -> list[int]:
    """List the direct children of a process, those that are still to be reaped included."""
    return [pid for pid, above, _ in _parents() if above == parent]
