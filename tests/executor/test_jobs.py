"""Jobs in a real executor: what runs, what comes back, and how it ends."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest
import trio

from executor.client import ExecutorUnavailable, Job, Limits, Result
from tests.executor import harness
from tests.executor.harness import Running
from tests.harness import processes

pytestmark = pytest.mark.executor


async def run(
    running: Running,
    language: str,
    code: str,
    *,
    workspace: str = "jobs",
    limits: Limits | None = None,
    on_output: Callable[[str, bytes], None] | None = None,
) -> Result:
    with trio.fail_after(60):
        job = Job(language, code, workspace, limits)
        return await running.client.run(job, on_output=on_output)


async def test_python_prints(running: Running) -> None:
    result = await run(running, "python", "print(6 * 7)")
    assert (result.reason, result.code, result.stdout) == ("exit", 0, b"42\n")
    assert result.layers == tuple(running.ready.status["layers"])
    assert result.wall_seconds > 0


async def test_bash_runs_as_dash_c_would(running: Running) -> None:
    """Variables, line numbers, standard error and the exit status are bash's own."""
    result = await run(running, "bash", 'x=5\necho "$0 $x"\nnosuch\nexit 4')
    assert (result.reason, result.code, result.stdout) == ("exit", 4, b"bash 5\n")
    assert b"line 3: nosuch: command not found" in result.stderr


async def test_a_traceback_shows_the_users_lines_and_no_others(running: Running) -> None:
    result = await run(running, "python", "def half(x):\n    return x / 0\n\nhalf(1)\n")
    text = result.stderr.decode()
    assert result.code == 1
    assert text.startswith(
        'Traceback (most recent call last):\n  File "[code]", line 4, in <module>'
    )
    assert "return x / 0" in text
    assert "enter" not in text


async def test_a_traceback_that_the_code_prints_itself_shows_lines_too(running: Running) -> None:
    code = (
        "import traceback\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n    traceback.print_exc()\n"
    )
    result = await run(running, "python", code)
    assert b"    1 / 0" in result.stderr


async def test_a_syntax_error_points_at_the_place(running: Running) -> None:
    result = await run(running, "python", "a = 1\nb = (\n")
    assert result.code == 1
    assert result.stderr.decode().startswith('  File "[code]", line 2')


async def test_python_code_is_a_main_program(running: Running) -> None:
    """Exit status, atexit, threads and the module's name are as in a script."""
    code = (
        "import atexit, sys, threading\n"
        "atexit.register(print, 'bye')\n"
        "threading.Thread(target=print, args=['thread']).start()\n"
        "print(__name__, len(sys.argv)); sys.exit(3)\n"
    )
    result = await run(running, "python", code)
    assert (result.code, result.stdout.splitlines()[-1]) == (3, b"bye")
    assert b"__main__ 1" in result.stdout


async def test_a_module_in_the_workspace_can_be_imported(running: Running) -> None:
    await run(running, "bash", "echo 'x = 8' > helper8.py", workspace="modules")
    result = await run(running, "python", "import helper8; print(helper8.x)", workspace="modules")
    assert result.stdout == b"8\n"


async def test_honest_work_is_not_hindered(running: Running) -> None:
    """Threads, subprocesses, multiprocessing and asyncio on the box's own loopback work."""
    code = """
import asyncio, concurrent.futures, multiprocessing, subprocess
def double(x): return 2 * x
async def loopback():
    async def serve(reader, writer):
        writer.write(await reader.readline()); writer.close()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"echo\\n")
    print((await reader.readline()).decode().strip())
    server.close()
if __name__ == "__main__":
    with concurrent.futures.ThreadPoolExecutor(4) as pool: print(list(pool.map(double, [1, 2])))
    with multiprocessing.Pool(2) as pool: print(pool.map(double, [3, 4]))
    print(subprocess.run(["echo", "sub"], capture_output=True, text=True).stdout.strip())
    asyncio.run(loopback())
"""
    result = await run(running, "python", code)
    assert result.stderr == b""
    assert result.stdout == b"[2, 4]\n[6, 8]\nsub\necho\n"


async def test_a_workspace_is_kept_between_jobs_and_is_ones_own(running: Running) -> None:
    await run(running, "bash", "echo mine > note", workspace="first")
    assert (await run(running, "bash", "cat note", workspace="first")).stdout == b"mine\n"
    assert (await run(running, "bash", "ls note", workspace="second")).code != 0
    found = running.workspace("first").stat()
    assert found.st_mode & 0o777 == 0o700
    assert found.st_uid == running.ready.status["uid"]


