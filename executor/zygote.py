"""The executor's hold on a zygote: the process that makes boxes (`executor.inside.zygote`).

`started` is its owner. When the block is left, the socket is closed, which is the order to kill
everything; the process is then waited for, and killed if it does not go.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
from collections.abc import AsyncIterator, Mapping

import trio
from attrs import frozen

from executor import bundle
from executor.isolation.stack import Refused

# The whole environment of a zygote, and so of what it makes before an order says otherwise. Linear
# algebra in one thread: a process with threads is no place to fork from.
_ENVIRONMENT: Mapping[str, str] = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}
# Importing pandas and matplotlib from a cold disk.
_START_SECONDS = 60.0
_END_SECONDS = 8.0
_MAX_GREETING = 64 * 1024
_FIRST_FREE = 10


class ZygoteGone(Exception):
    """The zygote was killed. The executor ends; whoever supervises it starts it anew."""


@frozen
class Zygote:
    """A zygote that takes orders: its pid, its socket, and the packages that it has imported."""

    pid: int
    orders: trio.socket.SocketType
    loaded: tuple[str, ...]
    version: str


@contextlib.asynccontextmanager
async def started(
    python: str, sources: Mapping[str, str], preload: tuple[str, ...], cache: str
) -> AsyncIterator[Zygote]:
    """Run a zygote while the block runs. Raises Refused if it does not come up.

    `cache` is a directory where matplotlib may keep what it has found out about fonts.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            code = bundle.open_bundle(dict(sources), preload)
            pid = _spawn(python, theirs, code, {**_ENVIRONMENT, "MPLCONFIGDIR": cache})
        pidfd = os.pidfd_open(pid)
        try:
            ours.setblocking(False)
            orders = trio.socket.from_stdlib_socket(ours)
            loaded, version = await _greeting(orders, python)
            yield Zygote(pid, orders, loaded, version)
        finally:
            ours.close()
            with trio.CancelScope(shield=True):
                await _end(pid, pidfd)


def _spawn(python: str, orders: socket.socket, code: int, environment: dict[str, str]) -> int:
    """Execute it with nothing but its two descriptors and our standard error. Closes `code`."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE) for fd in (orders.fileno(), code)]
    moves = [(null, 0), (null, 1), (high[0], 3), (high[1], 4)]
    try:
        return os.posix_spawn(
            python,
            bundle.zygote_command(python),
            environment,
            file_actions=[(os.POSIX_SPAWN_DUP2, source, target) for source, target in moves],
        )
    finally:
        for fd in (null, code, *high):
            os.close(fd)


async def _greeting(orders: trio.socket.SocketType, python: str) -> tuple[tuple[str, ...], str]:
    with trio.move_on_after(_START_SECONDS):
        said = await orders.recv(_MAX_GREETING)
        if said:
            values = json.loads(said)
            return tuple(values["loaded"]), str(values["version"])
    raise Refused(
        f"{python} does not run the code that makes boxes (its error is in the executor's log)",
        "set [executor] python to a CPython of 3.9 or newer that every account can run",
    )


async def _end(pid: int, pidfd: int) -> None:
    """Wait for it to go, which it does when it has killed its boxes; kill it if it does not."""
    try:
        with trio.move_on_after(_END_SECONDS):
            await trio.lowlevel.wait_readable(pidfd)
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        await trio.lowlevel.wait_readable(pidfd)
        os.waitpid(pid, os.WNOHANG)  # noqa: ASYNC222 - it has ended: nothing is waited for
    finally:
        os.close(pidfd)
