"""A session with the server that the makers of the protocol test their clients with.

`@modelcontextprotocol/server-everything`, from npm, is looked for in .peers/node_modules.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from agent.mcp.server import Server
from agent.mcp.spec import Http, ServerDown, ServerSpec, Stdio
from tests.agent.mcp.rig import UP, FakeHost, bare, call, ended, living

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / ".peers/node_modules/@modelcontextprotocol/server-everything"
NODE = shutil.which("node")

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(NODE is None, reason="needs node"),
    pytest.mark.skipif(
        not PACKAGE.is_dir(), reason="needs server-everything in .peers (make test-peers)"
    ),
    # As in tests/agent/mcp/test_http.py: the package leaves streams in the middle.
    pytest.mark.filterwarnings("ignore:Async generator 'http:ResourceWarning"),
]


def everything() -> Stdio:
    return Stdio(command=(str(NODE), str(PACKAGE / "dist/index.js"), "stdio"))


async def test_its_tools_are_used() -> None:
    """All are offered; text, a structure, a picture, links and a resource come through."""
    async with living(everything()) as server:
        assert server.offer.warnings == ()
        assert len(server.offer.tools) >= 10

        assert bare(await call(server, "echo", '{"message": "hi"}')) == "Echo: hi"
        assert "42" in bare(await call(server, "get-sum", '{"a": 40, "b": 2}'))

        picture = await call(server, "get-tiny-image")
        (file,) = picture.files
        assert file.data.startswith(b"\x89PNG")
        assert "[image get-tiny-image-1.png, image/png, " in bare(picture)

        weather = await call(server, "get-structured-content", '{"location": "Chicago"}')
        assert "temperature" in json.loads(bare(weather))
        links = bare(await call(server, "get-resource-links", '{"count": 2}'))
        assert links.count("[link to ") == 2
        resource = await call(server, "get-resource-reference")
        assert "demo://resource/" in bare(resource)


async def test_its_errors_stay_errors() -> None:
    """Wrong arguments, which it checks itself."""
    async with living(everything()) as server:
        outcome = await call(server, "get-sum", '{"a": "x", "b": 2}')
        assert outcome.failed
        assert "Invalid arguments" in bare(outcome)


async def test_it_sees_nothing_of_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has a tool that tells."""
    monkeypatch.setenv("FAMULUS_TELEGRAM_TOKEN", "123:abc")
    async with living(everything()) as server:
        seen = json.loads(bare(await call(server, "get-env")))
    assert seen.keys() <= {"PATH", "HOME", "LANG"}


async def test_a_call_is_cancelled_and_others_go_on() -> None:
    """An operation of a minute ends for us within a second."""
    minute = '{"duration": 60, "steps": 1}'
    async with living(everything()) as server:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, server, "trigger-long-running-operation", minute)
            assert bare(await call(server, "echo", '{"message": "on"}')) == "Echo: on"
            begun = trio.current_time()
            nursery.cancel_scope.cancel()
        assert trio.current_time() - begun < 1.0
        assert bare(await call(server, "echo", '{"message": "on"}')) == "Echo: on"


async def test_it_is_killed_in_mid_call() -> None:
    """The call gets an error that says so, and the next one that it is down."""
    async with living(everything()) as server:
        outcomes = []

        async def long() -> None:
            minute = '{"duration": 60, "steps": 1}'
            outcomes.append(await call(server, "trigger-long-running-operation", minute))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(long)
            await call(server, "echo", '{"message": "it is at work"}')
            pid = _pid_of(server)
            os.kill(pid, signal.SIGKILL)
        (outcome,) = outcomes
        assert outcome.failed
        assert "went down during the call (it was killed by signal 9" in outcome.text
        assert "is down" in (await call(server, "echo", '{"message": "hi"}')).text
        assert ended(pid)


@asynccontextmanager
async def at_port(port: int) -> AsyncIterator[trio.Process]:
    """The server at a port of this machine, which can be connected to."""
    command = [str(NODE), str(PACKAGE / "dist/index.js"), "streamableHttp"]
    run = partial(
        trio.run_process,
        command,
        env={**os.environ, "PORT": str(port)},
        check=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    async with trio.open_nursery() as nursery:
        process = await nursery.start(run)
        said = b""
        with trio.fail_after(20):
            while b"listening" not in said:
                said += await process.stderr.receive_some()
        yield process
        process.kill()


async def test_it_is_used_at_a_url_and_begun_anew_when_it_has_forgotten_us() -> None:
    """After its restart it answers 400, as many do that were made after its example."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    host = FakeHost()
    server = Server(
        ServerSpec(name="srv", transport=Http(url=f"http://127.0.0.1:{port}/mcp")), host
    )
    async with trio.open_nursery() as nursery:
        async with at_port(port):
            nursery.start_soon(
                _lives_until, server, "it has forgotten our session|cannot be reached"
            )
            await host.heard(UP)
            assert bare(await call(server, "echo", '{"message": "hi"}')) == "Echo: hi"
            long = '{"duration": 1, "steps": 2}'
            outcome = await call(server, "trigger-long-running-operation", long)
            assert "completed" in bare(outcome)
            assert (await call(server, "get-tiny-image")).files
        async with at_port(port):
            assert (await call(server, "echo", '{"message": "hi"}')).failed


async def _lives_until(server: Server, why: str) -> None:
    with pytest.raises(ServerDown, match=why):
        await server.run()


def _pid_of(server: Server) -> int:
    """The process below ours that runs the server's program."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0] == str(NODE).encode() and str(PACKAGE).encode() in words[1]:
            return int(path.parent.name)
    raise AssertionError(f"{server.spec.name} does not run")
