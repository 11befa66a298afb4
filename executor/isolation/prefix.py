"""The `prefix` layer: a jail command of the owner's own choice, put before the box's command.

We know nothing of it. It is said to isolate files, network and processes, and is believed only as
far as the probe at start finds that it does; what does not hold is taken back from its promises,
and then the question is whether the rest covers what is required.

The command must pass on descriptors 3 and 4 (firejail: --keep-fd=3,4) and start the box in its
workspace, which is its working directory when it is executed. `{workspace}` in a word of the
command stands for the workspace's path.
"""

from __future__ import annotations

import os
from typing import ClassVar

from attrs import evolve

from executor.isolation.layer import Capability, Layer, Missing, Plan


class Prefix(Layer):
    name: ClassVar[str] = "prefix"

    def __init__(self, command: tuple[str, ...]) -> None:
        self._command = command

    def capabilities(self, _stack: frozenset[str]) -> frozenset[Capability]:
        return frozenset({Capability.FS, Capability.NET, Capability.PID})

    def missing(self) -> Missing | None:
        if not self._command:
            return Missing("[executor] prefix is empty", "write the command there, or leave it out")
        if not os.access(self._command[0], os.X_OK):
            return Missing(
                f"{self._command[0]} is not there or may not be run", "install it, or mend its mode"
            )
        return None

    def begin(self, plan: Plan) -> Plan:
        words = (word.replace("{workspace}", plan.workspace) for word in self._command)
        return evolve(plan, argv=tuple(words))
