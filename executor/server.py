"""The executor's server: one connection, one job.

For each connection there are up to three tasks in one nursery. The job runs; its output is
delivered, as slowly as the client likes; and the connection is watched, because its closing is
the order to kill. A client that stops reading stops only the delivery: the job is drained and
ends as it would have, and the workspace and the slot are free again.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import traceback
from collections.abc import Callable

import trio
from attrs import frozen

from executor import file_server, messages, protocol
from executor.job import Runner, effective
from executor.journal import log
from executor.messages import Artifact, Job, Result, Status
from executor.output import HeadTail, Output
from executor.protocol import Frame, FrameType, ProtocolError
from executor.running import Inbox
from executor.wire import FrameStream

# A client of ours sends its one frame at once.
_OPENING_SECONDS = 10.0
# How long the end of a job may wait for a client that has stopped reading.
_DELIVERY_SECONDS = 60.0
_PIECE = 64 * 1024
# Pieces of input that wait for a job that reads slowly, and signals that wait for anything.
_INPUT_AHEAD = 32
_SIGNALS_AHEAD = 64
# How soon it is noticed that a client has gone whose job does not take its input.
_LOOK_SECONDS = 0.2
# A client that is refused is waited for so long, and so much of what it sends is thrown away.
_REFUSAL_SECONDS = 2.0
_MOST_UNREAD = 2 * protocol.MAX_BODY

# struct ucred: pid, uid, gid.
_CREDENTIALS = struct.Struct("3i")

_STREAMS = ((FrameType.STDOUT, "stdout"), (FrameType.STDERR, "stderr"))


@frozen
class Server:
    """Serves `runner`'s jobs to the uids in `access`. `status` is asked for each STATUS."""

    runner: Runner
    access: frozenset[int]
    status: Callable[[], Status]

    async def serve(self, listener: socket.socket, *, ready: Callable[[], None]) -> None:
        """Accept connections until the runner is stopping; then wait for its jobs to end."""
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._accept, listener, connections)
                ready()
                await self.runner.stopping.wait()
                nursery.cancel_scope.cancel()
            # Jobs end at once, and their results are small.
            connections.cancel_scope.deadline = trio.current_time() + _OPENING_SECONDS

    async def _accept(self, listener: socket.socket, connections: trio.Nursery) -> None:
        accepting = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
        await trio.serve_listeners(self._connection, [accepting], handler_nursery=connections)

    async def _connection(self, stream: trio.SocketStream) -> None:
        """Serve one client. Whatever goes wrong ends its connection, and no other.

        A peer that vanishes or talks nonsense is no error of ours; any other is logged whole.
        """
        async with stream:
            try:
                await self._conversation(FrameStream(stream), peer_uid(stream))
            except* trio.BrokenResourceError:
                log("client vanished")
            except* Exception as errors:  # noqa: BLE001 - the boundary between clients
                traceback.print_exception(errors)
                log("connection failed", error=repr(errors.exceptions[0]))

    async def _conversation(self, frames: FrameStream, uid: int) -> None:
        try:
            await self._opening(frames, uid)
        except ProtocolError as error:
            await _refuse(frames, f"the request is not understood: {error}")

    async def _opening(self, frames: FrameStream, uid: int) -> None:
        if uid not in self.access:
            await _refuse(
                frames, f"uid {uid} may not use this executor; be root or the daemon's user"
            )
            return
        frame = None
        with trio.move_on_after(_OPENING_SECONDS):
            frame = await frames.receive()
        if frame is None:
            return
        if frame.type is FrameType.STATUS:
            with trio.move_on_after(_OPENING_SECONDS):
                await frames.send(self._status_report())
        elif frame.type is FrameType.RUN:
            await self._job(frames, frame)
        elif frame.type is FrameType.FILE:
            await file_server.serve(frames, frame, self._files())
        else:
            await _refuse(frames, "a connection begins with RUN, FILE or STATUS")

    def _files(self) -> file_server.Place:
        runner = self.runner
        limits = runner.settings.limits
        return file_server.Place(runner.workspaces, limits, runner.sessions.drop_all)

    def _status_report(self) -> Frame:
        return protocol.control(FrameType.STATUS_REPORT, messages.status_to_json(self.status()))

    async def _job(self, frames: FrameStream, frame: Frame) -> None:
        job = messages.parse_job(protocol.control_values(frame))
        limits = effective(job.limits, self.runner.settings.limits)
        words, inbox = Words.make()
        async with trio.open_nursery() as nursery:
            client_gone = nursery.cancel_scope
            nursery.start_soon(_listen, frames, job, words, client_gone)
            await self._run(frames, job, Output(limits.output_bytes), inbox, client_gone)
            client_gone.cancel()

    async def _run(
        self,
        frames: FrameStream,
        job: Job,
        output: Output,
        inbox: Inbox,
        client_gone: trio.CancelScope,
    ) -> None:
        """Run the job beside the delivery of its output, and send the result last of all."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_deliver, output, frames, client_gone)
            result = await self.runner.run(job, output, inbox)
            output.end()
            nursery.cancel_scope.deadline = trio.current_time() + _DELIVERY_SECONDS
        log("job ended", reason=result.reason, wall=f"{result.wall_seconds:.3f}")
        if nursery.cancel_scope.cancelled_caught:
            log("client does not read")  # and may have half a frame: it gets no more
            return
        with trio.move_on_after(_DELIVERY_SECONDS):
            await _send_artifacts(frames, result.artifacts)
            await frames.send(protocol.control(FrameType.RESULT, messages.result_to_json(result)))


@frozen
class Words:
    """Where a client's words go: input, of which some may wait, and signals, which overtake it."""

    input: trio.MemorySendChannel[bytes]
    signals: trio.MemorySendChannel[int]

    @classmethod
    def make(cls) -> tuple[Words, Inbox]:
        send_input, receive_input = trio.open_memory_channel[bytes](_INPUT_AHEAD)
        send_signals, receive_signals = trio.open_memory_channel[int](_SIGNALS_AHEAD)
        return cls(send_input, send_signals), Inbox(receive_input, receive_signals)

    async def send(self, word: bytes | int) -> None:
        """Pass it on, or wait until there is room for it, which slows the client down."""
        if isinstance(word, int):
            await self.signals.send(word)
        else:
            await self.input.send(word)


