"""Moving into namespaces: what the box of the `namespaces` layer sees instead of the host.

`enter` is called by the first process of new user, mount, pid, network, ipc and uts namespaces. It
builds a root directory in a small tmpfs out of what a *view* names, and lets go of the host's.
What is left of the host is one hidden mount of the directory of all workspaces; `take_workspace`
binds one of them in its place and lets go of the rest. Between the two calls the box is warm: it
belongs to nobody yet, and has run no code but ours.

A view is a dict: `binds` (list of [source, target]), `links` (list of [target, name]), `files`
(name -> text), `workspaces` (a path), `uid` and `gid`. Names are relative to the new root.
"""

from __future__ import annotations

import os

from executor.inside import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# The namespaces that the box is cloned into; that of cgroups follows when it has joined its own.
ALL = (
    kernel.CLONE_NEWUSER
    | kernel.CLONE_NEWNS
    | kernel.CLONE_NEWPID
    | kernel.CLONE_NEWNET
    | kernel.CLONE_NEWIPC
    | kernel.CLONE_NEWUTS
)
WORKSPACE = "/workspace"

_STAGE = "/tmp"  # noqa: S108 - in a mount namespace of our own; it is there on every system
PROC = _STAGE + "/proc"  # which not every host lets us mount
_HIDDEN = "/.workspaces"
_DEVICES = ("null", "zero", "full", "random", "urandom")
_DEVICE_LINKS = (
    ("/proc/self/fd", "/dev/fd"),
    ("fd/0", "/dev/stdin"),
    ("fd/1", "/dev/stdout"),
    ("fd/2", "/dev/stderr"),
)
_QUIET = kernel.MS_NOSUID | kernel.MS_NODEV
# Sizes and numbers of inodes of what lies in memory, which counts as the job's where accounts are
# kept. The root holds a few generated files and is read-only before any job.
_ROOT = "size=1m,nr_inodes=256,mode=755"
_OWN = {
    "/tmp": "size=64m,nr_inodes=8192,mode=1777",  # noqa: S108 - the box's own
    "/dev/shm": "size=32m,nr_inodes=1024,mode=1777",  # noqa: S108 - as above
}
_SEALED = kernel.MOUNT_ATTR_RDONLY | kernel.MOUNT_ATTR_NOSUID | kernel.MOUNT_ATTR_NODEV


def enter(view: dict[str, Any]) -> None:
    """Leave the host's files, network and names behind. Raises OSError."""
    kernel.unshare(kernel.CLONE_NEWCGROUP)
    _map_ids(view["uid"], view["gid"])
    kernel.be_opaque()
    kernel.loopback_up()
    kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
    _build(view)
    kernel.enter_root(_STAGE)


def take_workspace(name: str) -> None:
    """Mount one workspace at WORKSPACE, let go of all others, and go there. Raises OSError."""
    kernel.mount(_HIDDEN + "/" + name, WORKSPACE, flags=kernel.MS_BIND)
    kernel.set_mount_attributes(WORKSPACE, kernel.MOUNT_ATTR_NOSUID | kernel.MOUNT_ATTR_NODEV)
    kernel.unmount(_HIDDEN)
    os.chdir(WORKSPACE)


def _map_ids(uid: int, gid: int) -> None:
    """Keep the ids as they are outside; no other exists in here."""
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", "%d %d 1" % (uid, uid)),
        ("gid_map", "%d %d 1" % (gid, gid)),
    ):
        _write("/proc/self/" + name, text)


def _build(view: dict[str, Any]) -> None:
    """Make the new root in a tmpfs at _STAGE, which may hide what we need: that is opened first.

    First all that has to be there, then what comes from the host, then all of it read-only in one
    go, and last what must not be so.
    """
    binds = [(os.open(source, os.O_PATH), target) for source, target in view["binds"]]
    devices = [(os.open("/dev/" + name, os.O_PATH), "/dev/" + name) for name in _DEVICES]
    workspaces = (os.open(view["workspaces"], os.O_PATH), _HIDDEN)
    kernel.mount("tmpfs", _STAGE, "tmpfs", _QUIET, _ROOT)
    for descriptor, target in (*binds, *devices):
        _point(_STAGE + target, is_directory=os.path.isdir("/proc/self/fd/%d" % descriptor))
    for target, name in (*view["links"], *_DEVICE_LINKS):
        os.symlink(target, _directory_of(_STAGE + name))
    for name, text in view["files"].items():
        _write(_directory_of(_STAGE + name), text)
    for name in (*_OWN, "/proc", WORKSPACE, _HIDDEN):
        os.mkdir(_STAGE + name, 0o700 if name == _HIDDEN else 0o755)
    for descriptor, target in binds:
        _bind(descriptor, target, kernel.MS_REC)
    kernel.set_mount_attributes(_STAGE, _SEALED)
    for descriptor, target in (*devices, workspaces):
        _bind(descriptor, target)
    for name, options in _OWN.items():
        kernel.mount("tmpfs", _STAGE + name, "tmpfs", _QUIET, options)
    kernel.mount("proc", PROC, "proc", _QUIET | kernel.MS_NOEXEC)
    for descriptor, _ in (*binds, *devices, workspaces):
        os.close(descriptor)


def _bind(descriptor: int, target: str, flags: int = 0) -> None:
    source = "/proc/self/fd/%d" % descriptor
    kernel.mount(source, _STAGE + target, flags=kernel.MS_BIND | flags)


def _point(path: str, *, is_directory: bool) -> None:
    """Make something to mount on."""
    _directory_of(path)
    if is_directory:
        os.makedirs(path, exist_ok=True)
    else:
        _write(path, "")


def _directory_of(path: str) -> str:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return path


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
