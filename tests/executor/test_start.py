"""Starting: who it becomes, when it refuses, and what it says then."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest

from executor import launch
from executor.client import Job
from executor.launch import Ready, Refusal
from executor.settings import Limits, Settings, from_json, to_json
from tests.executor import harness
from tests.executor.harness import AsWhom, Refused, Running

pytestmark = pytest.mark.executor


def refused(where: Path, who: AsWhom | None = None, **settings: object) -> Refused:
    with harness.try_executor(where, who, **settings) as outcome:
        assert isinstance(outcome, Refused), outcome
        assert outcome.code == launch.EXIT_CONFIG
        assert outcome.refusal.cause in outcome.stderr
        assert outcome.refusal.remedy in outcome.stderr
        return outcome


@pytest.mark.skipif(not harness.IS_ROOT, reason="only root can try")
def test_root_without_an_account_to_become_is_refused() -> None:
    with harness.place() as where:
        outcome = refused(where, AsWhom(user=None))
    assert "never runs as root" in outcome.refusal.cause
    assert "--user" in outcome.refusal.remedy


@pytest.mark.skipif(not harness.IS_ROOT, reason="only root can try")
def test_root_as_the_account_to_become_is_refused() -> None:
    with harness.place() as where:
        assert "is root" in refused(where, AsWhom(user="root")).refusal.cause


@pytest.mark.skipif(not harness.IS_ROOT, reason="only root can try")
def test_an_account_that_is_not_there_is_refused_with_the_line_that_makes_it() -> None:
    with harness.place() as where:
        assert "useradd" in refused(where, AsWhom(user="no-such-account")).refusal.remedy


@pytest.mark.skipif(harness.IS_ROOT, reason="root may")
def test_an_ordinary_account_cannot_become_another() -> None:
    with harness.place() as where:
        assert "only root" in refused(where, AsWhom(user="nobody")).refusal.cause


@pytest.mark.skipif(not harness.IS_ROOT, reason="nothing is dropped")
def test_root_is_given_up_for_good_by_every_process() -> None:
    """All ids are the account's, there are no groups and no capabilities, in parent and zygote."""
    with harness.place() as where, harness.executor(where) as running:
        uid = str(pwd.getpwnam(harness.USER).pw_uid)
        pids = harness.processes_with(f"settings-fd\0{_fd_of(running)}\0")
        assert running.pid in pids
        for pid in (running.pid, *harness.children(running.pid)):
            status = _status(pid)
            assert status["Uid"].split() == [uid] * 4
            assert status["Groups"] == ""
            assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0


def _fd_of(running: Running) -> str:
    words = Path(f"/proc/{running.pid}/cmdline").read_text().split("\0")
    return words[words.index("--settings-fd") + 1]


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


async def test_as_an_ordinary_user_it_works_and_says_that_the_uid_is_shared() -> None:
    with harness.place() as where:
        who = harness.as_ordinary_user()
        with harness.executor(where, who) as running:
            status = await running.client.status()
            result = await running.client.run(Job("python", "print(1)", "mine"))
    assert status.shared_uid
    assert any("the daemon's own" in note for note in status.notes)
    assert result.stdout == b"1\n"


@pytest.mark.skipif(not harness.IS_ROOT, reason="only root can give groups")
@pytest.mark.parametrize("layer", ["namespaces", "firejail"])
async def test_a_developers_groups_open_nothing_to_a_job(layer: str) -> None:
    """Nearly every account has some, such as that of docker, and only root could take them off."""
    groups = tuple(grp.getgrnam(name).gr_gid for name in ("video", "sudo"))
    who = AsWhom(start_as=harness.USER, user=None, groups=groups)
    with harness.place() as where:
        secret = where / "secret"
        secret.write_text("secret")
        os.chown(secret, 0, groups[0])
        secret.chmod(0o640)
        stack = (layer, "seccomp", "rlimit", "subreaper")
        with harness.executor(where, who, stack=stack) as running:
            assert set(groups) <= set(map(int, _status(running.pid)["Groups"].split()))
            result = await running.client.run(Job("bash", f"echo ran; cat {secret}", "mine"))
    assert result.stdout == b"ran\n"
    assert b"No such file" in result.stderr


def test_an_ordinary_user_may_not_do_without_isolation() -> None:
    with harness.place() as where:
        settings = {"stack": ("none", "subreaper"), "require": ()}
        outcome = refused(where, harness.as_ordinary_user(), **settings)
    assert "own uid" in outcome.refusal.cause


def test_what_is_required_and_not_covered_is_refused() -> None:
    with harness.place() as where:
        outcome = refused(where, stack=("none", "rlimit", "subreaper"))
    assert "no layer in use covers FS, NET" in outcome.refusal.cause
    assert "namespaces" in outcome.refusal.remedy


def test_a_layer_that_the_host_lacks_is_refused() -> None:
    """A plain account has no cgroup of its own to make groups in, unless one is delegated."""
    with harness.place() as where:
        settings = {"stack": ("rlimit", "cgroup", "subreaper", "firejail")}
        with harness.try_executor(where, harness.as_ordinary_user(), **settings) as outcome:
            if isinstance(outcome, Refused):
                assert outcome.code == launch.EXIT_CONFIG
                assert "asks for" in outcome.refusal.cause
                assert outcome.refusal.remedy
            else:
                assert "cgroup" in outcome.ready.status["layers"]


