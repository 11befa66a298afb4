"""Talks to a server at a URL: the package's streamable HTTP, over a connection that is guarded.

The package reads a body of any size, lets one failed request end the whole session, and keeps
from us what a server said when it refused. The guard below it sees every request: it sets the
times that each may take, bounds what comes back, and turns every failure into an answer with the
protocol's own error, so that the one call fails and says why. What means that the server is gone,
or has forgotten us, ends the session, which is then begun anew by whoever supervises it.

A call has one deadline, however often its answer breaks off and is gone on with: the package does
not leave a connection because nobody waits for the call any more, and goes on with an answer for as
long as the server lets it.

The package has its own kind of client (httpx2), and has no bound of its own on connections: a
request that waits in a pool and is cancelled there may cost its slot.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from math import inf
from typing import Any, Final

import httpx2
import trio
from attrs import define, field, frozen
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import SessionMessage

from agent.mcp.events import Event, Events
from agent.mcp.frames import MAX_MESSAGE, TooMuch, excess, whole
from agent.mcp.spec import Http, ServerDown
from agent.mcp.streams import PAUSE, ROOM, Outbound, Relay, Streams

CONNECT_TIMEOUT: Final = 10.0  # seconds, and for each write
NOTICE_TIMEOUT: Final = 1.0  # seconds for what has no answer, behind which others wait
NOTICE_BYTES: Final = 1000  # what has no answer is shorter
LATE: Final = 5.0  # seconds after the session has given a call up, until the connection does
GOODBYE: Final = 1.0  # seconds
MAX_NOISE: Final = 100  # events of one life that are no messages
MAX_ERROR: Final = 300  # characters of a refusal that are passed on
# Times that one answer is gone on with. The package does it by calling itself.
MOST_RESUMED: Final = 200
PIECE: Final = 16 * 1024  # bytes of a stream that are looked at in one step

_SESSION: Final = "mcp-session-id"
_LAST_EVENT: Final = "last-event-id"
_INTERNAL_ERROR: Final = -32603
_REFUSED: Final = 400
_UNAUTHORIZED: Final = 401
_NOT_FOUND: Final = 404


@asynccontextmanager
async def connected(server: Http, timeout: float) -> AsyncIterator[Streams]:
    """A connection that lives as long as the block. Raises ServerDown if a header's secret does.

    Nothing is sent yet, so that a server which is not there is found at the first request.
    """
    headers = _sendable(await trio.to_thread.run_sync(server.headers))
    guard = _Guard(await trio.to_thread.run_sync(_transport, server.url), timeout)
    send_in, inbound = trio.open_memory_channel[SessionMessage | Exception](0)
    send_out, outbound = trio.open_memory_channel[SessionMessage](ROOM)
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
        trio.open_nursery() as pumps,
    ):
        pumps.start_soon(_inward, read, Relay(send_in, send_out.clone()), guard)
        pumps.start_soon(_outward, outbound, write)
        try:
            yield Streams(inbound, Outbound(send_out), guard.fate, guard.lost)
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + GOODBYE):
                await guard.say_goodbye(client, server.url)
        pumps.cancel_scope.cancel()


def _sendable(headers: Mapping[str, str]) -> Mapping[str, str]:
    """The headers, if HTTP can carry them; what is wrong with one is said without its value."""
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            raise ServerDown(f"the value of its header {name} is not plain ASCII on one line")
    return headers


async def _inward(read: Any, relay: Relay, guard: _Guard) -> None:  # noqa: ANN401
    """Carry what the package has received to the session; its end is the connection's."""
    noise = 0
    async for item in read:
        if isinstance(item, SessionMessage):
            await relay.take(item)
        else:  # an event that is no message; the package has logged it, at length
            await relay.pause()
            noise += 1
        if noise > MAX_NOISE:
            guard.lose("it sends what is no message")
            break
    guard.lose("its connection broke; the log may say how")  # unless it was lost before
    relay.close()


async def _outward(outbound: trio.MemoryReceiveChannel[SessionMessage], write: Any) -> None:  # noqa: ANN401
    """Carry what the session sends to the package, which may keep it waiting for a while."""
    async for message in outbound:
        await write.send(message)


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
class _Call:
    """A call, as far as the connection knows it: until when it may take, in Trio's time."""

    until: float
    resumed: int = 0


