"""The executor as a child: real processes that play the executor, well and badly."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing
from attrs import frozen

from daemon import sidecar
from daemon.sidecar import ExecutorDied, Refusal, Sidecar
from daemon.supervise import Health, supervise

READY = 'print(\'{"ready": {"layers": "rlimit"}}\', flush=True)\n'
REFUSED = 'print(\'{"refused": "no sandbox", "remedy": "apt install firejail"}\', flush=True)\n'
UNTIL_EOF = "import sys; sys.stdin.read()\n"
FOR_EVER = "import signal\nwhile True: signal.pause()\n"


@frozen
class Program:
    """What `executor.launch.command` would return, with a script in the executor's place."""

    argv: tuple[str, ...]
    env: dict[str, str]
    settings_fd: int

    def close(self) -> None:
        os.close(self.settings_fd)


def playing(script: str) -> Callable[[], Program]:
    """What starts `script`; on the descriptor after the standard ones it finds settings."""
    return lambda: program(sys.executable, "-S", "-c", script)


def program(*argv: str) -> Program:
    return Program(argv, {"LANG": "C.UTF-8"}, os.open(os.devnull, os.O_RDONLY))


def has_ended(pid: int) -> bool:
    """Whether a process is gone; one that nobody has waited for yet counts as gone."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@asynccontextmanager
async def running(script: str) -> AsyncIterator[Sidecar]:
    """A sidecar that has had its first outcome, good or bad."""
    car = Sidecar(playing(script))
    async with trio.open_nursery() as nursery:
        with trio.fail_after(10):
            await nursery.start(car.run)
        yield car
        nursery.cancel_scope.cancel()


async def death_of(script: str) -> str:
    """How the sidecar's run ends by itself."""
    with pytest.raises(ExecutorDied) as caught, trio.fail_after(10):
        await Sidecar(playing(script)).run()
    return str(caught.value)


# --- A good life ---


async def test_a_ready_child_runs_until_cancelled() -> None:
    """And is gone when the run has ended: no waiting, no luck."""
    async with running(READY + FOR_EVER) as car:
        pid = car.pid
        assert pid is not None
        assert not has_ended(pid)
        assert (car.state, car.refusal) == ("ready", None)

    assert has_ended(pid)
    assert not is_there(pid)  # reaped, too
    assert (car.state, car.pid) == ("down", None)


async def test_a_child_that_ignores_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """After its grace."""
    monkeypatch.setattr(sidecar, "GRACE", 0.1)
    script = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + READY + FOR_EVER
    async with running(script) as car:
        pid = car.pid or 0

    assert has_ended(pid)


async def test_what_the_child_left_in_its_session_is_killed() -> None:
    """A helper that does not notice that its parent ended."""
    script = (
        "import os, json, signal\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "    while True: signal.pause()\n"
        'print(json.dumps({"ready": {"helper": pid}}), flush=True)\n' + FOR_EVER
    )
    async with running(script) as car:
        (helper,) = children_of(car.pid or 0)
        assert not has_ended(helper)
        pidfd = os.pidfd_open(helper)

    ended, _, _ = select.select([pidfd], [], [], 5)
    os.close(pidfd)
    assert ended


