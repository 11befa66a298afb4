"""Hostile jobs against the default stack: each must end as its docstring says."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest
import trio

from executor import launch
from executor.client import Job, Limits, Result
from executor.isolation import cgroup
from tests.executor import harness
from tests.executor.harness import Refused, Running

pytestmark = pytest.mark.executor


async def attack(
    running: Running, language: str, code: str, *, seconds: float = 10.0, workspace: str = "attack"
) -> Result:
    with trio.fail_after(60):
        limits = Limits(wall_seconds=seconds)
        return await running.client.run(Job(language, code, workspace, limits))


# ---- processes that will not die ----


async def test_a_setsid_hydra_leaves_nothing(running: Running) -> None:
    """A job that keeps starting sessions is gone, all of it, when its time is up."""
    code = "while true; do setsid sleep 86401 & sleep 0.02; done"
    result = await attack(running, "bash", code, seconds=1)
    assert result.reason == "timeout"
    assert harness.processes_with("86401") == []


async def test_a_fork_bomb_meets_its_limit_and_is_gone_with_the_job(running: Running) -> None:
    """Forking fails at the limit; afterwards no process is left, and the executor answers."""
    code = (
        "import os, time\n"
        "try:\n"
        "    while True:\n"
        "        if os.fork() == 0: time.sleep(86402)\n"
        "except BlockingIOError: print('no more', flush=True)\n"
        "time.sleep(86402)\n"
    )
    result = await attack(running, "python", code, seconds=2)
    assert result.reason == "timeout"
    assert b"no more" in result.stdout
    assert (await attack(running, "bash", "echo fine")).stdout == b"fine\n"


async def test_a_daemonised_grandchild_does_not_hold_up_the_result(running: Running) -> None:
    """The job is over when its main process is, and the grandchild is over with it."""
    began = time.monotonic()
    result = await attack(running, "bash", "(setsid sleep 86403 >/dev/null 2>&1 &); echo done")
    assert (result.reason, result.stdout) == ("exit", b"done\n")
    assert time.monotonic() - began < 5
    assert harness.processes_with("86403") == []


async def test_a_grandchild_that_holds_stdout_does_not_hold_up_the_result(
    running: Running,
) -> None:
    """Nobody waits for the pipe to close."""
    result = await attack(running, "bash", "(setsid sleep 86404 &); echo done", seconds=20)
    assert (result.reason, result.stdout) == ("exit", b"done\n")
    assert result.wall_seconds < 5


async def test_a_job_that_ignores_every_signal_dies_at_its_limit(running: Running) -> None:
    code = (
        "import signal, time\n"
        "for n in range(1, 65):\n"
        "    try: signal.signal(n, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\n"
        "time.sleep(86405)\n"
    )
    assert (await attack(running, "python", code, seconds=0.5)).reason == "timeout"


async def test_a_job_that_stops_itself_dies_at_its_limit(running: Running) -> None:
    result = await attack(running, "bash", "kill -STOP $$; sleep 86406", seconds=0.5)
    assert result.reason == "timeout"


async def test_a_time_limit_waits_for_no_pipe(running: Running) -> None:
    """Two seconds are two seconds, though a process in another session holds the output."""
    result = await attack(running, "bash", "setsid sleep 86407 & sleep 86407", seconds=1)
    assert result.reason == "timeout"
    assert result.wall_seconds < 4


async def test_killing_the_watcher_gains_nothing(running: Running) -> None:
    """The process that reports for the box can be killed, and that ends the job."""
    result = await attack(running, "bash", "kill -9 $PPID; exit 0", seconds=5)
    assert result.reason in {"signal", "exit"}
    assert harness.processes_with("86408") == []


async def test_kill_9_of_the_executor_leaves_no_process_and_no_cgroup() -> None:
    """Its jobs die with it, though it had no chance to do anything about them."""
    with harness.place() as where, harness.executor(where) as running:
        seen = trio.Event()

        async def hydra() -> None:
            code = "echo up; while true; do setsid sleep 86409 & sleep 0.02; done"
            await running.client.run(
                Job("bash", code, "hydra"), on_output=lambda _stream, _data: seen.set()
            )

        async with trio.open_nursery() as nursery:
            nursery.start_soon(hydra)
            with trio.fail_after(20):
                await seen.wait()
            running.process.kill()
        with trio.fail_after(5):
            while harness.processes_with("86409") or _groups_of(running):
                await trio.lowlevel.checkpoint()


def _groups_of(running: Running) -> list[Path]:
    groups = cgroup.here(harness.USER)
    parents = set(groups.parents.values()) if groups else set()
    return [path for parent in parents for path in parent.glob(f"job-{running.pid}-*")]


# ---- using up the host ----


async def test_300_mb_of_output_cost_the_executor_nothing(running: Running) -> None:
    """Neither the executor nor the caller grows; head and tail are there."""
    await attack(running, "python", "pass")
    before = harness.rss_kib(running.pid)
    ours = harness.rss_kib(os.getpid())
    code = "line = 'x' * 9999 + '\\n'\nfor _ in range(30000): print(line, end='')\nprint('END')"
    result = await attack(running, "python", code, seconds=30)
    assert result.reason == "exit"
    assert result.stdout_dropped > 299_000_000
    assert result.stdout.endswith(b"END\n")
    assert harness.rss_kib(running.pid) - before < 8 * 1024
    assert harness.rss_kib(os.getpid()) - ours < 20 * 1024


async def test_one_line_without_end_is_cut(running: Running) -> None:
    code = "import os\nfor _ in range(200): os.write(1, b'\\0' * 1000000)"
    result = await attack(running, "python", code, seconds=30)
    assert result.truncated
    assert len(result.stdout) < 1_100_000


async def test_memory_over_the_limit_ends_with_memory(running: Running) -> None:
    """With a cgroup and without: there the keeper looks, and the limit is called soft."""
    limits = Limits(memory_bytes=128 << 20, wall_seconds=20.0)
    code = "x = bytearray(300_000_000)\nimport time; time.sleep(1)"
    result = await running.client.run(Job("python", code, "memory", limits))
    assert result.reason == "memory"


async def test_the_memory_limit_is_the_jobs_and_not_each_processs(running: Running) -> None:
    code = (
        "import os, time\n"
        "for _ in range(3): os.fork()\n"
        "x = bytearray(60_000_000)\n"
        "time.sleep(2)\n"
        "while True:\n"
        "    try: os.wait()\n"
        "    except ChildProcessError: break\n"
        "print(os.getpid())\n"
    )
    limits = Limits(memory_bytes=128 << 20, wall_seconds=20.0)
    result = await running.client.run(Job("python", code, "memory", limits))
    assert len(result.stdout.split()) < 8


# ---- looking and reaching out ----


async def test_the_environment_is_exactly_the_allow_list(running: Running) -> None:
    code = "import os; print(sorted(os.environ))"
    result = await attack(running, "python", code)
    assert result.stdout == b"['HOME', 'LANG', 'PATH', 'TMPDIR']\n"


async def test_descriptors_are_0_to_2(running: Running) -> None:
    code = (
        "import os\n"
        "def is_open(n):\n"
        "    try: os.fstat(n)\n"
        "    except OSError: return False\n"
        "    return True\n"
        "print([n for n in range(256) if is_open(n)])"
    )
    assert (await attack(running, "python", code)).stdout == b"[0, 1, 2]\n"
    shell = "for n in {3..255}; do [ -e /dev/fd/$n ] && [ -e /proc/$$/fd/$n ] && echo $n; done; :"
    assert (await attack(running, "bash", shell)).stdout == b""


async def test_the_control_descriptor_cannot_be_had_back(running: Running) -> None:
    """Neither from the process that watches nor from firejail's own."""
    code = (
        "import os\n"
        "for pid in (1, os.getppid()):\n"
        "    try:\n"
        "        with open(f'/proc/{pid}/fd/3', 'wb', 0) as f: f.write(b'status 0\\n\\n')\n"
        "        print('reached', pid)\n"
        "    except OSError as error: print(error.errno)\n"
    )
    result = await attack(running, "python", code)
    assert b"reached" not in result.stdout


