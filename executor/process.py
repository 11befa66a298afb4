"""A box's processes as the executor holds them: five descriptors and a way to end it all.

Whoever starts one owns it and must `end` and `close` it. To end it is to kill its processes and to
wait, shielded and with a deadline, for the word that none is left, which comes from the zygote (for
a pid namespace, from the kernel) or from the box's keeper.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import select
import socket
from collections.abc import Callable

import trio
from attrs import define, field, frozen

from executor.box_channel import BoxChannel
from executor.inside import keeper
from executor.inside.keeper import Start

# The keeper gives up after KILL_SECONDS and says so; a little more, and it is itself in trouble.
_REPORT_SECONDS = keeper.KILL_SECONDS + 1.0
# The layers kill more surely than a keeper, which is given this long to do it more gently.
_CLEAR_UP_SECONDS = 3.5
_MAX_REPORT = 4096
_READ_SIZE = 64 * 1024


class StartFailed(Exception):
    """The job was not started: no descriptors are left, or no zygote."""


@frozen
class KeeperReport:
    """The last word on a box: `empty` is the proof that no process of it is left."""

    empty: bool = False
    cpu_seconds: float = 0.0
    peak_memory_bytes: int = 0


@define
class BoxProcess:
    """A running box. `kill_layers` ends its processes by the layers' own means.

    The keeper of one that `clears_up` lets its command do that.
    """

    box: BoxChannel
    stdin: trio.lowlevel.FdStream
    stdout: trio.lowlevel.FdStream
    stderr: trio.lowlevel.FdStream
    keeper: trio.SocketStream
    kill_layers: Callable[[], None]
    clears_up: bool = False
    report: KeeperReport | None = None
    _words: bytearray = field(factory=bytearray)

    async def end(self, *, grace: float = 0.0) -> KeeperReport:
        """See everything dead and give the proof, or a report that is not `empty`.

        For `grace` seconds the helpers may end by themselves, as they do when the box has ended;
        then all is killed. Shielded from cancellation, for a bounded time.
        """
        if self.report is None:
            self.report = KeeperReport()
            gently = _CLEAR_UP_SECONDS if self.clears_up else 0.0
            deadline = trio.current_time() + grace + gently + _REPORT_SECONDS
            with trio.CancelScope(shield=True, deadline=deadline):
                self.report = await self._last_words(grace)
            if not self.report.empty:
                self.kill_layers()
        return self.report

    async def _last_words(self, grace: float) -> KeeperReport:
        """Wait for the keeper's report; closing our half of its channel is the order to kill."""
        with contextlib.suppress(trio.BrokenResourceError):
            with trio.move_on_after(grace):
                return await self._report()
            if self.clears_up:
                await self.keeper.send_eof()
                with trio.move_on_after(_CLEAR_UP_SECONDS):
                    return await self._report()
            self.kill_layers()
            await self.keeper.send_eof()
            return await self._report()
        return _parse(bytes(self._words))

    async def _report(self) -> KeeperReport:
        """Read to the end of the channel, or on where a former attempt was given up."""
        while len(self._words) < _MAX_REPORT:
            piece = await self.keeper.receive_some(_MAX_REPORT)
            if not piece:
                break
            self._words += piece
        return _parse(bytes(self._words))

    async def buried(self) -> bool:
        """Wait, for as long as it takes, for the proof that `end` did not get; False for never."""
        with contextlib.suppress(trio.BrokenResourceError):
            self.report = await self._report()
        return self.report is not None and self.report.empty

    @property
    def gone(self) -> bool:
        """Whether its first process has ended; to be asked while nothing is expected of it."""
        poll = select.poll()
        poll.register(self.box.stream.socket, select.POLLIN | select.POLLRDHUP)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Close our ends of everything."""
        for pipe in (self.stdin, self.stdout, self.stderr):
            pipe.close()
        for stream in (self.box.stream, self.keeper):
            stream.socket.close()

    def pending(self) -> bytes:
        """Take what lies in the output pipes now, without waiting."""
        return b"".join(read_now(stream.fileno()) for stream in (self.stdout, self.stderr))


def _parse(data: bytes) -> KeeperReport:
    """Nothing, or half a line, is what a keeper that was killed leaves: not empty, then."""
    try:
        values = json.loads(data)
        return KeeperReport(
            bool(values["empty"]),
            float(values["cpu"]),
            int(values["peak"]),
        )
    except (ValueError, KeyError, TypeError):
        return KeeperReport()


def read_now(fd: int) -> bytes:
    """Read what lies in a pipe; empty when that is nothing."""
    try:
        return os.read(fd, _READ_SIZE)
    except BlockingIOError:
        return b""


async def start(
    orders: trio.socket.SocketType, order: Start, kill_layers: Callable[[], None]
) -> BoxProcess:
    """Have a zygote make a box. The caller owns it. Raises StartFailed if it cannot be made."""
    try:
        with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
            process, fds = _open(ours, theirs, kill_layers)
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))
            process.clears_up = keeper.clears_up(order)
            packet = json.dumps(order.to_json()).encode()
            if len(packet) > keeper.MOST_OF_AN_ORDER:
                raise StartFailed(f"an order of {len(packet)} bytes is too long")
            await orders.sendmsg([packet], [rights])
            ours.pop_all()
            return process
    except OSError as error:
        raise StartFailed(f"the box could not be started: {error}") from error


def _open(
    ours: contextlib.ExitStack, theirs: contextlib.ExitStack, kill_layers: Callable[[], None]
) -> tuple[BoxProcess, list[int]]:
    """Make pipes and sockets. The box's ends close with `theirs`, ours with `ours`."""
    stdin, stdin_end = _pipe(ours, theirs, read_is_ours=False)
    stdout, stdout_end = _pipe(ours, theirs, read_is_ours=True)
    stderr, stderr_end = _pipe(ours, theirs, read_is_ours=True)
    (box, box_end), (owner, owner_end) = (_pair(ours, theirs) for _ in range(2))
    process = BoxProcess(BoxChannel(box), stdin, stdout, stderr, owner, kill_layers)
    return process, [stdin_end, stdout_end, stderr_end, box_end, owner_end]


def _pipe(
    ours: contextlib.ExitStack, theirs: contextlib.ExitStack, *, read_is_ours: bool
) -> tuple[trio.lowlevel.FdStream, int]:
    read, write = os.pipe2(os.O_CLOEXEC)
    mine, other = (read, write) if read_is_ours else (write, read)
    theirs.callback(os.close, other)
    stream = trio.lowlevel.FdStream(mine)
    ours.callback(stream.close)
    return stream, other


def _pair(
    ours: contextlib.ExitStack, theirs: contextlib.ExitStack
) -> tuple[trio.SocketStream, int]:
    mine, other = socket.socketpair()
    ours.callback(mine.close)
    theirs.callback(other.close)
    return trio.SocketStream(trio.socket.from_stdlib_socket(mine)), other.fileno()
