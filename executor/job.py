"""Running one job, from the order to the proof that nothing of it is left.

1. The workspace is held and a slot is free.
2. The layers make the plan; the spawner starts the box.
3. The box says what it sees. If that is not what the layers promise, it ends here, and the code
   has never left this process.
4. The code is sent, and from now on the clock runs. Output is drained by two tasks that do
   nothing else, so a job never waits for a reader.
5. Whatever happens first ends the job: its main process ends, or a watcher (time, processor,
   output, shutdown) speaks. Nobody waits for a pipe to close: a grandchild may hold it for ever.
6. Everything is killed, and the keeper proves that nothing is left. Now the pipes do close, and
   what is still in them is read.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import trio
from attrs import asdict, define, evolve, field, frozen

from executor import box_channel, process, verdict
from executor.box_channel import BoxError, Ended, Order
from executor.isolation import evidence
from executor.isolation.evidence import Outside
from executor.isolation.layer import Capability, Plan, Usage
from executor.isolation.stack import Stack
from executor.keeper import Start
from executor.messages import Job, Result, Started
from executor.output import HeadTail, Output
from executor.process import BoxProcess, KeeperReport, StartFailed
from executor.settings import Limits, Settings
from executor.verdict import Facts
from executor.workspace import Workspace, WorkspaceRefused, Workspaces

# Exactly what a job's environment holds, besides HOME, which the box sets to the workspace.
ENVIRONMENT: Mapping[str, str] = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "TMPDIR": "/tmp",  # noqa: S108 - the box's own
}

# firejail needs 50 ms on an idle machine; this is for one that swaps.
_VERIFY_SECONDS = 15.0
# All writers are dead by then: what is left is what fits in a pipe.
_LAST_DRAIN_SECONDS = 1.0
_CPU_POLL_SECONDS = 0.1
# firejail clears up after itself if it may end by itself; killed, it leaves an empty directory
# behind in /run/firejail.
_GRACE_SECONDS = 0.03
_READ_SIZE = 64 * 1024
_MAX_DIAGNOSIS = 400


@frozen
class _Refused(Exception):
    """The job ends before its code was sent, with this result."""

    result: Result


@define
class _Ending:
    """The first cause to be named ends the waiting; later ones are ignored."""

    scope: trio.CancelScope = field(factory=trio.CancelScope)
    cause: str = ""
    ended: Ended | None = None

    def because(self, cause: str) -> None:
        self.cause = self.cause or cause
        self.scope.cancel()


@define
class Runner:
    """Runs jobs under one stack. `orders` is the socket to the spawner."""

    settings: Settings
    stack: Stack
    workspaces: Workspaces
    orders: trio.socket.SocketType
    box_source: bytes
    stopping: trio.Event = field(factory=trio.Event)
    unhealthy: str = ""
    running: int = 0
    _slots: trio.Semaphore = field(init=False)
    _count: int = 0

    def __attrs_post_init__(self) -> None:
        self._slots = trio.Semaphore(self.settings.jobs_at_once)

    async def run(self, job: Job, output: Output) -> Result:
        """Run a job and give its result; output goes to `output` as it comes.

        Cancelling kills the job, and returns from here only when it is dead or has been reported
        as undead (`unhealthy`).
        """
        limits = effective(job.limits, self.settings.limits)
        try:
            async with self.workspaces.hold(job.workspace) as workspace, self._slots:
                return await self._run_in(workspace, job, limits, output)
        except WorkspaceRefused as error:
            return Result(reason="denied", detail=str(error))
        except _Refused as error:
            return error.result

    async def _run_in(
        self, workspace: Workspace, job: Job, limits: Limits, output: Output
    ) -> Result:
        if self.unhealthy:
            raise self._not_run(self.unhealthy)
        self.running += 1
        try:
            async with self._planned(workspace, limits) as plan, self._process(plan) as running:
                await self._verify(running, workspace, output)
                return await self._run_code(running, plan, job, output)
        except StartFailed as error:
            raise self._not_run(str(error)) from error
        finally:
            self.running -= 1

    # ---- starting ----

    @contextlib.asynccontextmanager
    async def _planned(self, workspace: Workspace, limits: Limits) -> AsyncIterator[Plan]:
        """Make the plan, and release what the layers acquired for it at the end."""
        self._count += 1
        name = f"job-{os.getpid()}-{self._count}"
        plan = Plan(
            job=name,
            workspace=workspace.path,
            limits=limits,
            argv=box_channel.command(self.settings.python),
            keep=interpreter_paths(self.settings.python),
        )
        try:
            yield self._begun(plan)
        finally:
            for layer in self.stack.layers:
                layer.end(name)

    def _begun(self, plan: Plan) -> Plan:
        try:
            for layer in self.stack.layers:
                plan = layer.begin(plan)
        except OSError as error:
            raise self._not_run(f"the layers could not be set up: {error}") from error
        return plan

    @contextlib.asynccontextmanager
    async def _process(self, plan: Plan) -> AsyncIterator[BoxProcess]:
        """Start the box; at the end it is dead, or its workspace is put out of use."""
        # Without an account kept by the kernel, the keeper has to look: a soft limit.
        hard = Capability.MEM_TOTAL in self.stack.capabilities
        watched = 0 if hard else plan.limits.memory_bytes
        start = Start(plan.argv, ENVIRONMENT, plan.workspace, plan.joins, watched)
        async with process.started(self.orders, start, lambda: self._kill(plan.job)) as running:
            try:
                yield running
            finally:
                report = await running.end()  # noqa: ASYNC102 - shields itself, with a deadline
                if not report.empty:
                    self._undead(plan)

    def _kill(self, name: str) -> None:
        for layer in self.stack.layers:
            layer.kill(name)

    def _undead(self, plan: Plan) -> None:
        self.workspaces.quarantine(os.path.basename(plan.workspace))
        self.unhealthy = (
            f"{plan.job} could not be proved dead; its workspace is closed. Restart the executor"
        )

    # ---- verifying ----

    async def _verify(self, running: BoxProcess, workspace: Workspace, output: Output) -> None:
        """Raise _Refused unless the box is what the layers promise.

        The canary is made sure of first: one that somebody has removed would prove nothing.
        """
        self.workspaces.prepare()
        try:
            with trio.fail_after(_VERIFY_SECONDS):
                seen = await running.box.greet(self.box_source, self.workspaces.canary)
        except trio.TooSlowError:
            raise self._unverified(f"the box said nothing within {_VERIFY_SECONDS:g} s") from None
        except BoxError as error:
            await running.end()  # noqa: ASYNC120 - shielded, so it cannot be cancelled
            raise self._unverified(_diagnosis(str(error), running.pending())) from error
        outside = Outside(os.readlink("/proc/self/ns/pid"), workspace.identity, os.getuid())
        wrong = evidence.misfits(seen, outside, self.stack.capabilities)
        if wrong:
            raise self._unverified(_diagnosis("; ".join(wrong), running.pending()))
        running.pending()  # what the helpers have said so far is not the job's output
        output.begin(Started(self.stack.names))

    def _unverified(self, why: str) -> _Refused:
        return self._not_run(f"the box was not verified: {why}")

    def _not_run(self, why: str) -> _Refused:
        detail = f"the code was not run: {why}"
        return _Refused(Result(reason="executor_error", layers=self.stack.names, detail=detail))

    # ---- running ----

    async def _run_code(self, running: BoxProcess, plan: Plan, job: Job, output: Output) -> Result:
        began = trio.current_time()
        ending = _Ending()
        both = ((running.stdout, output.stdout), (running.stderr, output.stderr))
        drains = [_Drain(stream, into, output, ending) for stream, into in both]
        async with trio.open_nursery() as nursery:
            for drain in drains:
                nursery.start_soon(drain.run)
            order = Order(job.language, job.code, ENVIRONMENT, plan.rlimits)
            await self._until_end(running, plan, order, ending)
            wall = trio.current_time() - began
            by_itself = ending.cause == verdict.ENDED
            report = await running.end(grace=_GRACE_SECONDS if by_itself else 0.0)
            with trio.move_on_after(_LAST_DRAIN_SECONDS):
                for drain in drains:
                    await drain.done.wait()
            nursery.cancel_scope.cancel()
        return self._result(plan, ending, report, output, wall)

    async def _until_end(
        self, running: BoxProcess, plan: Plan, order: Order, ending: _Ending
    ) -> None:
        """Send the code and wait for the first cause to end the job."""
        with ending.scope:
            async with trio.open_nursery() as watchers:
                watchers.start_soon(_run_in_box, running, order, ending)
                watchers.start_soon(_after, self.stopping.wait, verdict.STOPPING, ending)
                if Capability.CPU in self.stack.capabilities:
                    watchers.start_soon(self._watch_cpu, plan, ending)
                await trio.sleep(plan.limits.wall_seconds)
                ending.because(verdict.TIMEOUT)

    async def _watch_cpu(self, plan: Plan, ending: _Ending) -> None:
        """The kernel tells nobody when an account is used up: it has to be asked."""
        while (self._usage(plan.job).cpu_seconds or 0) < plan.limits.cpu_seconds:  # noqa: ASYNC110
            await trio.sleep(_CPU_POLL_SECONDS)
        ending.because(verdict.CPU)

    def _usage(self, name: str) -> Usage:
        """What the layer that keeps accounts says; an empty account where none does."""
        found = (layer.usage(name) for layer in self.stack.layers)
        return next((one for one in found if one is not None), Usage())

    def _result(
        self, plan: Plan, ending: _Ending, report: KeeperReport, output: Output, wall: float
    ) -> Result:
        usage = self._usage(plan.job)
        usage = evolve(usage, out_of_memory=usage.out_of_memory or report.out_of_memory)
        status = ending.ended.status if ending.ended else None
        found = verdict.decide(Facts(ending.cause, status, usage, plan.limits))
        return Result(
            reason=found.reason,
            code=found.code,
            detail=found.detail,
            stdout_dropped=output.stdout.dropped,
            stderr_dropped=output.stderr.dropped,
            wall_seconds=wall,
            cpu_seconds=usage.cpu_seconds or report.cpu_seconds,
            peak_memory_bytes=usage.peak_memory_bytes or report.peak_memory_bytes,
            layers=self.stack.names,
        )


# ---- the pieces ----


def effective(asked: Limits | None, most: Limits) -> Limits:
    """Give the limits for a job: what it asks for, but nothing above the executor's own."""
    if asked is None:
        return most
    ceilings = asdict(most)
    return Limits(**{name: min(value, ceilings[name]) for name, value in asdict(asked).items()})


