"""The spawner: a small, single-threaded process that forks the keepers.

The executor runs Trio, and a process with an event loop and threads is no place to fork from. So
before it imports anything large the executor forks this one. The first packet tells it whom to
become, if it is still root. Each later one asks for a keeper: the start as JSON, and the
descriptors as ancillary data. The socket is the only way in, and the executor holds its other
end.

When the executor dies, the keepers read end-of-file and clear up their jobs; the spawner waits
for them, then kills whatever is left below itself (the orphans of a keeper that was killed), and
goes. It keeps watch over such orphans while it runs, too.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import select
import signal
import socket

from executor import keeper, rootless, tree
from executor.keeper import Start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

# stdin, stdout, stderr, the box's control socket, the keeper's channel.
_FDS = 5
# A start is an argument list of a few kilobytes; the kernel takes packets of about 200 KiB.
_MAX_PACKET = 128 * 1024
_GRACE_SECONDS = 5.0


def encode(start: Start) -> bytes:
    """Make the packet that asks for a keeper."""
    return json.dumps(start.to_json()).encode()


def encode_identity(uid: int, gid: int) -> bytes:
    """Make the first packet: the ids to live under from now on."""
    return json.dumps([uid, gid]).encode()


def fork_spawner() -> socket.socket:
    """Fork the spawner and give the executor's end of its socket.

    Must be called while this process has one thread and no event loop, and should be called
    before anything large is imported.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() > 0:
        theirs.close()
        return ours
    try:
        ours.close()
        # A terminal's ^C is meant for the executor, which ends the jobs in good order.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        packet = theirs.recv(_MAX_PACKET)
        if packet:
            rootless.become(*json.loads(packet))
            _Spawner(theirs).serve()
    finally:
        os._exit(1)


class _Spawner:
    """Forks keepers as ordered; `keepers` are the pids of those that have not ended."""

    def __init__(self, orders: socket.socket) -> None:
        self.orders = orders
        self.keepers: set[int] = set()

    def serve(self) -> NoReturn:
        tree.become_subreaper()
        wake = self._wake_on_child()
        poll = select.poll()
        poll.register(self.orders, select.POLLIN)
        poll.register(wake, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == wake:
                    os.read(wake, 4096)
                    self._look_after_children()
                elif not self._order():
                    self._finish()

    def _wake_on_child(self) -> int:
        """Give a descriptor that becomes readable when a child ends."""
        read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        return read

    def _order(self) -> bool:
        """Take one packet and fork a keeper; False when the executor is gone."""
        packet, fds = _receive(self.orders)
        if not packet:
            return False
        if len(fds) == _FDS:
            self._fork_keeper(packet, fds)
        for fd in fds:
            os.close(fd)
        return True

    def _fork_keeper(self, packet: bytes, fds: list[int]) -> None:
        """Without a process to spare the descriptors just close, and the executor sees that."""
        with contextlib.suppress(BlockingIOError):
            pid = os.fork()
            if pid == 0:
                self._become_keeper(packet, fds)
            self.keepers.add(pid)

    def _become_keeper(self, packet: bytes, fds: list[int]) -> NoReturn:
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self.orders.close()
            box = (fds[0], fds[1], fds[2], fds[3])
            start = Start(**json.loads(packet))
            keeper.keep(start, box, socket.socket(fileno=fds[4]))
        finally:
            os._exit(1)

    def _look_after_children(self) -> None:
        """Reap; what is a child and no keeper was left behind by one, and is killed."""
        ended: dict[int, int] = {}
        tree.reap(ended)
        self.keepers.difference_update(ended)
        tree.kill_all(os.getpid(), spare=self.keepers)

    def _finish(self) -> NoReturn:
        """The executor is gone. Its keepers end by themselves; then nothing may be left."""
        signal.alarm(int(_GRACE_SECONDS))
        signal.signal(signal.SIGALRM, lambda _number, _frame: self._end())
        while self.keepers:
            pid, _ = os.wait()
            self.keepers.discard(pid)
        self._end()

    def _end(self) -> NoReturn:
        tree.kill_until_empty({}, _GRACE_SECONDS)
        os._exit(0)


def _receive(orders: socket.socket) -> tuple[bytes, list[int]]:
    """Receive a packet and its descriptors, close-on-exec all of them."""
    fds = array.array("i")
    packet, ancillary, _, _ = orders.recvmsg(
        _MAX_PACKET, socket.CMSG_SPACE(_FDS * fds.itemsize), socket.MSG_CMSG_CLOEXEC
    )
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return packet, list(fds)
