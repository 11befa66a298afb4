"""A session with one server, over whichever transport it has.

Importing it takes a second, so this module is imported by `agent.mcp.server` alone, in a thread,
when the first server is started.

Neither sampling nor elicitation nor roots are offered: a server gets no use of the model, of the
person's attention or of the file system by way of us.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import mcp.types as protocol
import trio
from attrs import define, field
from mcp.client.session import ClientSession
from mcp.shared.exceptions import MCPError

from agent.mcp import http, stdio
from agent.mcp.offer import Listed
from agent.mcp.spec import (
    CallFailed,
    ConnectionEnded,
    Host,
    NoAnswer,
    ServerSpec,
    Stdio,
)
from agent.mcp.streams import Streams

MAX_PAGES: Final = 50
MAX_LISTED: Final = 1000  # tools; far more than can be offered
PING_TIMEOUT: Final = 5.0  # seconds

Got = TypeVar("Got")


@define
class Session:
    """A conversation with a server that runs. Calls may come from any task, side by side.

    Who keeps the session waits for `attention`, which is set when the connection is `lost`, the
    list of tools has `changed`, or the server is `suspect` because it let a call time out. Only
    calls have a time limit of their own.
    """

    _streams: Streams
    _timeout: float
    _client: ClientSession = field(init=False)
    attention: trio.Event = field(factory=trio.Event, init=False)
    closed: bool = field(default=False, init=False)
    changed: bool = field(default=False, init=False)
    suspect: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._client = ClientSession(
            self._streams.read,
            self._streams.write,
            message_handler=self._hear,
            client_info=protocol.Implementation(name="famulus", version="0"),
        )

    @property
    def client(self) -> ClientSession:
        """To be entered by whoever opens the session."""
        return self._client

    @property
    def lost(self) -> trio.Event:
        return self._streams.lost

    async def fate(self) -> str:
        """Why the connection ended."""
        return await self._streams.fate()

    async def start(self) -> None:
        """Agree on a version of the protocol: by the handshake, or by what has replaced it.

        Raises CallFailed, NoAnswer, ConnectionEnded.
        """
        try:
            await self._answer(self._client.initialize())
        except CallFailed as error:
            if error.code != protocol.UNSUPPORTED_PROTOCOL_VERSION:
                raise
            await self._answer(self._client.discover())

    async def tools(self) -> list[Listed]:
        """All tools of the server, over all pages. Raises as `start` does."""
        found: list[Listed] = []
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            params = protocol.PaginatedRequestParams(cursor=cursor) if cursor else None
            page = await self._answer(self._client.list_tools(params=params))
            found += [_listed(each) for each in page.tools]
            self._client._tool_output_schemas.clear()  # noqa: SLF001  (see below)
            cursor = page.next_cursor
            if not cursor or len(found) >= MAX_LISTED:
                break
        self._forget_all_but({each.name for each in found})
        return found[:MAX_LISTED]

    def _forget_all_but(self, listed: Collection[str]) -> None:
        """Drop what the package keeps of each tool that was ever listed, however large it is.

        It has no way for that; what it keeps is private to it.
        """
        headers = self._client._x_mcp_header_maps  # noqa: SLF001
        for name in headers.keys() - listed:
            del headers[name]

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The result of a call, as the protocol's JSON. Raises as `start` does.

        Cancelling it tells the server. The output is not checked against the tool's own schema of
        it: that would take a validator's import and time, and the model reads it anyway.
        """
        params = protocol.CallToolRequestParams(name=tool, arguments=dict(arguments))
        request = protocol.CallToolRequest(params=params)
        try:
            result = await self._answer(
                self._client.send_request(request, protocol.CallToolResult, self._timeout)
            )
        except NoAnswer:
            self.suspect = True
            self.attention.set()
            raise
        return result.model_dump(mode="json", by_alias=True, exclude_none=True)

    async def alive(self) -> bool:
        """Whether the server still answers at all."""
        ping = self._client.send_request(protocol.PingRequest(), protocol.EmptyResult, PING_TIMEOUT)
        try:
            await self._answer(ping)
        except (NoAnswer, ConnectionEnded):
            return False
        except CallFailed:
            return True  # it does not know the word, but it has answered
        return True

    async def watch_loss(self) -> None:
        """Have the loss of the connection attended to."""
        await self.lost.wait()
        self.attention.set()

    async def _hear(self, message: protocol.ServerNotification | Exception) -> None:
        if isinstance(message, protocol.ToolListChangedNotification):
            self.changed = True
            self.attention.set()

    async def _answer(self, asked: Awaitable[Got]) -> Got:
        """Wait for an answer; what the package raises becomes ours."""
        try:
            return await asked
        except MCPError as error:
            raise self._translated(error) from error
        except (ValueError, RuntimeError) as error:
            raise CallFailed(f"its answer is not what the protocol says: {error}") from error

    def _translated(self, error: MCPError) -> CallFailed | NoAnswer | ConnectionEnded:
        """A server may use the codes of the package's own errors; only the first is certain."""
        ended = self.closed or self.lost.is_set()
        if error.code == protocol.CONNECTION_CLOSED and ended:
            return ConnectionEnded(error.message)
        if error.code == protocol.REQUEST_TIMEOUT:
            return NoAnswer(error.message)
        return CallFailed(error.message or "an error without a message", error.code)


@asynccontextmanager
async def opened(spec: ServerSpec, host: Host) -> AsyncIterator[Session]:
    """A session that lives as long as the block, not started yet. Raises ServerDown."""
    if isinstance(spec.transport, Stdio):
        connection = stdio.connected(spec.transport, host)
    else:
        connection = http.connected(spec.transport, max(spec.timeout, spec.start_timeout))
    async with connection as streams:
        session = Session(streams, spec.timeout)
        async with session.client, trio.open_nursery() as nursery:
            nursery.start_soon(session.watch_loss)
            try:
                yield session
            finally:
                session.closed = True
            nursery.cancel_scope.cancel()


def _listed(tool: protocol.Tool) -> Listed:
    hints = tool.annotations
    read_only = hints is not None and hints.read_only_hint is True
    return Listed.of(tool.name, tool.description or "", tool.input_schema, read_only=read_only)
