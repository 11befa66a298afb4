"""MCP servers at a URL: the package's own server in a process, and ones that misbehave."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeAlias

import pytest
import trio

from agent.mcp import http
from agent.mcp.server import Server
from agent.mcp.spec import Http, ServerDown, ServerSpec
from tests.agent.mcp.rig import HERE, FakeHost, bare, call, living

# The package leaves a stream of events in the middle, once it has its answer; closing the response
# is what counts, and that it does.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator 'http:ResourceWarning")

# --- The package's server ---


class Serving:
    """The good server, listening, and what it tells on standard error."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.said = b""

    async def mark(self) -> str:
        """The next thing that it tells."""
        assert self.process.stderr is not None
        with trio.fail_after(20):
            while not (found := re.search(rb"^mark (.*)\n", self.said, re.MULTILINE)):
                self.said += await self.process.stderr.receive_some()
        self.said = self.said[found.end() :]
        return found.group(1).decode()


@asynccontextmanager
async def serving(how: str) -> AsyncIterator[tuple[Serving, str]]:
    command = [sys.executable, str(HERE / "good_server.py"), "http", how]
    async with trio.open_nursery() as nursery:
        process = await nursery.start(
            partial(trio.run_process, command, check=False, stderr=subprocess.PIPE)
        )
        server = Serving(process)
        yield server, f"http://127.0.0.1:{int(await server.mark())}/mcp"
        process.kill()


@pytest.mark.parametrize("how", ["json", "events"])
async def test_a_server_at_a_url_is_used_as_any_other(how: str) -> None:
    """Whether it answers in one piece or in a stream of events; a cancelled call is told."""
    async with serving(how) as (far, url), living(Http(url=url)) as server:
        assert bare(await call(server, "echo", '{"text": "hi"}')) == "you said hi"
        assert (await call(server, "fail", '{"why": "because"}')).failed
        (file,) = (await call(server, "picture")).files
        assert file.data.startswith(b"\x89PNG")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, server, "slow")
            assert await far.mark() == "begun"
            begun = trio.current_time()
            nursery.cancel_scope.cancel()
        assert trio.current_time() - begun < 1.0
        assert await far.mark() == "cancelled"
        assert bare(await call(server, "echo", '{"text": "on"}')) == "you said on"


async def test_a_server_at_a_url_that_dies_in_a_call_says_so() -> None:
    """The call fails at once; the next one learns that the server cannot be reached."""
    async with serving("events") as (far, url), living(Http(url=url)) as server:
        async with trio.open_nursery() as nursery:
            outcomes: list[Any] = []

            async def slow() -> None:
                outcomes.append(await call(server, "slow"))

            nursery.start_soon(slow)
            assert await far.mark() == "begun"
            far.process.kill()
        await far.process.wait()
        assert outcomes[0].failed
        later = await call(server, "echo", '{"text": "hi"}')
        assert later.failed
        assert "cannot be reached" in later.text


# --- Servers with bad manners ---

# What a server answers to a request: status, headers, and the body in pieces.
Reply: TypeAlias = tuple[int, dict[str, str], list[bytes]]
JSON = {"content-type": "application/json"}
EVENTS = {"content-type": "text/event-stream"}


