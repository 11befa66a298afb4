"""The real daemon as a child process of the demo.

It is started in a session of its own, so that Ctrl-C reaches the demo alone and the demo ends the
daemon in order; and with a parent-death signal where `setpriv` offers one, so that a demo that is
killed leaves no daemon behind. That signal follows the thread that forks, so the child is made on
the main thread, which blocks for a millisecond or two.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import trio
from attrs import define, field

from daemon.demo.place import Place
from daemon.errors import FamulusError

# The folder that has the package: wherever the demo is started, the child finds the same code.
CODE: Final = Path(__file__).parents[2]

REAL_DAEMON: Final = (sys.executable, "-m", "daemon", "run", "--with-executor", "--config")

# Seconds beyond the daemon's own grace before it is killed.
END_TIMEOUT: Final = 12.0
KILL_TIMEOUT: Final = 5.0
STOP_TIMEOUT: Final = END_TIMEOUT + KILL_TIMEOUT + 1.0
LAST_LINES: Final = 12
LINE_WIDTH: Final = 400


class DaemonDied(FamulusError):
    """The daemon ended by itself, or did not come up; the cause has the last lines of its log."""


@define(eq=False)
class DaemonProcess:
    """One daemon after the other, all with the same configuration and state."""

    place: Place
    # What is run; the path of the configuration is added.
    command: Sequence[str] = REAL_DAEMON
    _popen: subprocess.Popen[bytes] | None = None
    # Those that we ended, so that their end is not taken for an accident.
    _meant: set[subprocess.Popen[bytes]] = field(factory=set, init=False)

    @property
    def pid(self) -> int:
        """The number of the daemon that runs now; 0 before the first."""
        return self._popen.pid if self._popen is not None else 0

    def start(self) -> None:
        """Start it. Its output goes to the end of the log."""
        with self.place.log.open("ab") as log:
            self._popen = subprocess.Popen(
                [*_leash(), *self.command, str(self.place.config)],
                cwd=CODE,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def watch(self) -> DaemonDied | None:
        """Wait until the daemon that runs now ends; gives its story unless the end was meant."""
        popen = self._popen
        if popen is None:
            return None
        await _ended(popen)
        return None if popen in self._meant else self.story(f"the daemon ended with {popen.poll()}")

    def story(self, what: str) -> DaemonDied:
        """Give an error with the last lines of the log."""
        return DaemonDied(f"{what}; the last lines of its log:\n{self.last_words()}")

    async def kill(self) -> None:
        """Kill it without warning, as a power cut would."""
        await self._end(signal.SIGKILL, KILL_TIMEOUT)

    async def stop(self) -> int:
        """Ask it to end, wait, kill it if it does not. Returns its exit code.

        Takes at most STOP_TIMEOUT seconds; to be called under a shield of that length.
        """
        code = await self._end(signal.SIGTERM, END_TIMEOUT)
        if code is None:
            code = await self._end(signal.SIGKILL, KILL_TIMEOUT)
        return -signal.SIGKILL if code is None else code

    async def _end(self, number: signal.Signals, timeout: float) -> int | None:
        """Send a signal and wait; gives the exit code, None when it still runs."""
        if self._popen is None:
            return 0
        self._meant.add(self._popen)
        with suppress(ProcessLookupError):
            self._popen.send_signal(number)
        with trio.move_on_after(timeout):
            await _ended(self._popen)
        return self._popen.poll()

    def last_words(self) -> str:
        """Give the last lines of the log."""
        lines = self.place.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(f"    {line[:LINE_WIDTH]}" for line in lines[-LAST_LINES:])


def _leash() -> list[str]:
    return ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []


async def _ended(popen: subprocess.Popen[bytes]) -> None:
    """Wait until a child has ended, without reaping it."""
    if popen.returncode is not None:
        return
    pidfd = os.pidfd_open(popen.pid)
    try:
        await trio.lowlevel.wait_readable(pidfd)
    finally:
        os.close(pidfd)