async def test_jobs_of_one_workspace_run_one_after_another(running: Running) -> None:
    code = "mkdir lock && sleep 0.3 && rmdir lock"
    results: list[Result] = []

    async def one() -> None:
        results.append(await run(running, "bash", code, workspace="order"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one)
        nursery.start_soon(one)
    assert [result.code for result in results] == [0, 0]


async def test_output_arrives_while_the_job_runs(running: Running) -> None:
    """The first line is there long before the job has ended."""
    seen: list[tuple[str, bytes, float]] = []
    result = await run(
        running,
        "python",
        "import time, sys\nprint('first')\ntime.sleep(0.5)\nprint('last', file=sys.stderr)",
        on_output=lambda stream, data: seen.append((stream, data, time.monotonic())),
    )
    assert [(stream, data) for stream, data, _ in seen] == [
        ("stdout", b"first\n"),
        ("stderr", b"last\n"),
    ]
    assert seen[1][2] - seen[0][2] > 0.3
    assert (result.stdout, result.stderr) == (b"first\n", b"last\n")


async def test_long_output_keeps_head_and_tail_and_says_what_is_missing(running: Running) -> None:
    code = "print('HEAD')\nfor _ in range(40): print('x' * 999)\nprint('TAIL', end='')"
    result = await run(running, "python", code, limits=Limits(output_bytes=8000))
    assert result.truncated
    assert result.stdout.startswith(b"HEAD\nxxx")
    assert result.stdout.endswith(b"x\nTAIL")
    assert b"[... %d bytes left out ...]" % result.stdout_dropped in result.stdout
    assert result.stdout_dropped == 40_000 + 9 - 4000


async def test_odd_bytes_come_through_unchanged(running: Running) -> None:
    code = "import os; os.write(1, bytes(range(256)))"
    assert (await run(running, "python", code)).stdout == bytes(range(256))


@pytest.mark.parametrize(
    ("code", "limits", "reason", "number"),
    [
        ("import os; os.kill(os.getpid(), 11)", None, "signal", 11),
        ("import time; print(1); time.sleep(60)", Limits(wall_seconds=0.3), "timeout", None),
        ("while True: pass", Limits(cpu_seconds=1, wall_seconds=20.0), "cpu", None),
    ],
)
async def test_the_end_of_a_job_is_named(
    running: Running, code: str, limits: Limits | None, reason: str, number: int | None
) -> None:
    result = await run(running, "python", code, limits=limits)
    assert (result.reason, result.code) == (reason, number)


async def test_output_before_the_time_limit_is_kept(running: Running) -> None:
    limits = Limits(wall_seconds=0.3)
    result = await run(running, "python", "print('so far')\nwhile True: pass", limits=limits)
    assert (result.reason, result.stdout) == ("timeout", b"so far\n")


async def test_a_file_over_the_limit_ends_with_disk(running: Running) -> None:
    limits = Limits(file_bytes=100_000)
    result = await run(running, "bash", "exec head -c 200000 /dev/zero > big", limits=limits)
    assert result.reason == "disk"


async def test_cancelling_the_call_kills_the_job(running: Running) -> None:
    """Trio's cancellation is the kill switch, down to the last process."""
    with trio.move_on_after(0.7):
        await run(running, "bash", "setsid sleep 86391 & sleep 86391", workspace="cancelled")
    with trio.fail_after(5):
        # The lock of the workspace is released only when the processes are proved gone.
        await run(running, "bash", "true", workspace="cancelled")
    assert harness.processes_with("86391") == []


async def test_the_workspace_is_refused_if_it_is_a_link(running: Running) -> None:
    """Whatever put a link in a workspace's place, no job follows it."""
    running.workspace("linked").symlink_to("/etc")
    result = await run(running, "bash", "echo ran", workspace="linked")
    assert (result.reason, result.stdout) == ("denied", b"")
    assert "not a directory" in result.detail


async def test_code_too_long_for_a_frame_is_denied_here(running: Running) -> None:
    result = await run(running, "python", "#" * (1 << 20))
    assert result.reason == "denied"
    assert "too long" in result.detail


async def test_long_code_runs(running: Running) -> None:
    result = await run(running, "python", "x = '" + "y" * 900_000 + "'\nprint(len(x))")
    assert result.stdout == b"900000\n"
    result = await run(running, "bash", "echo '" + "y" * 900_000 + "' | wc -c")
    assert result.stdout == b"900001\n"


async def test_an_unknown_language_is_denied_by_name(running: Running) -> None:
    result = await run(running, "perl", "print 1")
    assert result.reason == "denied"
    assert "perl" in result.detail


async def test_nobody_listening_is_unavailable_with_a_remedy(running: Running) -> None:
    from executor.client import ExecutorClient  # noqa: PLC0415 - the one test that needs another

    with pytest.raises(ExecutorUnavailable, match="no executor listens") as caught:
        await ExecutorClient("/nonexistent/executor.sock").run(Job("python", "1", "w"))
    assert "famulus executor" in caught.value.remedy


async def test_status_tells_what_isolates(running: Running) -> None:
    status = await running.client.status()
    assert "namespaces" in status.layers
    assert {"FS", "NET", "PID", "KILL_TREE", "SYSCALLS", "NNP", "PIDS"} <= set(status.capabilities)
    assert status.versions["kernel"]
    assert status.unavailable == ""
    assert status.shared_uid == (os.getuid() == status.uid)


async def test_many_jobs_leave_nothing_behind() -> None:
    """No process and no descriptor is left by jobs that end, fail and are cancelled.

    Without warm boxes, which would come and go meanwhile; tests/attacks/test_leaks.py has them.
    """
    with harness.place() as where, harness.executor(where, warm_boxes=0) as running:
        idle = len(processes.family(running.pid))
        await run(running, "python", "pass")
        await harness.until(lambda: len(processes.family(running.pid)) == idle)
        before = harness.open_descriptors(running.pid)

        async def one(number: int) -> None:
            code = f"sleep 0.0{number}; exit {number}"
            with trio.move_on_after(0.15 if number % 3 == 0 else 30):
                await run(running, "bash", code, workspace=f"many-{number}")

        async with trio.open_nursery() as nursery:
            for number in range(9):
                nursery.start_soon(one, number)
        await harness.until(lambda: len(processes.family(running.pid)) == idle)
        await harness.until(lambda: harness.open_descriptors(running.pid) <= before)


# ---- input, signals, and what is given back ----


async def test_input_reaches_the_job_and_ends_when_it_is_said_to(running: Running) -> None:
    send, inbox = trio.open_memory_channel[bytes | int](0)
    code = "import sys\nfor line in sys.stdin: print(line.strip().upper())\nprint('end')"
    job = Job("python", code, "stdin", stdin=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_say, send, [b"one\n", b"two\n", b""])
        with trio.fail_after(30):
            result = await running.client.run(job, inbox=inbox)
    assert (result.reason, result.stdout) == ("exit", b"ONE\nTWO\nend\n")


async def _say(send: trio.MemorySendChannel[bytes | int], words: list[bytes | int]) -> None:
    for word in words:
        await send.send(word)


async def test_a_job_without_input_reads_the_end_at_once(running: Running) -> None:
    assert (await run(running, "bash", "cat; echo done")).stdout == b"done\n"


async def test_a_lot_of_input_waits_for_a_slow_reader(running: Running) -> None:
    """A megabyte through a pipe of 64 KiB, counted at the other end."""
    send, inbox = trio.open_memory_channel[bytes | int](0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_say, send, [b"x" * 1024 * 1024, b""])
        with trio.fail_after(30):
            job = Job("bash", "sleep 0.2; wc -c", "stdin", stdin=True)
            result = await running.client.run(job, inbox=inbox)
    assert result.stdout.split() == [b"1048576"]


async def test_a_client_that_goes_while_its_input_waits_is_noticed(running: Running) -> None:
    """The job reads nothing and would run for a minute; the workspace is free soon after."""
    send, inbox = trio.open_memory_channel[bytes | int](0)
    with trio.move_on_after(0.5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_say, send, [b"x" * 1024 * 1024])
            job = Job("bash", "sleep 60", "stdin-gone", Limits(wall_seconds=60), stdin=True)
            await running.client.run(job, inbox=inbox)
    with trio.fail_after(15):
        after = await running.client.run(Job("bash", "echo free", "stdin-gone"))
    assert after.stdout == b"free\n"


@pytest.mark.parametrize("session", ["", "signals"])
async def test_a_signal_reaches_the_jobs_main_process(running: Running, session: str) -> None:
    """Ctrl-C, as a person would press it: the program may catch it and go on."""
    send, inbox = trio.open_memory_channel[bytes | int](1)
    code = (
        "import time\n"
        "try:\n"
        "    print('up', flush=True)\n"
        "    while True: time.sleep(0.01)\n"
        "except KeyboardInterrupt: print('caught')\n"
    )

    def interrupt(_stream: str, data: bytes) -> None:
        if data.startswith(b"up"):
            send.send_nowait(int(signal.SIGINT))

    job = Job("python", code, "signals", session=session)
    with trio.fail_after(30):
        result = await running.client.run(job, inbox=inbox, on_output=interrupt)
    assert (result.reason, result.code, result.stdout) == ("exit", 0, b"up\ncaught\n")


async def test_a_signal_overtakes_input_that_nobody_reads(running: Running) -> None:
    """Ctrl-C is needed most when a program has stopped listening."""
    send, inbox = trio.open_memory_channel[bytes | int](2)
    await send.send(b"x" * 1_000_000)
    await send.send(int(signal.SIGTERM))
    job = Job("python", "import time; time.sleep(60)", "behind", stdin=True)
    with trio.fail_after(20):
        result = await running.client.run(job, inbox=inbox)
    assert (result.reason, result.code) == ("signal", signal.SIGTERM)


async def test_a_signal_that_comes_before_long_code_waits_for_it(running: Running) -> None:
    send, inbox = trio.open_memory_channel[bytes | int](1)
    await send.send(int(signal.SIGTERM))
    code = "#" + "x" * 900_000 + "\nimport time; time.sleep(60)"
    with trio.fail_after(20):
        result = await running.client.run(Job("python", code, "behind"), inbox=inbox)
    assert (result.reason, result.code) == ("signal", signal.SIGTERM)


async def test_files_that_were_asked_for_come_back_with_the_result(running: Running) -> None:
    code = "mkdir -p out; echo 1,2 > out/a.csv; echo 3 > b.txt; ln -s /etc/passwd trap.csv"
    job = Job("bash", code, "artifacts", artifacts=("out/*.csv", "*.csv", "none*"))
    result = await running.client.run(job)
    assert [(one.name, one.data) for one in result.artifacts] == [("out/a.csv", b"1,2\n")]
    assert {one.name for one in result.skipped} == {"trap.csv", "none*"}


async def test_the_revision_grows_with_every_job(running: Running) -> None:
    first = await run(running, "bash", "true", workspace="revision")
    second = await run(running, "bash", "true", workspace="revision")
    assert 0 < first.revision < second.revision


async def test_a_workspace_that_grows_too_large_stops_the_job_and_can_be_cleared() -> None:
    """Afterwards nothing can be written there, and everything removed."""
    limits = Limits(workspace_bytes=4 * 1024**2, file_bytes=64 * 1024**2)
    with harness.place() as where, harness.executor(where, limits=limits) as running:
        filled = await run(running, "bash", "while true; do head -c 1M /dev/zero >> f; done")
        assert filled.reason == "disk"
        after = await run(running, "bash", "echo x > y; rm f; ls")
        assert (after.reason, after.code) == ("exit", 0)
        assert "none can be written" in after.detail
        cleared = await run(running, "bash", "echo x > y; cat y")
        assert (cleared.stdout, cleared.detail) == (b"x\n", "")


async def test_what_matplotlib_shows_comes_back_as_pictures(running: Running) -> None:
    """In the order in which it was shown; from a fresh interpreter and from one preloaded."""
    found = await run(running, "python", "import matplotlib")
    if found.code != 0:
        pytest.skip("the jobs' interpreter has no matplotlib")
    code = (
        "import matplotlib.pyplot as plt\n"
        "plt.plot([1, 2]); plt.show()\n"
        "plt.figure(); plt.figure(); plt.show()\n"
        "import os; print(sorted(os.listdir('.')))\n"
    )
    log = running.log
    for _ in range(2):
        result = await run(running, "python", code, workspace="plots")
        assert result.code == 0, result.stderr
        assert [one.name for one in result.artifacts] == ["plot-1.png", "plot-2.png", "plot-3.png"]
        assert all(one.data.startswith(b"\x89PNG") for one in result.artifacts)
        await harness.until(lambda: "packages preloaded" in log.read_text(), 60)
    assert (await run(running, "bash", "ls -A", workspace="plots")).stdout == b""
