"""Attack 40: what isolates is itself not what it was. Nothing may run then as if it were.

Each rig takes something away from the executor's surroundings, without touching the host: mounts
and namespaces are of its own, and a lacking kernel is played by a filter (`filtered.py`). A stack
that needs what is gone refuses to start; the job that is sent all the same makes a canary file, in
its workspace and outside, and there is none. A stack that does not need it isolates as ever.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from executor import launch
from executor.client import ExecutorClient, ExecutorUnavailable, Job
from tests.attacks.stacks import DEFAULT, Stack, Target
from tests.executor import harness
from tests.executor.harness import Refused, Running

pytestmark = pytest.mark.executor

_FILTERED = ("/usr/bin/python3", "-I", str(Path(__file__).with_name("filtered.py")))
FIREJAIL = "/usr/bin/firejail"
# A new pid namespace with its own /proc; what is in it dies with the command that made it.
FRESH_PIDS = ("unshare", "-p", "-f", "--kill-child", "--mount-proc")
NO_NEW_PRIVILEGES = ("setpriv", "--no-new-privs")
NO_FIREJAIL = ("sh", "-c", f'mount --bind /dev/null {FIREJAIL}; exec "$@"', "sh")
NO_USER_NAMESPACES = (*_FILTERED, "user-namespaces")
MASKED_PROC = ("sh", "-c", 'mount -t tmpfs none /proc/irq; exec "$@"', "sh")
NO_LANDLOCK = (*_FILTERED, "landlock")
NO_CGROUPS = ("sh", "-c", 'mount -t tmpfs none /sys/fs/cgroup; exec "$@"', "sh")
MEMORY_TOO = ("FS", "NET", "KILL_TREE", "SYSCALLS", "NNP", "PIDS", "MEM_TOTAL")


def canary_job(where: Path) -> Job:
    """A job that leaves a file in its workspace and tries to leave one outside."""
    where.chmod(0o777)
    return Job("bash", f"touch {where}/canary; touch canary; echo ran", "attack")


async def isolates(target: Target, launcher: tuple[str, ...]) -> None:
    """Assert that it starts, that a job runs, and that it does not get out.

    The target shows that this host can have the stack otherwise.
    """
    stack = target.stack
    with harness.place() as where:
        job = canary_job(where)
        with harness.try_executor(where, launcher=launcher, **stack.settings) as running:
            assert isinstance(running, Running), running
            try:
                assert (await running.client.run(job)).stdout == b"ran\n"
                assert not (where / "canary").exists()
                assert running.workspace("attack").joinpath("canary").exists()
            finally:
                end_inner(running)


def end_inner(running: Running) -> None:
    """End the executor itself where the process that was started is only its launcher."""
    command = Path(f"/proc/{running.pid}/cmdline").read_bytes()
    if command.startswith(b"unshare\0"):
        for pid in harness.children(running.pid):
            os.kill(pid, signal.SIGTERM)


async def refuses(
    stack: Stack, launcher: tuple[str, ...], more: Mapping[str, object] = MappingProxyType({})
) -> Refused:
    """Assert that it does not start, says what to do, and that no code of ours ran anywhere."""
    settings = {**stack.settings, **more}
    with harness.place() as where:
        job = canary_job(where)
        with harness.try_executor(where, launcher=launcher, **settings) as outcome:
            if isinstance(outcome, Running):
                end_inner(outcome)
            assert isinstance(outcome, Refused), outcome
        with pytest.raises(ExecutorUnavailable):
            await ExecutorClient(str(where / "executor.sock")).run(job)
        assert list(where.rglob("canary")) == []
    assert outcome.code == launch.EXIT_CONFIG
    assert outcome.refusal.remedy
    return outcome


# ---- where it is started ----


@pytest.mark.attack("40a", slow=True, needs="root")
async def test_in_a_fresh_pid_namespace_others_isolate(target: Target) -> None:
    """As in every container."""
    await isolates(target, FRESH_PIDS)


@pytest.mark.refusal("40a", slow=True, needs="root")
async def test_firejail_in_a_fresh_pid_namespace_is_refused(stack: Stack) -> None:
    """It would run the program unconfined and say nothing; the evidence gives it away."""
    outcome = await refuses(stack, FRESH_PIDS)
    assert "was not verified" in outcome.refusal.cause
    assert "container" in outcome.refusal.remedy


@pytest.mark.attack("40b", slow=True, needs="root")
async def test_with_no_new_privs_others_isolate(target: Target) -> None:
    """As under most units of systemd."""
    await isolates(target, NO_NEW_PRIVILEGES)


@pytest.mark.refusal("40b", slow=True, needs="root")
async def test_firejail_with_no_new_privs_is_refused(stack: Stack) -> None:
    """Without its setuid bit it can do nothing, and under systemd it has been seen to fail open."""
    await refuses(stack, NO_NEW_PRIVILEGES)


# ---- what is missing ----


@pytest.mark.attack("40c", slow=True, needs="root")
async def test_without_firejail_others_isolate(target: Target) -> None:
    """As on a system that never had it."""
    await isolates(target, NO_FIREJAIL)


@pytest.mark.refusal("40c", slow=True, needs="root")
async def test_a_firejail_that_is_not_there_is_refused(stack: Stack) -> None:
    """The remedy names the package."""
    outcome = await refuses(stack, NO_FIREJAIL)
    assert "apt-get install firejail" in outcome.refusal.remedy


@pytest.mark.attack("40e", slow=True, needs="root")
async def test_without_user_namespaces_others_isolate(target: Target) -> None:
    """As in a plain container."""
    await isolates(target, NO_USER_NAMESPACES)


@pytest.mark.refusal("40e", slow=True, needs="root")
async def test_user_namespaces_that_are_forbidden_are_missed(stack: Stack) -> None:
    """Whoever needs them does not start, whatever the switch is that forbids them."""
    await refuses(stack, NO_USER_NAMESPACES)


@pytest.mark.attack("40f", slow=True, needs="root")
async def test_without_landlock_others_isolate(target: Target) -> None:
    """As on older kernels, and on those that were started without it."""
    await isolates(target, NO_LANDLOCK)


@pytest.mark.refusal("40f", slow=True, needs="root")
async def test_a_landlock_that_is_absent_is_refused(stack: Stack) -> None:
    """With the kernel's version, and what to do about it."""
    outcome = await refuses(stack, NO_LANDLOCK)
    assert "landlock" in outcome.refusal.cause


