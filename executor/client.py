"""The way to have code run: one connection to the executor for each job.

`ExecutorClient` holds no connection and no state, so it can be shared by any number of tasks. The
connection that a call opens belongs to that call. Leaving it by cancellation or by an exception
closes the connection, and a closed connection is what tells the executor to kill the job: whoever
waits for a job owns it.

There are two ways not to get a job's own result. `ExecutorUnavailable` means that no job was
begun: nobody listens, the executor refuses to work, or it hung up before it said STARTED. A
`Result` with reason "executor_error" means that something went wrong around a job that may have
begun. Both say what to do.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable

import trio
from attrs import define, field, frozen

from executor import messages, protocol
from executor.errors import ExecutorUnavailable, FileRefused, NoWorkspace
from executor.file_client import Done, FileClient
from executor.file_values import Edit, Info, Listing, Overview
from executor.grep import Matches
from executor.messages import Artifact, Job, Result, Skipped, Status
from executor.protocol import Frame, FrameType, ProtocolError
from executor.settings import Limits
from executor.wire import FrameStream

__all__ = [
    "Artifact",
    "Done",
    "Edit",
    "ExecutorClient",
    "ExecutorUnavailable",
    "FileClient",
    "FileRefused",
    "Info",
    "Job",
    "Limits",
    "Listing",
    "Matches",
    "NoWorkspace",
    "Result",
    "Skipped",
    "Status",
]

# A local socket answers at once or not at all; the executor accepts even while all slots are
# taken, so this is not the time that a job may wait for its turn.
_CONNECT_SECONDS = 5.0
# One that runs says at once how it is. One that this connection has started proves itself first,
# which takes some seconds on a small machine.
_STATUS_SECONDS = 30.0
# What the client keeps of one stream when the executor sends more than it ever should.
_HARD_CAP = 16 * 1024 * 1024
# Of all artifacts together; the limits of the executor are far below.
_ARTIFACTS_CAP = 64 * 1024 * 1024

OnOutput = Callable[[str, bytes], None]
Inbox = trio.MemoryReceiveChannel[bytes | int]

_REMEDY_START = "start it with `famulus executor --config FILE` (its log says why if it refuses)"


@frozen
class ExecutorClient:
    """Runs jobs in the executor that listens at `socket`, a path."""

    socket: str

    async def run(
        self, job: Job, *, on_output: OnOutput | None = None, inbox: Inbox | None = None
    ) -> Result:
        """Run a job to its end and give its result.

        Args:
          job: what to run. It waits its turn in the executor: one job per workspace, a few in all.
          on_output: called with "stdout" or "stderr" and bytes as they arrive, in the caller's
            task. The head of the output comes live, the tail when the job has ended. While it
            runs nothing is read, which slows the frames and never the job.
          inbox: what to pass on while the job runs: bytes of input if `job.stdin` (b"" ends it), or
            the number of a signal for its main process. Slow when the job is slow to read.

        Raises ExecutorUnavailable if the job was not begun. Cancelling kills the job.
        """
        opening = _opening_frame(job)
        if isinstance(opening, Result):
            return opening
        async with await self.connect() as stream:
            frames = FrameStream(stream)
            await _send(frames, opening)
            if inbox is None:
                return await _collect(frames, on_output)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_pass_on, frames, inbox)
                found: Result | ExecutorUnavailable
                try:
                    found = await _collect(frames, on_output)
                except ExecutorUnavailable as error:
                    found = error
                nursery.cancel_scope.cancel()
            if isinstance(found, ExecutorUnavailable):
                raise found
            return found

    async def status(self) -> Status:
        """Ask what the executor isolates with. Raises ExecutorUnavailable if it cannot say."""
        async with await self.connect() as stream:
            with trio.move_on_after(_STATUS_SECONDS):
                frames = FrameStream(stream)
                await _send(frames, Frame(FrameType.STATUS, b"{}"))
                return await _status_from(frames)
        raise ExecutorUnavailable("the executor does not answer", "restart it")

    def files(self, workspace: str) -> FileClient:
        """The files of a workspace, a key as in Job."""
        return FileClient(self, workspace)

    async def workspaces(self) -> Overview:
        """What all workspaces hold. Raises ExecutorUnavailable."""
        return await FileClient(self, "").overview()

    async def connect(self) -> trio.SocketStream:
        """Open a connection, which is the caller's. Raises ExecutorUnavailable."""
        try:
            with trio.fail_after(_CONNECT_SECONDS):
                return await trio.open_unix_socket(self.socket)
        except trio.TooSlowError:
            raise ExecutorUnavailable(
                f"the executor at {self.socket} does not accept connections", "restart it"
            ) from None
        except OSError as error:
            raise _unreachable(self.socket, error) from error


def _unreachable(socket: str, error: OSError) -> ExecutorUnavailable:
    if error.errno in {errno.EACCES, errno.EPERM}:
        return ExecutorUnavailable(
            f"uid {os.getuid()} may not open the executor's socket {socket}",
            "start the executor from the account that runs the daemon",
        )
    return ExecutorUnavailable(f"no executor listens at {socket}", _REMEDY_START)


