"""What a layer is: something that confines a job, and says honestly what it confines.

A layer declares capabilities: promises about every job that runs under it. It is never asked to
do its best: either the host has what the layer needs, or `missing` says what is lacking and what
would cure it. Promises are not believed, either. What can be seen from inside the box is checked
there before user code runs (`executor.isolation.evidence`).

A job goes through a layer in four steps, any of which a layer may leave out. `begin` changes the
plan by which the job is started and acquires what the job needs on the host; `kill` ends the
job's processes by the layer's own means, besides the keeper's; `usage` says what was used; `end`
releases everything. All four are plain functions that finish in well under a millisecond or two,
so they are called without leaving the event loop.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import ClassVar

from attrs import field, frozen

from executor.settings import Limits


@enum.unique
class Capability(enum.StrEnum):
    """What a stack of layers can promise of a job."""

    FS = "FS"  # sees no file of the host's beyond the system's own, and writes its workspace only
    NET = "NET"  # no interface but its own loopback, no socket of the host's
    PID = "PID"  # sees and signals no process but its own
    KILL_TREE = "KILL_TREE"  # every process it has started can be killed, with proof
    MEM_TOTAL = "MEM_TOTAL"  # a limit on the memory of all its processes together
    PIDS = "PIDS"  # a limit on the number of its processes
    CPU = "CPU"  # a limit on the processor time of all its processes together
    DISK = "DISK"  # a limit on what it leaves in its workspace
    SYSCALLS = "SYSCALLS"  # a system call filter
    NNP = "NNP"  # cannot gain privileges by exec


@frozen
class Missing:
    """Why a layer cannot work on this host, and what would make it."""

    cause: str
    remedy: str


@frozen
class Plan:
    """How a job's first process will be started. Layers make a new one out of an old one.

    `command` is what runs inside the box; `argv` what is executed to get there. `rlimits` maps
    resource numbers to limits that the box sets before user code. `joins` are cgroup.procs files
    that the first process enters before exec. `keep` are paths outside the workspace that the
    job has to see.
    """

    job: str
    workspace: str
    limits: Limits
    argv: tuple[str, ...]
    keep: tuple[str, ...] = ()
    rlimits: Mapping[int, int] = field(factory=dict)
    joins: tuple[str, ...] = ()


@frozen
class Usage:
    """What a layer knows about a job after (or while) it ran; None where it cannot tell."""

    cpu_seconds: float | None = None
    peak_memory_bytes: int | None = None
    out_of_memory: bool = False
    out_of_pids: bool = False


class Layer:
    """The base of all layers: promises nothing, needs nothing, does nothing."""

    name: ClassVar[str]

    def capabilities(self, stack: frozenset[str]) -> frozenset[Capability]:
        """Give the promises this layer keeps in a stack of layers with these names."""
        raise NotImplementedError

    def missing(self) -> Missing | None:
        """Say what the host lacks for this layer to work, or None. May look at the host."""
        return None

    def version(self) -> str:
        """Give the version of the tool behind this layer, if there is one."""
        return ""

    def begin(self, plan: Plan) -> Plan:
        """Take part in starting a job; raises OSError if that cannot be done."""
        return plan

    def kill(self, job: str) -> None:
        """Kill the processes of a job; must be safe to call again."""

    def usage(self, job: str) -> Usage | None:
        """Say what the job has used so far."""

    def end(self, job: str) -> None:
        """Release what `begin` acquired. Called once the job's processes are gone."""
