"""The units in a real systemd, installed by the README's own commands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import debian, machine
from tests.system.machine import Machine

pytestmark = pytest.mark.slow

FAMULUS = "/opt/famulus/bin/famulus"
CONFIG = ("--config", "/etc/famulus.toml")
# What the units' exposure may be at most, by systemd's own scale of 0 to 10.
EXPOSURE = {"famulus-exec.service": 2.7, "famulus.service": 1.5}
ASK = """
import json, sys, trio, attrs
from executor.client import ExecutorClient, Job
client = ExecutorClient("/run/famulus/executor.sock")
result = trio.run(client.run, Job("python", sys.argv[1], "mine"))
told = {"reason": result.reason, "stdout": result.stdout.decode(), "detail": result.detail}
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def system(nspawn: None, installed: Path, place: Path) -> Iterator[Machine]:
    """A booted system in which nobody has started anything of ours yet."""
    root = debian.copy_of(installed, place / "units")
    with machine.booted(root) as booted:
        yield booted


def start(system: Machine) -> None:
    """What the README says, but that the executor waits for its first client."""
    system.run("systemctl", "enable", "--now", "famulus-exec.socket", "famulus.service")


def stop(system: Machine) -> None:
    """Nobody but these tests starts a socket so often that systemd would refuse it."""
    system.run("systemctl", "stop", "famulus.service", "famulus-exec.socket", "famulus-exec")
    system.try_run("systemctl", "reset-failed", "famulus-exec.socket")


def job(system: Machine, code: str, user: str = "famulus") -> dict[str, str]:
    """Run a job from an account, as the daemon would."""
    said = system.run("/opt/famulus/bin/python", "-c", ASK, code, user=user)
    found: dict[str, str] = json.loads(said)
    return found


@pytest.fixture
def running(system: Machine) -> Iterator[Machine]:
    start(system)
    yield system
    stop(system)


def test_the_daemon_runs_and_says_how_it_is(running: Machine) -> None:
    """It is ready although neither Telegram nor an executor can be had."""
    assert running.show("famulus.service", "ActiveState") == "active"
    assert running.show("famulus.service", "StatusText").startswith("unreachable")
    report = running.run(FAMULUS, "status", *CONFIG)
    assert report
    assert running.show("famulus.service", "NRestarts") == "0"


def test_a_reload_is_obeyed(running: Machine) -> None:
    running.run("systemctl", "reload", "famulus.service")
    assert running.show("famulus.service", "ActiveState") == "active"


def test_the_first_connection_starts_the_executor(system: Machine) -> None:
    """The probe passes inside the unit, and a job runs, as the account of the jobs."""
    system.run("systemctl", "start", "famulus-exec.socket")
    assert system.show("famulus-exec.service", "ActiveState") == "inactive"
    answer = job(system, "import os; print(os.getuid(), 6 * 7)")
    uid = system.run("id", "-u", "famulus-exec").strip()
    assert answer == {"reason": "exit", "stdout": f"{uid} 42\n", "detail": ""}
    assert system.show("famulus-exec.service", "ActiveState") == "active"
    assert system.show("famulus-exec.service", "StatusText") == "jobs can be run"
    stop(system)


def test_the_executor_says_what_isolates_its_jobs(running: Machine) -> None:
    said = running.run(FAMULUS, "executor", "status", *CONFIG)
    rows = dict(line.split(maxsplit=1) for line in said.splitlines() if " " in line.strip())
    assert "namespaces" in rows["layers"]
    assert rows["shared_uid"] == "no"


def test_the_whole_probe_holds_inside_the_unit(running: Machine) -> None:
    said = running.run(FAMULUS, "executor", "probe", *CONFIG, user="famulus")
    assert "NOT HELD" not in said


def test_nobody_but_the_daemon_and_root_may_connect(running: Machine) -> None:
    """The jobs' own account is turned away by the socket's mode already."""
    for account in ("famulus-exec", "daemon"):
        words = ("/opt/famulus/bin/python", "-c", ASK, "print(1)")
        done = running.try_run(*words, user=account)
        assert done.returncode != 0
        assert "may not open the executor's socket" in done.stdout


def test_a_job_reads_nothing_of_the_daemon(running: Machine) -> None:
    """Its secrets, its state, its configuration and its environment are not there."""
    pid = running.show("famulus.service", "MainPID")
    paths = (
        *("/etc/famulus/telegram-token", "/run/credentials/famulus.service/famulus_telegram-token"),
        *("/var/lib/famulus/famulus.db", "/etc/famulus.toml", f"/proc/{pid}/environ"),
        *("/run/famulus/executor.sock", "/etc/shadow"),
    )
    code = f"import os\nfor path in {paths!r}: print(os.access(path, os.F_OK))"
    assert job(running, code)["stdout"].split() == ["False"] * len(paths)


def test_stopping_leaves_no_process(running: Machine) -> None:
    """Also while a job runs that has left its session."""
    code = "import os, time\nif os.fork() == 0: os.setsid(); time.sleep(600)\nprint('left')"
    assert job(running, code)["stdout"] == "left\n"
    stop(running)
    assert running.processes_of("famulus-exec") == []
    assert running.processes_of("famulus") == []
    assert not (running.root / "run/famulus/executor.sock").exists()


def test_an_executor_that_is_killed_is_there_again_for_the_next_job(running: Machine) -> None:
    job(running, "print(1)")
    running.run("systemctl", "kill", "--signal=SIGKILL", "--kill-whom=main", "famulus-exec")
    assert job(running, "print(2)")["stdout"] == "2\n"


def test_an_executor_that_refuses_tells_the_daemon_why(running: Machine) -> None:
    """It is started once for each client, and not again and again."""
    config = running.root / "etc" / "famulus.toml"
    before = config.read_text()
    config.write_text(before + 'python = "/usr/bin/python9"\n')
    try:
        answer = job(running, "print(1)")
        assert answer["reason"] == "denied"
        assert "no such program" in answer["detail"]
        assert running.show("famulus-exec.service", "NRestarts") == "0"
    finally:
        config.write_text(before)
    assert job(running, "print(1)")["stdout"] == "1\n"


@pytest.mark.parametrize("unit", EXPOSURE)
def test_the_units_are_held_as_far_as_they_go(system: Machine, unit: str) -> None:
    """By systemd's own judgement."""
    said = system.run("systemd-analyze", "security", "--offline=true", "--no-pager", unit)
    (line,) = [line for line in said.splitlines() if "Overall exposure" in line]
    assert float(line.split(":")[1].split()[0]) <= EXPOSURE[unit], line


def test_systemd_finds_nothing_wrong_with_the_units(system: Machine) -> None:
    said = system.run("systemd-analyze", "verify", *EXPOSURE, "famulus-exec.socket")
    assert said == ""
