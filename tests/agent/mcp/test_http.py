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

from agent.mcp import events, http
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
    """An HTTP server that answers calls as it is told, and everything else politely.

    `held` is how many of its answers are under way.
    """

    held = 0

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
        message.setdefault("method", "answer")
        self.heard.append((message["method"], headers))
        self.held += 1
        try:
            await self._reply(stream, method, message)
        finally:
            self.held -= 1
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
    async with listening(server) as url:
        yield server, url


@asynccontextmanager
async def listening(server: Rude) -> AsyncIterator[str]:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, server.serve, [listener])
        yield f"http://127.0.0.1:{listener.socket.getsockname()[1]}/mcp"
        nursery.cancel_scope.cancel()


MEGABYTE = b"x" * 1_000_000
DENSE = b"[" + b"{}," * 20_000 + b"{}]"
ENDLESS = [MEGABYTE] * 1000


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ((500, {}, [b"<h1>oops</h1>"]), "it answered HTTP 500 Status"),
        ((403, JSON, [b'{"error": "no_scope"}']), "it answered HTTP 403 Status"),
        ((200, {"content-type": "text/html"}, [b"<h1>Hi</h1>"]), "Unexpected content type"),
        ((200, JSON, [b"{not json"]), "Failed to parse JSON"),
        ((200, JSON, ENDLESS), "the answer is larger than 8388608 bytes"),
        ((200, EVENTS, ENDLESS), "the answer is larger than 8388608 bytes"),
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


NO_SESSION = (
    b'{"jsonrpc": "2.0", "id": null, "error": {"code": -32000, "message": "No valid session"}}'
)


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ((404, {}, []), "it has forgotten our session"),
        ((404, JSON, [b"{}"]), "it has forgotten our session"),
        ((400, JSON, [NO_SESSION]), "it has forgotten our session"),
        ((401, JSON, [b'{"error": "expired"}']), "it does not take our credentials"),
    ],
)
async def test_a_session_that_is_over_is_begun_anew(reply: Reply, why: str) -> None:
    """A server was restarted, or a key was changed, which is read anew at each start."""
    host = FakeHost()
    async with rude(lambda _message: reply) as (_, url):
        server = Server(ServerSpec(name="srv", transport=Http(url=url)), host)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_fails_with, server, why)
            await host.heard("MCP server up")
            assert why in (await call(server, "try")).text


async def test_a_server_without_a_stream_of_news_is_used_all_the_same() -> None:
    """It should say so by 405; some do by the 404 that also means that a session is over."""

    class Closed(Rude):
        async def _reply(self, stream: trio.SocketStream, method: str, message: Any) -> None:
            if method == "GET":
                await stream.send_all(b"HTTP/1.1 404 None\r\ncontent-length: 0\r\n\r\n")
                asked.set()
            else:
                await super()._reply(stream, method, message)

    asked = trio.Event()
    far = Closed(lambda message: (200, JSON, [result(message, {"content": []})]))
    async with listening(far) as url, living(Http(url=url)) as server:
        with trio.fail_after(10):
            await asked.wait()
        assert bare(await call(server, "try")) == "(no output)"


@pytest.mark.parametrize("value", ["Bearer s3cret\u2013", "Bearer s3cret\nX: y", "s3cr\0t"])
async def test_a_header_that_cannot_be_sent_is_named_without_its_value(value: str) -> None:
    """A key that was pasted with a dash too fine for HTTP, for example."""
    transport = Http(url="http://127.0.0.1:1/mcp", headers=lambda: {"Authorization": value})
    server = Server(ServerSpec(name="srv", transport=transport), FakeHost())
    await _fails_with(server, "^the value of its header Authorization is not plain ASCII")


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
    async with listening(far) as url, living(Http(url=url), timeout=0.5) as server:
        outcome = await call(server, "try")
        assert "did not answer within 0.5 s" in outcome.text
        with trio.fail_after(10):
            await heard.wait()
        assert server.state == "up"


class Dripping(Rude):
    """Says now and then that it is still there, and never answers."""

    async def _reply(self, stream: trio.SocketStream, method: str, message: Any) -> None:
        if message["method"] != "tools/call":
            await super()._reply(stream, method, message)
            return
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        while True:
            await stream.send_all(b": still here\n\n")
            await trio.sleep(0.02)


