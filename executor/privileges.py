"""Who the executor is: the account that started it, and the account that it becomes.

Jobs never run as root, and neither does the executor. Started as root it must be told which
account to become; it does so for good, and checks that there is no way back, before it reads a
byte from anyone. Started by an ordinary account it stays that account, and says that it shares a
uid with whoever else that account runs.
"""

from __future__ import annotations

import os
import pwd

from attrs import frozen

from executor import rootless
from executor.isolation.stack import Refused
from executor.rootless import StillRoot


@frozen
class Identity:
    """`started_by` is the uid at start; `user`, `uid` and `gid` are the account of the jobs.

    `daemon` is the uid of the daemon, where it is neither root nor who started us.
    """

    started_by: int
    user: str
    uid: int
    gid: int
    daemon: int | None = None

    @property
    def shared_uid(self) -> bool:
        return self.started_by == self.uid

    @property
    def access(self) -> frozenset[int]:
        """Who may connect: root, whoever started us, and the daemon.

        After a drop our own uid may not: it is the jobs' as well, and a job is no client.
        """
        daemon = self.started_by if self.daemon is None else self.daemon
        return frozenset({0, self.started_by, daemon})


def identify(user: str | None, daemon_user: str = "") -> Identity:
    """Decide whom to become; raises Refused if that would be root, or cannot be done.

    `daemon_user` counts only where root starts us: nobody else could give a socket to it.
    """
    uid = os.getuid()
    if uid == 0 and user is None:
        raise Refused(
            "the executor never runs as root", "give --user famulus-exec, or start it unprivileged"
        )
    entry = _account(user) if user is not None else _entry_of(uid)
    if entry.pw_uid == 0:
        raise Refused(f"{entry.pw_name} is root", "name an account that is not: famulus-exec")
    if uid not in {0, entry.pw_uid}:
        raise Refused(
            f"only root can start the executor as {entry.pw_name}",
            "start it with sudo, or leave --user out",
        )
    daemon = _daemon_uid(daemon_user, entry) if uid == 0 and daemon_user else None
    return Identity(uid, entry.pw_name, entry.pw_uid, entry.pw_gid, daemon)


def _daemon_uid(name: str, jobs: pwd.struct_passwd) -> int:
    """The uid of the daemon's account, which must not be the one that the jobs have."""
    found = _account(name).pw_uid
    if found == jobs.pw_uid:
        raise Refused(
            f"[executor] user and daemon_user are both {name}",
            "give the jobs an account of their own: famulus-exec",
        )
    return found


def _account(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise Refused(
            f"there is no account {user}",
            f"as root: useradd --system --home-dir /var/lib/{user} --create-home "
            f"--shell /usr/sbin/nologin {user}",
        ) from None


def _entry_of(uid: int) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(uid)
    except KeyError:
        raise Refused(f"uid {uid} has no account", "run the executor from one that has") from None


def drop(identity: Identity) -> None:
    """Become the account for good, with no groups; a no-op where we are it already.

    Raises Refused if anything of the former identity is left.
    """
    try:
        rootless.become(identity.uid, identity.gid)
    except (StillRoot, OSError) as error:
        raise Refused(
            f"root could not be given up: {error}", "start it from another account"
        ) from error
    os.environ["HOME"] = pwd.getpwuid(identity.uid).pw_dir