@define
class _Guard(httpx2.AsyncBaseTransport):
    """Stands between the package and the network, for one session."""

    _inner: httpx2.AsyncHTTPTransport
    _timeout: float  # of a call
    lost: trio.Event = field(factory=trio.Event, init=False)
    _why: str = field(default="", init=False)
    _session: str = field(default="", init=False)  # its id, once the server has given one
    _listening: bool = field(default=False, init=False)  # there is or was a stream of news
    _last_events: dict[str, _Call] = field(factory=dict, init=False)  # of answers, by their ids

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        call = self._call(request)
        if call is None:
            return _error("it has broken off this answer too often")
        request.extensions = {**request.extensions, "timeout": _times(call)}
        try:
            with trio.fail_at(call.until):
                response = await self._inner.handle_async_request(request)
                return await self._judged(request, response, call)
        except trio.TooSlowError:
            return _error("it did not answer in time")
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            return self.lose(f"it cannot be reached: {error or type(error).__name__}")
        except httpx2.TransportError as error:
            return _error(f"the connection failed: {error or type(error).__name__}")

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def fate(self) -> str:
        return self._why

    def lose(self, why: str) -> httpx2.Response:
        """The session is over; an error says so to the request that has shown it."""
        self._why = self._why or why
        self.lost.set()
        return _error(why)

    async def say_goodbye(self, client: httpx2.AsyncClient, url: str) -> None:
        """Let the server forget a session that it still knows."""
        if self._session and not self.lost.is_set():
            await client.delete(url, headers={_SESSION: self._session})

    def _call(self, request: httpx2.Request) -> _Call | None:
        """What a request belongs to; None if that has had its time."""
        now = trio.current_time()
        if request.method == "POST":
            return _Call(now + (NOTICE_TIMEOUT if _is_notice(request) else self._timeout + LATE))
        if request.method != "GET":
            return _Call(now + NOTICE_TIMEOUT)
        resumed = self._last_events.get(request.headers.get(_LAST_EVENT, ""))
        if resumed is None:
            return _Call(inf)  # the stream of news, silent for hours
        resumed.resumed += 1
        return resumed if now < resumed.until and resumed.resumed <= MOST_RESUMED else None

    def note(self, event: Event, call: _Call) -> None:
        """Remember whose answer is gone on with after this event."""
        if not event.id or call.until == inf:
            return
        now = trio.current_time()
        others = self._last_events.items()
        self._last_events = {
            name: other for name, other in others if other is not call and other.until > now
        }
        self._last_events[event.id] = call

    async def _judged(
        self, request: httpx2.Request, response: httpx2.Response, call: _Call
    ) -> httpx2.Response:
        """The response, or an error in its place."""
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            return _error("it compresses its answers, though it was asked not to")
        self._session = response.headers.get(_SESSION) or self._session
        if response.status_code >= _REFUSED:
            return await self._refused(request, response)
        if _is_json(response):
            return await _whole(response)
        self._listening = self._listening or request.method == "GET"
        assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101  (the transport's)
        response.stream = _Bounded(response.stream, self, call)
        return response

    async def _refused(self, request: httpx2.Request, response: httpx2.Response) -> httpx2.Response:
        """Pass on the protocol's own error; for any other, say what HTTP said."""
        status = response.status_code
        # A server without a stream of news may say so by a 404, too.
        counts = request.method == "POST" or self._listening
        if counts and status == _NOT_FOUND and _SESSION in request.headers:
            await response.aclose()
            return self.lose("it has forgotten our session")
        if counts and status == _UNAUTHORIZED:
            await response.aclose()
            return self.lose(f"it answered HTTP {status}: it does not take our credentials")
        if _is_json(response):
            told = await _whole(response)
            error = _protocol_error(told.content)
            if status == _REFUSED and _SESSION in request.headers and _misses_session(error):
                return self.lose("it has forgotten our session")
            if error is not None:
                return told
        await response.aclose()
        return _error(f"it answered HTTP {status} {response.reason_phrase}".rstrip())


def _times(call: _Call) -> dict[str, float | None]:
    """The deadline of the whole is kept elsewhere; these tell a connection that hangs."""
    soon = min(CONNECT_TIMEOUT, max(0.0, call.until - trio.current_time()))
    return {"connect": soon, "write": soon, "read": None, "pool": None}


@frozen
class _Bounded(httpx2.AsyncByteStream):
    """A stream of events, each of them put anew; it ends in an error at one that is too much."""

    _inner: httpx2.AsyncByteStream
    _guard: _Guard
    _call: _Call

    async def __aiter__(self) -> AsyncIterator[bytes]:
        events = Events()
        pieces = aiter(self._inner)
        while (data := await self._next(pieces)) is not None:
            for start in range(0, len(data), PIECE):
                before = events.size
                found = events.feed(data[start : start + PIECE])
                for event in found:
                    if isinstance(event, TooMuch):
                        raise httpx2.SSEError(f"the answer {event.why}")
                    self._guard.note(event, self._call)
                    yield event.text
                if not found and events.size <= before:
                    await trio.sleep(PAUSE)  # comments: a flood of them is read slowly

    async def _next(self, pieces: AsyncIterator[bytes]) -> bytes | None:
        try:
            with trio.fail_at(self._call.until):
                return await anext(pieces, None)
        except trio.TooSlowError:
            raise httpx2.ReadTimeout("the answer took too long") from None

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
    return httpx2.Response(response.status_code, headers=headers, content=whole(bytes(body)))


def _is_json(response: httpx2.Response) -> bool:
    kind: str = response.headers.get("content-type", "")
    return kind.lower().startswith("application/json")


def _protocol_error(body: bytes) -> Mapping[str, Any] | None:
    """The error that a body is, if it is one of the protocol."""
    value = _parsed(body)
    error = value.get("error") if isinstance(value, dict) else None
    return error if isinstance(error, dict) else None


def _misses_session(error: Mapping[str, Any] | None) -> bool:
    """Whether an error is about the session: many servers say by a 400 what a 404 is for."""
    return error is not None and "session" in str(error.get("message", "")).lower()


def _is_notice(request: httpx2.Request) -> bool:
    """Whether nobody answers it: a notification, or an answer of ours."""
    value = _parsed(request.content) if len(request.content) < NOTICE_BYTES else None
    return isinstance(value, dict) and not ("id" in value and "method" in value)


def _parsed(body: bytes) -> Any:  # noqa: ANN401  (any JSON)
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _error(why: str) -> httpx2.Response:
    """The protocol's error, which the package gives to the request that this answers."""
    error = {"code": _INTERNAL_ERROR, "message": why[:MAX_ERROR]}
    return httpx2.Response(502, json={"jsonrpc": "2.0", "id": None, "error": error})