def interpreter_paths(python: str) -> tuple[str, ...]:
    """The directories that an interpreter needs: its own prefix, and that of what it links to."""
    prefixes = {
        os.path.dirname(os.path.dirname(path)) for path in (python, os.path.realpath(python))
    }
    return tuple(sorted(prefix for prefix in prefixes if prefix not in {"/", "/usr"}))


async def _run_in_box(running: BoxProcess, order: Order, ending: _Ending) -> None:
    try:
        await running.box.order(order)
        ending.ended = await running.box.ended()
    except BoxError:
        ending.because(verdict.LOST)
    else:
        ending.because(verdict.ENDED)


async def _after(event: Callable[[], Awaitable[None]], cause: str, ending: _Ending) -> None:
    await event()
    ending.because(cause)


@frozen
class _Drain:
    """Reads one stream of a job to its end, whoever else is slow; `done` is set at the end."""

    stream: trio.lowlevel.FdStream
    into: HeadTail
    output: Output
    ending: _Ending
    done: trio.Event = field(factory=trio.Event)

    async def run(self) -> None:
        while data := await self.stream.receive_some(_READ_SIZE):
            self.into.write(bytes(data))
            self.output.tell()
            if self.output.total > verdict.MOST_OUTPUT:
                self.ending.because(verdict.OUTPUT)
        self.done.set()


def _diagnosis(why: str, said: bytes) -> str:
    """Add the end of what the helpers printed, for the person who has to find out."""
    text = " ".join(said.decode(errors="replace").split())[-_MAX_DIAGNOSIS:]
    return f"{why} ({text})" if text else why
