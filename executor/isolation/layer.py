"""What a layer is: something that confines a job, and says honestly what it confines.

A layer declares capabilities: promises about every job that runs under it. It is never asked to
do its best: either the host has what the layer needs, or `missing` says what is lacking and what
would cure it. Promises are not believed, either. What can be seen from inside the box is checked
there before user code runs (`executor.isolation.evidence`).

A box goes through a layer in five steps, any of which a layer may leave out. `begin` changes the
plan by which the box is started and acquires what it needs on the host; `limit` applies the
limits of a job, once it is known which job the box is for; `kill` ends the box's processes by the
layer's own means, besides its owner's; `usage` says what was used; `end` releases everything. All
are plain functions that finish in well under a millisecond or two, so they are called without
leaving the event loop. `freeze` is for the one who must look at files while nobody writes them.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, ClassVar

from attrs import evolve, field, frozen

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
    DISK = "DISK"  # a limit on what it leaves in its workspace, kept by a watcher
    SYSCALLS = "SYSCALLS"  # a system call filter
    NNP = "NNP"  # cannot gain privileges by exec


@frozen
class Missing:
    """Why a layer cannot work on this host, and what would make it."""

    cause: str
    remedy: str


@frozen
class Plan:
    """How a box will be started. Layers make a new one out of an old one.

    `name` is the box's own. `confinement` is what the box does to itself (`executor.inside.box`):

    - `view`: what it sees in namespaces of its own (`executor.inside.spaces`); without one there
      are none, and a keeper looks after it
    - `workspaces`: the directory that holds its workspace, if it has to go there itself
    - `landlock`: `readable` and `writable` paths
    - `filter`: "open", or "closed" where sockets would lead out

    `argv` is a command that confines what follows it and is executed; empty means that the box is
    a fork, with nothing to execute. `workspace` is a path, known from the start only to a box that
    is executed. `rlimits` maps resource numbers to limits that the box sets before user code.
    `joins` are files of cgroup v1 that the first process enters by; `cgroup` is a cgroup v2
    directory that it is born in. `keep` are paths outside the workspace that the job has to see,
    and not to change.
    """

    name: str
    limits: Limits
    workspace: str = ""
    confinement: Mapping[str, Any] = field(factory=dict)
    argv: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    rlimits: Mapping[int, int] = field(factory=dict)
    joins: tuple[str, ...] = ()
    cgroup: str = ""

    def confined(self, **more: object) -> Plan:
        """The same plan with more in its confinement."""
        return evolve(self, confinement={**self.confinement, **more})


@frozen
class Usage:
    """What a layer knows about a box after (or while) it ran; None where it cannot tell.

    `oom_kills` and `refused_forks` count how often the kernel enforced a limit.
    """

    cpu_seconds: float | None = None
    peak_memory_bytes: int | None = None
    oom_kills: int = 0
    refused_forks: int = 0


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
        """Take part in starting a box; raises OSError if that cannot be done."""
        return plan

    def limit(self, plan: Plan) -> Plan:
        """Apply `plan.limits` to a box that has begun; raises OSError if that cannot be done."""
        return plan

    def stray(self, _box: str) -> str:
        """Say so if a box that has begun is not in this layer's hands; else ''."""
        return ""

    def freeze(self, box: str, *, on: bool) -> None:
        """Stop all processes of a box, or let them go on; only where the kernel can do that."""

    def kill(self, box: str) -> None:
        """Kill the processes of a box; must be safe to call again."""

    def usage(self, box: str) -> Usage | None:
        """Say what a box has used so far."""

    def end(self, box: str) -> None:
        """Release what `begin` acquired. Called once the box's processes are gone."""
