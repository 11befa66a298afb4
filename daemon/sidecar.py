"""The executor as the daemon's child: `famulus run --with-executor`, and the demo.

One process, started, watched and ended here; `supervise` starts it again when it dies. It tells on
its standard output, as one line of JSON, that it is ready or why it refuses to be. A refusal (no
sandbox works on this host) is not the daemon's end: chat goes on, code tools give the cause, and
the executor is tried again, more and more seldom, or when `reload` is called.

The child never outlives the daemon. In order, it is asked to end, then killed, and the function
returns only after the kernel has given proof of its exit. For the daemon that is killed there is
the lifeline: the child's standard input is a pipe that only the daemon holds open. The process is
made on the main thread, because the parent-death signal that a launcher may ask for follows the
thread that forked, and Trio's worker threads end after some idle seconds.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import IO, Any, Final, NoReturn, Protocol, Self

import trio
from attrs import define, field, frozen

from daemon import log
from daemon.errors import FamulusError
from daemon.supervise import Policy, Restart, after_failure
from executor import launch
from executor.settings import Settings

# Without an executor the daemon still runs, so its failures never end the process.
POLICY: Final = Policy(max_failures=None)

# What makes it refuse is mostly mended by a person, so retries soon become rare. The first ones are
# quick for one reason that time does mend: after a kill -9 of the daemon, the executor of the one
# before may take a moment to notice, and holds the socket until then.
RETRY: Final = Policy(first_delay=0.25, max_delay=180.0, max_failures=None)

READY_TIMEOUT: Final = 20.0  # seconds; building a sandbox and trying it takes well under one
GRACE: Final = 3.0  # seconds from SIGTERM to SIGKILL
KILL_TIMEOUT: Final = 5.0  # seconds for the kernel to end it after SIGKILL
LAST_CALL: Final = GRACE + KILL_TIMEOUT + 1.0  # seconds; a shield is never without an end
DRAIN: Final = 0.5  # seconds for last words; a grandchild may keep the pipe open for ever
MAX_LINE: Final = 8192  # bytes of one line of the child's output; the rest of it is dropped
LAST_WORDS: Final = 5  # lines of standard error that are told when the child dies

_log = log.get("executor")


class Command(Protocol):
    """What is needed of `executor.launch.Launch`: how to start the executor, once."""

    @property
    def argv(self) -> Sequence[str]: ...
    @property
    def env(self) -> Mapping[str, str]: ...
    @property
    def settings_fd(self) -> int: ...
    def close(self) -> None: ...


class ExecutorDied(FamulusError):
    """The child ended, or was not ready in time. The supervisor starts it again."""


@frozen
class Refusal:
    """Why the executor will not run here, in its own words."""

    cause: str
    remedy: str


@define
class Sidecar:
    """The child and what is known about it. `run` is for `supervise`; the rest is for `/status`."""

    _command: Callable[[], Command]
    state: str = field(default="starting", init=False)  # starting, ready, refused, down
    refusal: Refusal | None = field(default=None, init=False)
    pid: int | None = field(default=None, init=False)
    _told: Refusal | None = field(default=None, init=False)  # the refusal that is in the log
    _refusals: int = field(default=0, init=False)  # in a row
    _again: trio.Event = field(factory=trio.Event, init=False)
    _settled: trio.Event = field(factory=trio.Event, init=False)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The executor of `settings`. Started by root, it becomes the configured user."""
        user = settings.user if os.geteuid() == 0 else None
        return cls(partial(launch.command, settings, user=user, owned=True))

    async def settled(self) -> None:
        """Wait until it is ready or has refused, for `READY_TIMEOUT` seconds at most."""
        with trio.move_on_after(READY_TIMEOUT):
            await self._settled.wait()

    def reload(self) -> None:
        """Try a refused executor again now. Does nothing to one that runs."""
        self._again.set()

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> NoReturn:
        """Keep the child running until cancelled.

        Readiness means that the first attempt has had its outcome, good or bad: the daemon does
        not wait for a sandbox.

        Raises:
          ExecutorDied: it ended, or was not ready in time.
        """
        self._again = trio.Event()
        first = _Once(task_status)
        try:
            while True:
                await self._live(first)
                first.started()
                await self._wait_refused()
        finally:
            first.started()
            self.pid = None
            if self.state != "refused":
                self.state = "down"
            self._settled = trio.Event()

    async def _live(self, first: _Once) -> None:
        """One life of the child. Returns if it refused, raises ExecutorDied if it died."""
        self.state = "starting"
        async with _child(self._command) as child:
            self.pid = child.popen.pid
            end = await self._outlive(child, first)
        if isinstance(end, ExecutorDied):  # raised out here: a nursery would wrap it
            raise end
        self._refused(end)

    async def _outlive(self, child: _Child, first: _Once) -> Refusal | ExecutorDied:
        outcome = await child.readiness()
        if not isinstance(outcome, Ready):
            return outcome
        self.state, self.refusal, self._told, self._refusals = "ready", None, None, 0
        self._settled.set()
        _log.info("executor ready", pid=self.pid, layers=outcome.layers())
        first.started()
        await child.exited()
        return await child.died()

    def _refused(self, refusal: Refusal) -> None:
        self.state, self.refusal, self.pid = "refused", refusal, None
        if self._refusals:
            # Not at the first: the executor of a daemon that was killed may take a moment to go.
            self._settled.set()
        if refusal != self._told:
            _log.warning("executor refuses", cause=refusal.cause, remedy=refusal.remedy)
        self._told = refusal

    async def _wait_refused(self) -> None:
        """Until the next try: longer each time, or until `reload`."""
        decision = after_failure(RETRY, self._refusals, ran_for=0.0)
        self._refusals = decision.failures
        delay = decision.delay if isinstance(decision, Restart) else RETRY.max_delay
        with trio.move_on_after(delay):
            await self._again.wait()
            self._refusals = 0
        self._again = trio.Event()