async def _listen(
    frames: FrameStream, job: Job, words: Words, client_gone: trio.CancelScope
) -> None:
    """Pass on input and signals for the job; closing and any other word end it alike."""
    with contextlib.suppress(ProtocolError):
        while (frame := await frames.receive()) is not None:
            if not await _passed_on(frames, messages.parse_word(frame, job), words):
                break
    client_gone.cancel()


async def _passed_on(frames: FrameStream, word: bytes | int, words: Words) -> bool:
    """Wait until there is room for it; False if the client hangs up meanwhile.

    What it has sent since hides the end of the stream from a reader, and so the kernel is asked.
    """
    while True:
        with trio.move_on_after(_LOOK_SECONDS):
            await words.send(word)
            return True
        if frames.hung_up():
            return False


async def _deliver(output: Output, frames: FrameStream, client_gone: trio.CancelScope) -> None:
    """Send STARTED, the heads live, and when the job has ended what is missing and the tails."""
    try:
        await _deliver_live(output, frames)
        for kind, name in _STREAMS:
            await _send_tail(frames, kind, name, _stream(output, kind))
    except trio.BrokenResourceError:
        client_gone.cancel()


async def _deliver_live(output: Output, frames: FrameStream) -> None:
    """Between finding nothing to send and waiting for news there must be no checkpoint."""
    started = False
    while True:
        if output.started is not None and not started:
            started = True
            values = messages.started_to_json(output.started)
            await frames.send(protocol.control(FrameType.STARTED, values))
        pieces = [(kind, _stream(output, kind).take(_PIECE)) for kind, _ in _STREAMS]
        for kind, piece in pieces:
            if piece:
                await frames.send(Frame(kind, piece))
        if any(piece for _, piece in pieces):
            continue
        if output.ended:
            return
        await output.news()


async def _send_tail(frames: FrameStream, kind: FrameType, name: str, stream: HeadTail) -> None:
    dropped, tail = stream.end()
    if dropped:
        await frames.send(protocol.control(FrameType.GAP, messages.gap_to_json(name, dropped)))
    for start in range(0, len(tail), _PIECE):
        await frames.send(Frame(kind, tail[start : start + _PIECE]))


async def _send_artifacts(frames: FrameStream, artifacts: tuple[Artifact, ...]) -> None:
    """Send files that a job gives back: for each its name and size, then its bytes."""
    for one in artifacts:
        values = messages.artifact_to_json(one.name, len(one.data))
        await frames.send(protocol.control(FrameType.ARTIFACT, values))
        for start in range(0, len(one.data), _PIECE):
            await frames.send(Frame(FrameType.DATA, one.data[start : start + _PIECE]))


def _stream(output: Output, kind: FrameType) -> HeadTail:
    return output.stdout if kind is FrameType.STDOUT else output.stderr


async def _refuse(frames: FrameStream, why: str) -> None:
    """Say why not, and see to it that it can be read.

    Closing a unix socket with something unread in it makes the peer's next read fail, so what
    the peer has sent is first read and thrown away, within reason.
    """
    log("request refused", why=why)
    result = Result(reason="denied", detail=why)
    with trio.move_on_after(_REFUSAL_SECONDS):
        await frames.send(protocol.control(FrameType.RESULT, messages.result_to_json(result)))
        await frames.stream.send_eof()
        for _ in range(_MOST_UNREAD // _PIECE):
            if not await frames.stream.receive_some(_PIECE):
                return


def peer_uid(stream: trio.SocketStream) -> int:
    """Who connected, by the kernel's word: the uid at the time of connect(2)."""
    data = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(data)[1])
