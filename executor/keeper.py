"""The keeper: a small process, one for each job, that owns the job's whole process tree.

It starts the job's first process, waits, and sees to it that nothing of the job is left. The
executor is at the other end of `channel`, and its closing is an order: whether the executor wants
the job dead, or was itself killed with SIGKILL, the keeper reads end-of-file and kills. It is a
child subreaper, so that whatever a job daemonises comes back to it, and it reports `empty` only
when wait(2) has said that there is no child left.

It is forked (without exec) by the spawner, so it has no imports to make and costs a millisecond.
Spawner and keepers live in what little is imported here, in `tree` and in `spawner`: no attrs, no
typing, which would double their memory.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import socket
from collections.abc import Mapping

from executor import tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

# From the order to kill to the proof that nothing is left.
KILL_SECONDS = 2.0
# Orphans of a long job are reaped this often, so that they do not pile up as zombies.
_REAP_MILLISECONDS = 1000
# A look at the memory of a tree costs a few milliseconds; a process can take 100 MB in between.
_LOOK_MILLISECONDS = 100
_CONTROL_FD = 3
_RESET = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, signal.SIGINT, signal.SIGTERM)


class Start:
    """How to start a job's first process. A value: nobody changes it.

    `joins` are cgroup.procs files to enter before exec. The process gets the four descriptors as
    0, 1, 2 and 3, and no other. `memory_bytes` is what the tree may use as far as the keeper can
    see by looking now and then; 0 where the kernel watches.
    """

    __slots__ = ("argv", "cwd", "env", "joins", "memory_bytes")

    def __init__(
        self,
        argv: tuple[str, ...],
        env: Mapping[str, str],
        cwd: str,
        joins: tuple[str, ...] = (),
        memory_bytes: int = 0,
    ) -> None:
        self.argv = argv
        self.env = env
        self.cwd = cwd
        self.joins = joins
        self.memory_bytes = memory_bytes

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def keep(start: Start, fds: tuple[int, int, int, int], channel: socket.socket) -> NoReturn:
    """Run one job to its very end, report on `channel` and exit. Never returns."""
    tree.become_subreaper()
    main = os.fork()
    if main == 0:
        _exec(start, fds)
    for fd in fds:
        os.close(fd)
    statuses: dict[int, int] = {}
    over = _wait(main, statuses, channel, start.memory_bytes)
    empty = tree.kill_until_empty(statuses, KILL_SECONDS)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    report = {
        "status": statuses.get(main),
        "empty": empty,
        "cpu": usage.ru_utime + usage.ru_stime,
        "peak": usage.ru_maxrss * 1024,
        "out_of_memory": over,
    }
    try:
        channel.sendall(json.dumps(report).encode() + b"\n")
    except OSError:
        _clear_up(start, statuses)
    os._exit(0)


def _clear_up(start: Start, statuses: dict[int, int]) -> None:
    """Nobody is left to hear the report: do what the executor would have done."""
    tree.kill_until_empty(statuses, KILL_SECONDS)
    for path in start.joins:
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(path))


def _wait(main: int, statuses: dict[int, int], channel: socket.socket, memory: int) -> bool:
    """Wait until the first process has ended or the channel says (or is) anything.

    True if the reason to stop is that the tree uses more than `memory` bytes.
    """
    pidfd = os.pidfd_open(main)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(channel, select.POLLIN)
    while not poll.poll(_LOOK_MILLISECONDS if memory else _REAP_MILLISECONDS):
        tree.reap(statuses)
        if memory and tree.memory_below(os.getpid()) > memory:
            return True
    os.close(pidfd)
    return False


def _exec(start: Start, fds: tuple[int, int, int, int]) -> NoReturn:
    """Become the job's first process. What goes wrong is said on its standard error."""
    try:
        os.setsid()
        for path in start.joins:
            _write(path, b"0")
        _arrange(fds)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.chdir(start.cwd)
        os.execve(start.argv[0], start.argv, dict(start.env))
    except OSError as error:
        os.write(2, f"cannot start {start.argv[0]}: {error}\n".encode())
    finally:
        os._exit(127)


def _write(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def _arrange(fds: tuple[int, int, int, int]) -> None:
    """Make `fds` 0 to 3 and close the rest. They are moved up first, so that none is overwritten.

    Both fork and exec keep SIG_IGN, which Python uses for SIGPIPE and SIGXFSZ, and the spawner
    for what a terminal sends: a job expects the defaults.
    """
    for number, fd in enumerate([_above(fd) for fd in fds]):
        os.dup2(fd, number)
    os.closerange(_CONTROL_FD + 1, 1 << 16)
    for number in _RESET:
        signal.signal(number, signal.SIG_DFL)


def _above(fd: int) -> int:
    """Give a copy of `fd` that is none of 0 to 3."""
    copy = os.dup(fd)
    return copy if copy > _CONTROL_FD else _above(copy)
