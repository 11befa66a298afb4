"""The `rlimit` layer: limits that the kernel keeps for each process.

They are set by the box just before user code, hard and soft alike, so a job can only lower them.
They isolate nothing, and most of them bind one process only: four processes have four times the
memory. The exception is the number of processes. In a user namespace of the job's own it counts
that namespace alone, and is a true limit for the job; without one it counts the account, and holds
all jobs together to what they may have together.
"""

from __future__ import annotations

import resource
from typing import ClassVar

from attrs import evolve

from executor.isolation.layer import Capability, Layer, Plan
from executor.settings import Limits

# Address space is not memory: numpy and threads map far more than they touch.
_ADDRESS_SPACE = 4 * 1024**3
# The box's own processes count too, and a cgroup should be the first to say no: it keeps count.
_SPARE_PROCESSES = 8
# The executor, its zygotes, keepers, boxes and sessions, where they count as well.
_OWN_PROCESSES = 64
# Layers that give each job a user namespace of its own.
_WITH_USER_NAMESPACE = frozenset({"namespaces", "firejail"})


class Rlimit(Layer):
    name: ClassVar[str] = "rlimit"

    def __init__(self, stack: frozenset[str], jobs: int) -> None:
        """`jobs` can run at once under an account that nobody else has; 0 if somebody has."""
        self._own_user_namespace = bool(stack & _WITH_USER_NAMESPACE)
        self._jobs = jobs

    def capabilities(self, stack: frozenset[str]) -> frozenset[Capability]:
        """DISK is kept by the limit on a file and the executor's watch over the workspace."""
        counted = stack & _WITH_USER_NAMESPACE or self._jobs
        return frozenset({Capability.DISK, *([Capability.PIDS] if counted else [])})

    def limit(self, plan: Plan) -> Plan:
        return evolve(plan, rlimits=self._limits(plan.limits))

    def _limits(self, limits: Limits) -> dict[int, int]:
        """Without a user namespace NPROC counts every process of the account: of all jobs."""
        values = {
            resource.RLIMIT_AS: _ADDRESS_SPACE,
            resource.RLIMIT_CPU: limits.cpu_seconds + 1,
            resource.RLIMIT_FSIZE: limits.file_bytes,
            resource.RLIMIT_NOFILE: limits.open_files,
            resource.RLIMIT_CORE: 0,
        }
        if self._own_user_namespace:
            values[resource.RLIMIT_NPROC] = limits.pids + _SPARE_PROCESSES
        elif self._jobs:
            values[resource.RLIMIT_NPROC] = limits.pids * self._jobs + _OWN_PROCESSES
        return values
