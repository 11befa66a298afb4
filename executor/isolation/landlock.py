"""The `landlock` layer: isolation where namespaces are not to be had, as in a plain container.

The box confines itself (`executor.inside.landlock`) to the system's own files and its workspace.
Landlock alone leaves datagrams, unix sockets with a path and System V memory open; the `seccomp`
layer closes them, so with it only is NET promised. A job sees and signals no process but its own,
but its trusted box does see the others, and there would be no evidence of it in there: PID is not
promised, and so a uid is not shared with a daemon.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import ClassVar

from executor.inside import landlock
from executor.isolation.layer import Capability, Layer, Missing, Plan

# No /proc, no /sys; of /etc what libraries ask for and what holds nothing of the host's own.
_READABLE = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"),
    *("/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime", "/etc/timezone"),
    *("/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/hosts", "/etc/mime.types"),
    *("/etc/fonts", "/etc/matplotlibrc"),
)
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")

_REMEDY = (
    "a kernel of 6.12 or newer with landlock, or the boot parameter lsm=landlock,... if it has it "
    "switched off; or choose another stack"
)


class Landlock(Layer):
    name: ClassVar[str] = "landlock"

    def __init__(self, workspaces: str) -> None:
        """`workspaces` is the directory of all workspaces."""
        self._workspaces = workspaces

    def capabilities(self, stack: frozenset[str]) -> frozenset[Capability]:
        if "seccomp" not in stack:
            return frozenset({Capability.FS})
        return frozenset({Capability.FS, Capability.NET})

    def missing(self) -> Missing | None:
        return lacking(landlock.abi(), os.uname().release)

    def version(self) -> str:
        return f"ABI {landlock.abi()}"

    def begin(self, plan: Plan) -> Plan:
        """Take the place of a network namespace, too: no sockets, where there is a filter."""
        rules = {"readable": self.readable(plan.keep), "writable": self.writable()}
        plan = plan.confined(workspaces=self._workspaces, landlock=rules)
        return plan.confined(filter="closed") if "filter" in plan.confinement else plan

    def readable(self, keep: Iterable[str]) -> list[str]:
        """List the paths that a job may read: the system's own, and `keep`; those there are."""
        return _existing((*_READABLE, *DEVICES, *keep))

    def writable(self) -> list[str]:
        """List the paths that a job may write besides its workspace."""
        return _existing(DEVICES)


def lacking(abi: int, release: str) -> Missing | None:
    """`missing`, over plain values: the ABI of the kernel's landlock, and the kernel's release."""
    cause = landlock.lacking(abi, release)
    return Missing(cause, _REMEDY) if cause else None


def _existing(paths: Iterable[str]) -> list[str]:
    """Drop what is not there, and what is there twice."""
    return [path for path in dict.fromkeys(paths) if os.path.exists(path)]
