"""The stacks that are attacked, and a real executor for each: its jobs are the attackers.

An executor is started when a test first wants its stack and lives until the end of the run. Where
the host cannot have a stack, its tests are skipped with the executor's own refusal as the reason.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
import trio
from attrs import define, field, frozen

from executor import launch
from executor.client import Job, Limits, Result
from executor.file_client import FileClient
from tests.executor import harness
from tests.executor.harness import Refused, Running

# Attackers wait for ever; a box that does not is given this long. Seconds.
_PATIENCE = 120
QUICK = Limits(wall_seconds=20.0, cpu_seconds=15)


@frozen
class Stack:
    """A stack by the name that it has in docs/attacks.md, and its layers."""

    name: str
    layers: tuple[str, ...]

    @property
    def settings(self) -> dict[str, Any]:
        return {"stack": self.layers}

    @property
    def isolation(self) -> str:
        return self.layers[0]

    @property
    def cgroup(self) -> bool:
        return "cgroup" in self.layers

    def __str__(self) -> str:
        return self.name


def _both(isolation: str) -> tuple[Stack, Stack]:
    rest = ("seccomp", "rlimit", "subreaper")
    with_cgroup = Stack(f"{isolation}+cgroup", (isolation, "cgroup", *rest))
    return with_cgroup, Stack(isolation, (isolation, *rest))


NAMESPACES = _both("namespaces")
FIREJAIL = _both("firejail")
LANDLOCK = _both("landlock")
ALL = (*NAMESPACES, *FIREJAIL, *LANDLOCK)
WITH_CGROUP = tuple(stack for stack in ALL if stack.cgroup)
WITHOUT_CGROUP = tuple(stack for stack in ALL if not stack.cgroup)
DEFAULT = NAMESPACES[0]


@functools.cache
def can_be_had(stack: Stack) -> bool:
    """Whether an executor starts with it here, which is the only way to know."""
    if harness.IS_ROOT and not harness.has_account():
        return False
    with harness.place() as where, harness.try_executor(where, **stack.settings) as outcome:
        return isinstance(outcome, Running)


def stack_here(stacks: Sequence[Stack], had: Callable[[Stack], bool] = can_be_had) -> Stack:
    """Give the first that this host can have; the first of all if there is none."""
    return next((stack for stack in stacks if had(stack)), stacks[0])


@frozen
class Target:
    """An executor under attack."""

    stack: Stack
    running: Running

    @property
    def pid(self) -> int:
        return self.running.pid

    def files(self, workspace: str) -> FileClient:
        return self.running.client.files(workspace)

    async def run(self, job: Job, **options: Any) -> Result:
        with trio.fail_after(_PATIENCE):
            return await self.running.client.run(job, **options)

    async def python(
        self, code: str, *, workspace: str = "attack", limits: Limits = QUICK, **more: Any
    ) -> Result:
        return await self.run(Job("python", code, workspace, limits, **more))

    async def bash(
        self, code: str, *, workspace: str = "attack", limits: Limits = QUICK, **more: Any
    ) -> Result:
        return await self.run(Job("bash", code, workspace, limits, **more))

    @contextlib.asynccontextmanager
    async def started(self, job: Job) -> AsyncIterator[None]:
        """Run a job while the block runs, from its first output on; it is cancelled at the end."""
        up = trio.Event()

        async def run() -> None:
            await self.run(job, on_output=lambda _stream, _data: up.set())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            with trio.fail_after(_PATIENCE):
                await up.wait()
            yield
            nursery.cancel_scope.cancel()

    async def answers(self) -> None:
        """Assert that honest code still runs, in a box as good as before."""
        result = await self.bash("echo fine", workspace="honest")
        assert (result.reason, result.stdout) == ("exit", b"fine\n"), result


@define
class Targets:
    """The executors that have been started so far, or why one was not. Ended by `stack.close`."""

    _running: dict[Stack, Running | Refused] = field(factory=dict)
    _open: contextlib.ExitStack = field(factory=contextlib.ExitStack)

    def get(self, stack: Stack) -> Target:
        """Give the target; skips the test where the host cannot have this stack."""
        if stack not in self._running:
            where = self._open.enter_context(harness.place())
            skills = self._open.enter_context(harness.skills())
            settings = {**stack.settings, "skills": str(skills)}
            outcome = self._open.enter_context(harness.try_executor(where, **settings))
            self._running[stack] = outcome
        found = self._running[stack]
        if isinstance(found, Refused):
            assert found.code == launch.EXIT_CONFIG, found.stderr
            pytest.skip(f"{stack} cannot be had here: {found.refusal.cause}")
        return Target(stack, found)

    def close(self) -> None:
        self._open.close()
