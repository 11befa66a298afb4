"""The places the executor needs before it gives up root: its socket and its workspaces."""

from __future__ import annotations

import os
import pwd
import socket
import stat
from pathlib import Path

from executor.isolation.stack import Refused
from executor.privileges import Identity

_BACKLOG = 128


def bind(path: str, owner: int | None = None) -> socket.socket:
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


def _listen(where: Path, owner: int | None) -> socket.socket:
    """The umask closes the moment between bind and chmod, in which anyone could connect."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(where))
    finally:
        os.umask(before)
    if owner is not None and os.getuid() == 0:
        os.chown(where, owner, -1)
    elif owner is not None:
        _open_to_group_of(where, owner)
    listener.listen(_BACKLOG)
    return listener


def _open_to_group_of(where: Path, owner: int) -> None:
    """Without root the socket stays ours, so a setgid directory must have given it the group."""
    entry = pwd.getpwuid(owner)
    if where.lstat().st_gid != entry.pw_gid:
        where.unlink()
        raise Refused(
            f"{entry.pw_name} could not open {where}",
            f"as root: chgrp {entry.pw_gid} {where.parent} and chmod 2750 {where.parent}",
        )
    where.chmod(0o660)


def _clear(where: Path) -> None:
    """Remove a dead socket; anything else in the way is left alone."""
    if not where.exists():
        return
    if not stat.S_ISSOCK(where.lstat().st_mode):
        raise Refused(f"{where} is in the way and is no socket", "move it away")
    if _somebody_listens(where):
        raise Refused(f"an executor already listens at {where}", "stop it first")
    where.unlink()


def _somebody_listens(where: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(where)) == 0


def make_workspaces(path: str, identity: Identity) -> Path:
    """Make the root of all workspaces, for the job's account alone. Raises Refused."""
    root = Path(path)
    try:
        if not root.exists():
            root.mkdir(mode=0o700, parents=True)
            os.chown(root, identity.uid, identity.gid)
        found = root.lstat()
    except OSError as error:
        raise Refused(
            f"cannot make {path} for workspaces: {error.strerror}",
            "choose another [executor] workspaces, or make its parent writable",
        ) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != identity.uid:
        raise Refused(
            f"{path} is not a directory of {identity.user}",
            f"as root: chown {identity.user} {path}",
        )
    root.chmod(0o700)
    return root


def closed_to_us(path: str) -> str | None:
    """Give the first directory on the way to `path` that this process may not enter, if any."""
    for parent in reversed(Path(path).parents):
        if not os.access(parent, os.X_OK):
            return str(parent)
    return None
