"""A real executor for tests: its own process, its own account where that can be had.

As root it is started as users start it, with `--user famulus-exec`, inside a mount namespace of
its own. As an ordinary user it shares that user's uid. A host on which jobs cannot be isolated
refuses; the tests that need jobs are then skipped with the refusal as the reason.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import evolve, frozen

from executor import launch
from executor.client import ExecutorClient
from executor.launch import Launch, Ready, Refusal
from executor.settings import Settings

USER = "famulus-exec"
IS_ROOT = os.getuid() == 0
_PRIVATE_MOUNTS = ("unshare", "-m", "--propagation", "private")
# Of the names of all places.
PREFIX = "famulus-test-"
_START_SECONDS = 30.0
_STOP_SECONDS = 15.0
_ROOT = Path(__file__).resolve().parent.parent.parent


@frozen
class Running:
    """A started executor: its process (the executor itself), and how to reach it."""

    process: subprocess.Popen[bytes]
    settings: Settings
    ready: Ready
    log: Path

    @property
    def client(self) -> ExecutorClient:
        return ExecutorClient(self.settings.socket)

    @property
    def pid(self) -> int:
        return self.process.pid

    def workspace(self, key: str) -> Path:
        return Path(self.settings.workspaces) / key


@frozen
class Refused:
    """An executor that would not start."""

    refusal: Refusal
    code: int
    stderr: str


@frozen
class AsWhom:
    """Which account starts the executor, and whether it is to become another."""

    start_as: str | None = None
    user: str | None = USER if IS_ROOT else None
    groups: tuple[int, ...] = ()  # besides the account's own; only with `start_as`


def as_ordinary_user() -> AsWhom:
    """An executor that shares its uid with whoever started it; root lends its jobs' account."""
    if IS_ROOT:
        return AsWhom(start_as=USER, user=None)
    return AsWhom(user=None)


def has_account() -> bool:
    try:
        pwd.getpwnam(USER)
    except KeyError:
        return False
    return True


def need_account() -> None:
    if IS_ROOT and not has_account():
        pytest.skip(f"there is no account {USER} (as root, `make ready-test` makes it)")


@contextlib.contextmanager
def place() -> Iterator[Path]:
    """A directory that every account can reach, unlike pytest's own."""
    path = Path(tempfile.mkdtemp(prefix=PREFIX))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def skills() -> Iterator[Path]:
    """A directory with one skill, open to be written by every account.

    Not in /tmp if that can be: firejail gives each job another one.
    """
    path = Path(tempfile.mkdtemp(prefix=PREFIX, dir="/opt" if IS_ROOT else None))
    skill = path / "tried"
    skill.mkdir()
    (skill / "SKILL.md").write_text("the skill as it was")
    for each in (path, skill, skill / "SKILL.md"):
        each.chmod(0o777)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def try_executor(
    where: Path, who: AsWhom | None = None, *, launcher: tuple[str, ...] = (), **settings: Any
) -> Iterator[Running | Refused]:
    """Start an executor below `where`, and give it or its refusal. Ended with the block.

    `launcher` is a command that starts what follows it, on a host with something less; the test is
    skipped where nothing can be taken from it.
    """
    need_account()
    if launcher and not IS_ROOT:
        pytest.skip("only root can take something from this host")
    who = who or AsWhom()
    chosen = Settings(
        socket=str(where / "executor.sock"), workspaces=str(where / "workspaces"), **settings
    )
    start = launch.command(chosen, user=who.user)
    log = where / "executor.log"
    process = _popen(_command(start, who, launcher, where), log)
    start.close()
    try:
        yield _outcome(process, chosen, log)
    finally:
        _stop(process)


@contextlib.contextmanager
def executor(where: Path, who: AsWhom | None = None, **settings: Any) -> Iterator[Running]:
    """Start an executor that must work here; skips the test if this host cannot isolate."""
    with try_executor(where, who, **settings) as outcome:
        if isinstance(outcome, Refused):
            assert outcome.code == launch.EXIT_CONFIG, outcome.stderr
            pytest.skip(f"the executor cannot work here: {outcome.refusal.cause}")
        yield outcome


def _command(start: Launch, who: AsWhom, launcher: tuple[str, ...], where: Path) -> Launch:
    argv, env = start.argv, dict(start.env)
    if who.start_as is not None:
        _give_to(where, who.start_as)
        argv, env = _as_account(argv, env, who.start_as, who.groups)
    if IS_ROOT:  # no other has a launcher
        argv = (*_PRIVATE_MOUNTS, *launcher, *argv)
    return evolve(start, argv=(*argv,), env=env)


def _as_account(
    argv: tuple[str, ...], env: dict[str, str], account: str, groups: tuple[int, ...] = ()
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Start as another account, by an interpreter that it can run."""
    python = sys.executable
    if subprocess.run(_setpriv(account, python, "-c", ""), check=False).returncode != 0:
        python = "/usr/bin/python3"
    if subprocess.run(
        _setpriv(account, python, "-c", "import trio, attrs"), env=env, check=False
    ).returncode:
        pytest.skip(f"{account} can run no interpreter that has trio")
    return (*_setpriv(account, python, groups=groups), *argv[1:]), env


def _setpriv(account: str, *argv: str, groups: tuple[int, ...] = ()) -> tuple[str, ...]:
    entry = pwd.getpwnam(account)
    which = f"--groups={','.join(map(str, groups))}" if groups else "--clear-groups"
    ids = (f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", which)
    return ("/usr/bin/setpriv", *ids, *argv)


def _give_to(path: Path, account: str) -> None:
    entry = pwd.getpwnam(account)
    os.chown(path, entry.pw_uid, entry.pw_gid)


def _popen(start: Launch, log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as stderr:
        return subprocess.Popen(
            start.argv,
            env=dict(start.env),
            pass_fds=[start.settings_fd],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd=_ROOT,
        )


def _outcome(process: subprocess.Popen[bytes], settings: Settings, log: Path) -> Running | Refused:
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], _START_SECONDS)
    assert readable, "the executor says nothing"
    said = launch.parse_announcement(process.stdout.readline())
    if isinstance(said, Ready):
        return Running(process, settings, said, log)
    return Refused(said, process.wait(_STOP_SECONDS), log.read_text())


def _stop(process: subprocess.Popen[bytes]) -> None:
    assert process.stdout is not None
    process.stdout.close()
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_SECONDS)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


async def until(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until something on the host is so; nobody tells us, so it has to be looked at."""
    with trio.fail_after(seconds):
        while not holds():  # noqa: ASYNC110 - as it says
            await trio.sleep(0.01)


def alive(pids: Iterable[int]) -> list[int]:
    """Those of the pids that are there still, be it as zombies."""
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def processes_with(mark: str) -> list[int]:
    """Pids of all processes on the host whose command line contains `mark`, ours excepted."""
    found = []
    names = (path.name for path in Path("/proc").iterdir())
    for pid in (int(name) for name in names if name.isdigit()):
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            if mark.encode() in command and pid != os.getpid():
                found.append(pid)
    return found


def rss_kib(pid: int) -> int:
    """Resident memory of a process, in KiB."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0])


def pss_kib(pid: int) -> int:
    """The process's share of resident memory, in KiB."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(text.split("Pss:")[1].split()[0])


def open_descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def in_mount_namespace(pid: int, *command: str) -> None:
    """Run a command among the mounts of an executor; needs root."""
    subprocess.run(["nsenter", "-t", str(pid), "-m", *command], check=True)


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def kill_if_there(pid: int) -> None:
    """Kill a process that may have ended by itself."""
    with contextlib.suppress(ProcessLookupError):
        kill(pid)
