"""Boxes in each stack: what a job finds, what is kept warm, and what becomes of it all."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from executor import bundle, probe, process, zygote
from executor.boxes import ENVIRONMENT
from executor.client import ExecutorUnavailable, Job, Limits, Result
from executor.inside.keeper import Start
from executor.isolation.layer import Capability
from executor.settings import Settings
from tests.executor import harness
from tests.executor.harness import IS_ROOT, Refused, Running

pytestmark = pytest.mark.executor

BESIDES = ("seccomp", "rlimit", "subreaper")


@pytest.fixture(scope="module", params=["namespaces", "firejail", "landlock"])
def stacked(request: pytest.FixtureRequest) -> Iterator[Running]:
    """An executor with each of the layers that isolate."""
    if not IS_ROOT and request.param == "landlock":
        pytest.skip("landlock alone is refused where the uid is shared")
    stack = (request.param, *BESIDES)
    with harness.place() as where, harness.executor(where, stack=stack) as running:
        yield running


async def run(running: Running, language: str, code: str, **more: object) -> Result:
    with trio.fail_after(60):
        return await running.client.run(Job(language, code, "boxes", **more))  # type: ignore[arg-type]


async def test_every_line_of_the_probe_holds(stacked: Running) -> None:
    """The same table that the executor itself goes by at start, printed by a job of ours."""
    status = await stacked.client.status()
    promised = frozenset(Capability(name) for name in status.capabilities)
    canary = f"{stacked.settings.workspaces}/.canary"
    result = await run(stacked, "python", probe.code(canary, stacked.settings.workspaces))
    assert (result.reason, result.code, result.stderr) == ("exit", 0, b"")
    findings = probe.judge(probe.rows(ENVIRONMENT, status.uid), result.stdout, promised)
    assert [one for one in findings if not one.held] == []
    assert len(findings) > 30


async def test_python_and_bash_and_sessions_work(stacked: Running) -> None:
    assert (await run(stacked, "python", "print(6 * 7)")).stdout == b"42\n"
    assert (await run(stacked, "bash", "echo $((6 * 7))")).stdout == b"42\n"
    await run(stacked, "python", "x = 41", session="s")
    assert (await run(stacked, "python", "print(x + 1)", session="s")).stdout == b"42\n"


async def test_a_job_that_is_killed_leaves_no_process(stacked: Running) -> None:
    code = "(setsid sleep 86521 &) ; setsid sleep 86522 & sleep 86523"
    result = await run(stacked, "bash", code, limits=Limits(wall_seconds=0.5))
    assert result.reason == "timeout"
    left = [pid for mark in ("86521", "86522", "86523") for pid in harness.processes_with(mark)]
    assert left == []


async def test_a_file_that_was_not_closed_is_written_all_the_same(stacked: Running) -> None:
    """An interpreter closes the files of its main module at the end, and so does ours."""
    await run(stacked, "python", "f = open('open', 'w')\nf.write('all of it')")
    assert (await run(stacked, "bash", "cat open")).stdout == b"all of it"


async def test_the_end_of_a_program_runs_its_exit_handlers_and_waits_for_its_threads(
    stacked: Running,
) -> None:
    code = (
        "import atexit, threading, time\n"
        "atexit.register(lambda: print('handler'))\n"
        "threading.Thread(target=lambda: (time.sleep(0.1), print('thread'))).start()\n"
        "print('main')\n"
    )
    assert (await run(stacked, "python", code)).stdout == b"main\nthread\nhandler\n"


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("import sys; sys.exit()", 0, b""),
        ("import sys; sys.exit(3)", 3, b""),
        ("import sys; sys.exit('because')", 1, b"because\n"),
        ("raise KeyboardInterrupt", 130, b"KeyboardInterrupt\n"),
        ("def f(:", 1, b"SyntaxError"),
    ],
)
async def test_a_program_ends_as_the_interpreter_would_end_it(
    running: Running, code: str, status: int, said: bytes
) -> None:
    result = await run(running, "python", code)
    assert (result.reason, result.code) == ("exit", status)
    assert said in result.stderr


async def test_a_traceback_shows_the_users_lines_alone(running: Running) -> None:
    result = await run(running, "python", "def f():\n    return 1 / 0\nf()")
    assert b"return 1 / 0" in result.stderr
    assert b"executor" not in result.stderr


async def test_the_program_is_the_main_module_of_a_fresh_interpreter(running: Running) -> None:
    """Nothing of the trusted code is there to be imported or seen."""
    code = "import sys; print(__name__, sys.argv, [m for m in sys.modules if 'executor' in m])"
    assert (await run(running, "python", code)).stdout == b"__main__ ['[code]'] []\n"


async def test_bytes_that_are_no_text_can_be_printed(running: Running) -> None:
    code = "import os; print(os.fsdecode(b'caf\\xe9'))"
    assert (await run(running, "python", code)).stdout == b"caf\xe9\n"


async def test_warm_boxes_are_made_anew_when_they_are_taken() -> None:
    with harness.place() as where, harness.executor(where, warm_boxes=2) as running:
        (zygote,) = harness.children(running.pid)
        for _ in range(5):
            assert (await run(running, "python", "print(1)")).stdout == b"1\n"
        await harness.until(lambda: len(harness.children(zygote)) == 2)


async def test_without_warm_boxes_a_job_gets_one_of_its_own() -> None:
    with harness.place() as where, harness.executor(where, warm_boxes=0) as running:
        (zygote,) = harness.children(running.pid)
        assert (await run(running, "python", "print(1)")).stdout == b"1\n"
        await harness.until(lambda: not harness.children(zygote))


async def test_a_stack_without_isolation_needs_to_be_asked_for_and_says_so_each_time() -> None:
    """With nothing required, and an account of its own."""
    none = {"stack": ("none",), "require": ()}
    with harness.place() as where, harness.try_executor(where, **none) as outcome:
        if isinstance(outcome, Refused):
            assert "own uid" in outcome.refusal.cause
            return
        result = await run(outcome, "python", "print(1)")
    assert (result.stdout, result.layers) == (b"1\n", ("none",))


def test_a_jail_command_is_believed_only_as_far_as_it_goes() -> None:
    """env(1) is a command that puts things before another, and isolates nothing."""
    if not IS_ROOT:
        pytest.skip("more is missing where jobs have their caller's uid")
    with harness.place() as where:
        settings = {"stack": ("prefix", *BESIDES), "prefix": ("/usr/bin/env",)}
        with harness.try_executor(where, **settings) as outcome:
            assert isinstance(outcome, Refused)
    assert "does not give FS, NET" in outcome.refusal.cause


async def test_a_jail_command_that_gives_what_is_required_is_used() -> None:
    """The same one, where nothing but the filter and the limits is asked for."""
    if not IS_ROOT:
        pytest.skip("with a shared uid, files have to be isolated")
    with harness.place() as where:
        settings = {"stack": ("prefix", *BESIDES), "prefix": ("/usr/bin/env",)}
        require = ("SYSCALLS", "NNP", "KILL_TREE")
        with harness.executor(where, require=require, **settings) as running:
            assert (await run(running, "python", "print(1)")).stdout == b"1\n"
            assert "FS" not in (await running.client.status()).capabilities


@pytest.mark.parametrize("victim", ["executor", "zygote"])
async def test_kill_9_of_a_process_in_charge_leaves_nothing(victim: str) -> None:
    """Jobs, warm boxes and sessions end with the executor and with the zygote alike."""
    with harness.place() as where, harness.executor(where) as running:
        await run(running, "python", "x = 1", session="s")
        (zygote,) = harness.children(running.pid)
        boxes = harness.children(zygote)
        seen: list[str] = []

        def strike(_stream: str, _data: bytes) -> None:
            if not seen:
                os.kill(running.pid if victim == "executor" else zygote, signal.SIGKILL)
            seen.append("struck")

        code = "import time; print('up', flush=True); time.sleep(86524)"
        with trio.fail_after(30):
            result = await running.client.run(Job("python", code, "boxes"), on_output=strike)
        assert result.reason in {"executor_error", "signal"}
        await harness.until(lambda: not harness.alive((zygote, *boxes)))
        await harness.until(lambda: running.process.poll() is not None)
        with pytest.raises(ExecutorUnavailable):
            await run(running, "python", "1")


async def test_memory_that_forks_share_counts_once_where_no_cgroup_keeps_account(
    stacked: Running,
) -> None:
    """A fork bomb is to end for its processes, and a pool of workers not at all."""
    code = (
        "import os, time\n"
        "data = b'x' * (100 << 20)\n"
        "for _ in range(20):\n"
        "    if os.fork() == 0: time.sleep(0.5); os._exit(0)\n"
        "for _ in range(20): os.wait()\n"
        "print(len(data) >> 20)\n"
    )
    result = await run(stacked, "python", code)
    assert (result.reason, result.stdout) == ("exit", b"100\n"), result


async def test_memory_of_many_processes_is_added_up_where_no_cgroup_keeps_account(
    stacked: Running,
) -> None:
    code = (
        "import os, time\n"
        "for _ in range(20):\n"
        "    if os.fork() == 0: data = b'x' * (50 << 20); time.sleep(20)\n"
        "time.sleep(20)\n"
    )
    assert (await run(stacked, "python", code)).reason == "memory"


# ---- what goes wrong around a job is over when its cause is ----


@pytest.mark.parametrize("confinement", [{"view": {"uid": 0}}, {}], ids=["clone", "keeper"])
async def test_of_a_box_that_cannot_be_made_it_is_said_that_nothing_is_left(
    tmp_path: Path, confinement: dict[str, object]
) -> None:
    """Without that word the executor would think that it has lost it, and run nothing more."""
    async with zygote.started(
        Settings(socket="", workspaces="").python, bundle.sources(), (), str(tmp_path)
    ) as made:
        start = Start(confinement, cgroup="/nowhere")
        box = await process.start(made.orders, start, lambda: None)
        with trio.fail_after(20):
            report = await box.end()
        assert report.empty
        assert b"no box could be made" in box.pending()
        box.close()


async def test_groups_are_removed_though_a_dying_executor_could_still_be_told(
    tmp_path: Path,
) -> None:
    """Of a killed process one descriptor is closed after another: a report is sent, and not read.

    A box that waits in the second place that it joins is alive as long as nobody kills it.
    """
    group, held = tmp_path / "group", tmp_path / "held"
    for place in (group, held):
        place.mkdir()
    (group / "tasks").touch()
    os.mkfifo(held / "tasks")
    async with zygote.started(
        Settings(socket="", workspaces="").python, bundle.sources(), (), str(tmp_path)
    ) as made:
        joins = (str(group / "tasks"), str(held / "tasks"))
        box = await process.start(
            made.orders, Start({"view": {"uid": 0}}, joins=joins), lambda: None
        )
        await harness.until(lambda: (group / "tasks").read_text() == "0")
        (group / "tasks").unlink()  # a real group's files go with it
        pidfd = os.pidfd_open(made.pid)
        made.orders.close()
        with trio.fail_after(20):
            await trio.lowlevel.wait_readable(pidfd)
            os.close(pidfd)
            assert (await box.end()).empty, "somebody could have read the report, so it was sent"
        box.close()
    assert not group.exists()


async def test_boxes_that_have_died_unnoticed_are_not_handed_out() -> None:
    """A warm one costs nobody anything, and a session's begins anew."""
    with harness.place() as where, harness.executor(where, warm_boxes=2) as running:
        await run(running, "python", "x = 1", session="s")
        (zygote,) = harness.children(running.pid)
        await harness.until(lambda: len(harness.children(zygote)) == 3)
        boxes = harness.children(zygote)
        for box in boxes:
            harness.kill(box)
        await harness.until(lambda: not harness.alive(boxes))
        assert (await run(running, "python", "print(1)")).stdout == b"1\n"
        result = await run(running, "python", "print('x' in globals())", session="s")
        assert (result.stdout, result.session) == (b"False\n", "new")


