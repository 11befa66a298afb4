"""The `seccomp` layer: a system call filter, which the box puts itself under.

What it denies is in `executor.inside.seccomp`. It comes with no_new_privs, without which an
ordinary user may install no filter.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

from executor.inside import seccomp
from executor.isolation.layer import Capability, Layer, Missing, Plan

# Which answers the kernel's filters can give (Linux 4.14); not there without seccomp.
_ACTIONS = Path("/proc/sys/kernel/seccomp/actions_avail")
_NEEDED = frozenset({"allow", "errno", "kill_process"})
_REMEDY = "leave `seccomp` out of [executor] stack, and SYSCALLS out of require"


class Seccomp(Layer):
    name: ClassVar[str] = "seccomp"

    def capabilities(self, _stack: frozenset[str]) -> frozenset[Capability]:
        return frozenset({Capability.SYSCALLS, Capability.NNP})

    def begin(self, plan: Plan) -> Plan:
        return plan.confined(filter="open")

    def missing(self) -> Missing | None:
        return lacking(os.uname().machine, _ACTIONS)


def lacking(machine: str, actions: Path) -> Missing | None:
    """`missing`, over plain values: uname's machine, and the file that lists the answers."""
    if machine not in seccomp.machines():
        known = " and ".join(seccomp.machines())
        return Missing(f"there is no filter for {machine}, only for {known}", _REMEDY)
    try:
        available = frozenset(actions.read_text().split())
    except OSError:
        return _lacking_of_filters(Path("/proc/self/status").read_text())
    if available >= _NEEDED:
        return None
    absent = ", ".join(sorted(_NEEDED - available))
    return Missing(
        f"seccomp of this kernel cannot answer {absent}",
        f"use a kernel of 4.14 or newer; or {_REMEDY}",
    )


def _lacking_of_filters(status: str) -> Missing | None:
    """`missing` where the list is hidden, as by a unit's ProcSubset=pid.

    A kernel that counts a process's filters (5.9) gives all the answers.
    """
    if "Seccomp_filters:" in status:
        return None
    return Missing(
        "this kernel has no seccomp filters",
        f"use a kernel of 5.9 or newer with CONFIG_SECCOMP_FILTER; or {_REMEDY}",
    )