@pytest.mark.refusal("40g", slow=True, needs="root")
async def test_a_memory_limit_that_nothing_enforces_is_refused(stack: Stack) -> None:
    """Whether the stack names a cgroup or not: what is required and not covered does not start."""
    outcome = await refuses(stack, NO_CGROUPS, {"require": MEMORY_TOO})
    assert "cgroup" in outcome.refusal.cause + outcome.refusal.remedy


@pytest.mark.attack("40h", slow=True)
async def test_with_a_part_of_proc_hidden_others_isolate(target: Target) -> None:
    """They need no /proc of their own, or root makes it for them."""
    await isolates(target, MASKED_PROC)


@pytest.mark.refusal("40h", slow=True)
async def test_a_proc_that_no_box_can_have_is_missed(stack: Stack) -> None:
    """It is found out before any box is wanted, and named."""
    outcome = await refuses(stack, MASKED_PROC)
    assert "/proc of its own" in outcome.refusal.cause
    assert "systempaths=unconfined" in outcome.refusal.remedy


async def test_where_proc_is_masked_auto_is_landlock() -> None:
    """As in a plain container, in which firejail is worth nothing either."""
    with (
        harness.place() as where,
        harness.try_executor(where, launcher=(*NO_FIREJAIL, *MASKED_PROC)) as running,
    ):
        assert isinstance(running, Running), running
        assert "landlock" in running.ready.status["layers"]
        assert any("/proc of its own" in note for note in running.ready.status["notes"])
        job = canary_job(where)
        assert (await running.client.run(job)).stdout == b"ran\n"
        assert not (where / "canary").exists()


async def test_nothing_at_all_to_isolate_with_is_refused() -> None:
    """Not by firejail, nor namespaces, nor landlock: "auto" never falls back to nothing."""
    both = "/usr/bin/python3", "-I", _FILTERED[2]
    without = (*NO_FIREJAIL, *both, "user-namespaces", *both, "landlock")
    outcome = await refuses(DEFAULT, without, {"stack": "auto"})
    assert "nothing on this host can isolate" in outcome.refusal.cause


# ---- what begins to fail while it runs ----


@pytest.mark.attack("40d", slow=True, needs="root")
async def test_with_a_firejail_that_fails_open_others_isolate(target: Target) -> None:
    """They never ask it."""
    with harness.place() as where:
        take_its_place = f'mount --bind {open_door(where)} {FIREJAIL}; exec "$@"'
        await isolates(target, ("sh", "-c", take_its_place, "sh"))


@pytest.mark.refusal("40d", slow=True, needs="root")
async def test_firejail_that_begins_to_fail_open_later_never_gets_the_code(stack: Stack) -> None:
    """It did isolate at the start. The job ends as the executor's error, its code never sent."""
    with harness.place() as where, harness.executor(where, **stack.settings) as running:
        job = canary_job(where)
        assert (await running.client.run(job)).stdout == b"ran\n"
        running.workspace("attack").joinpath("canary").unlink()
        harness.in_mount_namespace(running.pid, "mount", "--bind", open_door(where), FIREJAIL)
        result = await running.client.run(job)
        assert result.reason == "executor_error"
        assert "the code was not run: the box was not verified" in result.detail
        assert result.stdout == b""
        assert list(where.rglob("canary")) == []


def open_door(where: Path) -> str:
    """Make a program that understands firejail's options and confines nothing."""
    path = where / "open-door"
    path.write_text('#!/bin/bash\nwhile [[ $1 == --* ]]; do shift; done\nexec "$@"\n')
    path.chmod(0o755)
    return str(path)


async def test_a_canary_that_was_removed_is_put_back_before_it_is_relied_on(
    running: Running,
) -> None:
    """The file that no job may reach proves nothing if it is not there."""
    canary = running.workspace(".canary")
    canary.unlink()
    await running.client.run(Job("bash", "true", "attack"))
    assert canary.exists()
