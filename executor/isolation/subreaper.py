"""The `subreaper` layer: no process of a job gets away.

The means are the keeper's (`executor.inside.keeper`), which a box without a pid namespace has:
orphans come back to it, it kills until wait(2) finds no child, and it does so even when the
executor itself is killed. This layer is the promise that goes with it.
"""

from __future__ import annotations

import os
from typing import ClassVar

from executor.isolation.layer import Capability, Layer, Missing


class Subreaper(Layer):
    name: ClassVar[str] = "subreaper"

    def capabilities(self, _stack: frozenset[str]) -> frozenset[Capability]:
        return frozenset({Capability.KILL_TREE})

    def missing(self) -> Missing | None:
        """It must see the processes that it is to kill: hidepid leaves our own, which suffices."""
        if os.access(f"/proc/{os.getpid()}/stat", os.R_OK):
            return None
        return Missing("/proc is not mounted", "mount it: `mount -t proc proc /proc`")
