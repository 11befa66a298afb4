"""Workspaces: a directory for each opaque key, and a lock that orders what happens in it.

The directories lie side by side below one root, which only the executor's own account may enter.
They are kept between jobs. A directory is never reached through a link: what is found under a
key must be a directory, and the account's own. A workspace whose last job could not be proved
dead is quarantined: nothing runs in it until the executor has been started anew.

Without a user namespace jobs have the account itself, and landlock does not keep them from
chmod(2): what one has closed is opened again before anybody relies on it.

Each workspace has a revision, a number that goes up before and after whatever may write in it. Who
finds the number unchanged knows that the files are. It stands in a small file beside the
workspaces and is written through to the kernel each time: killing us loses nothing, and a key
that is used again after its workspace was discarded goes on where it was.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path

import trio
from attrs import define, field, frozen

from executor import removal
from executor.beneath import Beneath

_CANARY = ".canary"
_REVISIONS = ".revisions"
_KEY = re.compile(r"[a-z0-9-]{1,64}")
_MODE = 0o700
_FILE_MODE = 0o600
_CREATING = os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class WorkspaceRefused(Exception):
    """The workspace cannot be used; the message says why and what to do."""


class WorkspaceMissing(WorkspaceRefused):
    """There is no such workspace."""


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
    _revisions: dict[str, int] = field(factory=dict)

    @property
    def canary(self) -> str:
        """A file that this account can reach and no job ever may."""
        return str(self.root / _CANARY)

    def prepare(self) -> int:
        """See that the canary is in its place and that whoever gets to it can read it.

        Out of reach for any other reason than the box, it would prove nothing. Gives a number that
        is another one as soon as somebody has changed it. Raises WorkspaceRefused if the root is
        unusable.
        """
        self._reopen_root()
        try:
            with contextlib.suppress(FileNotFoundError):
                _restore(self.canary, _FILE_MODE)
            os.close(os.open(self.canary, os.O_RDWR | _CREATING, _FILE_MODE))
            return os.lstat(self.canary).st_ctime_ns
        except OSError as error:
            raise WorkspaceRefused(f"{self.root} cannot be used: {error.strerror}") from error

    @contextlib.asynccontextmanager
    async def hold(self, key: str, *, make: bool = True) -> AsyncIterator[Workspace]:
        """Wait for the workspace to be free and keep it while the block runs.

        Raises WorkspaceRefused if it cannot be used, or, unless it is to be made, does not exist.
        """
        entry = self._locks.setdefault(key, _Lock())
        entry.users += 1
        try:
            async with entry.lock:
                yield self._open(key, make=make)
        finally:
            entry.users -= 1
            if entry.users == 0:
                del self._locks[key]

    def quarantine(self, key: str) -> None:
        self._quarantined.add(key)

    def release(self, key: str) -> None:
        self._quarantined.discard(key)

    def keys(self) -> list[str]:
        """The keys of all workspaces that there are, sorted. Raises WorkspaceRefused."""
        self._reopen_root()
        with os.scandir(self.root) as found:
            names = [one.name for one in found if one.is_dir(follow_symlinks=False)]
        return sorted(name for name in names if _KEY.fullmatch(name))

    def discard(self, key: str) -> int:
        """Remove a workspace with all that is in it; gives how many names went.

        The caller holds it. Raises FileRefused if it cannot be removed. Waits for the disk.
        """
        with Beneath.at(str(self.root)) as root:
            return removal.remove(root, key)

    async def sweep(self) -> None:
        """Finish what a killed executor was removing. Gives a thread up when cancelled."""
        for key in await trio.to_thread.run_sync(self._sweep_root, abandon_on_cancel=True):
            with contextlib.suppress(WorkspaceRefused):
                await self._sweep_held(key)

    def _sweep_root(self) -> list[str]:
        """Give the keys of the workspaces in which something is left, too."""
        _sweep(str(self.root))
        with contextlib.suppress(OSError):
            return [key for key in self.keys() if _left(str(self.root / key))]
        return []

    async def _sweep_held(self, key: str) -> None:
        async with self.hold(key, make=False) as workspace:
            self.bump(key)
            try:
                await trio.to_thread.run_sync(_sweep, workspace.path, abandon_on_cancel=True)
            finally:
                self.bump(key)

    # ---- revisions ----

    def revision(self, key: str) -> int:
        """How often the workspace has been written to, as far as can be told; 0 for never."""
        if key not in self._revisions:
            self._revisions[key] = self._read_revision(key)
        return self._revisions[key]

    def bump(self, key: str) -> int:
        """Count the revision up and give the new one: before and after whatever may write.

        Raises WorkspaceRefused if it cannot be written down.
        """
        number = self.revision(key) + 1
        path = self.root / _REVISIONS / key
        try:
            self._write_revision(path, number)
        except OSError as error:
            raise WorkspaceRefused(f"{path} cannot be written: {error.strerror}") from error
        self._revisions[key] = number
        return number

    def _read_revision(self, key: str) -> int:
        """What the file says. In place of nonsense, a number that no workspace has got to."""
        try:
            return int((self.root / _REVISIONS / key).read_bytes()[:20])
        except FileNotFoundError:
            return 0
        except (OSError, ValueError):
            return time.time_ns()

    def _write_revision(self, path: Path, number: int) -> None:
        """Twenty digits, always as many, so that a write replaces what was there in one step."""
        try:
            descriptor = os.open(path, os.O_WRONLY | _CREATING, _FILE_MODE)
        except FileNotFoundError:
            path.parent.mkdir(mode=_MODE)
            descriptor = os.open(path, os.O_WRONLY | _CREATING, _FILE_MODE)
        except PermissionError:
            _restore(path.parent, _MODE)
            with contextlib.suppress(FileNotFoundError):
                _restore(path, _FILE_MODE)
            descriptor = os.open(path, os.O_WRONLY | _CREATING, _FILE_MODE)
        try:
            os.pwrite(descriptor, b"%020d" % number, 0)
        finally:
            os.close(descriptor)

    def _reopen_root(self) -> None:
        try:
            _restore(self.root, _MODE)
        except OSError as error:
            raise WorkspaceRefused(f"{self.root} cannot be used: {error.strerror}") from error

    def _open(self, key: str, *, make: bool) -> Workspace:
        if key in self._quarantined:
            raise WorkspaceRefused(
                f"workspace {key} may still hold a process of an earlier job; "
                "restart the executor and look at its log"
            )
        self._reopen_root()
        path = self.root / key
        try:
            found = _made(path) if make else os.lstat(path)
        except FileNotFoundError:
            raise WorkspaceMissing(f"there is no workspace {key}; see which there are") from None
        except OSError as error:
            raise WorkspaceRefused(f"{path} cannot be made: {error.strerror}") from error
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise WorkspaceRefused(f"{path} is not a directory of uid {os.getuid()}; move it away")
        try:
            _restore(path, _MODE)
        except OSError as error:
            raise WorkspaceRefused(f"{path} cannot be opened: {error.strerror}") from error
        return Workspace(str(path), f"{found.st_dev}:{found.st_ino}")


def _left(path: str) -> list[str]:
    with contextlib.suppress(OSError), Beneath.at(path) as beneath:
        return removal.left(beneath)
    return []


def _sweep(path: str) -> None:
    with contextlib.suppress(OSError), Beneath.at(path) as beneath:
        removal.sweep(beneath)


def _made(path: Path) -> os.stat_result:
    """Make the directory if there is nothing, and look at what is there without following it."""
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=_MODE)
    return os.lstat(path)


def _restore(path: Path | str, mode: int) -> None:
    """Give back the mode of what is ours. Only we can have put anything in its place."""
    if stat.S_IMODE(os.lstat(path).st_mode) != mode:
        os.chmod(path, mode)
