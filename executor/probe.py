"""The probe: what a job that tries must find, and what it did find.

The executor runs it at start, as a real job, and does not serve if a line does not hold;
`famulus executor probe` runs it again and prints the table. Each line belongs to the promise that
it tests, and is only asked of a stack that makes it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from attrs import frozen

from executor.isolation.layer import Capability

# Read when this module is imported: later our own files may be out of reach.
_PROGRAM = Path(__file__).with_name("inside").joinpath("probe.py").read_text()

# Ways of the kernel, or of the filter, to say no.
_DENIED = ("EPERM", "EACCES")
_UNSEEN = ("ENOENT", "EACCES", "ENOTDIR")
_NO_SOCKET = ("EPERM", "EACCES", "EAFNOSUPPORT", "EINVAL", "ESOCKTNOSUPPORT", "ENOTSUP")


@frozen
class Row:
    """One thing that is tried. `wanted` are the outcomes that hold; `promise` None means always."""

    name: str
    promise: Capability | None
    wanted: tuple[str, ...]


@frozen
class Finding:
    """A row and the outcome; `held` says that it is as it must be."""

    row: Row
    outcome: str

    @property
    def held(self) -> bool:
        return self.outcome in self.row.wanted


def rows(environment: Iterable[str], uid: int) -> tuple[Row, ...]:
    """The table for jobs with these names in their environment, and this uid."""
    return (
        Row("uid", None, (str(uid),)),
        Row("groups", None, ("0", "nobody's")),
        Row("descriptors", None, ("0,1,2",)),
        Row("environment", None, (",".join(sorted({*environment, "HOME"})),)),
        Row("workspace", None, ("written",)),
        Row("tmp", None, ("written", "EACCES")),
        Row("thread", None, ("ran",)),
        Row("program", None, ("ran",)),
        Row("core", Capability.PIDS, ("0",)),
        Row("canary", Capability.FS, _UNSEEN),
        Row("workspaces", Capability.FS, (*_UNSEEN, "0")),
        Row("shadow", Capability.FS, _UNSEEN),
        Row("root", Capability.FS, (*_DENIED, "EROFS")),
        Row("usr", Capability.FS, (*_DENIED, "EROFS")),
        Row("environ of init", Capability.FS, _UNSEEN),
        Row("environ outside", Capability.FS, _UNSEEN),
        Row("signal outside", Capability.PID, ("ESRCH",)),
        Row("processes", Capability.PID, ("0", "1", "2")),
        Row("interfaces", Capability.NET, ("lo", "ENOTSUP", *_DENIED)),
        Row("internet", Capability.NET, ("ENETUNREACH", *_DENIED)),
        Row("NoNewPrivs", Capability.NNP, ("1", "EACCES")),
        Row("Seccomp", Capability.SYSCALLS, ("2", "EACCES")),
        Row("CapEff", None, ("0", "EACCES")),
        Row("CapBnd", Capability.PID, ("0",)),
        *(_denied(f"socket {name}", _NO_SOCKET) for name in ("netlink", "packet", "alg", "vsock")),
        *(_denied(name, ("EPERM",)) for name in _CALLS),
        _denied("clone3", ("ENOSYS",)),
    )


_CALLS = (
    *("add_key", "bpf", "clock_settime", "init_module", "io_uring_setup", "kexec_load", "keyctl"),
    *("mount", "open_by_handle_at", "perf_event_open", "pidfd_getfd", "process_vm_readv"),
    *("ptrace", "setns", "unshare", "userfaultfd"),
)


def _denied(name: str, wanted: tuple[str, ...]) -> Row:
    return Row(name, Capability.SYSCALLS, wanted)


def code(canary: str, workspaces: str) -> str:
    """The job's text. `canary` is a file that no job may reach."""
    outside = {"pid": os.getpid(), "canary": canary, "workspaces": workspaces}
    head, line = _PROGRAM.split("TYPE_CHECKING = False\n", 1)
    return f"{head}TYPE_CHECKING = False\nOUTSIDE = {outside!r}\n{line}"


def judge(
    table: Iterable[Row], output: bytes, promised: frozenset[Capability]
) -> tuple[Finding, ...]:
    """Match what the job has printed with the table; what it has not printed does not hold."""
    found = _outcomes(output)
    asked = (row for row in table if row.promise is None or row.promise in promised)
    return tuple(Finding(row, found.get(row.name, "nothing")) for row in asked)


def _outcomes(output: bytes) -> Mapping[str, str]:
    lines = (line.partition(": ") for line in output.decode(errors="replace").splitlines())
    return {name: outcome for name, _, outcome in lines}