async def test_a_job_does_not_survive_its_keeper() -> None:
    """Where there is no pid namespace, what a keeper leaves behind is the zygote's to kill."""
    if not IS_ROOT:
        pytest.skip("landlock alone is refused where the uid is shared")
    stack = ("landlock", *BESIDES)
    with harness.place() as where, harness.executor(where, stack=stack, warm_boxes=0) as running:
        (zygote,) = harness.children(running.pid)

        def strike(_stream: str, _data: bytes) -> None:
            for keeper in harness.children(zygote):
                harness.kill(keeper)

        code = "(setsid sh -c 'sleep 86541; sleep 86542' &); echo up; sleep 86543"
        with trio.fail_after(30):
            await running.client.run(Job("bash", code, "boxes"), on_output=strike)
        marks = ("86541", "86542", "86543")
        await harness.until(lambda: not any(map(harness.processes_with, marks)))


async def test_a_box_that_is_proved_dead_late_closes_nothing_for_ever() -> None:
    """The word that it is dead comes from the zygote, which is stopped for a while."""
    with harness.place() as where, harness.executor(where) as running:
        (zygote,) = harness.children(running.pid)

        def stop(_stream: str, _data: bytes) -> None:
            os.kill(zygote, signal.SIGSTOP)

        job = Job("bash", "echo up; sleep 60", "late", Limits(wall_seconds=0.3))
        result = await running.client.run(job, on_output=stop)
        assert result.reason == "timeout"
        await harness.until(lambda: "not proved dead" in running.log.read_text())
        assert "could not be proved dead" in (await running.client.status()).unavailable
        assert (await run(running, "python", "print(1)")).reason == "executor_error"
        os.kill(zygote, signal.SIGCONT)
        await harness.until(lambda: "dead after all" in running.log.read_text())
        assert (await running.client.status()).unavailable == ""
        again = await running.client.run(Job("bash", "echo free", "late"))
        assert again.stdout == b"free\n"


async def test_a_job_that_ran_is_not_denied_because_its_revision_cannot_be_written(
    running: Running,
) -> None:
    revisions = Path(running.settings.workspaces) / ".revisions"

    def close(_stream: str, _data: bytes) -> None:
        (revisions / "counted").rename(revisions / "away")
        (revisions / "counted").symlink_to("nowhere")

    with trio.fail_after(30):
        job = Job("bash", "echo up; sleep 0.2", "counted")
        result = await running.client.run(job, on_output=close)
    (revisions / "counted").unlink()
    assert (result.reason, result.stdout) == ("exit", b"up\n")
