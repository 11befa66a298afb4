"""The `rlimit` layer: limits that the kernel keeps for each process.

They are set by the box just before user code, hard and soft alike, so a job can only lower them.
They isolate nothing, and most of them bind one process only: four processes have four times the
memory. The exception is the number of processes, which inside a user namespace of the job's own
counts that namespace alone, and is then a true limit for the job.
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
# Layers that give each job a user namespace of its own.
_WITH_USER_NAMESPACE = frozenset({"firejail"})


class Rlimit(Layer):
    name: ClassVar[str] = "rlimit"

    def __init__(self, stack: frozenset[str]) -> None:
        self._own_user_namespace = bool(stack & _WITH_USER_NAMESPACE)

    def capabilities(self, _stack: frozenset[str]) -> frozenset[Capability]:
        return frozenset({Capability.PIDS}) if self._own_user_namespace else frozenset()

    def begin(self, plan: Plan) -> Plan:
        return evolve(plan, rlimits={**plan.rlimits, **self._limits(plan.limits)})

    def _limits(self, limits: Limits) -> dict[int, int]:
        """Without a user namespace NPROC would count every process of the account: left alone."""
        values = {
            resource.RLIMIT_AS: _ADDRESS_SPACE,
            resource.RLIMIT_CPU: limits.cpu_seconds + 1,
            resource.RLIMIT_FSIZE: limits.file_bytes,
            resource.RLIMIT_NOFILE: limits.open_files,
            resource.RLIMIT_CORE: 0,
        }
        if self._own_user_namespace:
            values[resource.RLIMIT_NPROC] = limits.pids + _SPARE_PROCESSES
        return values
