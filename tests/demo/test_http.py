"""The HTTP server, joined with a real client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import httpx
import pytest
import trio

from daemon.demo.http import Answer, Cut, Garbage, Request, Response, Stream, serve

Handler = Callable[[Request], Awaitable[Answer]]


@asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[httpx.AsyncClient]:
    async with trio.open_nursery() as nursery:
        url = await nursery.start(partial(serve, handler))
        async with httpx.AsyncClient(base_url=url, trust_env=False, verify=False) as client:
            yield client
        nursery.cancel_scope.cancel()


async def echo(request: Request) -> Answer:
    return Response(body=await request.body(limit=100_000), content_type="text/plain")


async def test_a_connection_is_kept_for_the_next_request() -> None:
    """Two requests of one client come over one connection."""
    ports = set()

    async def handler(request: Request) -> Answer:
        ports.add(request._connection._stream.socket.getpeername()[1])
        return Response(body=b"{}")

    async with served(handler) as client:
        for _ in range(3):
            assert (await client.get("/")).status_code == 200
    assert len(ports) == 1


async def test_a_body_may_come_in_chunks() -> None:
    """A request body without a length is read to its end."""

    async def parts() -> AsyncIterator[bytes]:
        for part in (b"one ", b"two ", b"three"):
            yield part

    async with served(echo) as client:
        assert (await client.post("/", content=parts())).text == "one two three"


async def test_a_body_over_the_limit_is_refused_and_the_connection_lives() -> None:
    """A body that is too long is answered with 413, read to its end, and forgotten."""
    async with served(echo) as client:
        assert (await client.post("/", content=b"x" * 200_000)).status_code == 413
        assert (await client.post("/", content=b"next")).text == "next"


async def test_an_unread_body_does_not_spoil_the_next_request() -> None:
    """A handler need not read the body."""

    async def deaf(request: Request) -> Answer:
        return Response(body=b"deaf")

    async with served(deaf) as client:
        for _ in range(2):
            assert (await client.post("/", content=b"x" * 10_000)).text == "deaf"


async def test_path_query_and_headers_arrive() -> None:
    """A request carries its path as sent, its query and its headers in lower case."""
    seen: list[Request] = []

    async def handler(request: Request) -> Answer:
        seen.append(request)
        return Response()

    async with served(handler) as client:
        await client.get("/a%20b?c=d&e", headers={"X-Thing": "yes"})
    assert (seen[0].method, seen[0].path, seen[0].query) == ("GET", "/a%20b", "c=d&e")
    assert seen[0].headers["x-thing"] == "yes"


async def test_a_stream_arrives_piece_by_piece() -> None:
    """A chunk is with the client before the next one is made."""
    second = trio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        yield b"first"
        await second.wait()
        yield b"second"

    async def handler(request: Request) -> Answer:
        return Stream(chunks())

    async with served(handler) as client, client.stream("GET", "/") as response:
        pieces = []
        async for piece in response.aiter_raw():
            pieces.append(piece)
            second.set()
    assert pieces == [b"first", b"second"]


async def test_cut_before_an_answer() -> None:
    """Cut closes the connection with nothing said."""

    async def handler(request: Request) -> Answer:
        raise Cut

    async with served(handler) as client:
        with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
            await client.post("/", content=b"x")


async def test_cut_by_reset() -> None:
    """A reset reaches the client as such."""

    async def handler(request: Request) -> Answer:
        await request.body()
        raise Cut(reset=True)

    async with served(handler) as client:
        with pytest.raises(httpx.ReadError):
            await client.post("/", content=b"x")


async def test_cut_in_the_middle_of_a_body() -> None:
    """A promised length that is not kept is an error for the client."""

    async def handler(request: Request) -> Answer:
        return Response(body=b"0123456789", cut_at=4)

    async with served(handler) as client:
        with pytest.raises(httpx.RemoteProtocolError, match="received 4 bytes, expected 10"):
            await client.get("/")


async def test_cut_in_the_middle_of_a_stream() -> None:
    """A stream that is cut has no final chunk."""

    async def chunks() -> AsyncIterator[bytes]:
        yield b"some"
        raise Cut

    async def handler(request: Request) -> Answer:
        return Stream(chunks())

    async with served(handler) as client:
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
            await client.get("/")


async def test_garbage_is_no_answer() -> None:
    """Bytes that are no HTTP are an error for the client, not for the server."""

    async def handler(request: Request) -> Answer:
        return Garbage()

    async with served(handler) as client:
        for _ in range(2):
            with pytest.raises(httpx.RemoteProtocolError):
                await client.get("/")


async def test_a_client_that_talks_nonsense_is_told() -> None:
    """What is no HTTP request is answered with 400, and others are served on."""
    async with served(echo) as client:
        stream = await trio.open_tcp_stream("127.0.0.1", client.base_url.port or 0)
        async with stream:
            await stream.send_all(b"\x16\x03\x01\x00\xa5 hello\r\n\r\n")
            assert (await stream.receive_some(100)).startswith(b"HTTP/1.1 400")
        assert (await client.post("/", content=b"on")).text == "on"


async def test_waiting_ends_when_the_client_leaves() -> None:
    """A wait through unless_hung_up ends, as a Cut, when the client closes its connection."""
    waiting, ended = trio.Event(), trio.Event()

    async def forever() -> None:
        waiting.set()
        await trio.sleep_forever()

    async def handler(request: Request) -> Answer:
        try:
            await request.unless_hung_up(forever)
        except Cut:
            ended.set()
            raise
        return Response()

    async with served(handler) as client, trio.open_nursery() as nursery:
        nursery.start_soon(client.get, "/")
        await waiting.wait()
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True), trio.fail_after(20):
            await ended.wait()


async def test_waiting_gives_its_result() -> None:
    """A wait whose client stays gives what was waited for."""

    async def ten() -> int:
        await trio.lowlevel.checkpoint()
        return 10

    async def handler(request: Request) -> Answer:
        return Response(body=str(await request.unless_hung_up(ten)).encode())

    async with served(handler) as client:
        assert (await client.get("/")).text == "10"


async def test_a_client_that_waits_for_100_continue_gets_it() -> None:
    """Curl asks before it uploads."""
    async with served(echo) as client:
        stream = await trio.open_tcp_stream("127.0.0.1", client.base_url.port or 0)
        async with stream:
            head = (
                b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
            )
            await stream.send_all(head)
            assert b"100" in await stream.receive_some(100)
            await stream.send_all(b"ok")
            assert (await stream.receive_some(1000)).endswith(b"ok")


@pytest.mark.parametrize(
    "raw",
    [
        b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf",
        b"GET / HT",
        b"",
    ],
)
async def test_no_client_ends_the_server(raw: bytes) -> None:
    """Whatever a client sends, and wherever it stops, others are served on."""
    async with served(echo) as client:
        stream = await trio.open_tcp_stream("127.0.0.1", client.base_url.port or 0)
        async with stream:
            with trio.fail_after(20), suppress(trio.BrokenResourceError):
                await stream.send_all(raw)
                await stream.send_eof()
                while await stream.receive_some(1000):
                    pass
        assert (await client.post("/", content=b"on")).text == "on"
