"""A Python session: variables that live on from one piece of code to the next, whatever happens.

Each piece of code, a *cell*, runs in a fork of the session's process. If it ends by itself, with
or without an exception, the fork *becomes* the session and its parent is killed; if it crashes or
is killed, the parent is still there, as it was before. The fork is made ahead of time: it waits
for its code while nobody waits for it.

    box (trusted) --- keeps --- session process (stopped) --- fork that waits for the next cell

Between cells the session's process is stopped, so that its threads can do nothing unseen, and
everything else that a cell has left behind is killed. The socket to the box is the one descriptor
besides 0 to 2 that user code can find. All it can do with it is to lie about the end of its own
cell; who speaks is the kernel's word (SCM_CREDENTIALS), and whatever makes no sense ends the
session.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import struct
import time

from executor.inside import job, tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from executor.inside.box import Order, Watch

_SOCKET = 3
_MOST = 256
_READ_SIZE = 64 * 1024
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid
# What the session's process has to do between two cells takes a millisecond.
_ANSWER_SECONDS = 5.0
_SWEEP_SECONDS = 2.0
_SWEEP_PAUSE = 0.0005


class Session:
    """The box's side. `lost` says that there is no process any more that has the variables."""

    def __init__(self, order: Order, rules: Any) -> None:
        """Start the session's process with the environment and limits of its first cell."""
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

    def fileno(self) -> int:
        """The descriptor of the socket to the session's processes."""
        return self._socket.fileno()

    def run(self, order: Order, watch: Watch) -> dict[str, str]:
        """Run a cell to its end; gives the report, as `box.report` does."""
        words: list[str] = []
        if not self.lost:
            code = order.code.encode()
            self._say(b"%d\n" % len(code) + code)
            words = self._outcome(watch)
        values = _report(words)
        if self.lost:
            values["lost"] = "1"
        return values

    def _outcome(self, watch: Watch) -> list[str]:
        """Wait for the cell's last word or its end, and get ready for the next one."""
        if self.fileno() not in self._wait(watch):
            tree.kill(self._process, signal.SIGCONT)  # its fork is dead: let it make another
        speaker, words = self._hear()
        if words[:1] == ["done"]:
            self._former = self._process  # stopped: there is time to end it after the report
            self._sweep({speaker, self._former})
            self._process, self._cell = speaker, 0
        elif words[:1] == ["again"]:
            self._sweep({self._process, speaker})
            self._cell = speaker
        else:
            self.lost = True
        return words

    def get_ready(self) -> None:
        """After the report of a cell: have the next one's fork made, and stop the session."""
        if self._former:
            _end_child(self._former)
            self._former = 0
        if not self._cell and not self.lost:
            self._say(b"go\n")
            self._cell, _ = self._hear()
        tree.kill(self._process, signal.SIGSTOP)

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
        """Take one word of the session's; gives who has said it, by the kernel, and the words."""
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

    def _sweep(self, spare: set[int]) -> None:
        """Kill all processes of the box but this one and those to spare, and reap what ends.

        One that forks faster than it is found costs the session: the box dies, and it with it.
        """
        deadline = time.monotonic() + _SWEEP_SECONDS
        while found := [pid for pid in tree.descendants(os.getpid()) if pid not in spare]:
            if time.monotonic() > deadline:
                self.lost = True
                return
            for pid in found:
                tree.kill(pid)
            time.sleep(_SWEEP_PAUSE)
        tree.reap({})


def _end_child(pid: int) -> None:
    """Kill a child and wait for its end, which is sooner than to look for it again and again."""
    tree.kill(pid)
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass  # it was reaped already, or has never been ours


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
        job.begin(order, rules)
        os.dup2(job.RESERVED, _SOCKET)
        os.close(job.RESERVED)
        job.restrict(order)
        _live(job.fresh_main())
    finally:
        os._exit(1)


def _live(namespace: dict[str, Any]) -> NoReturn:
    """Fork, and wait: whoever returns from a cell goes on as the session. Ends with the box."""
    word = "first 0 0 0"
    while True:
        child = _fork()
        if child:
            _, status, usage = os.wait4(child, 0)
            word = _word("again", status, usage)
            continue
        os.setsid()
        job.renew_streams()
        _forget_code()
        os.write(_SOCKET, word.encode())
        _volunteer()
        status = job.run(_code(), namespace)
        job.flush()
        os.write(_SOCKET, _word("done", status, resource.getrusage(resource.RUSAGE_SELF)).encode())
        if not os.read(_SOCKET, 3):
            os._exit(0)
        _reap()
        word = "next 0 0 0"


def _reap() -> None:
    """Bury the children that the box has killed, all of them: they count as processes till then."""
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        pass


def _fork() -> int:
    """Fork without the warning of newer Pythons: that threads end here is what we promise."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return os.fork()


def _word(what: str, status: int, usage: Any) -> str:
    cpu = usage.ru_utime + usage.ru_stime
    return "%s %d %.6f %d" % (what, status, cpu, usage.ru_maxrss * 1024)


def _code() -> str:
    """Wait for the code; without any, the box is gone."""
    with open(_SOCKET, "rb", buffering=0, closefd=False) as stream:
        length = b""
        while not length.endswith(b"\n"):
            piece = stream.read(1)
            if not piece:
                os._exit(0)
            length += piece
        data = b""
        while len(data) < int(length):
            data += stream.read(int(length) - len(data)) or os._exit(0)
    return data.decode()


def _forget_code() -> None:
    """Throw away what a cell that was killed has not read: its code must not run as the next one's.

    The box sends nothing to a fork that has not spoken yet, so all that is there is of the past.
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
