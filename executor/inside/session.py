"""A Python session: variables that live on from one piece of code to the next, whatever happens.

Each piece of code, a *cell*, runs in a fork of the session's process. If it ends by itself, with
or without an exception, the fork *becomes* the session and its parent is killed; if it crashes or
is killed, the parent is still there, as it was before. The fork is made while the executor looks
at the box, so that it costs next to no time; where threads would run with it, at the end of the
cell before.

    box (trusted) --- keeps --- session process (stopped) --- fork that runs the next cell

User code may have changed anything in these processes, and so they are never let alone: before a
cell is reported as ended, both are stopped, and what else it has left behind is dead. They go on
when the executor has the workspace for the next one, and is about to watch. The socket to the box
is the one descriptor besides 0 to 2 that user code can find. All it can do with it is to lie about
the end of its own cell; who speaks is the kernel's word (SCM_CREDENTIALS), and whatever makes no
sense ends the session.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import struct
import sys
import time

from executor.inside import job, tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from executor.inside.box import Order, Watch

_SOCKET = 3
_MOST = 256
_READ_SIZE = 64 * 1024
_LENGTH = 10  # digits of a length
_STOPPED = (b"T", b"t")
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid
# To fork takes the session's process a millisecond.
_ANSWER_SECONDS = 5.0
_SETTLE_SECONDS = 2.0
_SETTLE_PAUSE = 0.00005


class Session:
    """The box's side. `lost` says that there is no process any more that has the variables."""

    def __init__(self, order: Order, rules: Any) -> None:
        """Start the session's process with the limits of its first cell."""
        self.lost = False
        self._former = 0
        self._socket, theirs = socket.socketpair()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.settimeout(_ANSWER_SECONDS)
        self._process = os.fork()
        if self._process == 0:
            _begin(order, theirs.detach(), rules)
        theirs.close()
        self._cell, _ = self._hear()
        tree.kill(self._process, signal.SIGSTOP)

    def fileno(self) -> int:
        """The descriptor of the socket to the session's processes."""
        return self._socket.fileno()

    def get_ready(self) -> None:
        """Let the fork go on, or be made, while the executor looks at the box."""
        if self._cell:
            tree.kill(self._cell, signal.SIGCONT)
        else:
            tree.kill(self._process, signal.SIGCONT)
            self._say(b"go\n")

    def run(self, order: Order, watch: Watch) -> dict[str, str]:
        """Run a cell to its end, and stop everything; gives what `box` reports of a job."""
        words: list[str] = []
        if not self._cell:
            self._cell, _ = self._hear()
            tree.kill(self._process, signal.SIGSTOP)
        if not self.lost:
            self._say(_message(order))
            words = self._outcome(watch)
        values = _report(words)
        if self.lost:
            values["lost"] = "1"
        return values

    def _outcome(self, watch: Watch) -> list[str]:
        """Wait for the cell's last word or its end, and see to it that nothing goes on."""
        if self.fileno() not in self._wait(watch):
            tree.kill(self._process, signal.SIGCONT)  # its fork is dead: let it make another
        speaker, words = self._hear()
        if words[:1] == ["done"]:
            self._former = self._process  # stopped: there is time to end it after the report
            self._process, self._cell = speaker, 0
            self._settle()
            if _has_threads(self._process):
                self.get_ready()
                self._cell, _ = self._hear()
                self._settle()
        elif words[:1] == ["again"]:
            self._cell = speaker
            self._settle()
        else:
            self.lost = True
        return words

    def bury(self) -> None:
        """After the report of a cell: end the process that was the session before it."""
        if self._former:
            tree.kill(self._former)
            try:
                os.waitpid(self._former, 0)
            except ChildProcessError:
                pass  # it was reaped already, or has never been ours
            self._former = 0

    def _wait(self, watch: Watch) -> list[int]:
        try:
            pidfd = os.pidfd_open(self._cell)
        except ProcessLookupError:
            return []
        try:
            return watch.until((self.fileno(), pidfd), self._cell)
        finally:
            os.close(pidfd)

    def _hear(self) -> tuple[int, list[str]]:
        """Take one word of the session's; gives who has said it, by the kernel, and its parts."""
        space = socket.CMSG_SPACE(_CREDENTIALS.size)
        try:
            data, ancillary, _, _ = self._socket.recvmsg(_MOST, space)
        except OSError:  # also when it takes too long
            data, ancillary = b"", []
        for level, kind, rights in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS) and data:
                return _CREDENTIALS.unpack(rights)[0], data.decode(errors="replace").split()
        self.lost = True
        return 0, []

    def _say(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError:
            self.lost = True

    def _settle(self) -> None:
        """Stop the session's processes, and kill every other one of the box.

        Whoever is quicker than that at making new ones loses the session: its box dies.
        """
        keep = {self._former, self._process, self._cell}
        deadline = time.monotonic() + _SETTLE_SECONDS
        while not self.lost:
            _stop_all()
            time.sleep(_SETTLE_PAUSE)  # they have to run once more to stop
            states = tree.states_below(os.getpid())
            others = [pid for pid in states if pid not in keep]
            awake = [pid for pid, state in states.items() if pid in keep and state not in _STOPPED]
            if not others and not awake:
                break
            for pid in others:
                tree.kill(pid)
            for pid in awake:
                tree.kill(pid, signal.SIGSTOP)
            self.lost = time.monotonic() > deadline
        tree.reap({})


def _has_threads(pid: int) -> bool:
    try:
        return len(os.listdir("/proc/%d/task" % pid)) > 1
    except OSError:
        return False  # it is gone, as is about to be noticed


def _stop_all() -> None:
    """As the init of a pid namespace, stop all else in it at once: nobody is overlooked."""
    if os.getpid() == 1:
        try:
            os.kill(-1, signal.SIGSTOP)
        except ProcessLookupError:
            pass


def _report(words: list[str]) -> dict[str, str]:
    """What a cell's last word says of it. It may be a lie: then it is the liar's own account."""
    try:
        status, cpu, peak = int(words[1]), float(words[2]), int(words[3])
    except (IndexError, ValueError):
        status, cpu, peak = signal.SIGKILL, 0.0, 0
    if words[:1] == ["done"]:
        status = (status & 0xFF) << 8  # the form that wait(2) gives to an exit status
    return {"status": str(status), "cpu": "%.6f" % cpu, "peak": str(peak)}


# ---- the session's process ----


def _begin(order: Order, descriptor: int, rules: Any) -> NoReturn:
    """Become the session's process, in a fork of the box."""
    try:
        os.dup2(descriptor, job.RESERVED)
        job.begin(rules)
        os.dup2(job.RESERVED, _SOCKET)
        os.close(job.RESERVED)
        job.set_limits(order.limits)
        _live(job.fresh_main())
    finally:
        os._exit(1)


def _live(namespace: dict[str, Any]) -> NoReturn:
    """Fork, and wait: whoever returns from a cell goes on as the session. Ends with the box."""
    child, word = _fork(), "first 0 0 0"
    while True:
        if child:
            _, status, usage = os.wait4(child, 0)
            _reap()
            _forget_code()
            child, word = _fork(), _word("again", status, usage)
            continue
        os.write(_SOCKET, word.encode())
        os.setsid()
        job.renew_streams()
        _volunteer()
        limits, code = _next()
        job.set_limits(limits)
        status = job.run(code, namespace)
        job.flush()
        os.write(_SOCKET, _word("done", status, resource.getrusage(resource.RUSAGE_SELF)).encode())
        if not os.read(_SOCKET, 3):
            os._exit(0)
        _reap()
        child, word = _fork(), "next 0 0 0"


def _reap() -> None:
    """Bury the children that the box has killed: they count as processes till then."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _fork() -> int:
    """Fork without the warning of newer Pythons: that threads end here is what we promise."""
    if sys.version_info < (3, 12):
        return os.fork()
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return os.fork()


def _word(what: str, status: int, usage: Any) -> str:
    cpu = usage.ru_utime + usage.ru_stime
    return "%s %d %.6f %d" % (what, status, cpu, usage.ru_maxrss * 1024)


def _message(order: Order) -> bytes:
    """What a cell is told: the length of all that follows, a line with its limits, and its code."""
    numbers = [number for limit in order.limits for number in limit]
    text = " ".join(map(str, numbers)).encode() + b"\n" + order.code.encode()
    return b"%*d" % (_LENGTH, len(text)) + text


def _next() -> tuple[list[tuple[int, ...]], str]:
    """Wait for the limits and the code; without any, the box is gone.

    The limits can be raised again, up to those that the session was begun with: what holds a cell
    to more is the executor's watch.
    """
    head, _, code = _read(int(_read(_LENGTH))).partition(b"\n")
    numbers = [int(number) for number in head.split()]
    limits = [tuple(numbers[at : at + 3]) for at in range(0, len(numbers), 3)]
    return limits, code.decode()


def _read(length: int) -> bytes:
    data = b""
    while len(data) < length:
        piece = os.read(_SOCKET, length - len(data))
        if not piece:
            os._exit(0)
        data += piece
    return data


def _forget_code() -> None:
    """Throw away what a cell that was killed has not read: its code must not run as the next one's.

    The box sends nothing before there is a fork that has spoken: all that is there is of the past.
    """
    stream = socket.socket(fileno=_SOCKET)
    try:
        while stream.recv(_READ_SIZE, socket.MSG_DONTWAIT):
            pass
    except BlockingIOError:
        pass
    finally:
        stream.detach()


def _volunteer() -> None:
    """Be the one that the kernel ends when memory runs out, and not the session's own process."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("900")
    except OSError:
        pass
