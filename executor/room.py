"""What a job may add to its workspace, and what it gives back from there.

The workspace is measured before the job: in one that is over its limits already, a job may remove
files and write none. While the job runs it is watched (`executor.quota`). Afterwards, what it
shows and what was asked for is collected (`executor.artifacts`), still under the workspace's lock.
"""

from __future__ import annotations

import os

import trio
from attrs import evolve, frozen

from executor import artifacts, quota, verdict
from executor.beneath import Beneath
from executor.boxes import Box
from executor.errors import FileRefused
from executor.file_values import Usage
from executor.messages import Job, Result
from executor.settings import Limits

# A workspace of so many entries is walked at once, in less time than the way to a thread takes.
_SMALL = 50


@frozen
class Room:
    """One job's room in a workspace. `limits` are the job's, tightened if there is none left."""

    beneath: Beneath
    limits: Limits
    before: Usage

    @classmethod
    async def of(cls, beneath: Beneath, limits: Limits) -> Room:
        """Measure the workspace. `beneath` is borrowed."""
        before = quota.measure(beneath, most_files=_SMALL)
        if not before.complete:
            most = 2 * limits.workspace_files + 2
            before = await trio.to_thread.run_sync(lambda: quota.measure(beneath, most_files=most))
        if before.over(limits):
            limits = evolve(limits, file_bytes=0)
        return cls(beneath, limits, before)

    async def until_full(self, box: Box) -> str:
        """Wait until the workspace is over its limits; the box is then frozen, if it can be."""
        found: list[Usage] = []
        await quota.watch(
            self.beneath,
            self.limits,
            began_with=self.before,
            freeze=lambda: box.freeze(on=True),
            thaw=lambda: box.freeze(on=False),
            over=found.append,
        )
        if found[-1].found_over(self.limits):
            return verdict.DISK
        return verdict.UNNAMED if found[-1].complete else verdict.UNMEASURED

    async def collect(self, result: Result, job: Job) -> Result:
        """Add to a result what the job gives back, and a word if it could not write."""
        if self.before.over(self.limits):
            full = self.before.found_over(self.limits)
            why = verdict.full(self.limits) if full else verdict.unmeasured()
            result = evolve(result, detail=_with(result.detail, why))
        if not job.artifacts and not self._has_plots():
            return result
        found, skipped = await trio.to_thread.run_sync(
            artifacts.collect, self.beneath, job.artifacts, self.limits
        )
        return evolve(result, artifacts=tuple(found), skipped=tuple(skipped))

    def _has_plots(self) -> bool:
        try:
            os.close(self.beneath.open_directory(artifacts.PLOTS))
        except FileRefused:
            return False
        return True


def _with(detail: str, more: str) -> str:
    return f"{detail}; {more}" if detail else more
