"""Frames over a Trio stream: the few lines of I/O that client and server share."""

from __future__ import annotations

import select

import trio
from attrs import define, field

from executor import protocol
from executor.protocol import Frame, FrameReader

_READ_SIZE = 64 * 1024


@define
class FrameStream:
    """Sends and receives frames. It does not own `stream`: whoever opened it closes it."""

    stream: trio.SocketStream
    _reader: FrameReader = field(factory=FrameReader)

    async def send(self, frame: Frame) -> None:
        """Send one frame; waits while the peer does not read. Raises BrokenResourceError."""
        await self.stream.send_all(protocol.encode(frame))

    async def receive(self) -> Frame | None:
        """Give the next frame, or None when the peer has closed or vanished.

        Raises ProtocolError for bytes that are no frame, a stream cut within one included. A
        reset counts as the end: it is how a process that was killed hangs up.
        """
        while (frame := self._reader.next_frame()) is None:
            data = await self._more()
            if not data:
                self._reader.end()
                return None
            self._reader.feed(data)
        return frame

    def hung_up(self) -> bool:
        """Whether the peer has closed its end, though there may be something to read still."""
        poll = select.poll()
        poll.register(self.stream.socket, select.POLLRDHUP)
        return bool(poll.poll(0))

    async def _more(self) -> bytes:
        try:
            return bytes(await self.stream.receive_some(_READ_SIZE))
        except trio.BrokenResourceError:
            return b""
