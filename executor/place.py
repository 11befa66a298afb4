"""The places the executor needs before it gives up root: its socket and its workspaces."""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
import stat
from pathlib import Path

from attrs import frozen

from executor.isolation.stack import Refused
from executor.privileges import Identity

_BACKLOG = 128


@frozen
class Place:
    """The socket that we listen at, and its file if that is ours: of a `bind` here.

    `handle` is a descriptor of the file, whose number is nobody else's while this is open.
    """

    listener: socket.socket
    path: str = ""
    handle: int | None = None

    def remove(self) -> None:
        """Remove the file, unless another executor has put its own there meanwhile."""
        if self.handle is None:
            return
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(self.handle), os.lstat(self.path)):
                os.unlink(self.path)
        os.close(self.handle)


def bind(path: str, owner: int | None = None) -> Place:
    """Listen at `path`, making parents as needed; for `owner`, or else the account we run as.

    A socket that nobody listens at any more is replaced. Raises Refused if somebody does, or if
    the path cannot be used.
    """
    where = Path(path)
    try:
        where.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        _clear(where)
        return _listen(where, owner)
    except OSError as error:
        raise Refused(
            f"cannot listen at {path}: {error.strerror}",
            "choose another [executor] socket, or make its directory writable",
        ) from error


def _listen(where: Path, owner: int | None) -> Place:
    """Whoever owns the directory could swap the name: root follows no link, and changes no mode.

    Nobody can connect before the last step.
    """
    gives_away = owner is not None and os.getuid() == 0
    with contextlib.ExitStack() as failed:
        listener = failed.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        before = os.umask(0o777 & ~(0o600 if owner is None or gives_away else 0o660))
        try:
            listener.bind(str(where))
        finally:
            os.umask(before)
        handle = os.open(where, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        failed.callback(os.close, handle)
        if gives_away:
            os.chown(where, owner or 0, -1, follow_symlinks=False)
        elif owner is not None:
            _check_group_of(where, owner)
        listener.listen(_BACKLOG)
        failed.pop_all()
    return Place(listener, str(where), handle)


def _check_group_of(where: Path, owner: int) -> None:
    """Without root the socket stays ours, so a setgid directory must have given it the group."""
    entry = pwd.getpwuid(owner)
    if where.lstat().st_gid != entry.pw_gid:
        where.unlink()
        raise Refused(
            f"{entry.pw_name} could not open {where}",
            f"as root: chgrp {entry.pw_gid} {where.parent} and chmod 2750 {where.parent}",
        )


def _clear(where: Path) -> None:
    """Remove a dead socket; anything else in the way is left alone."""
    try:
        found = where.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise Refused(f"{where} is in the way and is no socket", "move it away")
    if _somebody_listens(where):
        raise Refused(f"an executor already listens at {where}", "stop it first")
    where.unlink()


def _somebody_listens(where: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(where)) == 0


def make_workspaces(path: str, identity: Identity) -> None:
    """Make the root of all workspaces, for the job's account alone. Raises Refused.

    Whoever owns its parent could swap it for a link, and so root changes what it has opened.
    """
    try:
        made = not os.path.lexists(path)
        if made:
            os.makedirs(path, mode=0o700)
        root = _opened(path)
    except NotADirectoryError as error:
        raise _not_of(identity.user, path) from error
    except OSError as error:
        if not made and os.lstat(path).st_uid != identity.uid:
            raise _not_of(identity.user, path) from error
        raise Refused(
            f"cannot make {path} for workspaces: {error.strerror}",
            "choose another [executor] workspaces, or make its parent writable",
        ) from error
    try:
        if made and os.getuid() == 0:
            os.fchown(root, identity.uid, identity.gid)
        if os.fstat(root).st_uid != identity.uid:
            raise _not_of(identity.user, path)
        os.fchmod(root, 0o700)
    finally:
        os.close(root)


def _opened(path: str) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags)
    except PermissionError:  # a job may have closed it; root is not kept out by that
        if os.getuid() == 0:
            raise
        os.chmod(path, 0o700)
        return os.open(path, flags)


def _not_of(user: str, path: str) -> Refused:
    remedy = f"choose another [executor] workspaces, or as root: chown {user} {path}"
    return Refused(f"{path} is not a directory of {user}", remedy)


def closed_to_us(path: str) -> str | None:
    """Give the first directory on the way to `path` that this process may not enter, if any."""
    for parent in reversed(Path(path).parents):
        if not os.access(parent, os.X_OK):
            return str(parent)
    return None
