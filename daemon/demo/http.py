"""A small HTTP/1.1 server on h11 and Trio, for servers that must also misbehave.

A handler is an async function from a `Request` to an answer. Ordinary answers are a `Response`
(Content-Length) or a `Stream` (chunked). The rest is what a real network does to a client: raising
`Cut` closes the connection where it stands, before an answer or in the middle of a `Stream`;
`Response(cut_at=n)` closes it after n bytes of the promised body; `Garbage` writes bytes that are
no HTTP at all; and a handler that waits is a stall. Waits that may be long go through
`Request.unless_hung_up`, so that a client that was killed does not leave a handler behind.

    async def hello(request: Request) -> Response:
        return Response(body=b"hello " + await request.body(limit=1000))

    async with trio.open_nursery() as nursery:
        base_url = await nursery.start(serve, hello)

Header and body of a `Response` leave in one write, and so do the header and the first piece of a
`Stream`: every write costs as much as all the parsing of a request.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import NoReturn, TypeAlias, TypeVar, cast

import h11
import trio
from attrs import field, frozen

T = TypeVar("T")

# One read: a request of a chat client fits, and a multipart upload needs few of them.
READ_BYTES = 64 * 1024

# Uploads to the real server end at 50 MB; a little is left for the envelope.
MAX_BODY_BYTES = 52 * 1024 * 1024

# After a refusal the rest of an upload is read and dropped for this long, or the client would see
# a reset connection in place of the answer.
LINGER_SECONDS = 1.0

# Others are refused; HEAD and CONNECT would need rules of their own.
METHODS = frozenset({"GET", "POST"})

# What trio raises when the other side has gone.
GONE = (trio.BrokenResourceError, trio.ClosedResourceError)


class Cut(Exception):
    """Raised by a handler: close the connection now, saying nothing more.

    With `reset` the client sees ECONNRESET, without it the end of the stream.
    """

    def __init__(self, *, reset: bool = False) -> None:
        super().__init__("the connection is cut")
        self.reset = reset


class TooLarge(Exception):
    """The request body is over the limit that the handler gave; answered with 413."""


@frozen
class Response:
    """A whole answer. `cut_at` closes the connection after that many bytes of the body."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    cut_at: int | None = None


@frozen
class Stream:
    """A chunked answer; each item of `chunks` is written as it comes."""

    chunks: AsyncGenerator[bytes, None]
    status: int = 200
    content_type: str = "text/event-stream"
    headers: tuple[tuple[str, str], ...] = ()


@frozen
class Garbage:
    """These bytes in place of an answer, then the end of the connection."""

    data: bytes = b"\x16\x03\x01 this is not HTTP\r\n\r\n"


Answer: TypeAlias = Response | Stream | Garbage


@frozen(eq=False)
class Request:
    """One request. `path` is as sent, without the query; header names are lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    _connection: _Connection = field(repr=False)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Give the body as it arrives. Raises Cut when the client leaves in the middle."""
        while chunk := await self._connection.next_body_chunk():
            yield chunk

    async def body(self, limit: int = MAX_BODY_BYTES) -> bytes:
        """Give the whole body. Raises TooLarge once it is over `limit` bytes, Cut as `chunks`."""
        if int(self.headers.get("content-length", "0")) > limit:
            raise TooLarge
        parts: list[bytes] = []
        total = 0
        async for chunk in self.chunks():
            total += len(chunk)
            if total > limit:
                raise TooLarge
            parts.append(chunk)
        return b"".join(parts)

    async def unless_hung_up(self, wait: Callable[[], Awaitable[T]]) -> T:
        """Await `wait()`; when the client closes first, cancel it and raise Cut.

        `wait` must not raise: it runs beside the watch in a nursery, which would wrap the error.
        """
        results: list[T] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._connection.cancel_on_hangup, nursery.cancel_scope)
            results.append(await wait())
            nursery.cancel_scope.cancel()
        if not results:
            raise Cut
        return results[0]


Handler: TypeAlias = Callable[[Request], Awaitable[Answer]]


