"""Talks to a server at a URL: the package's streamable HTTP, over a connection that is guarded.

The package reads a body of any size, lets one failed request end the whole session, and keeps
from us what a server said when it refused. The guard below it sees every request: it sets the
times that each may take, bounds what comes back, and turns every failure into an answer with the
protocol's own error, so that the one call fails and says why. What means that the server is gone,
or has forgotten us, ends the session, which is then begun anew by whoever supervises it.

The package has its own kind of client (httpx2), and has no bound of its own on connections: a
request that waits in a pool and is cancelled there may cost its slot.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx2
import trio
from attrs import define, field, frozen
from mcp.client.streamable_http import streamable_http_client

from agent.mcp.frames import MAX_MESSAGE, Lines, TooMuch, excess
from agent.mcp.spec import Http
from agent.mcp.streams import Streams

CONNECT_TIMEOUT: Final = 10.0  # seconds, and for each write
NOTICE_TIMEOUT: Final = 1.0  # seconds for a notification, behind which others wait
NOTICE_BYTES: Final = 1000  # a cancellation names a request and a reason, and is shorter
LATE: Final = 5.0  # seconds after the session has given a call up, until the connection does
GOODBYE: Final = 1.0  # seconds
MAX_ERROR: Final = 300  # characters of a refusal that are passed on

_SESSION: Final = "mcp-session-id"
_INTERNAL_ERROR: Final = -32603
_REFUSED: Final = 400
_NOT_FOUND: Final = 404


@asynccontextmanager
async def connected(server: Http, timeout: float) -> AsyncIterator[Streams]:
    """A connection that lives as long as the block. Raises ServerDown if a header's secret does.

    Nothing is sent yet, so that a server which is not there is found at the first request.
    """
    headers = await trio.to_thread.run_sync(server.headers)
    guard = _Guard(await trio.to_thread.run_sync(_transport, server.url), timeout)
    async with (
        httpx2.AsyncClient(
            transport=guard,
            headers={**headers, "accept-encoding": "identity"},
            trust_env=False,
        ) as client,
        streamable_http_client(
            server.url,
            http_client=client,
            terminate_on_close=False,
            max_sse_event_size=MAX_MESSAGE,
        ) as (read, write),
    ):
        try:
            yield Streams(read, write, guard.fate, guard.lost)
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + GOODBYE):
                await guard.say_goodbye(client, server.url)


def _transport(url: str) -> httpx2.AsyncHTTPTransport:
    """In a thread: to load the authorities takes 20 ms; for plain HTTP, nobody is trusted."""
    if url.startswith("https:"):
        tls = ssl.create_default_context()
    else:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx2.AsyncHTTPTransport(
        verify=tls,
        limits=httpx2.Limits(max_connections=None),
        trust_env=False,
    )


@define
class _Guard(httpx2.AsyncBaseTransport):
    """Stands between the package and the network, for one session."""

    _inner: httpx2.AsyncHTTPTransport
    _timeout: float  # of a call
    lost: trio.Event = field(factory=trio.Event, init=False)
    _why: str = field(default="", init=False)
    _session: str = field(default="", init=False)  # its id, once the server has given one

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.extensions = {**request.extensions, "timeout": self._times(request)}
        try:
            response = await self._inner.handle_async_request(request)
            return await self._judged(request, response)
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            return self._lose(f"it cannot be reached: {error or type(error).__name__}")
        except httpx2.TransportError as error:
            return _error(f"the connection failed: {error or type(error).__name__}")

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def fate(self) -> str:
        return self._why

    async def say_goodbye(self, client: httpx2.AsyncClient, url: str) -> None:
        """Let the server forget a session that it still knows."""
        if self._session and not self.lost.is_set():
            await client.delete(url, headers={_SESSION: self._session})

    def _times(self, request: httpx2.Request) -> dict[str, float | None]:
        read: float | None = self._timeout + LATE
        if request.method == "GET":
            read = None  # the stream of notifications, silent for hours
        elif request.method == "DELETE" or _is_cancellation(request):
            read = NOTICE_TIMEOUT
        return {"connect": CONNECT_TIMEOUT, "write": CONNECT_TIMEOUT, "read": read, "pool": None}

    async def _judged(self, request: httpx2.Request, response: httpx2.Response) -> httpx2.Response:
        """The response, or an error in its place."""
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            return _error("it compresses its answers, though it was asked not to")
        self._session = response.headers.get(_SESSION) or self._session
        if response.status_code >= _REFUSED:
            return await self._refused(request, response)
        if _is_json(response):
            return await _whole(response)
        assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101  (the transport's)
        response.stream = _Bounded(response.stream)
        return response

    async def _refused(self, request: httpx2.Request, response: httpx2.Response) -> httpx2.Response:
        """Pass on the protocol's own error; for any other, say what HTTP said."""
        if response.status_code == _NOT_FOUND and _SESSION in request.headers:
            await response.aclose()
            return self._lose("it has forgotten our session")
        if _is_json(response) and _is_error((whole := await _whole(response)).content):
            return whole
        await response.aclose()
        return _error(f"it answered HTTP {response.status_code} {response.reason_phrase}".rstrip())

    def _lose(self, why: str) -> httpx2.Response:
        self._why = self._why or why
        self.lost.set()
        return _error(why)


@frozen
class _Bounded(httpx2.AsyncByteStream):
    """A stream of events, which ends in an error at the first line that is too much."""

    _inner: httpx2.AsyncByteStream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        lines = Lines()
        async for data in self._inner:
            for line in lines.feed(data):
                if isinstance(line, TooMuch):
                    raise httpx2.SSEError(f"the answer {line.why}")
            yield data

    async def aclose(self) -> None:
        await self._inner.aclose()


async def _whole(response: httpx2.Response) -> httpx2.Response:
    """A response of JSON with its body, or an error in its place if that is too much."""
    body = bytearray()
    assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101  (the transport's)
    try:
        async for data in response.stream:
            body += data
            if len(body) > MAX_MESSAGE:
                break
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + GOODBYE):
            await response.aclose()
    if (found := excess(bytes(body))) is not None:
        return _error(f"the answer {found.why}")
    kept = ("content-type", _SESSION)
    headers = {name: response.headers[name] for name in kept if name in response.headers}
    return httpx2.Response(response.status_code, headers=headers, content=bytes(body))


def _is_json(response: httpx2.Response) -> bool:
    kind: str = response.headers.get("content-type", "")
    return kind.lower().startswith("application/json")


def _is_error(body: bytes) -> bool:
    """Whether a body is an error of the protocol."""
    value = _parsed(body)
    return isinstance(value, dict) and isinstance(value.get("error"), dict)


def _is_cancellation(request: httpx2.Request) -> bool:
    value = _parsed(request.content) if len(request.content) < NOTICE_BYTES else None
    return isinstance(value, dict) and value.get("method") == "notifications/cancelled"


def _parsed(body: bytes) -> Any:  # noqa: ANN401  (any JSON)
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _error(why: str) -> httpx2.Response:
    """The protocol's error, which the package gives to the request that this answers."""
    error = {"code": _INTERNAL_ERROR, "message": why[:MAX_ERROR]}
    return httpx2.Response(502, json={"jsonrpc": "2.0", "id": None, "error": error})