def _opening_frame(job: Job) -> Frame | Result:
    """Give the RUN frame, or the refusal of a job that cannot be put in one."""
    frame = protocol.control(FrameType.RUN, messages.job_to_json(job))
    if len(frame.body) > protocol.MAX_BODY:
        detail = f"the code is too long: {len(frame.body)} bytes of {protocol.MAX_BODY}"
        return Result(reason="denied", detail=detail)
    return frame


async def _pass_on(frames: FrameStream, inbox: Inbox) -> None:
    """Send what comes in the inbox, in frames of a size that suits a pipe."""
    async for word in inbox:
        pieces: list[bytes | int] = [word]
        if isinstance(word, bytes) and word:
            size = messages.MOST_INPUT
            pieces = [word[at : at + size] for at in range(0, len(word), size)]
        for piece in pieces:
            await _send(frames, messages.word_frame(piece))


async def _send(frames: FrameStream, frame: Frame) -> None:
    """Send; a peer that has hung up is found by the reading that follows, with its reason."""
    with contextlib.suppress(trio.BrokenResourceError):
        await frames.send(frame)


@define
class Artifacts:
    """The artifacts of a job as they come: names and sizes, and the bytes that have arrived."""

    _names: list[str] = field(factory=list)
    _data: list[bytearray] = field(factory=list)
    _missing: int = 0
    _total: int = 0

    def begin(self, name: str, size: int) -> None:
        """Take in an ARTIFACT frame. Raises ProtocolError if it comes too early or is too much."""
        self._check_complete()
        self._total += size
        if self._total > _ARTIFACTS_CAP:
            raise ProtocolError(f"artifacts of more than {_ARTIFACTS_CAP} bytes")
        self._names.append(name)
        self._data.append(bytearray())
        self._missing = size

    def add(self, data: bytes) -> None:
        """Take in a DATA frame."""
        if not data or len(data) > self._missing:
            raise ProtocolError("DATA that belongs to no artifact")
        self._data[-1] += data
        self._missing -= len(data)

    def complete(self) -> tuple[Artifact, ...]:
        """All of them; raises ProtocolError if bytes are missing."""
        self._check_complete()
        return tuple(
            Artifact(name, bytes(data)) for name, data in zip(self._names, self._data, strict=True)
        )

    def _check_complete(self) -> None:
        if self._missing:
            raise ProtocolError(f"{self._missing} bytes of an artifact are missing")


@define
class _Collected:
    """What has come so far of one job."""

    on_output: OnOutput | None
    stdout: bytearray
    stderr: bytearray
    started: bool = False
    artifacts: Artifacts = field(factory=Artifacts)

    def take(self, frame: Frame) -> Result | None:
        """Take in one frame; gives the result when it was the last."""
        match frame.type:
            case FrameType.STARTED:
                self.started = True
            case FrameType.STDOUT:
                self._output("stdout", frame.body)
            case FrameType.STDERR:
                self._output("stderr", frame.body)
            case FrameType.GAP:
                stream, dropped = messages.parse_gap(protocol.control_values(frame))
                self._output(stream, messages.gap_marker(dropped))
            case FrameType.ARTIFACT:
                self.artifacts.begin(*messages.parse_artifact(protocol.control_values(frame)))
            case FrameType.DATA:
                self.artifacts.add(frame.body)
            case FrameType.RESULT:
                return self._result(frame)
            case _:
                raise ProtocolError(f"{frame.type.name} has no place in a job")
        return None

    def broken(self, why: str) -> Result:
        """The end of a job whose executor stopped talking sense."""
        if not self.started:
            raise ExecutorUnavailable(f"the executor did not begin the job: {why}", _REMEDY_START)
        return Result(
            reason="executor_error",
            stdout=bytes(self.stdout),
            stderr=bytes(self.stderr),
            detail=f"{why}; the job was killed, and what it had done by then stays done",
        )

    def _output(self, stream: str, data: bytes) -> None:
        kept = self.stdout if stream == "stdout" else self.stderr
        kept += data[: max(0, _HARD_CAP - len(kept))]
        if self.on_output is not None:
            self.on_output(stream, data)

    def _result(self, frame: Frame) -> Result:
        values = protocol.control_values(frame)
        artifacts = self.artifacts.complete()
        return messages.parse_result(values, bytes(self.stdout), bytes(self.stderr), artifacts)


async def _collect(frames: FrameStream, on_output: OnOutput | None) -> Result:
    collected = _Collected(on_output, bytearray(), bytearray())
    try:
        while (frame := await frames.receive()) is not None:
            result = collected.take(frame)
            if result is not None:
                return result
    except ProtocolError as error:
        return collected.broken(f"the executor sent what is no frame of ours ({error})")
    return collected.broken("the executor hung up")


async def _status_from(frames: FrameStream) -> Status:
    try:
        frame = await frames.receive()
        if frame is None:
            raise ExecutorUnavailable("the executor hung up", _REMEDY_START)
        values = protocol.control_values(frame)
        if frame.type is FrameType.RESULT:
            refusal = messages.parse_result(values, b"", b"")
            raise ExecutorUnavailable(refusal.detail, "")
        return messages.parse_status(values)
    except ProtocolError as error:
        raise ExecutorUnavailable(
            f"the executor answers nonsense: {error}", "restart it"
        ) from error
