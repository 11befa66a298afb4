"""The keeper: a small process, one for each box without a pid namespace, that owns all of it.

It starts the box, waits, and sees to it that nothing of it is left. The executor is at the other
end of `channel`, and its closing is an order: whether the executor wants the job dead, or was
itself killed with SIGKILL, the keeper reads end-of-file and kills. It is a child subreaper, so
that whatever a job daemonises comes back to it, and it reports `empty` only when wait(2) has said
that there is no child left.

It is forked (without exec) by the zygote, so it has no imports to make and costs a millisecond. A
box in a pid namespace needs none: there the kernel does all of this when the first process ends.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
import time

from executor.inside import box, kernel, tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, NoReturn

# From the order to kill to the proof that nothing is left.
KILL_SECONDS = 2.0
# Orphans of a long job are reaped this often, so that they do not pile up as zombies.
_REAP_MILLISECONDS = 1000
# firejail needs a few milliseconds to clear up after itself; a busy machine takes its time. Nothing
# of the job is alive then.
_CLEAR_UP_SECONDS = 3.0
_LOOK_SECONDS = 0.002
_REMOVE_SECONDS = 0.2
# A start is a few kilobytes; the kernel takes packets of about 200 KiB.
MOST_OF_AN_ORDER = 128 * 1024
# The report on a box that could not be made.
NOTHING = b'{"empty": true, "cpu": 0, "peak": 0}\n'
# What the box gets: stdin, stdout, stderr, its control socket; and for one that is executed, the
# trusted code. The process is to have no other.
_BUNDLE = 4
_RESET = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, signal.SIGINT, signal.SIGTERM)


class Start:
    """How to start a box. A value: nobody changes it.

    `confinement` is for the box (see `executor.isolation.layer`). With `argv` the box is executed,
    by a command that confines it, in `cwd` and with exactly `env`; else it is a fork. `joins` are
    files of cgroup v1 to enter first; `cgroup` is a directory of cgroup v2 to be born in.
    """

    __slots__ = ("argv", "cgroup", "confinement", "cwd", "env", "joins")

    def __init__(  # noqa: PLR0913 - attrs would double the memory of what lives in here
        self,
        confinement: Mapping[str, Any],
        argv: tuple[str, ...] = (),
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        joins: tuple[str, ...] = (),
        cgroup: str = "",
    ) -> None:
        self.confinement = confinement
        self.argv = argv
        self.env = env or {}
        self.cwd = cwd
        self.joins = joins
        self.cgroup = cgroup

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def keep(start: Start, fds: tuple[int, ...], bundle: int, channel: socket.socket) -> NoReturn:
    """Run one box to its very end, report on `channel` and exit. Never returns.

    `fds` are four that the box gets as 0 to 3; `bundle` holds the trusted code for one that is
    executed.
    """
    kernel.become_subreaper()
    try:
        main = _fork(start.cgroup)
    except OSError as error:
        os.write(fds[2], ("no box could be made: %s\n" % error).encode())
        channel.sendall(NOTHING)
        os._exit(0)
    if main == 0:
        become_box(start, fds, bundle)
    for fd in fds:
        os.close(fd)
    statuses: dict[int, int] = {}
    _wait(main, statuses, channel)
    thaw(start)
    if clears_up(start):
        _let_clear_up(main, statuses)
    empty = tree.kill_until_empty(statuses, KILL_SECONDS)
    try:
        channel.sendall(report(resource.getrusage(resource.RUSAGE_CHILDREN), empty=empty))
    except OSError:
        _clear_up(start, statuses)
    os._exit(0)


def _fork(cgroup: str) -> int:
    """Fork, on cgroup v2 into its group: to be moved there may take the kernel 20 ms."""
    if not cgroup:
        return os.fork()
    group = os.open(cgroup, os.O_PATH | os.O_CLOEXEC)
    try:
        pid, pidfd = kernel.clone(0, group)
    finally:
        os.close(group)
    if pid:
        os.close(pidfd)
    return pid


def clears_up(start: Start) -> bool:
    """Whether the box is executed by firejail, which has files of its own to remove at the end."""
    return bool(start.argv) and os.path.basename(start.argv[0]) == "firejail"


def _let_clear_up(main: int, statuses: dict[int, int]) -> None:
    """Kill the sandbox, and let firejail itself end, which removes its files by helpers."""
    deadline = time.monotonic() + _CLEAR_UP_SECONDS
    tree.reap(statuses)
    while main not in statuses and time.monotonic() < deadline:
        for pid in tree.children(main):
            if _is_init(pid):
                tree.kill(pid)
        time.sleep(_LOOK_SECONDS)
        tree.reap(statuses)


def _is_init(pid: int) -> bool:
    """Whether a process has entered a pid namespace, in which it has another number (proc(5))."""
    try:
        with open("/proc/%d/status" % pid) as file:
            numbers = [line.split()[1:] for line in file if line.startswith("NSpid:")]
    except OSError:
        return False
    return bool(numbers) and len(numbers[0]) > 1


def report(usage: resource.struct_rusage, *, empty: bool) -> bytes:
    """The last word on a box: whether nothing is left of it, and what all of it has used."""
    cpu = usage.ru_utime + usage.ru_stime
    values = {"empty": empty, "cpu": cpu, "peak": usage.ru_maxrss * 1024}
    return json.dumps(values).encode() + b"\n"


def _clear_up(start: Start, statuses: dict[int, int]) -> None:
    """Nobody is left to hear the report: do what the executor would have done."""
    tree.kill_until_empty(statuses, KILL_SECONDS)
    remove_groups(start)


def thaw(start: Start) -> None:
    """Let a box go on to its death: on cgroup v1 what is frozen does not even die of SIGKILL.

    The executor freezes a box for a moment, and may itself be killed in that moment.
    """
    for path in start.joins:
        try:
            _write(os.path.dirname(path) + "/freezer.state", b"THAWED")
        except OSError:
            pass  # another controller's group, or there is none any more


def remove_groups(start: Start) -> None:
    """Remove the cgroups of a box that is no more; one that stays is swept at the next start.

    Linux 6.18 counts a process that has been waited for a moment longer.
    """
    deadline = time.monotonic() + _REMOVE_SECONDS
    paths = [os.path.dirname(path) for path in start.joins]
    for path in [*paths, *([start.cgroup] if start.cgroup else [])]:
        while not removed(path) and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)


def removed(path: str) -> bool:
    """Whether a cgroup is gone, by now if not before; one that is busy stays."""
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _wait(main: int, statuses: dict[int, int], channel: socket.socket) -> None:
    """Wait until the box has ended or the channel says (or is) anything."""
    pidfd = os.pidfd_open(main)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(channel, select.POLLIN)
    while not poll.poll(_REAP_MILLISECONDS):
        tree.reap(statuses)
    os.close(pidfd)


def become_box(start: Start, fds: tuple[int, ...], bundle: int) -> NoReturn:
    """Become the box's first process. What goes wrong is said on its standard error."""
    try:
        os.setsid()
        for path in start.joins:
            _write(path, b"0")
        if start.argv:
            fds = (*fds, _with_confinement(bundle, start.confinement))
        _arrange(fds)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if not start.argv:
            box.serve(dict(start.confinement))
        os.chdir(start.cwd)
        os.execve(start.argv[0], start.argv, dict(start.env))
    except Exception as error:  # noqa: BLE001 - whatever it is, it must be said
        os.write(2, ("cannot start the box: %r\n" % error).encode())
    finally:
        os._exit(127)


def _with_confinement(bundle: int, confinement: Mapping[str, Any]) -> int:
    """Give a descriptor with the trusted code and what this box is told (`executor.bundle`)."""
    import marshal

    memory = os.memfd_create("bundle", 0)
    code = os.pread(bundle, os.fstat(bundle).st_size, 0)
    data = memoryview(code + marshal.dumps(dict(confinement)))
    while data:
        data = data[os.write(memory, data) :]
    os.lseek(memory, 0, os.SEEK_SET)
    return memory


def _write(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def _arrange(fds: tuple[int, ...]) -> None:
    """Make `fds` 0, 1, 2 ... and close the rest. Moved up first, so that none is overwritten.

    Both fork and exec keep SIG_IGN, which Python uses for SIGPIPE and SIGXFSZ, and the zygote for
    what a terminal sends: a job expects the defaults.
    """
    for number, fd in enumerate([_above(fd) for fd in fds]):
        os.dup2(fd, number)
    os.closerange(len(fds), 1 << 16)
    for number in _RESET:
        signal.signal(number, signal.SIG_DFL)


def _above(fd: int) -> int:
    """Give a copy of `fd` that is none of those that are made."""
    copy = os.dup(fd)
    return copy if copy > _BUNDLE else _above(copy)
