"""Making boxes, keeping some ready, and giving them up with proof.

A `Box` is what the layers and a zygote have made together. It belongs to whoever took it, who must
`aclose` it. Where a box can be made without knowing whose it will be, a few are kept *warm*: all
that is left to do for a job takes a millisecond. `Boxes.run` is the task that owns those.

A box whose processes could not be proved dead is a state of emergency: its workspace is closed and
the executor says that it is unhealthy. A process that the kernel cannot end at once, for the disk
is busy, does that; when its end is proved after all, all is well again.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Mapping
from typing import NoReturn

import trio
from attrs import define, evolve, field, frozen

from executor import bundle, interpreter, process
from executor.inside.keeper import Start
from executor.isolation.layer import Plan, Usage
from executor.isolation.stack import Stack
from executor.process import BoxProcess, KeeperReport, StartFailed
from executor.settings import Limits, Settings
from executor.zygote import Zygote

# Exactly what a job's environment holds, besides HOME, which the box sets to the workspace.
ENVIRONMENT: Mapping[str, str] = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    # The box's own; where it has none, these three lie in the workspace (`executor.inside.job`).
    "TMPDIR": "/tmp",  # noqa: S108 - as above
    # What libraries keep for the next time has no place among a person's files.
    "MPLCONFIGDIR": "/tmp/.matplotlib",  # noqa: S108 - as above
    "XDG_CACHE_HOME": "/tmp/.cache",  # noqa: S108 - as above
    "GIT_CONFIG_NOSYSTEM": "1",  # the host's own, which landlock closes and git insists on
}
# The layers whose box is executed by a command that must know the workspace.
_NEED_WORKSPACE = frozenset({"firejail", "prefix"})
# A short job is over by then; one that is not has all its processes.
_REFILL_SECONDS = 0.03
# What a box has to do once it has said that it is alone: to exit.
_LAST_STEPS_SECONDS = 1.0
# After a failure to make a box; the next job finds out by itself.
_PAUSE_SECONDS = 1.0


@define(eq=False)
class Box:
    """A box: the plan that it was made by, its processes, and the session that it keeps, if any."""

    plan: Plan
    process: BoxProcess
    stack: Stack
    emergency: Callable[[Box], None]
    most: Mapping[int, int]  # the executor's own rlimits, under which all of the box's jobs stay
    workspace: str = ""
    in_hand: bool = False  # `strays` has been asked, and there were none

    def usage(self) -> Usage:
        """What the layer that keeps accounts says; an empty account where none does."""
        found = (layer.usage(self.plan.name) for layer in self.stack.layers)
        return next((one for one in found if one is not None), Usage())

    def limit(self, limits: Limits) -> None:
        """Apply a job's limits. Raises StartFailed."""
        try:
            plan = evolve(self.plan, limits=limits)
            for layer in self.stack.layers:
                plan = layer.limit(plan)
        except OSError as error:
            raise StartFailed(f"the limits could not be set: {error}") from error
        self.plan = plan

    def strays(self) -> list[str]:
        """Say which layers do not have it in their hands. Once they have, nothing gets out."""
        if self.in_hand:
            return []
        found = [layer.stray(self.plan.name) for layer in self.stack.layers]
        self.in_hand = not any(found)
        return [why for why in found if why]

    def freeze(self, *, on: bool) -> None:
        """Stop everything in it, where the kernel can do that."""
        for layer in self.stack.layers:
            layer.freeze(self.plan.name, on=on)

    async def end(self, *, grace: float = 0.0) -> KeeperReport:
        """See everything dead; `aclose` is still to follow. Shielded, for a bounded time."""
        return await self.process.end(grace=grace)

    async def aclose(self, grace: float = 0.0) -> None:
        """Kill what is left after `grace` seconds, and release everything.

        Shielded, for a bounded time. What is not dead then is the emergency's to release.
        """
        report = await self.process.end(grace=grace)
        if report.empty:
            self.release()
        else:
            self.emergency(self)

    def release(self) -> None:
        """Close the descriptors, and let the layers put away what they have made."""
        self.process.close()
        for layer in self.stack.layers:
            layer.end(self.plan.name)


@frozen
class Kind:
    """A kind of box: which zygote makes it, and how many of it are to be warm."""

    zygote: Zygote
    warm: int
    ready: deque[Box] = field(factory=deque)