def result(message: dict[str, Any], value: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": value}).encode()


def polite(message: dict[str, Any]) -> Reply:
    """What every server must be able to say."""
    match message["method"]:
        case "initialize":
            value: Any = {
                "protocolVersion": message["params"]["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "rude", "version": "1"},
            }
            return 200, {**JSON, "mcp-session-id": "s1"}, [result(message, value)]
        case "tools/list":
            tool = {"name": "try", "inputSchema": {"type": "object"}}
            return 200, JSON, [result(message, {"tools": [tool]})]
        case "ping":
            return 200, JSON, [result(message, {})]
        case _:
            return 202, {}, []


class Rude:
    """An HTTP server that answers calls as it is told, and everything else politely."""

    def __init__(self, on_call: Callable[[dict[str, Any]], Reply]) -> None:
        self.on_call = on_call
        self.heard: list[tuple[str, dict[str, str]]] = []

    async def serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            try:
                while await self._one(stream):
                    pass
            except trio.BrokenResourceError:
                return

    async def _one(self, stream: trio.SocketStream) -> bool:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = await stream.receive_some()
            if not piece:
                return False
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        request, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (e.partition(": ") for e in lines)}
        while len(body) < int(headers.get("content-length", 0)):
            body += await stream.receive_some()
        method = request.split()[0]
        message = json.loads(body) if body else {"method": method}
        self.heard.append((message["method"], headers))
        await self._reply(stream, method, message)
        return True

    async def _reply(self, stream: trio.SocketStream, method: str, message: Any) -> None:
        reply = self.on_call if message["method"] == "tools/call" else polite
        status, headers, body = (405, {}, []) if method != "POST" else reply(message)
        lines = [f"HTTP/1.1 {status} Status", *(f"{k}: {v}" for k, v in headers.items())]
        lines.append("transfer-encoding: chunked")
        await stream.send_all("\r\n".join([*lines, "", ""]).encode())
        for piece in body:
            await stream.send_all(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        await stream.send_all(b"0\r\n\r\n")


@asynccontextmanager
async def rude(on_call: Callable[[dict[str, Any]], Reply]) -> AsyncIterator[tuple[Rude, str]]:
    server = Rude(on_call)
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, server.serve, [listener])
        yield server, f"http://127.0.0.1:{listener.socket.getsockname()[1]}/mcp"
        nursery.cancel_scope.cancel()


MEGABYTE = b"x" * 1_000_000
DENSE = b"[" + b"{}," * 20_000 + b"{}]"
ENDLESS = [MEGABYTE] * 1000


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ((500, {}, [b"<h1>oops</h1>"]), "it answered HTTP 500 Status"),
        ((401, JSON, [b'{"error": "invalid_token"}']), "it answered HTTP 401 Status"),
        ((200, {"content-type": "text/html"}, [b"<h1>Hi</h1>"]), "Unexpected content type"),
        ((200, JSON, [b"{not json"]), "Failed to parse JSON"),
        ((200, JSON, ENDLESS), "the answer is larger than 8388608 bytes"),
        ((200, EVENTS, ENDLESS), "exceeded the 8388608 byte limit"),
        ((200, EVENTS, [b"data: ", DENSE, b"\n\n"]), "the answer has more than 5000 values"),
        ((200, JSON, [DENSE]), "the answer has more than 5000 values"),
        ((200, {**JSON, "content-encoding": "gzip"}, [b"bomb"]), "it compresses its answers"),
        ((200, EVENTS, [b": nothing\n\n"]), "SSE stream ended without a response"),
        ((202, {}, []), "202 Accepted"),
        ((307, {"location": "http://127.0.0.1:1/elsewhere"}, []), "not followed"),
    ],
)
async def test_a_bad_answer_fails_its_call_alone(reply: Reply, why: str) -> None:
    """With a word of why; the session goes on."""
    async with rude(lambda _message: reply) as (_, url), living(Http(url=url)) as server:
        outcome = await call(server, "try")
        assert outcome.failed
        assert why in outcome.text
        assert why in (await call(server, "try")).text


async def test_headers_are_sent_with_every_request_and_a_goodbye_at_the_end() -> None:
    """The secret ones too; and the server may forget the session."""
    reply = (500, {}, [b""])
    transport = partial(Http, headers=lambda: {"Authorization": "Bearer s3cret"})
    async with rude(lambda _message: reply) as (far, url):
        async with living(transport(url=url)) as server:
            await call(server, "try")
        assert all(headers["authorization"] == "Bearer s3cret" for _, headers in far.heard)
        method, headers = far.heard[-1]
        assert (method, headers["mcp-session-id"]) == ("DELETE", "s1")


async def test_a_session_that_was_forgotten_is_begun_anew() -> None:
    """A server that was restarted answers 404: that life is over, and the supervisor starts one."""
    host = FakeHost()
    async with rude(lambda _message: (404, {}, [])) as (_, url):
        server = Server(ServerSpec(name="srv", transport=Http(url=url)), host)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_fails_with, server, "it has forgotten our session")
            await host.heard("MCP server up")
            assert "it has forgotten our session" in (await call(server, "try")).text


async def test_a_server_that_is_not_there_is_down() -> None:
    """The reason names no more than it must."""
    with trio.socket.socket() as taken:
        await taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/mcp"
        server = Server(ServerSpec(name="srv", transport=Http(url=url)), FakeHost())
        await _fails_with(server, "it cannot be reached")


async def _fails_with(server: Server, why: str) -> None:
    with trio.fail_after(20), pytest.raises(ServerDown, match=why):
        await server.run()


async def test_a_call_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the session first, which tells the server; the connection follows."""
    monkeypatch.setattr(http, "LATE", 0.1)
    event = b"data: \n\n"
    heard = trio.Event()

    class Silent(Rude):
        async def _reply(self, stream: trio.SocketStream, method: str, message: Any) -> None:
            if message["method"] == "tools/call":
                head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
                await stream.send_all(head + event)
                await trio.sleep_forever()
            if message["method"] == "notifications/cancelled":
                heard.set()
            await super()._reply(stream, method, message)

    far = Silent(polite)
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/mcp"
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, far.serve, [listener])
        async with living(Http(url=url), timeout=0.5) as server:
            outcome = await call(server, "try")
            assert "did not answer within 0.5 s" in outcome.text
            with trio.fail_after(10):
                await heard.wait()
            assert server.state == "up"
        nursery.cancel_scope.cancel()