async def test_calls_that_were_given_up_leave_no_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not even one that is kept alive by a server that never ends it."""
    monkeypatch.setattr(http, "LATE", 0.1)
    far = Dripping(polite)
    spec = partial(living, timeout=0.2, start_timeout=1.0)
    async with listening(far) as url, spec(Http(url=url)) as server:
        for _ in range(3):
            assert "did not answer within 0.2 s" in (await call(server, "try")).text
        with trio.fail_after(10):
            while far.held:  # noqa: ASYNC110 - connections end in their own time
                await trio.sleep(0.01)
        assert server.state == "up"


class Breaking(Rude):
    """Breaks off every answer, to be gone on with at once, but for the `whole`-th."""

    answers = 0
    whole = 0

    async def _reply(self, stream: trio.SocketStream, method: str, message: Any) -> None:
        resumed = "last-event-id" in self.heard[-1][1]
        if message["method"] != "tools/call" and not resumed:
            await super()._reply(stream, method, message)
            return
        self.answers += 1
        event = b"retry: 0\nid: %d\ndata: \n\n" % self.answers
        if self.answers == self.whole:
            event = b"data: " + result({"id": 1}, {"content": []}) + b"\n\n"
        await stream.send_all(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"content-length: %d\r\n\r\n%b" % (len(event), event)
        )


async def test_an_answer_that_was_broken_off_is_gone_on_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From the last event on, as often as it takes."""
    monkeypatch.setattr(events, "RETRY", (10, 20))
    far = Breaking(polite)
    far.whole = 4
    async with listening(far) as url, living(Http(url=url)) as server:
        assert bare(await call(server, "try")) == "(no output)"
    asked = [headers.get("last-event-id") for _, headers in far.heard]
    assert [each for each in asked if each is not None] == ["1", "2", "3"]


@pytest.mark.parametrize(("most", "late"), [(3, 60.0), (1000, 0.1)])
async def test_an_answer_that_breaks_off_again_and_again_is_given_up(
    monkeypatch: pytest.MonkeyPatch, most: int, late: float
) -> None:
    """After so many times, or when its time is over; until then it is gone on with."""
    monkeypatch.setattr(http, "MOST_RESUMED", most)
    monkeypatch.setattr(http, "LATE", late)
    monkeypatch.setattr(events, "RETRY", (10, 20))
    far = Breaking(polite)
    spec = partial(living, timeout=60.0 if most == 3 else 0.3, start_timeout=0.3)
    async with listening(far) as url, spec(Http(url=url)) as server:
        outcome = await call(server, "try")
        assert outcome.failed
        if most == 3:
            assert "reconnection attempts were exhausted" in outcome.text
        assert server.state == "up"
        await _is_quiet(far)


async def _is_quiet(far: Breaking) -> None:
    """Nobody asks any more for what was broken off."""
    with trio.fail_after(10):
        while (before := far.answers) >= 0:
            await trio.sleep(0.2)
            if far.answers == before:
                return


class Asking(Rude):
    """Asks for something in its answer, and never takes what we say to that."""

    def __init__(self, on_call: Callable[[dict[str, Any]], Reply], asked: trio.Event) -> None:
        super().__init__(on_call)
        self.asked = asked

    async def _reply(self, stream: trio.SocketStream, method: str, message: Any) -> None:
        if message["method"] == "answer":
            self.asked.set()
            await trio.sleep_forever()
        elif message["method"] == "tools/call":
            request = b'data: {"jsonrpc": "2.0", "id": 1, "method": "ping"}\n\n'
            head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
            await stream.send_all(head + request)
            await trio.sleep_forever()
        else:
            await super()._reply(stream, method, message)


async def test_a_call_is_cancelled_at_once_whatever_waits_to_be_sent() -> None:
    """Behind an answer that the server does not take, for example."""
    asked = trio.Event()
    far = Asking(polite, asked)
    async with listening(far) as url, living(Http(url=url)) as server:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, server, "try")
            with trio.fail_after(10):
                await asked.wait()
            begun = trio.current_time()
            nursery.cancel_scope.cancel()
        assert trio.current_time() - begun < 1.0


class Babbling(Rude):
    """Sends news that are none, without end."""

    async def _reply(self, stream: trio.SocketStream, method: str, message: Any) -> None:
        if method != "GET":
            await super()._reply(stream, method, message)
            return
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        while True:
            await stream.send_all(b"data: {}\n\n" * 50)


async def test_a_server_whose_news_are_none_is_ended() -> None:
    """Each of them is a page in the log."""
    async with listening(Babbling(polite)) as url:
        server = Server(ServerSpec(name="srv", transport=Http(url=url)), FakeHost())
        await _fails_with(server, "^it sends what is no message$")
