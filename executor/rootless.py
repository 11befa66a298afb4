"""Giving up root, for good, and making sure of it.

Apart from `privileges`, because the spawner does it too and imports next to nothing.
"""

from __future__ import annotations

import os


class StillRoot(Exception):
    """Something of root is left. Nothing may run."""


def become(uid: int, gid: int) -> None:
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
