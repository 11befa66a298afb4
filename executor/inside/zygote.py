"""The zygote: a small, single-threaded process that makes the boxes.

The executor runs Trio, and a process with an event loop and threads is no place to fork from. So
it executes this one, in the interpreter that runs the jobs, with an empty environment. A box is a
clone of it, so it begins with everything imported: the interpreter's start, which is most of what
a small program costs, is paid once. One zygote may have imported more (numpy, matplotlib) than
another.

Each packet on the socket asks for one box: the start as JSON, and the descriptors as ancillary
data, of which the last is the *channel*. Whoever holds its other end owns the box. Closing it is
the order to kill; and when nothing of the box is left, that is said on it, once. For a box in a
pid namespace all of that is done here: the first process takes all others with it, and the kernel
lets us reap it only then. Any other box gets a keeper.

When the executor dies, all boxes are killed, the keepers end by themselves, and the zygote goes.
When the zygote dies, the kernel ends the boxes (PR_SET_PDEATHSIG); keepers end with the executor.
"""

from __future__ import annotations

import array
import json
import os
import select
import signal
import socket
import sys

from executor.inside import keeper, kernel, spaces, tree
from executor.inside.keeper import Start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

# stdin, stdout, stderr, the box's control socket, the channel.
_FDS = 5
_ORDERS = 3
_BUNDLE = 4
_GRACE_SECONDS = 5.0


class _Box:
    """A box in a pid namespace: its first process, and the channel of its owner."""

    def __init__(self, pid: int, pidfd: int, channel: socket.socket, start: Start) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.channel = channel
        self.start = start
        self.orphaned = False


class Zygote:
    """Makes boxes as ordered. `keepers` are the pids of those that have not ended."""

    def __init__(self, orders: socket.socket, bundle: int) -> None:
        self.orders = orders
        self.bundle = bundle
        self.keepers: set[int] = set()
        self.boxes: dict[int, _Box] = {}  # by pidfd and by channel
        self.poll = select.poll()

    def serve(self) -> NoReturn:
        kernel.become_subreaper()
        self.poll.register(self.orders, select.POLLIN)
        wake = self._wake_on_child()
        while True:
            for fd, _ in self.poll.poll():
                if fd == wake:
                    os.read(wake, 4096)
                    self._look_after_children()
                elif fd in self.boxes:
                    self._look_after(self.boxes[fd], fd)
                elif fd == self.orders.fileno() and not self._order():
                    self._finish()

    def _wake_on_child(self) -> int:
        """Give a descriptor that becomes readable when a child ends."""
        read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        self.poll.register(read, select.POLLIN)
        return read

    # ---- making boxes ----

    def _order(self) -> bool:
        """Take one packet and make a box; False when the executor is gone.

        Where none can be made, that is said on its standard error, and on its channel that nothing
        is left of it.
        """
        packet, fds = _receive(self.orders)
        if not packet:
            return False
        if len(fds) == _FDS:
            try:
                self._make(Start(**json.loads(packet)), fds)
            except (OSError, ValueError) as error:
                _tell(fds[2], ("no box could be made: %s\n" % error).encode())
                _tell(fds[-1], keeper.NOTHING)
        for fd in fds:
            os.close(fd)
        return True

    def _make(self, start: Start, fds: list[int]) -> None:
        if start.confinement.get("view"):
            self._clone(start, fds)
            return
        pid = os.fork()
        if pid == 0:
            self._become(start, fds, keeping=True)
        self.keepers.add(pid)

    def _clone(self, start: Start, fds: list[int]) -> None:
        group = os.open(start.cgroup, os.O_PATH | os.O_CLOEXEC) if start.cgroup else -1
        channel = socket.socket(fileno=os.dup(fds[-1]))
        try:
            pid, pidfd = kernel.clone(spaces.ALL, group)
        except OSError:
            channel.close()
            raise
        finally:
            if group >= 0:
                os.close(group)
        if pid == 0:
            self._become(start, fds, keeping=False)
        box = _Box(pid, pidfd, channel, start)
        for fd in (pidfd, box.channel.fileno()):
            self.boxes[fd] = box
            self.poll.register(fd, select.POLLIN)

    def _become(self, start: Start, fds: list[int], *, keeping: bool) -> NoReturn:
        """Be the child of the fork that was just made: a keeper, or the box itself."""
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            if keeping:
                for box in self.boxes.values():
                    box.channel.close()
                self.orders.close()
                keeper.keep(start, tuple(fds[:-1]), self.bundle, socket.socket(fileno=fds[-1]))
            keeper.become_box(start, tuple(fds[:-1]), self.bundle)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must be said
            _tell(2, ("a box or its keeper failed: %r\n" % error).encode())
        finally:
            os._exit(1)

    # ---- looking after them ----

    def _look_after(self, box: _Box, fd: int) -> None:
        if fd == box.pidfd:
            self._bury(box)
        elif not box.orphaned:
            box.orphaned = True
            self.poll.unregister(fd)
            _doom(box)

    def _bury(self, box: _Box) -> None:
        """The first process has ended, and with it, says the kernel, every other one."""
        _, _, usage = os.wait4(box.pid, 0)
        try:
            box.channel.sendall(keeper.report(usage, empty=True))
        except OSError:
            keeper.remove_groups(box.start)
        if not box.orphaned:
            self.poll.unregister(box.channel)
        self.poll.unregister(box.pidfd)
        del self.boxes[box.pidfd], self.boxes[box.channel.fileno()]
        box.channel.close()
        os.close(box.pidfd)

    def _look_after_children(self) -> None:
        """Reap keepers. What one that was killed has left is now our child, and killed as well."""
        ended = {pid for pid in self.keepers if os.waitpid(pid, os.WNOHANG)[0]}
        if not ended:
            return
        self.keepers -= ended
        ours = self.keepers | {box.pid for box in self.boxes.values()}
        if not tree.kill_others(ours, _GRACE_SECONDS):
            _tell(2, b"what a keeper has left could not be killed\n")

    def _finish(self) -> NoReturn:
        """The executor is gone. Its keepers end by themselves; then nothing may be left."""
        signal.signal(signal.SIGALRM, lambda _number, _frame: self._end())
        signal.alarm(int(_GRACE_SECONDS))
        for box in set(self.boxes.values()):
            _doom(box)
            self._bury(box)
            # The end of a channel may be open a moment longer than that of the orders: the report
            # is then taken by nobody, and the groups are ours to remove all the same.
            keeper.remove_groups(box.start)
        for pid in self.keepers:
            os.waitpid(pid, 0)
        self._end()

    def _end(self) -> NoReturn:
        tree.kill_until_empty({}, _GRACE_SECONDS)
        os._exit(0)