@define
class _Once:
    """A task_status that may be told twice."""

    _task_status: trio.TaskStatus[None]
    _done: bool = False

    def started(self) -> None:
        if not self._done:
            self._done = True
            self._task_status.started()


# --- One process ---


@define
class _Child:
    """A running child. Its output is read by tasks of the context manager that made it."""

    popen: subprocess.Popen[bytes]
    pidfd: int
    send_first: trio.MemorySendChannel[bytes]
    first: trio.MemoryReceiveChannel[bytes]
    last_words: deque[str] = field(factory=lambda: deque(maxlen=LAST_WORDS))
    silent: trio.Event = field(factory=trio.Event)  # standard error has ended

    async def readiness(self) -> Ready | Refusal | ExecutorDied:
        """How the start went, from the first line of standard output."""
        with trio.move_on_after(READY_TIMEOUT):
            try:
                return _outcome(await self.first.receive())
            except trio.EndOfChannel:
                with trio.move_on_after(GRACE):
                    await self.exited()
                return await self.died()
        return ExecutorDied(f"the executor was not ready after {READY_TIMEOUT:g} s")

    async def exited(self) -> None:
        """Wait for its end. It is not reaped here, so that its pid stays its own."""
        await trio.lowlevel.wait_readable(self.pidfd)

    async def died(self) -> ExecutorDied:
        """How it ended, with its last words, which may still be on their way."""
        with trio.move_on_after(DRAIN):
            await self.silent.wait()
        words = "; ".join(self.last_words)
        return ExecutorDied(f"the executor {_how(self.pidfd)}" + (f": {words}" if words else ""))

    async def read_stdout(self) -> None:
        async with _lines(self.popen.stdout) as lines, self.send_first:
            line = await lines.next()
            if line is not None:
                await self.send_first.send(line)
            while (line := await lines.next()) is not None:
                _log.debug("executor output", line=line.decode("utf-8", "replace"))

    async def read_stderr(self) -> None:
        async with _lines(self.popen.stderr) as lines:
            while (line := await lines.next()) is not None:
                text = line.decode("utf-8", "replace").rstrip()
                self.last_words.append(text)
                _log.info("executor says", line=text)
        self.silent.set()


@asynccontextmanager
async def _child(command: Callable[[], Command]) -> AsyncIterator[_Child]:
    """A child that runs in the block, and is certainly gone after it."""
    popen = _spawn(command())
    try:
        with _pidfd(popen) as pidfd:
            child = _Child(popen, pidfd, *trio.open_memory_channel[bytes](1))
            async with trio.open_nursery() as readers:
                readers.start_soon(child.read_stdout)
                readers.start_soon(child.read_stderr)
                try:
                    yield child
                finally:
                    with trio.CancelScope(shield=True, deadline=trio.current_time() + LAST_CALL):
                        await _end(child)
                    readers.cancel_scope.cancel()
    finally:
        _close(popen)


