"""The control socket: how the command line reaches the running daemon.

`<state_dir>/control.sock`, mode 0600, speaks lines of JSON. A request is an object with a "verb"
and that verb's arguments; the reply is {"ok": true, "result": {...}} or {"ok": false, "cause":
"...", "remedy": "..."}. One connection may ask several times; requests are answered in order, and a
client that leaves does not stop what it asked for.

Only the daemon that holds the state lock may bind the socket, so whatever stands in its place is a
leftover of a process that is gone and can be removed without asking.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import stat
import struct
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

import trio
from attrs import define, field

from daemon import log
from daemon.control_client import (
    MAX_LINE,
    ControlError,
    NotRunning,
    SocketPathError,
    ask,
    socket_path,
)
from daemon.errors import FamulusError
from daemon.statelock import Held, StateDirError

__all__ = ["Control", "ControlError", "NotRunning", "SocketPathError", "ask", "serve"]

# More connections than this at once is a program gone wild, not a person with terminals.
MAX_CONNECTIONS: Final = 32

BACKLOG: Final = 16

# A client that does not read its answer for so long (seconds) is given up.
WRITE_TIMEOUT: Final = 10.0

Handler: TypeAlias = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]

_log = log.get("control")


@define
class Control:
    """The verbs that this daemon answers, by name."""

    _verbs: dict[str, Handler] = field(factory=dict, alias="verbs")

    def register(self, name: str, handler: Handler) -> None:
        """Answer `name` with `handler`, which gets the request and returns the result.

        A handler refuses by raising a `FamulusError`.
        """
        if name in self._verbs:
            raise ValueError(f"the verb {name} is registered already")
        self._verbs[name] = handler

    async def answer(self, line: bytes) -> dict[str, Any]:
        """The reply to one line of request. Raises nothing but cancellation."""
        try:
            request = _parse(line)
            handler = self._handler(request)
            return {"ok": True, "result": await handler(request)}
        except FamulusError as error:
            return _refusal(error.cause, error.remedy)
        except Exception as error:  # noqa: BLE001 -- one bad verb must not end the daemon
            number = secrets.token_hex(3)
            _log.error("verb failed", id=number, exc_info=error)
            return _refusal("the daemon failed to do this", f"its log says why, under id={number}")

    def _handler(self, request: dict[str, Any]) -> Handler:
        verb = request.get("verb")
        handler = self._verbs.get(verb) if isinstance(verb, str) else None
        if handler is None:
            raise ControlError("no such verb", "known: " + ", ".join(sorted(self._verbs)))
        return handler


async def serve(
    control: Control,
    held: Held,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer at the control socket until cancelled; the socket's file is removed at the end.

    Args:
      control: the verbs.
      held: proof that this process holds the state lock.
      task_status: told when the socket can be connected to.

    Raises:
      SocketPathError: the state directory's path is too long for a socket in it.
      StateDirError: the socket cannot be made there.
    """
    path = socket_path(held.state_dir)
    listener = await _listen(path, held)
    limiter = trio.CapacityLimiter(MAX_CONNECTIONS)
    try:
        async with listener:
            handler = partial(_serve_client, control, limiter)
            task_status.started()
            await trio.serve_listeners(handler, [listener])
    finally:
        _remove_stale(path)


async def _listen(path: Path, held: Held) -> trio.SocketListener:
    if held.released:
        raise RuntimeError("the state lock was released before the control socket was opened")
    sock = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        await sock.bind(os.fspath(path))
        _make_private(path)  # before listen: nobody can have connected yet
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise StateDirError(
            f"the control socket {path} cannot be made: {error.strerror}",
            "see that nothing else is at that place and that its directory can be written",
        ) from error
    return trio.SocketListener(sock)


def _remove_stale(path: Path) -> None:
    """Remove a socket that a dead daemon left behind. Anything that is no socket stays."""
    try:
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()
    except FileNotFoundError:
        return


def _make_private(path: Path) -> None:
    path.chmod(0o600)


async def _serve_client(
    control: Control, limiter: trio.CapacityLimiter, stream: trio.SocketStream
) -> None:
    """One connection, to its end. A broken connection is its end."""
    async with stream:
        if not _is_ours(stream):
            return
        try:
            limiter.acquire_nowait()
        except trio.WouldBlock:
            return
        try:
            await _converse(control, stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
        finally:
            limiter.release()


def _is_ours(stream: trio.SocketStream) -> bool:
    """Whether the peer is our own user or root. The file's mode says so already; this is cheap."""
    size = struct.calcsize("3i")
    credentials = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    _, uid, _ = struct.unpack("3i", credentials)
    return uid in {0, os.geteuid()}


async def _converse(control: Control, stream: trio.SocketStream) -> None:
    buffer = bytearray()
    while (line := await _read_line(stream, buffer)) is not None:
        if len(line) > MAX_LINE:
            await _send(stream, _refusal("the request is too long", f"keep it under {MAX_LINE}"))
            return
        await _send(stream, await control.answer(line))


async def _read_line(stream: trio.SocketStream, buffer: bytearray) -> bytes | None:
    """The next line, or None at the end. A line over the limit comes unfinished."""
    searched = 0
    while (end := buffer.find(b"\n", searched)) < 0 and len(buffer) <= MAX_LINE:
        searched = len(buffer)
        chunk = await stream.receive_some()
        if not chunk:
            return None
        buffer += chunk
    line = bytes(buffer if end < 0 else buffer[:end])
    del buffer[: len(line) + 1]
    return line


async def _send(stream: trio.SocketStream, reply: dict[str, Any]) -> None:
    data = json.dumps(reply, default=str).encode() + b"\n"
    if len(data) > MAX_LINE:
        data = json.dumps(_refusal("the answer is too long", "ask for less")).encode() + b"\n"
    with trio.move_on_after(WRITE_TIMEOUT) as scope:
        await stream.send_all(data)
    if scope.cancelled_caught:
        raise trio.BrokenResourceError("the client does not read")


def _parse(line: bytes) -> dict[str, Any]:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        request = None
    if not isinstance(request, dict):
        raise ControlError("a request is one JSON object on one line", 'e.g. {"verb": "status"}')
    return request


def _refusal(cause: str, remedy: str) -> dict[str, Any]:
    return {"ok": False, "cause": log.one_line(cause), "remedy": log.one_line(remedy)}