def test_an_interpreter_out_of_reach_is_refused_with_the_place_that_is_closed() -> None:
    with harness.place() as where:
        closed = where / "closed"
        closed.mkdir(mode=0o700)
        shutil.copy("/usr/bin/python3", closed / "python3")
        closed.chmod(0)
        outcome = refused(where, python=str(closed / "python3"))
        closed.chmod(0o700)
    assert f"{closed} is closed to it" in outcome.refusal.cause
    assert "/usr/bin/python3" in outcome.refusal.remedy


def test_an_interpreter_that_is_not_there_is_refused() -> None:
    with harness.place() as where:
        assert "no such program" in refused(where, python="/usr/bin/python9").refusal.cause


def test_a_second_executor_on_the_same_socket_is_refused() -> None:
    with harness.place() as where, harness.executor(where):
        assert "already listens" in refused(where).refusal.cause


def test_a_socket_that_nobody_listens_at_is_replaced() -> None:
    with harness.place() as where:
        with harness.executor(where) as running:
            running.process.kill()
            running.process.wait()
        with harness.executor(where) as again:
            assert again.ready


def test_what_is_in_the_sockets_way_is_left_alone() -> None:
    with harness.place() as where:
        (where / "executor.sock").write_text("precious")
        assert "in the way" in refused(where).refusal.cause
        assert (where / "executor.sock").read_text() == "precious"


def test_firejail_on_the_host_itself_is_enough() -> None:
    """Where the kernel's own threads are in sight and firejail is there, nothing is refused."""
    threads = Path("/proc/2/comm")
    if not (threads.exists() and threads.read_text() == "kthreadd\n"):
        pytest.skip("this is a container")
    if shutil.which("firejail") is None:
        pytest.skip("firejail is not installed")
    with harness.place() as where, harness.try_executor(where) as outcome:
        assert isinstance(outcome, Running), outcome


def test_it_ends_when_its_owner_does() -> None:
    """With `owned`, the closing of standard input ends it: no signal is needed."""
    harness.need_account()
    with harness.place() as where:
        settings = Settings(socket=str(where / "s"), workspaces=str(where / "w"))
        user = harness.USER if harness.IS_ROOT else None
        start = launch.command(settings, user=user, owned=True)
        with subprocess.Popen(
            start.argv,
            env=dict(start.env),
            pass_fds=[start.settings_fd],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            start.close()
            assert process.stdout is not None
            assert process.stdin is not None
            if isinstance(launch.parse_announcement(process.stdout.readline()), Refusal):
                pytest.skip("the executor cannot work here")
            process.stdin.close()
            assert process.wait(10) == 0


def test_its_environment_holds_nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEGRAM_TOKEN", "secret")
    with harness.place() as where, harness.executor(where) as running:
        environment = Path(f"/proc/{running.pid}/environ").read_bytes()
    assert b"secret" not in environment


# ---- the launcher alone ----


def test_settings_survive_the_way_to_the_process() -> None:
    settings = Settings(stack=("rlimit",), require=("FS",), limits=Limits(pids=3))
    assert from_json(to_json(settings)) == settings
    start = launch.command(settings, user="someone")
    assert os.get_inheritable(start.settings_fd)
    assert start.argv[-2:] == ("--user", "someone")
    start.close()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"ready": {"uid": 1}}\n', Ready({"uid": 1})),
        (b'{"refused": "why", "remedy": "how"}\n', Refusal("why", "how")),
        (b"", Refusal("the executor ended before it was ready", "its log says why")),
    ],
)
def test_the_announcement_is_understood(line: bytes, expected: Ready | Refusal) -> None:
    assert launch.parse_announcement(line) == expected


@pytest.mark.skipif(not harness.IS_ROOT, reason="only root can give a socket away")
def test_the_daemons_account_may_connect_and_no_other() -> None:
    """The socket is the daemon's, for its eyes alone; the jobs' own account stays shut out."""
    nobody, jobs = pwd.getpwnam("nobody"), pwd.getpwnam(harness.USER)
    with (
        harness.place() as where,
        harness.executor(where, daemon_user="nobody") as running,
    ):
        found = Path(running.client.socket).stat()
        assert (found.st_uid, found.st_mode & 0o777) == (nobody.pw_uid, 0o600)
        assert _can_connect(running.client.socket, nobody)
        assert not _can_connect(running.client.socket, jobs)


@pytest.mark.skipif(not harness.IS_ROOT, reason="only root can give a socket away")
def test_the_daemon_and_the_jobs_may_not_be_one_account() -> None:
    with harness.place() as where:
        assert "are both" in refused(where, daemon_user=harness.USER).refusal.cause


def _can_connect(socket: str, who: pwd.struct_passwd) -> bool:
    probe = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    words = ["/usr/bin/python3", "-I", "-c", probe, str(socket)]
    return subprocess.call(words, user=who.pw_uid, group=who.pw_gid) == 0
