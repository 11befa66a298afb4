"""Running one job, from the order to the proof that nothing of it is left.

1. The workspace is held and a slot is free.
2. A box is taken: the one that keeps the job's session, a warm one, or one made for it.
3. The box says what it sees. If that is not what the layers promise, it ends here, and the code
   has never left this process.
4. The code is sent and runs to its end (`executor.running`).
5. The box is closed, with proof that nothing of it is left; or it is kept, if it has a session.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import AsyncIterator
from functools import partial

import trio
from attrs import asdict, define, evolve, field

from executor.beneath import Beneath
from executor.box_channel import BoxError, Order
from executor.boxes import Box, Boxes
from executor.isolation import evidence
from executor.isolation.evidence import Outside
from executor.isolation.layer import Capability
from executor.isolation.stack import Stack
from executor.journal import log
from executor.messages import Job, Result, Started
from executor.output import Output
from executor.process import StartFailed
from executor.room import Room
from executor.running import Inbox, Running, Watcher
from executor.sessions import Sessions
from executor.settings import Limits, Settings
from executor.verdict import STOPPING
from executor.workspace import Workspace, WorkspaceRefused, Workspaces

# firejail needs 50 ms on an idle machine; this is for one that swaps.
_VERIFY_SECONDS = 15.0
_MAX_DIAGNOSIS = 400
# Code that mentions these is given a box that has imported them already.
_DATA = re.compile(r"\b(numpy|pandas|matplotlib|pyplot|scipy)\b")
BASE = "base"
DATA = "data"


@define
class _NotRun(Exception):
    """The job ends before its code was sent, with this result."""

    result: Result


@define
class Runner:
    """Runs jobs under one stack. Whoever makes it runs `boxes.run` and `sessions.run`."""

    settings: Settings
    stack: Stack
    workspaces: Workspaces
    boxes: Boxes = field(init=False)
    sessions: Sessions = field(init=False)
    stopping: trio.Event = field(factory=trio.Event)
    wants_data: trio.Event = field(factory=trio.Event)
    running: int = 0
    _slots: trio.Semaphore = field(init=False)
    _undead: set[str] = field(factory=set)

    def __attrs_post_init__(self) -> None:
        self.boxes = Boxes(self.settings, self.stack, self._lose, self._find)
        self.sessions = Sessions(self.settings.sessions, self.settings.session_idle_seconds)
        self._slots = trio.Semaphore(self.settings.jobs_at_once)

    async def run(self, job: Job, output: Output, inbox: Inbox | None = None) -> Result:
        """Run a job and give its result; output goes to `output` as it comes.

        Cancelling kills the job, and returns from here only when it is dead or has been reported
        as undead (`unhealthy`).
        """
        try:
            async with self.workspaces.hold(job.workspace) as workspace, self._slots:
                return await self._run_in(workspace, job, output, inbox)
        except WorkspaceRefused as error:
            return Result(reason="denied", detail=str(error))
        except StartFailed as error:
            return self._not_run(str(error)).result
        except _NotRun as error:
            return error.result

    async def _run_in(
        self, workspace: Workspace, job: Job, output: Output, inbox: Inbox | None
    ) -> Result:
        if self.unhealthy:
            raise self._not_run(self.unhealthy)
        self.workspaces.bump(job.workspace)
        self.running += 1
        try:
            with Beneath.at(workspace.path) as beneath:
                room = await Room.of(beneath, effective(job.limits, self.settings.limits))
                if job.session and self.settings.sessions:
                    result = await self._run_cell(workspace, job, output, room, inbox)
                else:
                    result = await self._run_once(workspace, job, output, room, inbox)
                result = await room.collect(result, job)
        finally:
            self.running -= 1
            self._count(job.workspace)
        return evolve(result, revision=self.workspaces.revision(job.workspace))

    def _count(self, workspace: str) -> None:
        """Count up the revision once more. It was before the job: nobody has read it since."""
        try:
            self.workspaces.bump(workspace)
        except WorkspaceRefused as error:
            log("revision not written", why=str(error))

    async def _run_cell(
        self, workspace: Workspace, job: Job, output: Output, room: Room, inbox: Inbox | None
    ) -> Result:
        """Run a cell in its session's box, which is then kept, or closed if it has no session."""
        key = (job.workspace, job.session)
        box = self.sessions.take(key)
        if box is not None and box.process.gone:
            await box.aclose()
            box = None
        state = "kept" if box else "new"
        if box is None:
            box = await self.boxes.take(self._kind(job), workspace.path, room.limits)
        lost = True
        try:
            box.limit(room.limits)
            await self._verify(box, workspace, output)
            run = self._running(box, job, output, room, inbox)
            try:
                result = await run.run()
            finally:
                lost = run.lost
        finally:
            if lost:
                await box.aclose()  # noqa: ASYNC102 - shields itself
            else:
                await self.sessions.keep(key, box)  # noqa: ASYNC102 - waits only for a shield
        return evolve(result, session="lost" if lost else state)

    async def _run_once(
        self, workspace: Workspace, job: Job, output: Output, room: Room, inbox: Inbox | None
    ) -> Result:
        async with self._box(workspace, job, room.limits) as box:
            await self._verify(box, workspace, output)
            return await self._running(box, job, output, room, inbox).run()

    def _running(
        self, box: Box, job: Job, output: Output, room: Room, inbox: Inbox | None
    ) -> Running:
        soft = Capability.MEM_TOTAL not in self.stack.capabilities
        order = Order(
            job.language,
            job.code,
            box.plan.rlimits,
            box.most if job.session else box.plan.rlimits,
            session=bool(job.session),
            watched_memory=box.plan.limits.memory_bytes if soft else 0,
        )
        watchers: list[Watcher] = [self._until_stopping, partial(room.until_full, box)]
        return Running(box, order, output, watchers, inbox, job.stdin)

    async def _until_stopping(self) -> str:
        await self.stopping.wait()
        return STOPPING

    # ---- boxes ----

    @contextlib.asynccontextmanager
    async def _box(self, workspace: Workspace, job: Job, limits: Limits) -> AsyncIterator[Box]:
        """A box for this job alone; at the end it is dead, or its workspace is put out of use."""
        box = await self.boxes.take(self._kind(job), workspace.path, limits)
        try:
            yield box
        except BaseException:
            await box.aclose()  # noqa: ASYNC102 - shields itself, with a deadline
            raise
        self.boxes.retire(box)

    def _kind(self, job: Job) -> str:
        """Which zygote's box; one with more imported is started when it is first wanted."""
        if job.language != "python" or not _DATA.search(job.code):
            return BASE
        self.wants_data.set()
        return DATA if DATA in self.boxes.kinds else BASE

    @property
    def unhealthy(self) -> str:
        """Why no job is begun just now; empty when all is well."""
        names = ", ".join(sorted(self._undead))
        if not names:
            return ""
        return (
            f"{names} could not be proved dead, and nothing is run until that is so. "
            "If the disk is busy, wait; else restart the executor"
        )

    def _lose(self, box: Box) -> None:
        log("box not proved dead", box=box.plan.name)
        self._undead.add(box.plan.name)
        if box.workspace:
            self.workspaces.quarantine(os.path.basename(box.workspace))

    def _find(self, box: Box) -> None:
        log("box dead after all", box=box.plan.name)
        self._undead.discard(box.plan.name)
        if box.workspace:
            self.workspaces.release(os.path.basename(box.workspace))

    # ---- verifying ----

    async def believe_what_holds(self, workspace: str) -> None:
        """Take back, of what the stack promises, what a box does not bear out. Nothing is run."""
        async with self.workspaces.hold(workspace) as place:
            box = await self.boxes.take(BASE, place.path, self.settings.limits)
            try:
                seen = await self._look(box, place)
            finally:
                await box.aclose()  # noqa: ASYNC102 - shields itself, with a deadline
        broken = evidence.broken(seen, self._outside(place), self.stack.capabilities)
        self.stack = evolve(self.stack, capabilities=self.stack.capabilities - broken)
        self.boxes.stack = self.stack

    async def _verify(self, box: Box, workspace: Workspace, output: Output) -> None:
        """Raise _NotRun unless the box is what the layers promise."""
        seen = await self._look(box, workspace)
        promised = self.stack.capabilities
        wrong = [*evidence.misfits(seen, self._outside(workspace), promised), *box.strays()]
        if wrong:
            raise self._unverified(_diagnosis("; ".join(wrong), box.process.pending()))
        box.process.pending()  # what the helpers have said so far is not the job's output
        output.begin(Started(self.stack.names))

    def _outside(self, workspace: Workspace) -> Outside:
        namespace = os.readlink("/proc/self/ns/pid")
        return Outside(namespace, workspace.identity, os.getuid(), self.stack.keeps_groups)

    async def _look(self, box: Box, workspace: Workspace) -> dict[str, str]:
        """Say whose box it is now, and give what it sees. Raises _NotRun.

        The canary is made sure of first: one that somebody has removed would prove nothing. Where
        a command clears up after itself, it is not disturbed while it starts: firejail would leave
        a file behind.
        """
        canary = self.workspaces.prepare()
        key = os.path.basename(workspace.path)
        try:
            with trio.fail_after(_VERIFY_SECONDS) as scope:
                scope.shield = box.process.clears_up
                seen = await box.process.box.greet(key, self.workspaces.canary)
        except trio.TooSlowError:
            raise self._unverified(f"the box said nothing within {_VERIFY_SECONDS:g} s") from None
        except BoxError as error:
            await box.end()  # noqa: ASYNC120 - shielded, so it cannot be cancelled
            raise self._unverified(_diagnosis(str(error), box.process.pending())) from error
        if self.workspaces.prepare() != canary:
            raise self._unverified("another job has changed the canary meanwhile")
        return seen

    def _unverified(self, why: str) -> _NotRun:
        return self._not_run(f"the box was not verified: {why}")

    def _not_run(self, why: str) -> _NotRun:
        detail = f"the code was not run: {why}"
        return _NotRun(Result(reason="executor_error", layers=self.stack.names, detail=detail))


def effective(asked: Limits | None, most: Limits) -> Limits:
    """Give the limits for a job: what it asks for, but nothing above the executor's own."""
    if asked is None:
        return most
    ceilings = asdict(most)
    return Limits(**{name: min(value, ceilings[name]) for name, value in asdict(asked).items()})


def _diagnosis(why: str, said: bytes) -> str:
    """Add the end of what the helpers printed, for the person who has to find out."""
    text = " ".join(said.decode(errors="replace").split())[-_MAX_DIAGNOSIS:]
    return f"{why} ({text})" if text else why
