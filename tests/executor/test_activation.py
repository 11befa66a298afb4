"""Socket activation and readiness: a real executor, started the way systemd starts it."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen

from executor import activation, launch
from executor.client import ExecutorClient, Job
from executor.isolation.stack import Refused
from executor.launch import Ready, Refusal
from executor.settings import Settings
from tests.executor import harness

pytestmark = pytest.mark.executor

ROOT = Path(__file__).resolve().parent.parent.parent
ACCOUNT = harness.USER if harness.IS_ROOT else pwd.getpwuid(os.getuid()).pw_name
DAEMON = "nobody"
# What systemd does between fork and exec: the socket becomes descriptor 3, and the variables name
# the very process that executes the service.
MANAGER = """
import os, sys
listener, *command = sys.argv[1:]
os.dup2(int(listener), 3)
os.environ["LISTEN_PID"] = str(os.getpid())
os.environ["LISTEN_FDS"] = "1"
os.execv(command[0], command)
"""


@frozen
class Activated:
    """An executor that was given `path` to listen at, and what it said first of all."""

    path: Path
    said: Ready | Refusal
    process: subprocess.Popen[bytes]
    notified: socket.socket

    def ready(self) -> None:
        if isinstance(self.said, Refusal):
            pytest.skip(f"the executor cannot work here: {self.said.cause}")

    def notification(self) -> str:
        """The next thing that systemd is told."""
        return self.notified.recv(4096).decode()


def listen(path: Path, mode: int = 0o600) -> socket.socket:
    """As a socket unit does: made by root and given to the daemon, where root can be had."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(mode)
    if harness.IS_ROOT:
        os.chown(path, pwd.getpwnam(DAEMON).pw_uid, -1)
    listener.listen(16)
    return listener


@contextlib.contextmanager
def activated(
    where: Path, listener: socket.socket, *, manager: str = MANAGER, **settings: object
) -> Iterator[Activated]:
    """Start an executor with `listener` in hand; ended with the block."""
    harness.need_account()
    path = where / "executor.sock"
    defaults = {"socket": str(path), "user": ACCOUNT, "daemon_user": DAEMON}
    chosen = Settings(**{**defaults, "workspaces": str(where / "workspaces"), **settings})
    with bound_notify(where / "notify") as notified:
        process = _start(where, chosen, listener, manager)
        try:
            assert process.stdout is not None
            said = launch.parse_announcement(process.stdout.readline())
            yield Activated(path, said, process, notified)
        finally:
            process.terminate()
            process.communicate(timeout=20)


@contextlib.contextmanager
def bound_notify(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(path))
        path.chmod(0o666)
        notified.settimeout(20)
        yield notified


def _start(
    where: Path, settings: Settings, listener: socket.socket, manager: str
) -> subprocess.Popen[bytes]:
    """Like systemd, the manager is root where we are, and only then becomes the account."""
    start = launch.command(settings)
    argv, env = start.argv, dict(start.env)
    if harness.IS_ROOT:
        os.chown(where, pwd.getpwnam(ACCOUNT).pw_uid, -1)
        argv, env = harness._as_account(argv, env, ACCOUNT)
    process = subprocess.Popen(
        (sys.executable, "-c", manager, str(listener.fileno()), *argv),
        env={**env, "NOTIFY_SOCKET": str(where / "notify")},
        pass_fds=[start.settings_fd, listener.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
    )
    start.close()
    return process


def refusal(found: Activated) -> Refusal:
    assert isinstance(found.said, Refusal), found.said
    assert found.process.wait(20) == launch.EXIT_CONFIG
    return found.said


@pytest.mark.skipif(not harness.IS_ROOT, reason="only root can be a daemon with another uid")
async def test_a_job_runs_over_a_socket_that_systemd_made() -> None:
    """The executor was never root, and does not take the daemon's account for its own."""
    with harness.place() as where, listen(where / "executor.sock") as listener:
        with activated(where, listener) as running:
            running.ready()
            client = ExecutorClient(str(running.path))
            result = await client.run(Job("python", "print(1)", "mine"))
            status = await client.status()
        assert running.path.exists(), "the socket is systemd's to remove"
    assert result.stdout == b"1\n"
    assert not status.shared_uid


def test_systemd_is_told_when_jobs_can_be_run() -> None:
    with (
        harness.place() as where,
        listen(where / "executor.sock") as listener,
        activated(where, listener) as running,
    ):
        running.ready()
        assert running.notification() == "READY=1\nSTATUS=jobs can be run"


@pytest.mark.skipif(not harness.IS_ROOT, reason="only root can be several accounts")
def test_the_jobs_account_gets_nothing_even_if_it_could_connect() -> None:
    """The daemon and root may use it, by the kernel's word of who connects; its own uid may not."""
    with (
        harness.place() as where,
        listen(where / "executor.sock") as listener,
        activated(where, listener) as running,
    ):
        running.ready()
        running.path.chmod(0o666)
        assert "may not use this executor" in asked_by(ACCOUNT, running.path)
        assert '"layers"' in asked_by(DAEMON, running.path)


def asked_by(account: str, path: Path) -> str:
    """What the executor answers to a STATUS of that account."""
    code = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
        "s.sendall(b'\\0\\0\\0\\2\\2{}'); print(s.makefile('rb').read()[5:].decode())"
    )
    words = ["/usr/bin/python3", "-I", "-c", code, str(path)]
    entry = pwd.getpwnam(account)
    return subprocess.check_output(words, user=entry.pw_uid, group=entry.pw_gid, text=True)


