"""The `none` layer: no isolation at all, for those who say that they want it.

It stands for a stack that isolates nothing, so that there is no way to have one by leaving names
out. It promises nothing; `[executor] require = []` must say that nothing is required, and its name
is on every result.
"""

from __future__ import annotations

from typing import ClassVar

from executor.isolation.layer import Capability, Layer, Plan


class Unconfined(Layer):
    name: ClassVar[str] = "none"

    def __init__(self, workspaces: str) -> None:
        self._workspaces = workspaces

    def capabilities(self, _stack: frozenset[str]) -> frozenset[Capability]:
        return frozenset()

    def begin(self, plan: Plan) -> Plan:
        return plan.confined(workspaces=self._workspaces)
