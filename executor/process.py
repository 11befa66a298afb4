"""A job's processes as the executor holds them: four descriptors and a way to end it all.

`started` is a context manager, and it is the owner. However its block is left (the job ended, the
client hung up, the executor is stopping), the processes are killed, and it waits, shielded and
with a deadline, for the keeper's word that none is left.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Callable

import trio
from attrs import define, frozen

from executor import keeper, spawner
from executor.box_channel import BoxChannel
from executor.keeper import Start

# The keeper gives up after KILL_SECONDS and says so; a little more, and it is itself in trouble.
_REPORT_SECONDS = keeper.KILL_SECONDS + 1.0
_MAX_REPORT = 4096
_READ_SIZE = 64 * 1024


class StartFailed(Exception):
    """The job was not started: no descriptors are left, or no spawner."""


@frozen
class KeeperReport:
    """What the keeper saw: `empty` is the proof that no process of the job is left."""

    empty: bool = False
    cpu_seconds: float = 0.0
    peak_memory_bytes: int = 0
    out_of_memory: bool = False


@define
class BoxProcess:
    """A running job. `kill_layers` ends its processes by the layers' own means."""

    box: BoxChannel
    stdout: trio.lowlevel.FdStream
    stderr: trio.lowlevel.FdStream
    keeper: trio.SocketStream
    kill_layers: Callable[[], None]
    report: KeeperReport | None = None

    async def end(self, *, grace: float = 0.0) -> KeeperReport:
        """See everything dead and give the proof, or a report that is not `empty`.

        For `grace` seconds the helpers may end by themselves, as they do when the box has ended;
        then all is killed. Shielded from cancellation, for a bounded time.
        """
        if self.report is None:
            self.report = KeeperReport()
            deadline = trio.current_time() + grace + _REPORT_SECONDS
            with trio.CancelScope(shield=True, deadline=deadline):
                self.report = await self._last_words(grace)
        return self.report

    async def _last_words(self, grace: float) -> KeeperReport:
        """Wait for the keeper's report; closing our half of its channel is the order to kill."""
        words = bytearray()
        with contextlib.suppress(trio.BrokenResourceError):
            with trio.move_on_after(grace):
                await self._read_to_end(words)
            self.kill_layers()
            await self.keeper.send_eof()
            await self._read_to_end(words)
        return _parse(bytes(words))

    async def _read_to_end(self, words: bytearray) -> None:
        while len(words) < _MAX_REPORT and (piece := await self.keeper.receive_some(_MAX_REPORT)):
            words += piece

    def pending(self) -> bytes:
        """Take what lies in the output pipes now, without waiting."""
        return b"".join(_read_now(stream.fileno()) for stream in (self.stdout, self.stderr))


def _parse(data: bytes) -> KeeperReport:
    """Nothing, or half a line, is what a keeper that was killed leaves: not empty, then."""
    try:
        values = json.loads(data)
        return KeeperReport(
            bool(values["empty"]),
            float(values["cpu"]),
            int(values["peak"]),
            bool(values["out_of_memory"]),
        )
    except (ValueError, KeyError, TypeError):
        return KeeperReport()


def _read_now(fd: int) -> bytes:
    try:
        return os.read(fd, _READ_SIZE)
    except BlockingIOError:
        return b""


@contextlib.asynccontextmanager
async def started(
    orders: trio.socket.SocketType, start: Start, kill_layers: Callable[[], None]
) -> AsyncIterator[BoxProcess]:
    """Have the spawner start a job, and kill it when the block is left.

    Raises StartFailed if it cannot be started.
    """
    async with contextlib.AsyncExitStack() as ours:
        process = await _start(orders, start, kill_layers, ours)
        try:
            yield process
        finally:
            await process.end()  # noqa: ASYNC102 - shields itself, with a deadline


async def _start(
    orders: trio.socket.SocketType,
    start: Start,
    kill_layers: Callable[[], None],
    ours: contextlib.AsyncExitStack,
) -> BoxProcess:
    """Ask the spawner for a keeper; what the executor keeps open is closed with `ours`."""
    try:
        with contextlib.ExitStack() as theirs:
            process, fds = await _open(ours, theirs, kill_layers)
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))
            await orders.sendmsg([spawner.encode(start)], [rights])
            return process
    except OSError as error:
        raise StartFailed(f"the job could not be started: {error}") from error


async def _open(
    ours: contextlib.AsyncExitStack, theirs: contextlib.ExitStack, kill_layers: Callable[[], None]
) -> tuple[BoxProcess, list[int]]:
    """Make the pipes and sockets; our ends are closed with `ours`, the others with `theirs`."""
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    theirs.callback(os.close, null)
    outputs = [_pipe(theirs) for _ in range(2)]
    pairs = [_pair(theirs) for _ in range(2)]
    for stream, _ in (*outputs, *pairs):
        await ours.enter_async_context(stream)
    (stdout, _), (stderr, _) = outputs
    (box, _), (keeper_end, _) = pairs
    fds = [null, *(fd for _, fd in outputs), *(fd for _, fd in pairs)]
    return BoxProcess(BoxChannel(box), stdout, stderr, keeper_end, kill_layers), fds


def _pipe(theirs: contextlib.ExitStack) -> tuple[trio.lowlevel.FdStream, int]:
    read, write = os.pipe2(os.O_CLOEXEC)
    theirs.callback(os.close, write)
    return trio.lowlevel.FdStream(read), write


def _pair(theirs: contextlib.ExitStack) -> tuple[trio.SocketStream, int]:
    mine, other = socket.socketpair()
    theirs.callback(other.close)
    return trio.SocketStream(trio.socket.from_stdlib_socket(mine)), other.fileno()
