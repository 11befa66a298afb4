"""After a storm of jobs an executor has what it had before it, and no more."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import frozen

from executor import launch
from executor.client import Job
from tests.attacks.stacks import ALL, DEFAULT, FIREJAIL, LANDLOCK, WITH_CGROUP, Stack
from tests.attacks.storm import Storm
from tests.attacks.test_lifecycle import groups_of
from tests.executor import harness
from tests.executor.harness import Refused, Running
from tests.harness import processes

pytestmark = pytest.mark.executor

AT_ONCE = 8
SHORT, LONG = 40, 1000
# Allocators keep some for the next time, most of it from the first jobs, which do not count. A leak
# of 3 KiB a job would be 6 MiB in the long form.
FLAT_KIB = 4096
_SETTLED_SECONDS = 0.4
_SETTLE_SECONDS = 60
# Where boxes and their helpers could leave files outside of workspaces.
_TEMPORARY = ("tmp/*", "var/tmp/*", "dev/shm/*", "run/firejail/*/*")
# Nobody else writes to these, if they are the executor's own. In /tmp there are others' places.
_OWN_PLACES = """\
for place in /var/tmp /dev/shm; do mount -t tmpfs none $place; done
[ ! -d /run/firejail ] || mount -t tmpfs -o mode=755 none /run/firejail
exec "$@"
"""


@frozen
class Traces:
    """What an executor has of the host's. `temporary` and `workspaces` are names."""

    processes: int
    descriptors: tuple[int, ...]  # of the executor and its zygotes
    mounts: int
    cgroups: int
    temporary: frozenset[str]
    workspaces: frozenset[str]


def traces(running: Running) -> Traces:
    pids = [running.pid, *harness.children(running.pid)]
    return Traces(
        processes=len(processes.family(running.pid)),
        descriptors=tuple(harness.open_descriptors(pid) for pid in pids),
        mounts=sum(len(Path(f"/proc/{pid}/mountinfo").read_text().splitlines()) for pid in pids),
        cgroups=len(groups_of(running)),
        temporary=frozenset(_temporary(running)),
        workspaces=frozenset(one.name for one in Path(running.settings.workspaces).iterdir()),
    )


def _temporary(running: Running) -> Iterator[str]:
    """Name what belongs to the jobs' account, and what firejail has for it."""
    root = Path(f"/proc/{running.pid}/root" if harness.IS_ROOT else "/")
    uid = running.ready.status["uid"]
    for pattern in _TEMPORARY:
        for path in root.glob(pattern):
            with contextlib.suppress(FileNotFoundError):
                ours = "firejail" in pattern or path.lstat().st_uid == uid
                if ours and not path.name.startswith(harness.PREFIX):
                    yield str(path.relative_to(root))


def idle_processes(running: Running, stack: Stack) -> int:
    """The zygote, and the warm boxes; without a pid namespace each has a keeper."""
    each = {"namespaces": 1, "landlock": 2, "firejail": 0}[stack.isolation]
    return 1 + each * running.settings.warm_boxes


async def settled(running: Running, stack: Stack) -> Traces:
    """Wait until it is idle and nothing changes any more. Gives the last look if that fails."""
    found, since = traces(running), trio.current_time()
    with trio.move_on_after(_SETTLE_SECONDS):
        while (
            found.processes != idle_processes(running, stack)
            or trio.current_time() < since + _SETTLED_SECONDS
        ):
            await trio.sleep(0.02)
            if (now := traces(running)) != found:
                found, since = now, trio.current_time()
    return found


def memory(running: Running) -> int:
    """What the executor and its zygotes hold, in KiB; warm boxes come and go."""
    return sum(harness.rss_kib(pid) for pid in (running.pid, *harness.children(running.pid)))


@contextlib.contextmanager
def executor_alone(stack: Stack, **more: object) -> Iterator[Running]:
    """An executor of the test's own, with places for temporary files that are its own as well."""
    options: dict[str, Any] = {"jobs_at_once": AT_ONCE, **stack.settings, **more}
    launcher = ("sh", "-ec", _OWN_PLACES, "sh") if harness.IS_ROOT else ()
    with (
        harness.place() as where,
        harness.try_executor(where, launcher=launcher, **options) as outcome,
    ):
        if isinstance(outcome, Refused):
            assert outcome.code == launch.EXIT_CONFIG, outcome.stderr
            pytest.skip(f"{stack} cannot be had here: {outcome.refusal.cause}")
        yield outcome


def _forms() -> list[Any]:
    """The short form where the stacks differ most, the long one on all."""
    short = [(stack, SHORT, []) for stack in (DEFAULT, FIREJAIL[1], LANDLOCK[1])]
    long = [(stack, LONG, [pytest.mark.slow]) for stack in ALL]
    return [
        pytest.param(stack, jobs, marks=marks, id=f"{stack}-{jobs}")
        for stack, jobs, marks in (*short, *long)
    ]


@pytest.mark.parametrize(("stack", "jobs"), _forms())
async def test_jobs_that_end_in_every_way_leave_nothing(stack: Stack, jobs: int, mark: str) -> None:
    """In a row, and then eight at a time: no process, descriptor, mount, cgroup, file or memory."""
    with executor_alone(stack) as running:
        storms = [Storm(running, mark, 1), Storm(running, mark, AT_ONCE)]
        for storm in storms:
            await storm.blow(max(5 * AT_ONCE, jobs // 4))
            await storm.clear_up()
        before = await settled(running, stack)
        weight = memory(running)
        for storm in storms:
            await storm.blow(jobs)
            await storm.clear_up()
        assert await settled(running, stack) == before
        assert harness.processes_with(mark) == []
        grown = memory(running) - weight
        print(f"{stack}, {2 * jobs} jobs: {before}, grown by {grown} KiB")  # noqa: T201
        assert grown < FLAT_KIB
        assert (await running.client.status()).unavailable == ""


@pytest.mark.parametrize("stack", WITH_CGROUP, ids=str)
async def test_what_was_frozen_dies_with_the_executor(stack: Stack, mark: str) -> None:
    """It freezes jobs to count their files. Killed just then, it can thaw nobody any more.

    Without warm boxes: a group that was made for one which nobody has begun, when the executor is
    killed, is the next start's to remove.
    """
    with executor_alone(stack, warm_boxes=0) as running:
        up = trio.Event()

        async def run() -> None:
            job = Job("bash", f"echo up; setsid sleep {mark} & sleep {mark}", "frozen")
            await running.client.run(job, on_output=lambda _stream, _data: up.set())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await up.wait()
            family = processes.family(running.pid)
            _freeze(running)
            running.process.kill()
        await processes.gone(family)
        await harness.until(lambda: not groups_of(running))


def _freeze(running: Running) -> None:
    for group in groups_of(running):
        for name, word in (("freezer.state", "FROZEN"), ("cgroup.freeze", "1")):
            with contextlib.suppress(FileNotFoundError, PermissionError):
                os.close(os.open(group / name, os.O_WRONLY))
                (group / name).write_text(word)
