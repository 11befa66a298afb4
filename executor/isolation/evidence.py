"""Judging the evidence from inside the box against what the layers have promised.

The box reports a few plain observations (`executor.inside.box.observe`). For each promise there is
something that must be seen if it is kept; whatever does not fit is named, and a single misfit
means that no user code is sent. A pure function: the tests are a table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import frozen

from executor.isolation.layer import Capability

Seen = Mapping[str, str]


@frozen
class Outside:
    """The same things as seen by the executor, for comparison."""

    pid_namespace: str
    workspace: str  # "device:inode"
    uid: int
    keeps_groups: bool = False  # see Stack


def misfits(seen: Seen, outside: Outside, promised: frozenset[Capability]) -> list[str]:
    """Name everything in the box that is not as promised; empty means verified."""
    found = [text for fits, text in _ALWAYS if not fits(seen, outside)]
    for capability, fits, text in _BY_CAPABILITY:
        if capability in promised and not fits(seen, outside):
            found.append(text)
    return found


def broken(seen: Seen, outside: Outside, promised: frozenset[Capability]) -> frozenset[Capability]:
    """Give the promises that are not kept, of those that are made."""
    return frozenset(
        capability
        for capability, fits, _ in _BY_CAPABILITY
        if capability in promised and not fits(seen, outside)
    )


def _zero(seen: Seen, *names: str) -> bool:
    return all(seen.get(name, "x").strip("0") == "" for name in names)


_Check = Callable[[Seen, Outside], bool]

_ALWAYS: tuple[tuple[_Check, str], ...] = (
    (lambda seen, out: seen.get("uid") == str(out.uid) != "0", "the job has another uid"),
    (lambda seen, _: seen.get("fds") == "0,1,2,3", "the job has inherited descriptors"),
    (
        lambda seen, out: seen.get("workspace") == out.workspace,
        "the working directory is not the job's workspace",
    ),
    (
        # In a user namespace with one group all others are the same nobody's.
        lambda seen, out: seen.get("groups") in (("0", "1") if out.keeps_groups else ("0",)),
        "the job has supplementary groups",
    ),
    (lambda seen, _: seen.get("writable") == "True", "the workspace is not writable"),
    (lambda seen, _: _zero(seen, "CapEff", "CapPrm"), "the job has capabilities"),
)

_BY_CAPABILITY: tuple[tuple[Capability, _Check, str], ...] = (
    (
        Capability.FS,
        lambda seen, _: seen.get("canary") == "unreachable",
        "the job can reach files outside its workspace",
    ),
    (
        Capability.NET,
        lambda seen, _: seen.get("interfaces") == "lo" or seen.get("sockets") == "denied",
        "the job can open sockets and sees network interfaces besides its own loopback",
    ),
    (
        Capability.PID,
        lambda seen, out: seen.get("pid_namespace", "") not in {"", out.pid_namespace},
        "the job is in the executor's pid namespace",
    ),
    (
        Capability.PID,
        lambda seen, _: seen.get("own_proc") == "True",
        "the job sees another namespace's /proc",
    ),
    (
        Capability.SYSCALLS,
        lambda seen, _: seen.get("Seccomp") == "2",
        "the job has no system call filter",
    ),
    (Capability.NNP, lambda seen, _: seen.get("NoNewPrivs") == "1", "no_new_privs is not set"),
    (
        Capability.PID,
        lambda seen, _: _zero(seen, "CapBnd"),
        "the capability bounding set is not empty",
    ),
)
