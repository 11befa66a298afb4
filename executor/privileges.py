"""Who the executor is: the account that started it, and the account that it becomes.

Jobs never run as root, and neither does the executor. Started as root it must be told which
account to become; it does so for good, and checks that there is no way back, before it reads a
byte from anyone. Started by an ordinary account it stays that account, and says that it shares a
uid with whoever else that account runs.
"""

from __future__ import annotations

import grp
import os
import pwd

from attrs import frozen

from executor.isolation.stack import Refused


class StillRoot(Exception):
    """Something of root is left. Nothing may run."""


@frozen
class Identity:
    """`started_by` is the uid at start; `user`, `uid` and `gid` are the account of the jobs.

    `daemon` is the uid of the daemon, where it is neither root nor who started us: root can start
    us for it, and so can systemd, as the jobs' own account.
    """

    started_by: int
    user: str
    uid: int
    gid: int
    daemon: int | None = None

    @property
    def shared_uid(self) -> bool:
        return self._served == self.uid

    @property
    def access(self) -> frozenset[int]:
        """Who may connect: root, and the daemon or else whoever started us.

        Where the daemon has another, our own uid may not: it is the jobs' as well, and a job is
        no client.
        """
        return frozenset({0, self._served})

    @property
    def _served(self) -> int:
        return self.started_by if self.daemon is None else self.daemon


def identify(user: str | None, jobs_user: str, daemon_user: str = "") -> Identity:
    """Decide whom to become; raises Refused if that would be root, or cannot be done.

    `daemon_user` counts only where root starts us, or we are `jobs_user` already, the account that
    the configuration keeps for jobs: anybody else runs the executor for himself.
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
    for_daemon = daemon_user and (uid == 0 or entry.pw_name == jobs_user)
    daemon = _daemon_uid(daemon_user, entry) if for_daemon else None
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


def supplementary_groups() -> tuple[str, ...]:
    """The names of the groups that this process has besides its own, in order."""
    return tuple(_group_name(gid) for gid in sorted(set(os.getgroups()) - {os.getgid()}))


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def drop(identity: Identity) -> None:
    """Become the account for good, with no groups; a no-op where we are it already.

    Raises Refused if anything of the former identity is left.
    """
    try:
        _become(identity.uid, identity.gid)
    except (StillRoot, OSError) as error:
        raise Refused(
            f"root could not be given up: {error}", "start it from another account"
        ) from error
    os.environ["HOME"] = pwd.getpwuid(identity.uid).pw_dir


def _become(uid: int, gid: int) -> None:
    """If this process is root, become `uid` and `gid` with no groups.

    Raises StillRoot unless all three ids are the new ones and there is no way back.
    """
    if os.getuid() != 0:
        return
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if os.getresuid() != (uid,) * 3 or os.getresgid() != (gid,) * 3 or os.getgroups():
        raise StillRoot("the ids are not the new account's")
    if uid == 0 or _can_go_back():
        raise StillRoot("the way back is open")


def _can_go_back() -> bool:
    try:
        os.setuid(0)
    except PermissionError:
        return False
    return True
