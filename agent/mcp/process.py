"""A server's process, owned by the block that starts it and gone after it.

The process is the keeper's child (see `agent.mcp.keeper`), in a session of its own, so that Ctrl-C
reaches the daemon alone. To end it is to close its standard input, which is how the protocol says
goodbye, and after `GRACE` the keeper's lifeline, at which everything below the keeper is killed.
The kernel closes both when this process is killed.

The keeper is started on the main thread, which is where Trio runs: the vfork takes a millisecond.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import trio
from attrs import define, field

from agent.mcp.frames import Lines, TooMuch
from agent.mcp.spec import ServerDown, Stdio

KEEPER: Final = Path(__file__).with_name("keeper.py")
GRACE: Final = 1.0  # seconds from the end of its input to the killing
KILL_TIMEOUT: Final = 3.0  # seconds that are waited for the keeper to see everything dead
LAST_CALL: Final = GRACE + KILL_TIMEOUT + 1.0  # seconds; a shield is never without an end
DRAIN: Final = 0.3  # seconds for last words; something may keep the pipe open for ever
LAST_WORDS: Final = 3  # lines of standard error that are told when it dies
MAX_WORDS: Final = 200  # bytes of each
READ_SIZE: Final = 4096  # bytes at a time, each of which may be a line
# After so many bytes of standard error there is a pause: a server that logs without end would keep
# us busy. The bytes are what a pipe holds, so that last words still come within DRAIN.
HEARD: Final = 64 * 1024
PAUSE: Final = 0.1  # seconds
SIGNALLED: Final = 128  # an exit code above says which signal killed the server
# What is taken over of our own environment, which is full of secrets.
PASSED_ON: Final = ("PATH", "HOME", "LANG")


@define
class Process:
    """A running server. Its standard error is read by a task of the block that made it."""

    popen: subprocess.Popen[bytes]
    pidfd: int
    stdin: trio.lowlevel.FdStream
    stdout: trio.lowlevel.FdStream
    lifeline: trio.lowlevel.FdStream
    last_words: deque[str] = field(factory=lambda: deque(maxlen=LAST_WORDS))
    silent: trio.Event = field(factory=trio.Event)  # standard error has ended

    async def exited(self) -> None:
        """Wait for the keeper's end, which is the proof that nothing is left."""
        await trio.lowlevel.wait_readable(self.pidfd)

    async def fate(self) -> str:
        """How it ended, or that it has not, with its last words."""
        with trio.move_on_after(DRAIN):
            await self.exited()
            await self.silent.wait()
        words = "; ".join(self.last_words)
        return how(self.pidfd) + (f": {words}" if words else "")

    async def hear(self, stream: trio.lowlevel.FdStream, say: Callable[[str], None]) -> None:
        """Read standard error to its end."""
        lines, heard = Lines(), 0
        while data := await stream.receive_some(READ_SIZE):
            heard += len(data)
            if heard >= HEARD:
                await trio.sleep(PAUSE)
                heard = 0
            for line in lines.feed(data):
                if not isinstance(line, TooMuch):
                    text = line[:MAX_WORDS].decode("utf-8", "replace")
                    self.last_words.append(text)
                    say(text)
        self.silent.set()

    async def end(self) -> None:
        """Ask it to end, then have all of it killed.

        Over after some seconds in any case: what cannot be killed is left to its keeper.
        """
        await self.stdin.aclose()
        with trio.move_on_after(GRACE):
            await self.exited()
        self.lifeline.close()
        with trio.move_on_after(KILL_TIMEOUT):
            await self.exited()


@asynccontextmanager
async def running(server: Stdio, say: Callable[[str], None]) -> AsyncIterator[Process]:
    """A process that runs in the block, and of which nothing is left after it.

    `say` gets each line of its standard error. Raises ServerDown if it cannot be started.
    """
    env = await trio.to_thread.run_sync(environment, server)
    with ExitStack() as ours:
        process, stderr = _start(server, env, ours)
        async with trio.open_nursery() as readers:
            readers.start_soon(process.hear, stderr, say)
            try:
                yield process
            finally:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + LAST_CALL):
                    await process.end()
                readers.cancel_scope.cancel()


def environment(server: Stdio) -> dict[str, str]:
    """All that the server's process is told: what is configured, and three plain variables."""
    passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return {**passed_on, **server.env()}


def _start(
    server: Stdio, env: Mapping[str, str], ours: ExitStack
) -> tuple[Process, trio.lowlevel.FdStream]:
    """Start the keeper. Our ends of the pipes, and the reaping, are `ours` to close."""
    with ExitStack() as theirs:
        stdin, stdin_end = _pipe(ours, theirs, read_is_ours=False)
        stdout, stdout_end = _pipe(ours, theirs, read_is_ours=True)
        stderr, stderr_end = _pipe(ours, theirs, read_is_ours=True)
        lifeline, lifeline_end = _pipe(ours, theirs, read_is_ours=False)
        try:
            popen = subprocess.Popen(
                [sys.executable, "-I", "-S", str(KEEPER), str(lifeline_end), *server.command],
                env=dict(env),
                cwd=server.cwd,
                stdin=stdin_end,
                stdout=stdout_end,
                stderr=stderr_end,
                pass_fds=(lifeline_end,),
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise ServerDown(f"it cannot be started: {error}") from error
    ours.callback(popen.poll)
    pidfd = os.pidfd_open(popen.pid)
    ours.callback(os.close, pidfd)
    return Process(popen, pidfd, stdin, stdout, lifeline), stderr


def _pipe(
    ours: ExitStack, theirs: ExitStack, *, read_is_ours: bool
) -> tuple[trio.lowlevel.FdStream, int]:
    read, write = os.pipe2(os.O_CLOEXEC)
    mine, other = (read, write) if read_is_ours else (write, read)
    theirs.callback(os.close, other)
    stream = trio.lowlevel.FdStream(mine)
    ours.callback(stream.close)
    return stream, other


def how(pidfd: int) -> str:
    """How the server ended, which its keeper says by its own exit code; it is not reaped here."""
    info = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if info is None:
        return "it closed its output"
    if info.si_code != os.CLD_EXITED:
        return "its keeper was killed"
    if info.si_status > SIGNALLED:
        return f"it was killed by signal {info.si_status - SIGNALLED}"
    return f"it exited with {info.si_status}"
