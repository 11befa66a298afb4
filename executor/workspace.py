"""Workspaces: a directory for each opaque key, and a lock that orders what happens in it.

The directories lie side by side below one root, which only the executor's own account may enter.
They are kept between jobs. A directory is never reached through a link: what is found under a
key must be a directory, and the account's own. A workspace whose last job could not be proved
dead is quarantined: nothing runs in it until the executor has been started anew.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import trio
from attrs import define, field, frozen

_CANARY = ".canary"


class WorkspaceRefused(Exception):
    """The workspace cannot be used; the message says why and what to do."""


@frozen
class Workspace:
    """An open workspace: its path, and the identity that a job must find as its directory."""

    path: str
    identity: str  # "device:inode"


@define
class _Lock:
    lock: trio.Lock = field(factory=trio.Lock)
    users: int = 0


@define
class Workspaces:
    """All workspaces below `root`, an absolute path that exists."""

    root: Path
    _locks: dict[str, _Lock] = field(factory=dict)
    _quarantined: set[str] = field(factory=set)

    @property
    def canary(self) -> str:
        """A file that this account can reach and no job ever may."""
        return str(self.root / _CANARY)

    def prepare(self) -> None:
        """See that the canary is in its place. Raises WorkspaceRefused if the root is unusable."""
        try:
            os.close(os.open(self.canary, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise WorkspaceRefused(f"{self.root} cannot be used: {error.strerror}") from error

    @contextlib.asynccontextmanager
    async def hold(self, key: str) -> AsyncIterator[Workspace]:
        """Wait for the workspace to be free and keep it while the block runs.

        Raises WorkspaceRefused if it cannot be used.
        """
        entry = self._locks.setdefault(key, _Lock())
        entry.users += 1
        try:
            async with entry.lock:
                yield self._open(key)
        finally:
            entry.users -= 1
            if entry.users == 0:
                del self._locks[key]

    def quarantine(self, key: str) -> None:
        self._quarantined.add(key)

    def _open(self, key: str) -> Workspace:
        if key in self._quarantined:
            raise WorkspaceRefused(
                f"workspace {key} may still hold a process of an earlier job; "
                "restart the executor and look at its log"
            )
        path = self.root / key
        try:
            found = _made(path)
        except OSError as error:
            raise WorkspaceRefused(f"{path} cannot be made: {error.strerror}") from error
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise WorkspaceRefused(f"{path} is not a directory of uid {os.getuid()}; move it away")
        return Workspace(str(path), f"{found.st_dev}:{found.st_ino}")


def _made(path: Path) -> os.stat_result:
    """Make the directory if there is nothing, and look at what is there without following it."""
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    return os.lstat(path)