async def test_there_is_no_network(running: Running) -> None:
    """Nothing but an own loopback: no route out, no service of the host's, no name service."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = (
            "import socket\n"
            f"for where in (('127.0.0.1', {port}), ('169.254.169.254', 80), ('1.1.1.1', 53)):\n"
            "    try: socket.create_connection(where, 2); print('reached', where)\n"
            "    except OSError: pass\n"
            "udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
            "try: udp.sendto(b'x', ('1.1.1.1', 53)); print('udp')\n"
            "except OSError: pass\n"
            "print(open('/proc/net/dev').read().count(':'))\n"
        )
        assert (await attack(running, "python", code)).stdout == b"1\n"


async def test_the_executors_and_the_daemons_sockets_are_out_of_reach(running: Running) -> None:
    """A socket anywhere but in the workspace cannot even be named, an abstract one not reached."""
    with harness.place() as where, socket.socket(socket.AF_UNIX) as daemon:
        path = str(where / "daemon.sock")
        daemon.bind(path)
        daemon.listen()
        where.joinpath("daemon.sock").chmod(0o777)
        with socket.socket(socket.AF_UNIX) as abstract:
            abstract.bind("\0famulus-test")
            abstract.listen()
            code = (
                "import socket\n"
                f"for where in ({path!r}, {running.settings.socket!r}, '\\0famulus-test'):\n"
                "    try: socket.socket(socket.AF_UNIX).connect(where); print('reached', where)\n"
                "    except OSError: pass\n"
            )
            result = await attack(running, "python", code)
    assert (result.reason, result.stdout) == ("exit", b"")


async def test_no_file_of_the_hosts_beyond_the_system_is_seen(running: Running) -> None:
    """Not the daemon's, not another chat's, not the shadow file, nor what /proc could tell."""
    await attack(running, "bash", "echo secret > note", workspace="other-chat")
    with harness.place() as where:
        (where / "config.toml").write_text("token")
        paths = [
            str(where / "config.toml"),
            str(running.workspace("other-chat") / "note"),
            f"/proc/{running.pid}/environ",
            f"/proc/{running.pid}/root/etc/passwd",
            "/proc/1/environ",
            "/etc/shadow",
            "/sys/fs/cgroup",
            str(Path(__file__)),
        ]
        code = f"import os\nfor path in {paths!r}:\n    if os.access(path, os.R_OK): print(path)"
        result = await attack(running, "python", code)
    assert (result.reason, result.stdout) == ("exit", b"")


async def test_a_canary_that_was_removed_is_put_back_before_it_is_relied_on(
    running: Running,
) -> None:
    canary = running.workspace(".canary")
    canary.unlink()
    await attack(running, "bash", "true")
    assert canary.exists()


async def test_nothing_but_the_workspace_and_tmp_can_be_written(running: Running) -> None:
    code = (
        "for d in / /etc /usr /var /var/lib /run /opt /dev /proc/sys/kernel /sys; do\n"
        "  touch $d/x 2>/dev/null && echo $d\n"
        "done; touch x /tmp/x && echo own"
    )
    assert (await attack(running, "bash", code)).stdout == b"own\n"


async def test_new_namespaces_and_privileges_are_denied(running: Running) -> None:
    code = (
        "unshare -U true 2>/dev/null && echo userns\n"
        "unshare -n true 2>/dev/null && echo netns\n"
        "mount -t tmpfs none /tmp 2>/dev/null && echo mount\n"
        "chroot / true 2>/dev/null && echo chroot\n"
        "cp /bin/sh s && chmod u+s s; grep -E 'NoNewPrivs|CapBnd|Seccomp:' /proc/self/status"
    )
    result = await attack(running, "bash", code)
    assert result.stdout.split() == b"CapBnd: 0000000000000000 NoNewPrivs: 1 Seccomp: 2".split()


async def test_one_job_leaves_nothing_in_tmp_for_the_next(running: Running) -> None:
    code = "touch /tmp/left /dev/shm/left; ls /tmp /dev/shm /var/tmp | grep -c left"
    assert (await attack(running, "bash", code)).stdout == b"2\n"
    result = await attack(running, "bash", "ls /tmp /dev/shm /var/tmp | grep left")
    assert result.stdout == b""


# ---- the tool that fails open ----


@pytest.mark.skipif(not harness.IS_ROOT, reason="a pid namespace needs root to make")
def test_firejail_in_a_fresh_pid_namespace_is_refused_at_the_start() -> None:
    """Inside one, firejail runs the program unconfined and says nothing; the probe sees it."""
    with harness.place() as where:
        fresh = ("unshare", "-p", "-f", "--mount-proc")
        with harness.try_executor(where, prefix=fresh) as outcome:
            assert isinstance(outcome, Refused), outcome
            assert outcome.code == launch.EXIT_CONFIG
            assert "was not verified" in outcome.refusal.cause
            assert "container" in outcome.refusal.remedy
        assert list((where / "workspaces" / "probe").glob("[!.]*")) == []


@pytest.mark.skipif(not harness.IS_ROOT, reason="replacing firejail needs root")
async def test_firejail_that_begins_to_fail_open_later_never_gets_the_code() -> None:
    """The canary is a file that the code would make: it is never made, and the reason is ours."""
    with harness.place() as where, harness.executor(where) as running:
        where.chmod(0o777)
        open_door = where / "open-door"
        open_door.write_text('#!/bin/bash\nwhile [[ $1 == --* ]]; do shift; done\nexec "$@"\n')
        open_door.chmod(0o755)
        code = f"touch {where}/canary; touch canary; echo ran"
        assert (await attack(running, "bash", code)).stdout == b"ran\n"
        running.workspace("attack").joinpath("canary").unlink()
        bind = ("mount", "--bind", str(open_door), "/usr/bin/firejail")
        harness.in_mount_namespace(running.pid, *bind)
        result = await attack(running, "bash", code)
        assert result.reason == "executor_error"
        assert "the code was not run: the box was not verified" in result.detail
        assert result.stdout == b""
        assert not (where / "canary").exists()
        assert not running.workspace("attack").joinpath("canary").exists()


@pytest.mark.skipif(not harness.IS_ROOT, reason="hiding firejail needs root")
def test_without_firejail_nothing_runs_and_the_remedy_is_named() -> None:
    with harness.place() as where:
        hide = ("sh", "-c", 'mount --bind /dev/null /usr/bin/firejail; exec "$@"', "sh")
        with harness.try_executor(where, prefix=hide) as outcome:
            assert isinstance(outcome, Refused), outcome
            assert "nothing on this host can isolate" in outcome.refusal.cause
            assert "apt-get install firejail" in outcome.refusal.remedy
