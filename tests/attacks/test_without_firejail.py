"""The death of a job's tree where no namespace helps: the keeper's own work.

These stacks isolate nothing, so only root can ask for them, with jobs under an account of their
own. They show that KILL_TREE is kept by `subreaper` alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trio

from executor.client import Job, Limits
from tests.executor import harness
from tests.executor.harness import Running

pytestmark = [
    pytest.mark.executor,
    pytest.mark.skipif(not harness.IS_ROOT, reason="such a stack is refused with a shared uid"),
]

BARE = {"stack": ("rlimit", "subreaper"), "require": ("KILL_TREE",)}
HYDRA = "echo up; for n in $(seq 40); do setsid sleep 86501 & sleep 0.02; done; sleep 86501"


@pytest.fixture(scope="module")
def bare() -> Iterator[Running]:
    with harness.place() as where, harness.executor(where, **BARE) as running:
        yield running


async def test_a_setsid_hydra_leaves_nothing(bare: Running) -> None:
    limits = Limits(wall_seconds=0.5)
    result = await bare.client.run(Job("bash", HYDRA, "hydra", limits))
    assert (result.reason, result.layers) == ("timeout", ("rlimit", "subreaper"))
    assert harness.processes_with("86501") == []


async def test_a_daemonised_grandchild_is_over_with_the_job(bare: Running) -> None:
    code = "(setsid setsid sleep 86502 &); (setsid sleep 86502 </dev/null &>/dev/null &); echo done"
    result = await bare.client.run(Job("bash", code, "daemonised"))
    assert (result.reason, result.stdout) == ("exit", b"done\n")
    assert result.wall_seconds < 5
    assert harness.processes_with("86502") == []


async def test_two_jobs_at_once_do_not_kill_each_other(bare: Running) -> None:
    """Orphans go to their own job's keeper, so the end of one job does not touch the other's."""
    results = []

    async def one(key: str, seconds: str) -> None:
        # By /proc: pgrep is in procps, which a minimal system does not have.
        count = "grep -alz '^86503$' /proc/[0-9]*/cmdline 2>/dev/null | wc -l"
        code = f"(setsid sleep 86503 &); sleep {seconds}; {count}"
        results.append((await bare.client.run(Job("bash", code, key))).stdout)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one, "short", "0.1")
        nursery.start_soon(one, "long", "0.6")
    assert len(results) == 2
    assert int(results[1]) >= 1
    assert harness.processes_with("86503") == []


async def test_kill_9_of_the_executor_leaves_nothing() -> None:
    with harness.place() as where, harness.executor(where, **BARE) as running:
        await _kill_when_it_runs(running, [running.pid])


async def test_kill_9_of_executor_and_spawner_together_leaves_nothing() -> None:
    """The keeper alone is enough: it reads end-of-file."""
    with harness.place() as where, harness.executor(where, **BARE) as running:
        await _kill_when_it_runs(running, [*harness.children(running.pid), running.pid])


async def _kill_when_it_runs(running: Running, victims: list[int]) -> None:
    up = trio.Event()

    async def hydra() -> None:
        job = Job("bash", HYDRA, "hydra")
        await running.client.run(job, on_output=lambda _stream, _data: up.set())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hydra)
        with trio.fail_after(20):
            await up.wait()
        for pid in victims:
            harness.kill(pid)
    with trio.fail_after(5):
        while harness.processes_with("86501"):
            await trio.lowlevel.checkpoint()


async def test_a_keeper_that_is_killed_costs_the_workspace_and_is_owned_up_to() -> None:
    """Nobody can prove that such a job is dead: its processes are killed, and it is said."""
    with harness.place() as where, harness.executor(where, **BARE) as running:

        def kill_keeper(_stream: str, _data: bytes) -> None:
            (spawner,) = harness.children(running.pid)
            for keeper in harness.children(spawner):
                harness.kill(keeper)

        job = Job("bash", HYDRA, "orphaned")
        await running.client.run(job, on_output=kill_keeper)
        with trio.fail_after(5):
            while harness.processes_with("86501"):
                await trio.lowlevel.checkpoint()
        assert "could not be proved dead" in (await running.client.status()).unavailable
        again = await running.client.run(Job("bash", "echo ran", "another"))
        assert (again.reason, again.stdout) == ("executor_error", b"")
        assert "Restart" in again.detail


async def test_the_spawners_death_ends_the_executor() -> None:
    """Without it there are no jobs; ending non-zero is what makes a supervisor start anew."""
    with harness.place() as where, harness.executor(where, **BARE) as running:
        (spawner,) = harness.children(running.pid)
        harness.kill(spawner)
        assert running.process.wait(10) not in {0, harness.launch.EXIT_CONFIG}
