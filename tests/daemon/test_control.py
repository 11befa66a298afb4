"""The control socket: both ends against each other, over a real socket."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from daemon import statelock
from daemon.control import (
    MAX_CONNECTIONS,
    Control,
    ControlError,
    NotRunning,
    SocketPathError,
    ask,
    serve,
)
from daemon.control_client import MAX_LINE, socket_path
from daemon.errors import FamulusError
from daemon.statelock import StateDirError


async def echo(request: dict[str, Any]) -> dict[str, Any]:
    await trio.lowlevel.checkpoint()
    return {"said": request.get("say")}


async def refuse(_: dict[str, Any]) -> dict[str, Any]:
    raise FamulusError("no such chat", "see /chats")


async def fail(_: dict[str, Any]) -> dict[str, Any]:
    raise ZeroDivisionError("secret detail")


async def huge(_: dict[str, Any]) -> dict[str, Any]:
    return {"x": "x" * MAX_LINE}


def control() -> Control:
    return Control({"echo": echo, "refuse": refuse, "fail": fail, "huge": huge})


@asynccontextmanager
async def serving(state_dir: Path, verbs: Control | None = None) -> AsyncIterator[None]:
    """A control socket in `state_dir` while the block runs."""
    with statelock.hold(state_dir) as held:
        async with trio.open_nursery() as nursery:
            await nursery.start(serve, verbs or control(), held)
            yield
            nursery.cancel_scope.cancel()


async def asked(state_dir: Path, verb: str, **arguments: Any) -> dict[str, Any]:
    """The blocking client, in a thread, as another process would call it."""
    return await trio.to_thread.run_sync(partial(ask, state_dir, verb, arguments))


async def raw(state_dir: Path, *chunks: bytes) -> list[dict[str, Any]]:
    """What comes back for bytes of any kind, until the daemon closes or has answered all."""
    async with await trio.open_unix_socket(socket_path(state_dir)) as stream:
        for chunk in chunks:
            await stream.send_all(chunk)
        await stream.send_eof()
        received = b"".join([chunk async for chunk in stream])
    return [json.loads(line) for line in received.splitlines()]


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    return tmp_path / "state"


# --- Asking ---


async def test_a_verb_is_answered(state_dir: Path) -> None:
    """By its handler, with the request's own arguments."""
    async with serving(state_dir):
        assert await asked(state_dir, "echo", say="grüße\n") == {"said": "grüße\n"}


async def test_a_refusal_reaches_the_client(state_dir: Path) -> None:
    """Cause and remedy, as the handler gave them."""
    async with serving(state_dir):
        with pytest.raises(ControlError) as caught:
            await asked(state_dir, "refuse")

    assert (caught.value.cause, caught.value.remedy) == ("no such chat", "see /chats")


async def test_an_unknown_verb_names_the_known_ones(state_dir: Path) -> None:
    """An old daemon and a new command, for instance."""
    async with serving(state_dir):
        with pytest.raises(ControlError, match="no such verb; known: echo, fail, huge, refuse"):
            await asked(state_dir, "sing")