@define
class Boxes:
    """Makes boxes under one stack. `kinds` grows when another zygote is started.

    `undead` hears of each box that could not be proved dead, and `buried` when it was after all.
    """

    settings: Settings
    stack: Stack
    undead: Callable[[Box], None]
    buried: Callable[[Box], None]
    kinds: dict[str, Kind] = field(factory=dict)
    _count: int = 0
    _taken: trio.Event = field(factory=trio.Event)
    _idle: trio.Event = field(factory=trio.Event)
    _closing: trio.Nursery | None = None

    @property
    def can_be_warm(self) -> bool:
        return not _NEED_WORKSPACE & set(self.stack.names)

    async def take(self, kind: str, workspace: str, limits: Limits) -> Box:
        """Give a box for a job in the workspace at this path. The caller owns it.

        Raises StartFailed.
        """
        box = self._warm(kind) or await self._make(self.kinds[kind].zygote, workspace)
        box.workspace = workspace
        self._taken.set()
        try:
            box.limit(limits)
        except StartFailed:
            await box.aclose()  # noqa: ASYNC120 - shields itself
            raise
        return box

    def _warm(self, kind: str) -> Box | None:
        """Give a warm box that is alive; what became of the others is nobody's concern."""
        ready = self.kinds[kind].ready
        while ready:
            box = ready.popleft()
            if not box.process.gone:
                return box
            self.retire(box)
        return None

    async def run(self, *, task_status: trio.TaskStatus[None]) -> NoReturn:
        """Own the boxes that are nobody's: the warm ones, and those that are being closed.

        All are closed when this is cancelled.
        """
        async with trio.open_nursery() as nursery:
            self._closing = nursery
            task_status.started()
            try:
                await self._keep_warm()
            finally:
                with trio.CancelScope(shield=True):
                    for kind in self.kinds.values():
                        while kind.ready:
                            await kind.ready.popleft().aclose()
                self._closing = None

    def retire(self, box: Box) -> None:
        """Close a box in which nothing runs any more and that is about to end by itself."""
        if self._closing is None:  # at the very end: the zygote sees to it
            box.release()
        else:
            self._closing.start_soon(box.aclose, _LAST_STEPS_SECONDS)
            self._idle.set()

    def _emergency(self, box: Box) -> None:
        self.undead(box)
        if self._closing is None:
            box.release()
        else:
            self._closing.start_soon(self._bury, box)

    async def _bury(self, box: Box) -> None:
        try:
            if await box.process.buried():
                self.buried(box)
        finally:
            box.release()

    async def _keep_warm(self) -> NoReturn:
        """Make a box for each that was taken, but not while the job it was taken for begins."""
        while True:
            self._taken, self._idle = trio.Event(), trio.Event()
            for kind in list(self.kinds.values()):
                await self._fill(kind)
            await self._taken.wait()
            with trio.move_on_after(_REFILL_SECONDS):
                await self._idle.wait()

    def add(self, name: str, zygote: Zygote, warm: int) -> None:
        self.kinds[name] = Kind(zygote, warm if self.can_be_warm else 0)
        self._taken.set()

    async def _fill(self, kind: Kind) -> None:
        while len(kind.ready) < kind.warm:
            try:
                kind.ready.append(await self._make(kind.zygote, ""))
            except StartFailed:
                await trio.sleep(_PAUSE_SECONDS)
                return

    async def _make(self, zygote: Zygote, workspace: str) -> Box:
        """Make a box; what the layers have begun is ended if that fails."""
        self._count += 1
        name = f"box-{os.getpid()}-{self._count}"
        try:
            plan = self._begin(name, workspace)
            argv = (*plan.argv, *bundle.box_command(self.settings.python)) if plan.argv else ()
            confinement = {**plan.confinement, "environment": dict(ENVIRONMENT)}
            order = Start(confinement, argv, ENVIRONMENT, workspace or "/", plan.joins, plan.cgroup)
            running = await process.start(zygote.orders, order, lambda: self._kill(name))
        except BaseException:
            self._end(name)
            raise
        return Box(plan, running, self.stack, self._emergency, plan.rlimits)

    def _begin(self, name: str, workspace: str) -> Plan:
        keep = (*interpreter.prefixes(self.settings.python), *interpreter.skills(self.settings))
        plan = Plan(name, self.settings.limits, workspace, keep=keep)
        try:
            for layer in self.stack.layers:
                plan = layer.limit(layer.begin(plan))
        except OSError as error:
            raise StartFailed(f"the layers could not be set up: {error}") from error
        return plan

    def _kill(self, name: str) -> None:
        for layer in self.stack.layers:
            layer.kill(name)

    def _end(self, name: str) -> None:
        for layer in self.stack.layers:
            layer.end(name)
