"""One daemon per state directory, by a lock that the kernel releases when its holder dies.

The lock is flock(2) on `<state_dir>/lock`. The file holds the holder's pid, for people: it decides
nothing, because pids are used again and the lock is not. The file is never removed: who unlinks a
locked file lets a second process lock a new one of the same name.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from attrs import define

from daemon import log
from daemon.errors import FamulusError, Fatal

LOCK_NAME: Final = "lock"

_log = log.get("statelock")


class StateLocked(FamulusError):
    """Another process holds the state directory. `pid` is None if it did not leave one."""

    def __init__(self, state_dir: Path, pid: int | None) -> None:
        self.pid = pid
        holder = f"process {pid}" if pid else "another process"
        super().__init__(
            f"{state_dir} is in use by {holder}",
            f"stop it first (kill {pid}), or give this one another state_dir"
            if pid
            else "stop it first, or give this one another state_dir",
        )


class StateDirError(Fatal):
    """The state directory cannot be made or written."""


@define
class Held:
    """Proof that the lock is held. Passed to what is only safe for the holder."""

    state_dir: Path
    released: bool = False


@contextmanager
def hold(state_dir: Path) -> Iterator[Held]:
    """Hold the lock on `state_dir` while the block runs; the directory is made if it is absent.

    A directory that is there already is not changed, since it may be somebody else's. One that
    everybody may write is refused; one that others may look into is a warning in the log (the
    files in it are private all the same).

    Raises:
      StateLocked: another process holds it. Does not wait.
      StateDirError: it cannot be made or written.
    """
    _make_private(state_dir)
    fd = _open_lock(state_dir)
    try:
        _take(fd, state_dir)
        _write_pid(fd)
        held = Held(state_dir)
        try:
            yield held
        finally:
            held.released = True
            os.ftruncate(fd, 0)
    finally:
        os.close(fd)  # and with it the lock


def holder(state_dir: Path) -> int | None:
    """The pid in the lock file, for a message. It may be stale: ask the lock, not this."""
    try:
        text = (state_dir / LOCK_NAME).read_text(encoding="ascii")
    except (OSError, ValueError):
        return None
    word = text.strip()
    return int(word) if word.isdigit() else None


def _make_private(state_dir: Path) -> None:
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = stat.S_IMODE(state_dir.stat().st_mode)
    except OSError as error:
        raise _unusable(state_dir, error) from error
    if mode & stat.S_IWOTH:
        raise StateDirError(
            f"everybody may write to the state directory {state_dir} (mode {mode:04o})",
            "choose a directory of the daemon's own as state_dir",
        )
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        _log.warning(
            "others may look into the state directory",
            mode=f"{mode:04o}",
            fix=f"chmod 0700 {state_dir}",
        )


def _open_lock(state_dir: Path) -> int:
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(state_dir / LOCK_NAME, flags, 0o600)
    except OSError as error:
        raise _unusable(state_dir, error) from error


def _unusable(state_dir: Path, error: OSError) -> StateDirError:
    uid = os.geteuid()
    return StateDirError(
        f"the state directory {state_dir} cannot be used by uid {uid}: {error.strerror}",
        f"make it (install -d -m 0700 -o {uid} {state_dir}), or change state_dir",
    )


def _take(fd: int, state_dir: Path) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StateLocked(state_dir, holder(state_dir)) from None


def _write_pid(fd: int) -> None:
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
