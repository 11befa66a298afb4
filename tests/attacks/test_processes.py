"""Attacks 1 to 8: processes that multiply, hide, and will not die."""

from __future__ import annotations

import pytest
from attrs import evolve

from executor.client import Limits
from tests.attacks.stacks import Target
from tests.executor import harness

pytestmark = pytest.mark.executor

# A job of these ends at its time limit; one second is enough to be sure that it is under way.
SHORT = Limits(wall_seconds=1.0)
# Two seconds of processor time, and time enough to use them on a busy machine.
LITTLE_CPU = Limits(wall_seconds=60.0, cpu_seconds=2)


@pytest.mark.attack("1", slow=True)
async def test_a_fork_bomb_meets_its_limit_and_is_gone_with_the_job(
    target: Target, mark: str
) -> None:
    """Forking fails with EAGAIN; when the result is there, no process is, and others can run."""
    code = (
        "import errno, os, time\n"
        "try:\n"
        "    while True:\n"
        f"        if os.fork() == 0: os.execvp('sleep', ['sleep', '{mark}'])\n"
        "except OSError as error: print(errno.errorcode[error.errno], flush=True)\n"
        "time.sleep(100)\n"
    )
    result = await target.python(code, limits=evolve(SHORT, wall_seconds=3.0))
    assert (result.reason, result.stdout) == ("timeout", b"EAGAIN\n")
    assert harness.processes_with(mark) == []
    await target.answers()


@pytest.mark.attack("2", slow=True)
async def test_a_setsid_hydra_leaves_nothing(target: Target, mark: str) -> None:
    """A job that keeps starting sessions is gone, all of it, when its time is up."""
    code = f"while true; do setsid sleep {mark} & sleep 0.02; done"
    result = await target.bash(code, limits=SHORT)
    assert result.reason == "timeout"
    assert harness.processes_with(mark) == []


@pytest.mark.attack("3")
async def test_a_daemonised_grandchild_does_not_hold_up_the_result(
    target: Target, mark: str
) -> None:
    """The job is over when its main process is, and the grandchild is over with it."""
    code = f"(setsid setsid sleep {mark} </dev/null >/dev/null 2>&1 &); echo done"
    result = await target.bash(code)
    assert (result.reason, result.code, result.stdout) == ("exit", 0, b"done\n")
    assert harness.processes_with(mark) == []


@pytest.mark.attack("4")
async def test_a_grandchild_that_holds_stdout_does_not_hold_up_the_result(
    target: Target, mark: str
) -> None:
    """Nobody waits for the pipe to close: the grandchild would hold it to the time limit."""
    result = await target.bash(f"(setsid sleep {mark} &); echo done")
    assert (result.reason, result.code, result.stdout) == ("exit", 0, b"done\n")
    assert harness.processes_with(mark) == []


@pytest.mark.attack("5", slow=True)
async def test_a_job_that_ignores_every_signal_dies_at_its_limit(target: Target, mark: str) -> None:
    """What can be ignored is, and exec keeps it so; SIGKILL cannot."""
    code = (
        "import os, signal\n"
        "for n in range(1, 65):\n"
        "    try: signal.signal(n, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\n"
        "print('deaf', flush=True)\n"
        f"os.execvp('sleep', ['sleep', '{mark}'])\n"
    )
    result = await target.python(code, limits=SHORT)
    assert (result.reason, result.stdout) == ("timeout", b"deaf\n")
    assert harness.processes_with(mark) == []


@pytest.mark.attack("6", slow=True)
async def test_a_job_that_stops_itself_dies_at_its_limit(target: Target, mark: str) -> None:
    """A stopped process is killed like any other."""
    result = await target.bash(f"sleep {mark} & kill -STOP $! $$", limits=SHORT)
    assert result.reason == "timeout"
    assert harness.processes_with(mark) == []


@pytest.mark.attack("7a", slow=True)
async def test_a_job_that_spins_uses_no_more_processor_time_than_it_has(target: Target) -> None:
    """The reason is `cpu`, long before its time is up."""
    result = await target.python("while True: pass", limits=LITTLE_CPU)
    assert result.reason == "cpu"
    assert result.wall_seconds < 50


@pytest.mark.attack("7b", slow=True)
async def test_eight_that_spin_share_the_processor_time(target: Target) -> None:
    """The account is the job's: eight processes do not have eight times as much."""
    code = "import os\nfor _ in range(3): os.fork()\nwhile True: pass"
    result = await target.python(code, limits=LITTLE_CPU)
    assert result.reason == "cpu"
    assert result.cpu_seconds < 8


@pytest.mark.attack("8a", slow=True)
async def test_a_time_limit_waits_for_no_pipe(target: Target, mark: str) -> None:
    """One second is one second, though a process in another session holds the output."""
    result = await target.bash(f"setsid sleep {mark} & sleep {mark}", limits=SHORT)
    assert result.reason == "timeout"
    assert harness.processes_with(mark) == []


@pytest.mark.attack("8b", slow=True)
async def test_killing_the_watcher_gains_nothing(target: Target, mark: str) -> None:
    """Where a job can kill the process that reports for its box, it has ended itself at most."""
    result = await target.bash(f"setsid sleep {mark} & kill -9 $PPID; exit 0", limits=SHORT)
    assert result.reason in {"signal", "exit", "timeout"}
    assert harness.processes_with(mark) == []
    await target.answers()
