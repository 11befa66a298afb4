"""The keeper: a small process that owns an MCP server and all that it starts.

    python -I -S keeper.py LIFELINE COMMAND ...

It starts COMMAND with its own standard streams and waits. When the command has ended, or when the
other end of the pipe LIFELINE is closed (by a daemon that wants the server to end, or by the kernel
because the daemon was killed), it kills every descendant and ends, with the command's exit code, or
128 and its signal. It is a child subreaper, so that what a server has daemonised comes back to it:
a descendant can leave its process group and its session, but not its ancestry. Should the keeper
itself be killed, the kernel kills the command.

It ends only when nothing is left, so its end is the proof of that: what cannot be killed (by us, or
while it waits in the kernel) keeps it.

It is run by its path, without site-packages, and so imports nothing but the standard library. The
executor has a keeper of its own (`executor.inside.keeper`), which is forked where this one is run;
the few lines that find and kill descendants are the same in both, for neither of the two packages
may import that part of the other.
"""

import os
import select
import signal
import sys
import time

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
REAP_MILLISECONDS = 1000  # how often orphans that have ended are collected meanwhile
PAUSES = (0.0005, 0.5)  # seconds between two rounds of killing: at first, and at last
RESET = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT)  # Python ignores or handles them
CANNOT_START = 127


def prctl(option: int, value: int) -> None:
    import ctypes  # noqa: PLC0415  (after the fork, it is there already)

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def main(lifeline: int, command: list[str]) -> int:
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    os.set_inheritable(lifeline, False)
    keeper = os.getpid()
    child = os.fork()
    if child == 0:
        become(command, keeper)
    leave_streams()
    statuses: dict[int, int] = {}
    wait(child, lifeline, statuses)
    kill_until_empty(statuses)
    return code(statuses.get(child))


def become(command: list[str], keeper: int) -> None:
    """Be the server. Never returns; what goes wrong is said on standard error."""
    try:
        os.setsid()
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == keeper:  # else it died before we asked to be told
            for number in RESET:
                signal.signal(number, signal.SIG_DFL)
            os.execvp(command[0], command)  # noqa: S606  (no shell is the point)
    except OSError as error:
        os.write(2, f"cannot start {command[0]!r}: {error.strerror}\n".encode())
    finally:
        os._exit(CANNOT_START)


def leave_streams() -> None:
    """Hold none of the server's streams, so that their ends are seen when it closes them."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)


def wait(child: int, lifeline: int, statuses: dict[int, int]) -> None:
    """Until the server has ended or the lifeline has."""
    poll = select.poll()
    poll.register(os.pidfd_open(child), select.POLLIN)
    poll.register(lifeline, select.POLLIN)
    while not poll.poll(REAP_MILLISECONDS):
        reap(statuses)


def kill_until_empty(statuses: dict[int, int]) -> None:
    """Kill all descendants until wait(2) says that there is none: one may fork meanwhile."""
    pause, most = PAUSES
    while not reap(statuses):
        for pid in descendants(os.getpid()):
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue
        time.sleep(pause)
        pause = min(2 * pause, most)


def reap(statuses: dict[int, int]) -> bool:
    """Collect children that have ended; True when there are no children at all."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return True
        if pid == 0:
            return False
        statuses[pid] = status


def descendants(root: int) -> list[int]:
    """All processes below `root` that are not dead yet."""
    children: dict[int, list[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208  (pathlib is slow to import)
        parent = living_parent(name)
        if parent is not None:
            children.setdefault(parent, []).append(int(name))
    found: list[int] = []
    waiting = [root]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def living_parent(pid: str) -> int | None:
    """The parent of a process, from its line in /proc, where its name may hold any character."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123  (likewise)
            state, parent = file.read().rpartition(b")")[2].split()[:2]
    except (OSError, ValueError):
        return None
    return None if state == b"Z" else int(parent)


def code(status: int | None) -> int:
    """How the server ended, as an exit code; one that was killed by us never tells."""
    if status is None:
        return 0
    ended = os.waitstatus_to_exitcode(status)
    return ended if ended >= 0 else 128 - ended


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
