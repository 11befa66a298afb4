"""The `namespaces` layer: seven namespaces of the box's own.

They are those of users, mounts, pids, network, ipc, names and cgroups. It needs no helper and no
privilege, only a kernel that lets ordinary accounts make user namespaces. The work is done in the
box (`executor.inside.spaces`); this file decides what a box sees: the system's programs and
libraries, read-only; a generated /etc with what programs look up in it; five devices; a private
/proc, /tmp and /dev/shm; its workspace; nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from executor.inside import kernel, spaces
from executor.isolation.layer import Capability, Layer, Missing, Plan

# Directories of programs and libraries, where they are no links into /usr.
_SYSTEM = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32")
# What is taken over from /etc: where programs find libraries, alternatives, the time, and fonts.
_ETC = (
    *("ld.so.cache", "alternatives", "localtime", "mime.types"),
    *("fonts", "matplotlibrc"),
)
_LIMIT = Path("/proc/sys/user/max_user_namespaces")
_DEBIAN_SWITCH = Path("/proc/sys/kernel/unprivileged_userns_clone")
_APPARMOR_SWITCH = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
_KERNEL = (5, 12)  # mount_setattr
# The kernel allows a fresh /proc only where the host's own can be seen whole.
_UNMASK = (
    "let the container see all of /proc (docker run --security-opt systempaths=unconfined), "
    "or choose the landlock stack"
)


class Namespaces(Layer):
    name: ClassVar[str] = "namespaces"

    def __init__(self, workspaces: str, user: str) -> None:
        """`workspaces` is the directory of all workspaces, `user` the name that a job has."""
        self._workspaces = workspaces
        self._user = user
        self._views: dict[tuple[str, ...], dict[str, Any]] = {}

    def capabilities(self, _stack: frozenset[str]) -> frozenset[Capability]:
        return frozenset(
            {
                Capability.FS,
                Capability.NET,
                Capability.PID,
                Capability.KILL_TREE,
                Capability.NNP,
            }
        )

    def missing(self) -> Missing | None:
        if not kernel.supported() or _kernel_version() < _KERNEL:
            return Missing(
                f"namespaces need Linux 5.12 on x86_64 or aarch64, and this is {os.uname().release}"
                f" on {os.uname().machine}",
                "upgrade the kernel",
            )
        return lacking(view(self._workspaces, self._user, ()))

    def begin(self, plan: Plan) -> Plan:
        if plan.keep not in self._views:
            self._views[plan.keep] = view(self._workspaces, self._user, plan.keep)
        return plan.confined(view=self._views[plan.keep])


def view(workspaces: str, user: str, keep: Iterable[str]) -> dict[str, Any]:
    """Say what a box sees of this host, in the form that `executor.inside.spaces` takes."""
    binds, links = _system()
    binds += [[f"/etc/{name}", f"/etc/{name}"] for name in _ETC if os.path.exists(f"/etc/{name}")]
    binds += [[path, path] for path in keep]
    return {
        "binds": binds,
        "links": links,
        "files": _etc(user, os.getuid(), os.getgid()),
        "workspaces": workspaces,
        "uid": os.getuid(),
        "gid": os.getgid(),
    }


def _system() -> tuple[list[list[str]], list[list[str]]]:
    """The system's directories as binds, and those that are links (a merged /usr) as links."""
    binds: list[list[str]] = []
    links = [["/tmp", "/var/tmp"]]  # noqa: S108 - the box's own
    for name in _SYSTEM:
        path = f"/{name}"
        if os.path.islink(path):
            links.append([os.readlink(path), path])
        elif os.path.isdir(path):
            binds.append([path, path])
    return binds, links


def _etc(user: str, uid: int, gid: int) -> dict[str, str]:
    return {
        "/etc/passwd": f"{user}:x:{uid}:{gid}::{spaces.WORKSPACE}:/bin/bash\n",
        "/etc/group": f"{user}:x:{gid}:\n",
        "/etc/hosts": "127.0.0.1 localhost box\n::1 localhost\n",
        "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
        "/etc/resolv.conf": "",
    }


def _kernel_version() -> tuple[int, ...]:
    return tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])


def lacking(seen: Mapping[str, Any]) -> Missing | None:
    """Try it, because the switches that forbid it are many and new ones come: make a whole box.

    `seen` is what it is to see (`view`). Only for a process with a single thread.
    """
    try:
        why = _try(seen)
    except OSError as error:
        return Missing(f"this host forbids namespaces to ordinary accounts ({error})", _remedy())
    if why.startswith(f"mount {spaces.PROC}:"):
        return Missing(f"no box can have a /proc of its own here ({why})", _UNMASK)
    return Missing(f"no box can be made in namespaces here ({why})", _remedy()) if why else None


def _try(seen: Mapping[str, Any]) -> str:
    """Make a box and let it end; gives what went wrong in it. Raises OSError without namespaces."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    with os.fdopen(reader) as said, os.fdopen(writer, "w") as say:
        pid, pidfd = kernel.clone(spaces.ALL)
        if pid == 0:
            _be_the_box(dict(seen), say.fileno())
        os.close(pidfd)
        say.close()
        why = said.read()
        os.waitpid(pid, 0)
    return why


def _be_the_box(seen: dict[str, Any], say: int) -> NoReturn:
    """The child ends here, whatever happens, and says what it was.

    Who has given up root is opaque, and may not even write its own id maps; a zygote is not.
    """
    try:
        kernel.be_visible()
        spaces.enter(seen)
    except OSError as error:
        os.write(say, f"{error.filename or ''} {error.strerror}".strip().encode())
    except Exception as error:  # noqa: BLE001 - as it says
        os.write(say, repr(error).encode())
    finally:
        os._exit(0)


def _remedy() -> str:
    """The switch that is off, as far as we know them."""
    if _text(_LIMIT) == "0":
        return "as root: sysctl -w user.max_user_namespaces=10000"
    if _text(_DEBIAN_SWITCH) == "0":
        return "as root: sysctl -w kernel.unprivileged_userns_clone=1"
    if _text(_APPARMOR_SWITCH) == "1":
        return "install the AppArmor profile apparmor/famulus-exec (see SECURITY.md)"
    return "in a container, allow them or choose the landlock stack"


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
