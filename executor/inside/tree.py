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


def descendants(root: int) -> list[int]:
    """List the pids below `root`, but not zombies: they are dead, and have nothing below them."""
    return list(states_below(root))


def states_below(root: int) -> dict[int, bytes]:
    """Give the descendants with their states, one letter each (proc(5))."""
    children: dict[int, list[tuple[int, bytes]]] = {}
    for pid, parent, state in _parents():
        if state != _ZOMBIE:
            children.setdefault(parent, []).append((pid, state))
    found: dict[int, bytes] = {}
    waiting = [root]
    while waiting:
        below = dict(children.get(waiting.pop(), ()))
        found.update(below)
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
        stat = os.open("/proc/%s/stat" % pid, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        state, parent = os.read(stat, 4096).rpartition(b")")[2].split()[:2]
    except (OSError, ValueError):
        return
    finally:
        os.close(stat)
    yield int(pid), int(parent), state


def has_more_than(root: int, most: int) -> bool:
    """Whether everything below `root` has more than `most` bytes of memory of its own.

    Counted in the short way first, in which pages that are shared since a fork count for each
    process and shared memory for none; if that is too much, in the long way, in which each process
    has its share of them.
    """
    pids = descendants(root)
    if sum(map(_private, pids)) <= most:
        return False
    return sum(map(_share, pids)) > most


def _private(pid: int) -> int:
    """What is resident of a process and of no file, in bytes."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            _, resident, shared, *_ = map(int, file.read().split())
    except (OSError, ValueError):
        return 0
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")


def _share(pid: int) -> int:
    """The same, but of each page only the part that is its; one that hides that has it all."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            lines = [line.split() for line in file]
    except OSError:
        return _private(pid)
    return sum(int(line[1]) * 1024 for line in lines if line[0] in (b"Pss_Anon:", b"Pss_Shmem:"))


def kill_all(root: int) -> None:
    """Send SIGKILL to everything below `root` once."""
    for pid in descendants(root):
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


def kill_others(ours: Collection[int], seconds: float) -> bool:
    """Kill and reap all children of this process but ours, with all below them; True when done."""
    deadline = time.monotonic() + seconds
    while others := [pid for pid in children(os.getpid()) if pid not in ours]:
        if time.monotonic() > deadline:
            return False
        for pid in others:
            for each in (pid, *descendants(pid)):
                kill(each)
            os.waitpid(pid, 0)
    return True


def children(parent: int) -> list[int]:
    """List the direct children of a process, those that are still to be reaped included."""
    return [pid for pid, above, _ in _parents() if above == parent]
