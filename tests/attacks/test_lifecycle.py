"""Attack 38: whoever dies or leaves in the middle, nothing of the job stays.

No process, no mount, no cgroup: processes are told by an argument that only they have, mounts
live in namespaces that go with them, and groups carry the executor's pid in their names.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from executor.client import ExecutorUnavailable, Job
from executor.isolation import cgroup
from tests.attacks.stacks import Stack, Target
from tests.executor import harness
from tests.executor.harness import Running
from tests.harness import processes

pytestmark = pytest.mark.executor


def hydra(mark: str) -> str:
    """Code that says it is up and then never stops to start sessions."""
    return f"echo up; while true; do setsid sleep {mark} & sleep 0.02; done"


def groups_of(running: Running) -> list[Path]:
    """The cgroups of boxes that this executor has made."""
    groups = cgroup.here(harness.USER)
    parents = set(groups.parents.values()) if groups else set()
    return [path for parent in parents for path in parent.glob(f"box-{running.pid}-*")]


async def until_nothing_is_left(running: Running, mark: str) -> None:
    with trio.fail_after(10):
        while harness.processes_with(mark) or groups_of(running):  # noqa: ASYNC110 - /proc rings no bell
            await trio.sleep(0.01)


@contextlib.asynccontextmanager
async def in_mid_job(running: Running, job: Job) -> AsyncIterator[None]:
    """Have a job under way while the block runs, which may kill whom it likes."""
    up = trio.Event()

    async def run() -> None:
        with contextlib.suppress(ExecutorUnavailable):
            await running.client.run(job, on_output=lambda _stream, _data: up.set())

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await up.wait()
            yield


@pytest.mark.attack("38a")
async def test_a_client_that_is_gone_takes_its_job_along(target: Target, mark: str) -> None:
    """Closing the connection is the order to kill; the workspace is free when all are dead."""
    async with target.started(Job("bash", hydra(mark), "left")):
        with trio.fail_after(10):
            while not harness.processes_with(mark):  # noqa: ASYNC110 - /proc rings no bell
                await trio.sleep(0.01)
    result = await target.bash("echo free", workspace="left")
    assert result.stdout == b"free\n"
    assert harness.processes_with(mark) == []


@pytest.mark.attack("38b", slow=True)
async def test_kill_9_of_the_executor_leaves_nothing(stack: Stack, mark: str) -> None:
    """Its jobs die with it, though it had no chance to do anything about them."""
    with harness.place() as where, harness.executor(where, **stack.settings) as running:
        async with in_mid_job(running, Job("bash", hydra(mark), "hydra")):
            family = processes.family(running.pid)
            running.process.kill()
        await until_nothing_is_left(running, mark)
        await processes.gone(family)


@pytest.mark.attack("38b", slow=True)
async def test_kill_9_of_executor_and_zygote_together_leaves_nothing(
    stack: Stack, mark: str
) -> None:
    """The kernel's parent-death signal does it, or a keeper that reads end-of-file.

    Where nobody is left to remove the groups, empty as they are, the next executor does.
    """
    with harness.place() as where, harness.executor(where, **stack.settings) as running:
        async with in_mid_job(running, Job("bash", hydra(mark), "hydra")):
            family = processes.family(running.pid)
            for pid in (*harness.children(running.pid), running.pid):
                harness.kill(pid)
        await processes.gone(family)
        assert harness.processes_with(mark) == []
        running.process.wait()
    with harness.place() as where, harness.executor(where, **stack.settings):
        assert groups_of(running) == []


@pytest.mark.attack("38c", slow=True)
async def test_the_zygotes_death_ends_the_executor_and_its_jobs(stack: Stack, mark: str) -> None:
    """Without it there are no jobs; ending non-zero is what makes a supervisor start anew."""
    with harness.place() as where, harness.executor(where, **stack.settings) as running:
        async with in_mid_job(running, Job("bash", hydra(mark), "hydra")):
            family = processes.family(running.pid)
            for zygote in harness.children(running.pid):
                harness.kill(zygote)
        code = await trio.to_thread.run_sync(running.process.wait)
        assert code not in {0, harness.launch.EXIT_CONFIG}
        await until_nothing_is_left(running, mark)
        await processes.gone(family)


@pytest.mark.attack("38a", slow=True)
async def test_an_executor_that_stops_ends_its_jobs_as_cancelled(stack: Stack, mark: str) -> None:
    """In order: the client hears the reason, and nothing is left, no mount of ours either."""
    with harness.place() as where, harness.executor(where, **stack.settings) as running:
        result = await running.client.run(
            Job("bash", hydra(mark), "hydra"),
            on_output=lambda _stream, _data: running.process.terminate(),
        )
        assert (result.reason, result.detail) == ("cancelled", "the executor is stopping")
        assert await trio.to_thread.run_sync(running.process.wait) == 0
        await until_nothing_is_left(running, mark)
        assert str(where) not in _mounts()


def _mounts() -> str:
    return Path("/proc/self/mounts").read_text()
