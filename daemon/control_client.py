"""The control socket as the command line sees it: one question, one answer, no event loop.

Blocking code on the standard library, because `famulus status` should not pay for importing Trio.
The protocol is described in `daemon.control`, which is the other end.
"""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any, Final

from daemon.errors import FamulusError, Fatal, Refused

# A request is a verb and a few words; a reply may be a table. Both ends refuse more.
MAX_LINE: Final = 1024 * 1024

# How long an answer may take, in seconds.
TIMEOUT: Final = 10.0

SOCKET_NAME: Final = "control.sock"

# sockaddr_un.sun_path on Linux holds 108 bytes with the final NUL.
MAX_SOCKET_PATH: Final = 107


class ControlError(FamulusError):
    """A verb was refused, or could not be asked for."""


class NotRunning(ControlError):
    """Nobody listens at the control socket."""


class VerbRefused(ControlError, Refused):
    """The daemon is well, and does not do what it was asked for."""


class SocketPathError(Fatal):
    """The socket's path does not fit into an address."""


def socket_path(state_dir: Path) -> Path:
    """Where the socket of `state_dir` is.

    Raises:
      SocketPathError: the path is longer than an address can be.
    """
    path = state_dir / SOCKET_NAME
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        raise SocketPathError(
            f"the control socket's path {path} is longer than {MAX_SOCKET_PATH} bytes",
            "choose a shorter state_dir",
        )
    return path


def ask(
    state_dir: Path, verb: str, arguments: dict[str, Any] | None = None, timeout: float = TIMEOUT
) -> dict[str, Any]:
    """Ask the daemon of `state_dir` for `verb` and return its result.

    Raises:
      NotRunning: there is no daemon.
      ControlError: it refused, did not answer within `timeout` seconds, or may not be asked by
        this user.
    """
    path = socket_path(state_dir)
    request = json.dumps({**(arguments or {}), "verb": verb}).encode() + b"\n"
    try:
        with _connect(path, timeout) as sock:
            sock.sendall(request)
            line = _read_line(sock, time.monotonic() + timeout)
    except TimeoutError:
        raise ControlError(
            f"the daemon did not answer within {timeout:g} s", "look at its log"
        ) from None
    except OSError as error:
        raise ControlError(f"the connection to the daemon broke: {error.strerror}") from error
    return _result(line)


def _connect(path: Path, timeout: float) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.settimeout(timeout)
        sock.connect(os.fspath(path))
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        sock.close()
        raise NotRunning(
            f"the daemon is not running: nobody answers at {path}",
            "start it with: famulus run --config FILE",
        ) from None
    except PermissionError:
        sock.close()
        raise ControlError(
            f"uid {os.geteuid()} may not use {path}", "run this as the daemon's user"
        ) from None
    except OSError:
        sock.close()
        raise
    return sock


def _read_line(sock: socket.socket, deadline: float) -> bytes:
    """Everything up to the line's end. A daemon that closes first has been stopped."""
    data = bytearray()
    while b"\n" not in data:
        sock.settimeout(max(0.001, deadline - time.monotonic()))
        chunk = sock.recv(65536)
        data += chunk
        if not chunk or len(data) > MAX_LINE:
            raise ControlError("the daemon gave no complete answer", "is it stopping? try again")
    return bytes(data)


def _result(line: bytes) -> dict[str, Any]:
    try:
        reply = json.loads(line)
        if reply["ok"] is True:
            return dict(reply["result"])
        cause, remedy = str(reply["cause"]), str(reply["remedy"])
    except (ValueError, KeyError, TypeError):
        raise ControlError(
            "the answer is not the daemon's", "is the command as new as the daemon?"
        ) from None
    raise VerbRefused(cause, remedy)
