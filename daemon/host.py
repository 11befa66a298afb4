"""What the host sees of the daemon: its state in systemd, its watchdog, and the signals it obeys.

sd_notify(3) is one datagram to a unix socket, so there is no library for it here. Without
NOTIFY_SOCKET (a terminal, a container) every call is a no-op. A notification is never worth
waiting for: the socket does not block, and what cannot be sent is dropped.

The watchdog must not lie. It is fed by the intake alone, which does so after a completed poll or
when it knows precisely why there is none; any other feeder could keep a deaf daemon alive.
"""

from __future__ import annotations

import enum
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, Self

import trio
from attrs import define, field

# sysexits(3). The unit says RestartPreventExitStatus=78: such an error needs the owner.
EXIT_UNAVAILABLE: Final = os.EX_UNAVAILABLE
EXIT_CONFIG: Final = os.EX_CONFIG


def notify(state: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Send `state` (lines of KEY=VALUE) to systemd; whether it was sent. Never blocks or raises."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):  # the abstract namespace
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.setblocking(False)
            sock.sendto(state.encode("utf-8", "replace"), address)
    except OSError:  # nobody there, queue full, path too long: not the daemon's problem
        return False
    return True


def notify_ready(status: str = "") -> bool:
    return notify(f"READY=1\n{_status(status)}")


def notify_status(status: str) -> bool:
    """The line that `systemctl status` shows."""
    return notify(_status(status))


def notify_reloading() -> bool:
    """Sent when SIGHUP is obeyed; `notify_ready` must follow (Type=notify-reload)."""
    return notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")


def notify_stopping(status: str = "") -> bool:
    return notify(f"STOPPING=1\n{_status(status)}")


def _status(text: str) -> str:
    # A line break would begin another assignment.
    return "STATUS=" + " ".join(text.split())


# --- The watchdog ---

# sd_watchdog_enabled(3) recommends feeding at half the interval. More often than this is noise.
MIN_FEED_SECONDS: Final = 1.0


@define
class Watchdog:
    """Tells systemd that the daemon is alive. `feed` is for the intake and nobody else."""

    interval: float | None  # seconds after which systemd kills us; None: no watchdog is set
    _send: Callable[[str], object] = notify
    _clock: Callable[[], float] = time.monotonic
    fed_at: float | None = field(default=None, init=False)  # on `_clock`
    reason: str = field(default="", init=False)  # why it was last fed

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """As systemd set it for this very process: WATCHDOG_PID may name another one."""
        usec = environ.get("WATCHDOG_USEC", "")
        for_us = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        enabled = for_us and usec.isascii() and usec.isdigit() and int(usec) > 0
        return cls(int(usec) / 1e6 if enabled else None)

    def feed(self, reason: str) -> None:
        """Say that the intake works, or that it knows why it cannot (`reason`)."""
        now = self._clock()
        too_soon = self.fed_at is not None and now - self.fed_at < MIN_FEED_SECONDS
        if too_soon and reason == self.reason:
            return
        self.fed_at, self.reason = now, reason
        if self.interval is not None:
            self._send(f"WATCHDOG=1\n{_status(reason)}")

    def problem(self, poll_timeout: float) -> str | None:
        """Why the interval is too short for polls of `poll_timeout` seconds, if it is."""
        needed = 3 * poll_timeout
        if self.interval is None or self.interval >= needed:
            return None
        return (
            f"WatchdogSec is {self.interval:g} s, less than three polls: systemd would kill a "
            f"healthy daemon; set WatchdogSec={needed:g} or more"
        )


# --- Signals ---


class Event(enum.Enum):
    """What a signal asks of the daemon."""

    STOP = "stop"  # SIGTERM, SIGINT
    RELOAD = "reload"  # SIGHUP


@define
class Signals:
    """An async iterator of events. Two rapid SIGHUPs may be one event."""

    _numbers: AsyncIterator[int]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """Wait for the next signal. After the first STOP, the next one ends the process at once."""
        number = await anext(self._numbers)
        if number == signal.SIGHUP:
            return Event.RELOAD
        # Back to the kernel's own action: it works even if the loop is stuck, and a daemon that
        # survives kill -9 loses nothing by it.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        return Event.STOP


@contextmanager
def signals() -> Iterator[Signals]:
    """Receive SIGTERM, SIGINT and SIGHUP as events while the block runs.

    For the main thread. The earlier handlers are put back at the end.
    """
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as numbers:
        yield Signals(numbers)