def children_of(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


async def test_the_child_has_a_session_and_an_environment_of_its_own() -> None:
    """Ctrl-C in the terminal is the daemon's to handle; its secrets are its own."""
    script = (
        "import os, json\n"
        'said = {"leader": os.getsid(0) == os.getpid(), "env": sorted(os.environ)}\n'
        'print(json.dumps({"refused": json.dumps(said)}), flush=True)\n'
    )
    async with running(script) as car:
        assert car.refusal == Refusal('{"leader": true, "env": ["LANG"]}', "")


# --- Refusals ---


async def test_a_refusal_is_kept_and_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    """The daemon goes on; whoever asks is told the executor's own words."""
    async with running(REFUSED) as car:
        assert car.state == "refused"
        assert car.refusal == Refusal("no sandbox", "apt install firejail")
        assert car.pid is None

    line = capsys.readouterr().err
    assert 'event="executor refuses" cause="no sandbox" remedy="apt install firejail"' in line


async def test_a_refusal_that_time_mends_is_soon_over(tmp_path: Path) -> None:
    """The executor of a daemon that was killed holds the socket for a moment."""
    marker = tmp_path / "marker"
    script = (
        f"import os\nif os.path.exists({str(marker)!r}):\n    {READY}    {UNTIL_EOF}"
        f"else:\n    open({str(marker)!r}, 'x')\n    {REFUSED}"
    )
    async with running(script) as car:
        assert car.state == "refused"
        with trio.fail_after(10):
            while car.state != "ready":
                await trio.testing.wait_all_tasks_blocked(0.01)


async def test_reload_tries_a_refused_child_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same refusal is not logged twice; what was missing may be there now."""
    tries = tmp_path / "tries"
    script = (
        f"n = len(open({str(tries)!r}, 'a+').read() or open({str(tries)!r}).read())\n"
        f"open({str(tries)!r}, 'a').write('x')\n"
        f"if n < 2:\n    {REFUSED}else:\n    {READY}    {UNTIL_EOF}"
    )
    async with running(script) as car:
        with trio.fail_after(10):
            while car.state != "ready":
                await trio.testing.wait_all_tasks_blocked(0.01)
                car.reload()
        assert car.refusal is None

    assert capsys.readouterr().err.count("executor refuses") == 1


# --- Deaths ---


async def test_a_death_is_told_with_its_last_words() -> None:
    """The supervisor raises it into health and log."""
    script = READY + "import sys\nprint('one\\ntwo', file=sys.stderr)\nsys.exit(3)\n"

    assert await death_of(script) == "the executor exited with 3: one; two"


async def test_a_killed_child_is_told() -> None:
    """By the name of the signal."""
    script = READY + "import os\nos.kill(os.getpid(), 9)\n"

    assert await death_of(script) == "the executor was ended by SIGKILL"


async def test_a_child_that_never_got_ready_is_told() -> None:
    """Usually a traceback, whose end is what matters."""
    text = await death_of("raise SystemExit('bad interpreter')")

    assert text == "the executor exited with 1: bad interpreter"


@pytest.mark.parametrize("line", ["hello", "[]", "5", '{"redy": 1}', ""])
async def test_a_child_that_says_something_else_is_told(line: str) -> None:
    """Then it is no executor, or not one of this version."""
    assert "and not with its readiness" in await death_of(
        f"print({line!r}, flush=True)\n" + FOR_EVER
    )


async def test_a_child_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """And killed."""
    monkeypatch.setattr(sidecar, "READY_TIMEOUT", 0.05)

    assert await death_of(FOR_EVER) == "the executor was not ready after 0.05 s"


async def test_a_program_that_does_not_exist_is_told() -> None:
    """As any other death."""
    car = Sidecar(lambda: program("/nowhere/python"))
    with pytest.raises(ExecutorDied, match=r"cannot be started: .*No such file"):
        await car.run()


async def test_the_daemon_does_not_wait_for_a_broken_child() -> None:
    """Readiness means an outcome, also a bad one; then the supervisor goes on trying."""
    car = Sidecar(playing("raise SystemExit(1)"))
    health = Health()
    async with trio.open_nursery() as nursery:
        with trio.fail_after(10):
            await nursery.start(_supervised, car, health)
        assert health.of("executor").state in {"running", "waiting"}
        assert car.state == "down"
        nursery.cancel_scope.cancel()


async def _supervised(car: Sidecar, health: Health, *, task_status: trio.TaskStatus[None]) -> None:
    await supervise(
        "executor",
        car.run,
        health=health,
        policy=sidecar.POLICY,
        reports_ready=True,
        task_status=task_status,
    )


# --- Output ---


async def test_output_without_end_is_not_kept(capsys: pytest.CaptureFixture[str]) -> None:
    """A line is cut, however long it is; what follows it is read all the same."""
    script = (
        READY + "import sys\nfor _ in range(64): sys.stderr.write('x' * 65536)\n"
        "print('\\nlast', file=sys.stderr)\nsys.exit(1)\n"
    )

    assert (await death_of(script)).endswith("; last")
    assert all(len(line) < 10_000 for line in capsys.readouterr().err.splitlines())


async def test_its_log_lines_are_in_our_log(capsys: pytest.CaptureFixture[str]) -> None:
    """Escaped: jobs may have had a hand in them."""
    await death_of("import sys\nprint('a\\x1b[31m b', file=sys.stderr)\nsys.exit(1)\n")

    assert r'event="executor says" line="a\x1b[31m b"' in capsys.readouterr().err


async def test_the_settings_are_passed_and_closed_on_our_side() -> None:
    """Under their own number; the daemon keeps no copy."""
    read, write = os.pipe()
    script = f"import os\nos.write({write}, b'x')\nraise SystemExit(1)\n"
    argv = (sys.executable, "-S", "-c", script)
    with pytest.raises(ExecutorDied):
        await Sidecar(lambda: Program(argv, {}, write)).run()

    assert os.read(read, 10) == b"x"
    assert os.read(read, 10) == b""  # every writing end is closed
    os.close(read)


# --- The lifeline ---

DAEMON = f"""
import sys, trio
sys.path.insert(0, {str(Path.cwd())!r})
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_sidecar import READY, UNTIL_EOF, playing
from daemon.sidecar import Sidecar

async def main():
    car = Sidecar(playing(READY + UNTIL_EOF))
    async with trio.open_nursery() as nursery:
        await nursery.start(car.run)
        print(car.pid, flush=True)

trio.run(main)
"""


def test_a_daemon_that_is_killed_takes_its_child_along() -> None:
    """The child's standard input ends when nobody holds the other end any more."""
    with subprocess.Popen(
        [sys.executable, "-c", DAEMON], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        pidfd = os.pidfd_open(int(process.stdout.readline()))
        process.send_signal(signal.SIGKILL)

    ended, _, _ = select.select([pidfd], [], [], 10)
    os.close(pidfd)
    assert ended