def _spawn(command: Command) -> subprocess.Popen[bytes]:
    """Start it in a session of its own, so that Ctrl-C reaches the daemon alone.

    Blocks for the millisecond or two of a vfork.
    """
    try:
        return subprocess.Popen(
            list(command.argv),
            env=dict(command.env),
            pass_fds=(command.settings_fd,),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise ExecutorDied(f"the executor cannot be started: {error}") from error
    finally:
        command.close()


@contextmanager
def _pidfd(popen: subprocess.Popen[bytes]) -> Iterator[int]:
    fd = os.pidfd_open(popen.pid)
    try:
        yield fd
    finally:
        os.close(fd)


async def _end(child: _Child) -> None:
    """Ask it to end, then kill it with its session; return when the kernel says that it is gone.

    Over after GRACE + KILL_TIMEOUT seconds in any case.
    """
    if not await _ended_by(child, signal.SIGTERM, GRACE):
        _log.warning("executor does not end; killing it", pid=child.popen.pid)
    # Also when the executor itself has ended: whatever is left of its session goes with it. It is
    # not reaped yet, so the number of its group cannot be anybody else's.
    if not await _ended_by(child, signal.SIGKILL, KILL_TIMEOUT):
        _log.error("executor cannot be killed", pid=child.popen.pid)


async def _ended_by(child: _Child, number: signal.Signals, seconds: float) -> bool:
    with suppress(ProcessLookupError):
        if number == signal.SIGKILL:
            os.killpg(child.popen.pid, number)
        else:
            signal.pidfd_send_signal(child.pidfd, number)
    with trio.move_on_after(seconds) as scope:
        await child.exited()
    return not scope.cancelled_caught


def _close(popen: subprocess.Popen[bytes]) -> None:
    """Reap it and close our ends of its pipes. Does not block."""
    popen.poll()
    for pipe in (popen.stdin, popen.stdout, popen.stderr):
        if pipe is not None:
            pipe.close()


# --- What it says ---


@frozen
class Ready:
    """The child is ready; `details` are what it says about itself."""

    details: dict[str, Any]

    def layers(self) -> str:
        """What isolates jobs, for the log."""
        layers = self.details.get("layers")
        return ",".join(map(str, layers)) if isinstance(layers, list) else ""


def _outcome(line: bytes) -> Ready | Refusal | ExecutorDied:
    """The meaning of the readiness line."""
    try:
        said = json.loads(line)
        if "refused" in said:
            return Refusal(str(said["refused"]), str(said.get("remedy", "")))
        ready = said["ready"]
    except (ValueError, KeyError, TypeError):
        text = line[:200].decode("utf-8", "replace")
        return ExecutorDied(f"the executor began with {text!r} and not with its readiness")
    return Ready(dict(ready) if isinstance(ready, dict) else {"ready": ready})


def _how(pidfd: int) -> str:
    """How the process ended, without reaping it."""
    info = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if info is None:
        return "closed its output"
    if info.si_code == os.CLD_EXITED:
        return f"exited with {info.si_status}"
    return f"was ended by {signal.Signals(info.si_status).name}"


@define
class _Lines:
    """Lines of a pipe, each cut at MAX_LINE bytes."""

    _stream: trio.lowlevel.FdStream
    _buffer: bytearray = field(factory=bytearray)

    async def next(self) -> bytes | None:
        """The next line without its end; None when the pipe has ended."""
        while (end := self._buffer.find(b"\n")) < 0:
            chunk = await self._stream.receive_some(65536)
            if not chunk:
                return self._take(len(self._buffer)) or None
            self._buffer += chunk
            if b"\n" not in chunk:
                del self._buffer[MAX_LINE:]
        return self._take(end)

    def _take(self, end: int) -> bytes:
        line = bytes(self._buffer[: min(end, MAX_LINE)])
        del self._buffer[: end + 1]
        return line


@asynccontextmanager
async def _lines(pipe: IO[bytes] | None) -> AsyncIterator[_Lines]:
    """Read `pipe`, which stays the caller's to close."""
    assert pipe is not None  # noqa: S101 -- made with PIPE
    async with trio.lowlevel.FdStream(os.dup(pipe.fileno())) as stream:
        yield _Lines(stream)