def _doom(box: _Box) -> None:
    signal.pidfd_send_signal(box.pidfd, signal.SIGKILL)
    keeper.thaw(box.start)


def _receive(orders: socket.socket) -> tuple[bytes, list[int]]:
    """Receive a packet and its descriptors, close-on-exec all of them."""
    fds = array.array("i")
    packet, ancillary, _, _ = orders.recvmsg(
        keeper.MOST_OF_AN_ORDER, socket.CMSG_SPACE(_FDS * fds.itemsize), socket.MSG_CMSG_CLOEXEC
    )
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return packet, list(fds)


def _tell(descriptor: int, data: bytes) -> None:
    try:
        os.write(descriptor, data)
    except OSError:
        pass


def main(preload: tuple[str, ...]) -> NoReturn:
    """Be the zygote: descriptor 3 brings the orders, 4 holds the code for boxes to be executed.

    `preload` are packages to import for the boxes to come; those that are missing are left out.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    orders = socket.socket(fileno=_ORDERS)
    loaded = warm_up(preload)
    orders.send(json.dumps({"loaded": loaded, "version": sys.version.split()[0]}).encode())
    Zygote(orders, _BUNDLE).serve()


def warm_up(preload: tuple[str, ...]) -> list[str]:
    """Import what boxes will want, and keep the collector from copying it into each of them."""
    import gc

    loaded = []
    for name in preload:
        try:
            __import__(name)
        except ImportError:
            continue
        loaded.append(name)
    if "matplotlib.pyplot" in loaded:
        _draw()
    gc.collect()
    gc.freeze()
    return loaded


def _draw() -> None:
    """Draw a line once: half of what the first picture costs is found only then."""
    import io

    from matplotlib.figure import Figure

    figure = Figure()
    figure.add_subplot().plot([0, 1])
    figure.savefig(io.BytesIO(), format="png")