@pytest.mark.skipif(not harness.IS_ROOT, reason="only root can be a daemon with another uid")
async def test_whoever_waits_for_an_executor_that_refuses_is_told_why() -> None:
    """The manager starts it again for the next client, and not for ever for the same one."""
    with harness.place() as where, listen(where / "executor.sock") as listener:
        waiting = socket.socket(socket.AF_UNIX)
        waiting.connect(str(where / "executor.sock"))
        waiting.sendall(b"\0\0\0\2\2{}")
        with waiting, activated(where, listener, python="/usr/bin/python9") as running:
            assert "no such program" in refusal(running).cause
            answer = json.loads(waiting.makefile("rb").read()[5:])
            assert running.notification().startswith("STATUS=")
        assert "no such program" in answer["detail"]


def test_a_client_that_never_ends_does_not_hold_an_executor_that_refuses(tmp_path: Path) -> None:
    """One that says a little again and again is heard out for its two seconds, and no longer."""
    done = threading.Event()
    with listen(tmp_path / "sock") as listener, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "sock"))
        trickle = threading.Thread(target=_trickle, args=(client, done))
        trickle.start()
        began = time.monotonic()
        activation.refuse(listener, Refused("no", "never"))
        took = time.monotonic() - began
        done.set()
        trickle.join()
    assert took < 5


def _trickle(client: socket.socket, done: threading.Event) -> None:
    """For eight seconds, so that a test that fails ends too."""
    with contextlib.suppress(OSError):
        for _ in range(80):
            client.send(b"x")
            if done.wait(0.1):
                return


def test_a_socket_that_everybody_may_open_is_refused() -> None:
    with (
        harness.place() as where,
        listen(where / "executor.sock", 0o666) as listener,
        activated(where, listener) as running,
    ):
        assert "open to others" in refusal(running).cause


def test_a_socket_at_another_path_than_the_configured_is_refused() -> None:
    """The daemon would ask in vain, and nobody would know why."""
    with (
        harness.place() as where,
        listen(where / "other.sock") as listener,
        activated(where, listener) as running,
    ):
        assert "[executor] socket is" in refusal(running).cause


def test_without_the_daemons_account_nobody_could_connect_and_it_says_so() -> None:
    with (
        harness.place() as where,
        listen(where / "executor.sock") as listener,
        activated(where, listener, daemon_user="") as running,
    ):
        assert "daemon_user" in refusal(running).remedy


def test_an_account_that_is_not_the_jobs_own_is_not_trusted_to_be_apart() -> None:
    """Only the account that the configuration keeps for jobs is known to be nobody else's."""
    with (
        harness.place() as where,
        listen(where / "executor.sock") as listener,
        activated(where, listener, user="somebody-else") as running,
    ):
        assert "nothing says who the daemon is" in refusal(running).cause


def test_what_is_no_listening_socket_is_refused() -> None:
    with (
        harness.place() as where,
        socket.socket(socket.AF_UNIX) as deaf,
        activated(where, deaf) as running,
    ):
        assert "no listening unix stream socket" in refusal(running).cause


def test_variables_that_are_meant_for_another_process_are_ignored() -> None:
    """A parent's LISTEN_FDS says nothing about our descriptors; the executor makes its socket."""
    with harness.place() as where, listen(where / "elsewhere.sock") as listener:
        with activated(where, listener, manager=UNACTIVATED, daemon_user="") as running:
            running.ready()
            assert running.path.exists()
        assert not running.path.exists()


def test_only_the_command_that_becomes_the_executor_hands_on_what_systemd_said() -> None:
    """A child of the daemon must not speak for it, and has no socket of its own to take over."""
    said = {"NOTIFY_SOCKET": "/run/n", "LISTEN_FDS": "1", "LISTEN_PID": "7", "TOKEN": "secret"}
    assert "TOKEN" not in launch.from_manager(said)
    assert launch.from_manager(said) == {name: said[name] for name in list(said)[:3]}
    assert not set(launch.environment()) & set(said)


# ---- without root and without systemd: a directory that gives the socket its group ----

UNACTIVATED = MANAGER.replace("str(os.getpid())", '"1"')


@pytest.mark.skipif(not harness.IS_ROOT, reason="only root can make such a directory")
def test_a_setgid_directory_opens_the_socket_to_the_daemon() -> None:
    """As in two containers, where neither systemd nor root is at hand."""
    with harness.place() as where, listen(where / "elsewhere.sock") as unused:
        os.chown(where, -1, pwd.getpwnam(DAEMON).pw_gid)
        where.chmod(0o2750)
        with activated(where, unused, manager=UNACTIVATED) as running:
            running.ready()
            found = running.path.stat()
            assert (found.st_gid, found.st_mode & 0o777) == (pwd.getpwnam(DAEMON).pw_gid, 0o660)
            assert '"layers"' in asked_by(DAEMON, running.path)
            assert "may not use this executor" in asked_by(ACCOUNT, running.path)


def test_a_daemon_that_could_not_open_the_socket_is_a_refusal_with_the_remedy() -> None:
    with (
        harness.place() as where,
        listen(where / "elsewhere.sock") as unused,
        activated(where, unused, manager=UNACTIVATED) as running,
    ):
        assert "chmod 2750" in refusal(running).remedy
        assert not running.path.exists()
