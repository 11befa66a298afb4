"""What systemd hands to the executor, and what it is told: a socket, and that we are ready.

With a socket unit systemd makes the socket, and whoever owns it may connect; the executor then
never needs a moment as root. What is handed over is believed as little as anything else: it must
be the one listening unix socket that the configuration names, and closed to everybody but root and
the daemon's account.

Only the process that systemd started may look at LISTEN_PID and LISTEN_FDS, which are taken out of
the environment when they are read. NOTIFY_SOCKET stays, for there is more to tell later; what the
executor starts in turn inherits none of its environment.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import stat
import time

from executor import messages, protocol
from executor.isolation.stack import Refused
from executor.messages import Result
from executor.privileges import Identity
from executor.protocol import FrameType

# sd_listen_fds(3): the first descriptor that is handed over.
_FIRST = 3
# A client that connects to an executor which refuses to start is heard for so long, however little
# it says at a time, and all of them together for so long.
_ANSWER_SECONDS = 2.0
_ANSWERS_SECONDS = 10.0


def inherited() -> socket.socket | None:
    """Take over the listening socket that systemd made; None if it made none for this process.

    Raises Refused for anything but exactly one listening unix stream socket.
    """
    for_us = os.environ.pop("LISTEN_PID", "") == str(os.getpid())
    count = os.environ.pop("LISTEN_FDS", "0")
    if not for_us or count == "0":
        return None
    remedy = "give the socket unit one ListenStream=, the path in [executor] socket"
    if count != "1":
        raise Refused(f"systemd handed over {count} sockets", remedy)
    os.set_inheritable(_FIRST, False)
    try:
        listener = socket.socket(fileno=_FIRST)
        listens = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise Refused(f"what systemd handed over is no socket: {error.strerror}", remedy) from error
    if (listener.family, listener.type) != (socket.AF_UNIX, socket.SOCK_STREAM) or not listens:
        raise Refused("what systemd handed over is no listening unix stream socket", remedy)
    return listener


def check(listener: socket.socket, path: str, identity: Identity) -> None:
    """Raise Refused unless `listener` is at `path` and open to root and the daemon alone."""
    if listener.getsockname() != path:
        raise Refused(
            f"systemd listens at {listener.getsockname()}, and [executor] socket is {path}",
            "make ListenStream= of the socket unit and [executor] socket the same",
        )
    if identity.daemon is None:
        raise Refused(
            "systemd holds the socket, and nothing says who the daemon is",
            'set [executor] daemon_user = "famulus", and user to the unit\'s User=',
        )
    found = os.stat(path)
    if found.st_uid not in {0, identity.daemon} or stat.S_IMODE(found.st_mode) & 0o007:
        raise Refused(
            f"{path} is open to others than the daemon",
            "give the socket unit SocketUser=famulus and SocketMode=0600",
        )


def refuse(listener: socket.socket | None, refused: Refused) -> None:
    """Tell systemd, and the clients that wait at `listener`, why there will be no job.

    systemd starts us anew for the next client. Without an answer it would do so at once for the
    same one.
    """
    notify(status(str(refused)))
    if listener is not None:
        _answer(listener, refused)


def refuse_early(cause: str, remedy: str) -> None:
    """The same for a process that has not become the executor, and does not get so far."""
    with contextlib.suppress(Refused):
        refuse(inherited(), Refused(cause, remedy))


def _answer(listener: socket.socket, refused: Refused) -> None:
    """Tell the clients that wait at `listener` why there will be no job."""
    until = time.monotonic() + _ANSWERS_SECONDS
    with contextlib.suppress(OSError):
        listener.setblocking(False)
        while select.select([listener], [], [], 0)[0] and time.monotonic() < until:
            client, _ = listener.accept()
            with client, contextlib.suppress(OSError):
                _tell(client, refused, time.monotonic() + _ANSWER_SECONDS)


def _tell(client: socket.socket, refused: Refused, until: float) -> None:
    """Closing with something unread would take the answer away, so the request is read first.

    Raises TimeoutError at `until`.
    """
    _hear(client, until)
    result = messages.result_to_json(Result(reason="denied", detail=str(refused)))
    client.sendall(protocol.encode(protocol.control(FrameType.RESULT, result)))
    client.shutdown(socket.SHUT_WR)
    while _hear(client, until):
        pass


def _hear(client: socket.socket, until: float) -> bytes:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    client.settimeout(left)
    return client.recv(protocol.MAX_BODY)


def notify(state: str) -> None:
    """Tell systemd, as sd_notify(3) does; a no-op elsewhere. Never blocks or raises."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.sendto(state.encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)


def status(text: str) -> str:
    """The assignment that `systemctl status` shows; a line break would begin another one."""
    return "STATUS=" + " ".join(text.split())
