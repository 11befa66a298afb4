"""A server on this machine that answers whatever a test wants, and a client that may reach it."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeAlias

import trio
from attrs import define, field

from agent.web.connect import Tls
from agent.web.fetch import Caps, Web
from agent.web.guard import Guard, parse_networks

HERE = "127.0.0.1"
CAPS = Caps(100_000, 10.0)  # small, so that a test is over soon

# Gets the stream and the request as it came; what it returns is sent, and the stream is closed.
Handler: TypeAlias = Callable[[trio.abc.Stream, bytes], Awaitable[bytes]]


@define
class Site:
    """The running server, and the requests that have reached it."""

    port: int
    requests: list[bytes] = field(factory=list)
    sent: int = 0  # bytes of endless answers that were taken from it
    gone: trio.Event = field(factory=trio.Event)  # a client has left before the end


@define
class Names:
    """A resolver of fixed names; any other stands for itself."""

    known: Mapping[str, list[str]]
    asked: list[str] = field(factory=list)

    async def __call__(self, host: str, port: int) -> list[str]:
        await trio.lowlevel.checkpoint()
        self.asked.append(host)
        return self.known.get(host, [host])


def reply(body: bytes = b"", *, status: str = "200 OK", **headers: str) -> bytes:
    """A whole answer; a header's name is written with _ for -."""
    named = {
        "content-length": str(len(body)),
        **{k.replace("_", "-"): v for k, v in headers.items()},
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


@asynccontextmanager
async def serving(
    answers: bytes | Handler | Mapping[str, bytes], tls: ssl.SSLContext | None = None
) -> AsyncIterator[Site]:
    """A server that gives one answer, one by path, or what a handler makes of the request."""
    listeners = await trio.open_tcp_listeners(0, host=HERE)
    site = Site(listeners[0].socket.getsockname()[1])

    async def serve(stream: trio.abc.Stream) -> None:
        try:
            if tls is not None:
                stream = trio.SSLStream(stream, tls, server_side=True, https_compatible=True)
            request = await read_request(stream)
            site.requests.append(request)
            await stream.send_all(await _answer(answers, stream, request))
            await stream.aclose()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            site.gone.set()

    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, serve, listeners)
        yield site
        nursery.cancel_scope.cancel()


async def _answer(
    answers: bytes | Handler | Mapping[str, bytes], stream: trio.abc.Stream, request: bytes
) -> bytes:
    if isinstance(answers, bytes):
        return answers
    if isinstance(answers, Mapping):
        return answers[request.split()[1].decode()]
    return await answers(stream, request)


async def read_request(stream: trio.abc.ReceiveStream) -> bytes:
    """A request's head, and as much of a body as its length says."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = await stream.receive_some()
        if not piece:
            raise trio.BrokenResourceError
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    while len(body) < length:
        body += await stream.receive_some()
    return head + b"\r\n\r\n" + body


@asynccontextmanager
async def browsing(
    names: Mapping[str, list[str]] | Names | None = None,
    *,
    caps: Caps = CAPS,
    tls: Tls | None = None,
    allowed: tuple[str, ...] = (HERE,),
) -> AsyncIterator[Web]:
    """A client that may reach this machine by one address, as if it were a public one."""
    resolver = names if isinstance(names, Names) else Names(names or {})
    web = Web(Guard(parse_networks(allowed)), caps, tls or Tls(), resolver)
    try:
        yield web
    finally:
        await web.aclose()