class _Connection:
    """One client: its stream, and the h11 machine that knows whose turn it is."""

    def __init__(self, stream: trio.SocketStream, handler: Handler) -> None:
        self._stream = stream
        self._handler = handler
        self._http = h11.Connection(h11.SERVER)

    async def run(self) -> None:
        """Answer requests until one side ends the connection. Closes the stream."""
        async with self._stream:
            try:
                while await self._one_request():
                    self._http.start_next_cycle()
            except Cut as cut:
                self._close_hard(reset=cut.reset)
            except GONE:
                pass

    async def _one_request(self) -> bool:
        """Return whether the connection can carry another request."""
        try:
            request = await self._next_request()
        except h11.RemoteProtocolError as error:
            await self._send(Response(error.error_status_hint, b"bad request", "text/plain"))
            return False
        if request is None:
            return False
        if request.method not in METHODS:
            await self._send(Response(501))
            return False
        await self._send(await self._handled(request))
        return self._http.our_state is h11.DONE and await self._body_is_read()

    async def _handled(self, request: Request) -> Answer:
        try:
            return await self._handler(request)
        except TooLarge:
            return Response(413, b"Request Entity Too Large", "text/plain")

    async def _next_request(self) -> Request | None:
        event = await self._next_event()
        if not isinstance(event, h11.Request):
            return None
        path, _, query = event.target.decode("ascii", "replace").partition("?")
        headers = {k.decode("ascii"): v.decode("latin-1") for k, v in event.headers}
        return Request(event.method.decode("ascii"), path, query, headers, self)

    async def _next_event(self) -> h11.Event | type[h11.PAUSED]:
        while True:
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                return cast("h11.Event | type[h11.PAUSED]", event)
            if self._http.they_are_waiting_for_100_continue:
                await self._write(h11.InformationalResponse(status_code=100, headers=[]))
            self._http.receive_data(await self._stream.receive_some(READ_BYTES))

    async def next_body_chunk(self) -> bytes:
        """Give the next piece of the request's body, b"" at its end."""
        try:
            event = await self._next_event()
        except h11.RemoteProtocolError:
            raise Cut from None
        return bytes(event.data) if isinstance(event, h11.Data) else b""

    async def _body_is_read(self) -> bool:
        """Read what the handler left unread, so that the next request is found."""
        if self._http.their_state is h11.SEND_BODY:
            with trio.move_on_after(LINGER_SECONDS):
                while await self.next_body_chunk():
                    pass
        return self._http.their_state is h11.DONE

    async def cancel_on_hangup(self, scope: trio.CancelScope) -> None:
        """Cancel `scope` when the client closes its side while an answer is awaited."""
        try:
            seen = await self._stream.socket.recv(1, socket.MSG_PEEK)
        except OSError:
            seen = b""
        if not seen:
            scope.cancel()

    async def _send(self, answer: Answer) -> None:
        if isinstance(answer, Garbage):
            await self._stream.send_all(answer.data)
            raise Cut
        if isinstance(answer, Response):
            await self._send_whole(answer)
        else:
            await self._send_stream(answer)

    async def _send_whole(self, answer: Response) -> None:
        length = ("content-length", str(len(answer.body)))
        head = self._head(answer, length)
        if answer.cut_at is not None:
            await self._stream.send_all(head + answer.body[: answer.cut_at])
            raise Cut
        body = self._http.send(h11.Data(data=answer.body)) or b""
        await self._stream.send_all(head + body + (self._http.send(h11.EndOfMessage()) or b""))

    async def _send_stream(self, answer: Stream) -> None:
        lead = self._head(answer, ("transfer-encoding", "chunked"))
        # Closed here and now when the client has gone: nobody else would, before the collector.
        async with aclosing(answer.chunks) as chunks:
            async for chunk in chunks:
                await self._stream.send_all(lead + (self._http.send(h11.Data(data=chunk)) or b""))
                lead = b""
        await self._stream.send_all(lead + (self._http.send(h11.EndOfMessage()) or b""))

    def _head(self, answer: Response | Stream, framing: tuple[str, str]) -> bytes:
        headers = [("content-type", answer.content_type), framing, *answer.headers]
        event = h11.Response(status_code=answer.status, headers=headers)
        return self._http.send(event) or b""

    async def _write(self, event: h11.Event) -> None:
        if data := self._http.send(event):
            await self._stream.send_all(data)

    def _close_hard(self, *, reset: bool) -> None:
        if reset:
            self._stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def serve(
    handler: Handler,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serve until cancelled; reports the base URL once it listens.

    Resource handling: owns the listener and every connection; cancelling closes them all.
    Error handling: a client that leaves or talks nonsense ends its own connection; an error in a
    handler is a bug of the handler and ends the server, because a test must see it.
    """

    async def connection(stream: trio.SocketStream) -> None:
        await _Connection(stream, handler).run()

    listeners = await trio.open_tcp_listeners(port, host=host)
    bound = listeners[0].socket.getsockname()[1]
    task_status.started(f"http://{host}:{bound}")
    await trio.serve_listeners(connection, listeners)