async def test_a_failing_verb_does_not_end_the_daemon(
    state_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The client gets an id, the log the traceback with that id."""
    async with serving(state_dir):
        with pytest.raises(ControlError) as caught:
            await asked(state_dir, "fail")
        assert await asked(state_dir, "echo", say=1) == {"said": 1}

    number = caught.value.remedy.rpartition("id=")[2]
    assert "secret detail" not in str(caught.value)
    line = capsys.readouterr().err
    assert f"id={number}" in line
    assert "ZeroDivisionError" in line


async def test_several_requests_on_one_connection(state_dir: Path) -> None:
    """Answered in order, also when they arrive in pieces."""
    async with serving(state_dir):
        replies = await raw(state_dir, b'{"verb":"ec', b'ho","say":1}\n{"verb":"echo","say":2}\n')

    assert [reply["result"]["said"] for reply in replies] == [1, 2]


@pytest.mark.parametrize(
    "line", [b"", b"x", b"[]", b"null", b"{}", b'{"verb":5}', b"\xff", b"[" * 9999]
)
async def test_broken_requests_are_refused(state_dir: Path, line: bytes) -> None:
    """And the connection goes on."""
    async with serving(state_dir):
        first, second = await raw(state_dir, line + b"\n" + b'{"verb":"echo"}\n')

    assert first["ok"] is False
    assert first["cause"]
    assert second["ok"] is True


async def test_a_request_without_end_is_refused(state_dir: Path) -> None:
    """At the limit, whether or not a line's end ever comes."""
    async with serving(state_dir):
        async with await trio.open_unix_socket(socket_path(state_dir)) as stream:
            with trio.move_on_after(5):
                await stream.send_all(b"x" * (MAX_LINE + 1))
            reply = json.loads(await stream.receive_some())
        assert reply["cause"] == "the request is too long"
        assert await asked(state_dir, "echo") == {"said": None}


async def test_an_answer_that_is_too_long_is_refused(state_dir: Path) -> None:
    """Rather than cut."""
    async with serving(state_dir):
        with pytest.raises(ControlError, match="the answer is too long"):
            await asked(state_dir, "huge")


async def test_a_crowd_is_turned_away(state_dir: Path) -> None:
    """Without harm to those who are in."""
    async with serving(state_dir):
        streams = [
            await trio.open_unix_socket(socket_path(state_dir)) for _ in range(MAX_CONNECTIONS)
        ]
        for stream in streams:
            await stream.send_all(b'{"verb":"echo"}\n')
            await stream.receive_some()
        with pytest.raises(ControlError):
            await asked(state_dir, "echo")
        for stream in streams:
            await stream.aclose()
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert await asked(state_dir, "echo") == {"said": None}


async def test_a_client_that_leaves_early_is_no_error(state_dir: Path) -> None:
    """The answer has nobody to go to."""
    async with serving(state_dir):
        for _ in range(10):
            stream = await trio.open_unix_socket(socket_path(state_dir))
            await stream.send_all(b'{"verb":"echo"}\n' * 100)
            await stream.aclose()
        assert await asked(state_dir, "echo") == {"said": None}


@given(st.binary(max_size=200))
def test_no_line_is_without_an_answer(line: bytes) -> None:
    """Whatever comes, the reply is one JSON object that says how it went."""
    reply = trio.run(control().answer, line)

    assert reply["ok"] is False
    assert set(reply) == {"ok", "cause", "remedy"}
    json.dumps(reply)


def test_a_verb_has_one_handler() -> None:
    """A second one is a mistake of ours."""
    verbs = control()
    with pytest.raises(ValueError, match="registered already"):
        verbs.register("echo", echo)


# --- The socket ---


def leave_a_socket(state_dir: Path) -> None:
    """What a daemon leaves that was killed."""
    state_dir.mkdir(mode=0o700, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(os.fspath(socket_path(state_dir)))


def leave_a_file(state_dir: Path) -> Path:
    state_dir.mkdir(mode=0o700)
    path = socket_path(state_dir)
    path.write_text("precious")
    return path


async def test_the_socket_is_private_and_goes_with_the_daemon(state_dir: Path) -> None:
    """Mode 0600; no file is left."""
    path = socket_path(state_dir)
    async with serving(state_dir):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


async def test_a_stale_socket_is_replaced(state_dir: Path) -> None:
    """The lock proves that its maker is gone."""
    leave_a_socket(state_dir)
    async with serving(state_dir):
        assert await asked(state_dir, "echo", say=1) == {"said": 1}


async def test_nothing_else_is_removed(state_dir: Path) -> None:
    """A file in its place is somebody's file."""
    path = leave_a_file(state_dir)
    with statelock.hold(state_dir) as held, pytest.raises(StateDirError, match="cannot be made"):
        await serve(control(), held)

    assert path.read_text() == "precious"


async def test_only_the_locks_holder_may_serve(state_dir: Path) -> None:
    """A released lock is no proof."""
    with statelock.hold(state_dir) as held:
        pass
    with pytest.raises(RuntimeError, match="lock was released"):
        await serve(control(), held)


def test_a_path_too_long_for_a_socket_is_told(tmp_path: Path) -> None:
    """With what to do, and not as the system's EINVAL."""
    with pytest.raises(SocketPathError, match="choose a shorter state_dir"):
        ask(tmp_path / ("x" * 100), "status")


# --- The client alone ---


def test_no_daemon_is_told(tmp_path: Path) -> None:
    """Whether there is no socket or nobody behind it."""
    with pytest.raises(NotRunning, match="the daemon is not running"):
        ask(tmp_path, "status")

    leave_a_socket(tmp_path)
    with pytest.raises(NotRunning, match="start it with: famulus run"):
        ask(tmp_path, "status")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"", "no complete answer"),
        (b'{"ok":true', "no complete answer"),
        (b"hello\n", "not the daemon's"),
        (b"[]\n", "not the daemon's"),
        (b'{"ok":false}\n', "not the daemon's"),
        (b'{"ok":true,"result":5}\n', "not the daemon's"),
        (None, "did not answer within 0.1 s"),
    ],
)
async def test_a_strange_daemon_is_told(tmp_path: Path, answer: bytes | None, told: str) -> None:
    """The client waits for its time and no longer, and believes nothing."""

    async def strange(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        if answer is None:
            await trio.sleep_forever()
        else:
            await stream.send_all(answer)
            await stream.aclose()

    sock = trio.socket.socket(socket.AF_UNIX)
    await sock.bind(os.fspath(socket_path(tmp_path)))
    sock.listen(1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, strange, [trio.SocketListener(sock)])
        with pytest.raises(ControlError, match=told):
            await trio.to_thread.run_sync(partial(ask, tmp_path, "status", timeout=0.1))
        nursery.cancel_scope.cancel()
