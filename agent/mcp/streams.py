"""What a transport gives a session: two streams, and word of the connection's end.

Between the two stands a relay, which sees to all that a server says without having been asked. It
would cost the session a task for each, and a server that never reads the answers as many of them
as it likes; and nothing but the news that the list of tools has changed is of any use to us.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

import mcp.types as protocol
import trio
from attrs import define, field, frozen
from mcp.shared.message import SessionMessage

from agent.mcp.frames import TooMuch

# Room for what is sent while the server does not read: a call that is cancelled says so, and must
# not wait for that.
ROOM: Final = 64
# What a server says unasked is read at no more than this pace: so many, and then a pause.
UNASKED: Final = 100
PAUSE: Final = 0.05  # seconds

LIST_CHANGED: Final = "notifications/tools/list_changed"


@frozen
class Streams:
    """A connection. `lost` is set when it is over; `fate` then says why, in a few words."""

    read: Any
    write: Any
    fate: Callable[[], Awaitable[str]]
    lost: trio.Event = field(factory=trio.Event)


@frozen
class Outbound:
    """The session's end of what is sent.

    After the end of the connection it drops everything: the session learns of that end from the
    other stream.
    """

    _channel: trio.MemorySendChannel[SessionMessage]

    async def send(self, item: SessionMessage, /) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self._channel.send(item)

    async def aclose(self) -> None:
        await self._channel.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


@define
class Relay:
    """Hands on to the session what is for it, and answers a server's own requests itself."""

    inbound: trio.MemorySendChannel[SessionMessage | Exception]
    outbound: trio.MemorySendChannel[SessionMessage]
    _unasked: int = 0

    async def take(self, item: SessionMessage) -> None:
        """See to one message. What comes when nobody listens any more is dropped."""
        match item.message:
            case protocol.JSONRPCRequest() as request:
                self._answer(request)
            case protocol.JSONRPCNotification(method=method):
                if method == LIST_CHANGED:
                    await self._hand_on(news())
            case _:
                await self._hand_on(item)
                return
        await self.pause()

    async def _hand_on(self, item: SessionMessage) -> None:
        with suppress(trio.BrokenResourceError):
            await self.inbound.send(item)

    def close(self) -> None:
        """Let the session know that nothing more comes."""
        self.inbound.close()
        self.outbound.close()

    async def pause(self) -> None:
        """Called for each thing that was said unasked; a flood of them is read slowly."""
        self._unasked += 1
        if self._unasked % UNASKED == 0:
            await trio.sleep(PAUSE)

    def _answer(self, request: protocol.JSONRPCRequest) -> None:
        """We are there, and offer nothing. Who does not read gets no answer, for want of room."""
        if self.outbound.statistics().current_buffer_used < ROOM // 2:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                self.outbound.send_nowait(SessionMessage(_answer(request)))


def news() -> SessionMessage:
    """That the list of tools has changed, without whatever the server has added to it."""
    return SessionMessage(protocol.JSONRPCNotification(jsonrpc="2.0", method=LIST_CHANGED))


def _answer(request: protocol.JSONRPCRequest) -> protocol.JSONRPCResponse | protocol.JSONRPCError:
    if request.method == "ping":
        return protocol.JSONRPCResponse(jsonrpc="2.0", id=request.id, result={})
    error = protocol.ErrorData(code=protocol.METHOD_NOT_FOUND, message="not offered here")
    return protocol.JSONRPCError(jsonrpc="2.0", id=request.id, error=error)


def refusal(request: int, excess: TooMuch) -> SessionMessage:
    """An error in the place of an answer that was too much."""
    error = protocol.ErrorData(code=protocol.INVALID_REQUEST, message=f"the answer {excess.why}")
    return SessionMessage(protocol.JSONRPCError(jsonrpc="2.0", id=request, error=error))
