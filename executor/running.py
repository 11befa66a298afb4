"""Running code in a verified box, from the order to its end.

The clock runs from the order on. Output is drained by two tasks that do nothing else, so a job
never waits for a reader. Whatever happens first ends the job: its main process ends, or a watcher
(time, processor, disk, output, shutdown) speaks. Nobody waits for a pipe to close: a grandchild
may hold it for ever.

Then everything is killed, and when that is proved, what is still in the pipes is read. In a pid
namespace the box's trusted process does that when the code ends by itself, and says so; in a
session's box it ends the cell and what it left behind. In any other case the box itself is ended.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence

import trio
from attrs import define, field, frozen

from executor import process, verdict
from executor.box_channel import BoxError, Ended, Order
from executor.boxes import Box
from executor.isolation.layer import Capability, Usage
from executor.messages import Result
from executor.output import HeadTail, Output
from executor.process import BoxProcess, KeeperReport
from executor.verdict import Facts

# All writers are dead by then: what is left is what fits in a pipe.
_LAST_DRAIN_SECONDS = 1.0
_CPU_POLL_SECONDS = 0.1
# firejail clears up after itself if it may end by itself; killed, it leaves an empty directory
# behind in /run/firejail.
_GRACE_SECONDS = 0.03
# A cell that is killed is gone in a millisecond; a box that does not say so is lost.
_CELL_END_SECONDS = 2.0
_READ_SIZE = 64 * 1024
_MOST_IN_A_PIPE = 1024 * 1024  # pipe(7): what an ordinary account can make of it

# A watcher is a task that ends when the job has to, and gives the cause (see `executor.verdict`).
Watcher = Callable[[], Awaitable[str]]


@frozen
class Inbox:
    """What the client sends while the job runs: input, with b"" for its end, and signals."""

    input: trio.MemoryReceiveChannel[bytes]
    signals: trio.MemoryReceiveChannel[int]


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
class Running:
    """One run of code in `box`: a job of its own, or with `order.session` a cell."""

    box: Box
    order: Order
    output: Output
    watchers: Sequence[Watcher]
    inbox: Inbox | None = None
    stdin: bool = False
    _ending: _Ending = field(factory=_Ending)
    _before: Usage = field(factory=Usage)
    _ordered: bool = False

    @property
    def lost(self) -> bool:
        """Whether the session is no more; the box is then of no use."""
        return self._ending.ended is None or self._ending.ended.lost

    async def run(self) -> Result:
        """Run to the end; cancelling leaves a box that is to be closed, or a cell to be killed."""
        began = trio.current_time()
        if self.order.session:
            self._before = self.box.usage()
        box = self.box.process
        both = ((box.stdout, self.output.stdout), (box.stderr, self.output.stderr))
        drains = [_Drain(stream, into, self.output, self._ending) for stream, into in both]
        try:
            async with trio.open_nursery() as nursery:
                for drain in drains:
                    nursery.start_soon(drain.run)
                await self._until_end(box)
                wall = trio.current_time() - began
                report = await self._close(drains)
                nursery.cancel_scope.cancel()
        finally:
            if self.order.session:
                await self._end_cell()  # noqa: ASYNC102 - shields itself, with a deadline
        if report is None:
            for drain in drains:
                drain.take_what_is_there()
        return self._result(report, wall)

    async def _until_end(self, box: BoxProcess) -> None:
        """Send the code and wait for the first cause to end the job.

        The code goes first: it runs already while those who watch it take their places.
        """
        with self._ending.scope as scope:
            scope.deadline = trio.current_time() + self.box.plan.limits.wall_seconds
            with self._losing_the_box():
                await box.box.order(self.order)
                self._ordered = True
            async with trio.open_nursery() as nursery:
                for watcher in (*self.watchers, *self._own_watchers()):
                    nursery.start_soon(self._watch, watcher)
                if self.inbox is not None:
                    nursery.start_soon(self._signal, box, self.inbox)
                if self.inbox is not None and self.stdin:
                    nursery.start_soon(self._feed, box, self.inbox)
                else:
                    box.stdin.close()
                with self._losing_the_box():
                    self._ending.ended = await box.box.ended()
                    self._ending.because(verdict.ENDED)
        if scope.cancelled_caught:
            self._ending.because(verdict.TIMEOUT)

    @contextlib.contextmanager
    def _losing_the_box(self) -> Iterator[None]:
        try:
            yield
        except BoxError:
            self._ending.because(verdict.LOST)

    def _own_watchers(self) -> Sequence[Watcher]:
        return (self._cpu,) if Capability.CPU in self.box.stack.capabilities else ()

    async def _watch(self, watcher: Watcher) -> None:
        self._ending.because(await watcher())

    async def _cpu(self) -> str:
        """The kernel tells nobody when an account is used up: it has to be asked."""
        await trio.sleep(_CPU_POLL_SECONDS)
        while self._cpu_used(self.box.usage()) < self.box.plan.limits.cpu_seconds:  # noqa: ASYNC110
            await trio.sleep(_CPU_POLL_SECONDS)
        return verdict.CPU

    def _cpu_used(self, now: Usage) -> float:
        return (now.cpu_seconds or 0) - (self._before.cpu_seconds or 0)

    async def _signal(self, box: BoxProcess, inbox: Inbox) -> None:
        """Pass on signals: they are for the job's main process."""
        with contextlib.suppress(BoxError):
            async for number in inbox.signals:
                await box.box.say(f"signal {number}")

    async def _feed(self, box: BoxProcess, inbox: Inbox) -> None:
        """Pass on input. A job that has closed its end gets no more of it."""
        async for data in inbox.input:
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await box.stdin.send_all(data)
            if not data:
                box.stdin.close()

    # ---- the end ----

    async def _close(self, drains: Sequence[_Drain]) -> KeeperReport | None:
        """See to it that what ran is over; gives the last word on the box, if it was ended."""
        if self.order.session:
            await self._end_cell()
            return None
        if self._ending.ended is not None and self._ending.ended.empty:
            return None
        by_itself = self._ending.cause == verdict.ENDED
        report = await self.box.end(grace=_GRACE_SECONDS if by_itself else 0.0)
        with trio.move_on_after(_LAST_DRAIN_SECONDS):
            for drain in drains:
                await drain.done.wait()
        return report

    async def _end_cell(self) -> None:
        """Have a cell that did not end by itself killed, and wait for the word that it is."""
        if self._ending.ended or self._ending.cause == verdict.LOST or not self._ordered:
            return
        deadline = trio.current_time() + _CELL_END_SECONDS
        with contextlib.suppress(BoxError), trio.CancelScope(shield=True, deadline=deadline):
            self.box.freeze(on=False)
            await self.box.process.box.say("kill")
            self._ending.ended = await self.box.process.box.ended()

    def _result(self, report: KeeperReport | None, wall: float) -> Result:
        now = self.box.usage()
        ended = self._ending.ended
        over = ended is not None and ended.out_of_memory
        facts = Facts(
            self._ending.cause,
            ended.status if ended else None,
            self.box.plan.limits,
            out_of_memory=over or now.oom_kills > self._before.oom_kills,
            out_of_pids=now.refused_forks > self._before.refused_forks,
            within_reach="view" not in self.box.plan.confinement,
        )
        found = verdict.decide(facts)
        own = report or ended or KeeperReport()
        return Result(
            reason=found.reason,
            code=found.code,
            detail=found.detail,
            stdout_dropped=self.output.stdout.dropped,
            stderr_dropped=self.output.stderr.dropped,
            wall_seconds=wall,
            cpu_seconds=self._cpu_used(now) or own.cpu_seconds,
            peak_memory_bytes=now.peak_memory_bytes or own.peak_memory_bytes,
            layers=self.box.stack.names,
        )


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
            self._take(bytes(data))
        self.done.set()

    def take_what_is_there(self) -> None:
        """Take what is in the pipe, once over: if it should fill again, somebody is at work."""
        for _ in range(_MOST_IN_A_PIPE // _READ_SIZE):
            data = process.read_now(self.stream.fileno())
            if not data:
                return
            self._take(data)

    def _take(self, data: bytes) -> None:
        self.into.write(data)
        self.output.tell()
        if self.output.total > verdict.MOST_OUTPUT:
            self.ending.because(verdict.OUTPUT)
