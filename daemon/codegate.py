"""The daemon's way to the executor, which knows when that is a child of ours still starting.

After a crash the executor of the run before may live a moment longer at the same socket: a job
given to it would die with it. So a job waits until our own child is ready, or has refused to be,
in which case its own words are the answer. An executor that somebody else runs is simply asked.
"""

from __future__ import annotations

import trio
from attrs import frozen

from daemon.codewatch import CodeWatch
from daemon.sidecar import Sidecar
from executor.client import ExecutorClient, ExecutorUnavailable, Job, OnOutput, Result, Status

# Ends of a job that may mean that the executor is not what it was.
_NOT_RUN = frozenset({"denied", "executor_error"})


@frozen
class CodeGate:
    """`executor.client.ExecutorClient` behind the state of our own child, if we have one."""

    client: ExecutorClient
    watch: CodeWatch
    sidecar: Sidecar | None = None

    async def run(self, job: Job, *, on_output: OnOutput | None = None) -> Result:
        """Run a job, as the client does; a child's refusal is an ExecutorUnavailable."""
        try:
            await self._pass()
            result = await self.client.run(job, on_output=on_output)
        except ExecutorUnavailable:
            self.watch.job_ended(ran=False)
            raise
        self.watch.job_ended(ran=result.reason not in _NOT_RUN)
        return result

    async def connect(self) -> trio.SocketStream:
        """A connection for an operation on files. Raises ExecutorUnavailable."""
        try:
            await self._pass()
            return await self.client.connect()
        except ExecutorUnavailable:
            self.watch.job_ended(ran=False)
            raise

    async def status(self) -> Status:
        await self._pass()
        return await self.client.status()

    async def _pass(self) -> None:
        if self.sidecar is None:
            return
        await self.sidecar.settled()
        if self.sidecar.refusal is not None:
            raise ExecutorUnavailable(self.sidecar.refusal.cause, self.sidecar.refusal.remedy)
