"""What a transport gives a session: two streams, and word of the connection's end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

import mcp.types as protocol
import trio
from attrs import field, frozen
from mcp.shared.message import SessionMessage

from agent.mcp.frames import TooMuch

# Room for what is sent while the server does not read: a call that is cancelled says so, and must
# not wait for that.
ROOM: Final = 64


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


def refusal(request: int, excess: TooMuch) -> SessionMessage:
    """An error in the place of an answer that was too much."""
    error = protocol.ErrorData(code=protocol.INVALID_REQUEST, message=f"the answer {excess.why}")
    return SessionMessage(protocol.JSONRPCError(jsonrpc="2.0", id=request, error=error))
