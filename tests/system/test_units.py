"""The units in a real systemd, installed by the README's own commands."""

from __future__ import annotations

import contextlib
import json
import time
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
# sd-messages(3): a unit is being started.
UNIT_STARTING = "7d4958e842da4a758f6c1cdc7b36dcc5"
# A client that has asked and is gone is one that waits, too, until somebody takes its connection.
LEAVE = "import socket; socket.socket(socket.AF_UNIX).connect('/run/famulus/executor.sock')"
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


def test_the_readmes_commands_start_it_all(system: Machine) -> None:
    """As they stand; in the end they tell what isolates jobs."""
    _install, commands = debian.readme_commands("On a server")
    said = system.run("bash", "-euc", commands)
    for unit in ("famulus-exec.socket", "famulus.service", "famulus-exec.service"):
        assert system.show(unit, "ActiveState") == "active"
        if unit != "famulus-exec.service":
            assert system.run("systemctl", "is-enabled", unit) == "enabled\n"
    assert "namespaces" in said
    stop(system)


def test_the_secrets_are_what_was_typed_and_roots_alone(system: Machine) -> None:
    for name, secret in (("telegram-token", debian.TOKEN), ("model-key", debian.MODEL_KEY)):
        path = f"/etc/famulus/{name}"
        assert system.run("cat", path) == f"{secret}\n"
        assert system.run("stat", "--format=%U %a", path) == "root 600\n"


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
    assert "probe" not in running.run(FAMULUS, "workspace", "ls", *CONFIG)


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


BAD = {
    "an interpreter that is not there": ('python = "/usr/bin/python9"', "no such program"),
    "an unknown key": ('pyton = "/usr/bin/python3"', "executor.pyton"),
    "no TOML": ("python =", "not valid TOML"),
}


@contextlib.contextmanager
def configured(system: Machine, line: str) -> Iterator[None]:
    """With one more line at the end of the configuration, in [executor]."""
    config = system.root / "etc" / "famulus.toml"
    before = config.read_text()
    config.write_text(f"{before}{line}\n")
    try:
        yield
    finally:
        config.write_text(before)


def starts(system: Machine) -> int:
    """How often the executor has been started, by whatever; NRestarts knows of no connection."""
    words = ("--output=cat", f"MESSAGE_ID={UNIT_STARTING}", "UNIT=famulus-exec.service")
    return len(system.run("journalctl", "--no-pager", "--quiet", *words).splitlines())


@pytest.mark.parametrize("what", BAD)
def test_an_executor_that_refuses_tells_its_client_why(system: Machine, what: str) -> None:
    """It is started once for each client, and not again and again."""
    line, why = BAD[what]
    system.run("systemctl", "start", "famulus-exec.socket")
    with configured(system, line):
        before = starts(system)
        for _ in range(2):
            answer = job(system, "print(1)")
            assert answer["reason"] == "denied"
            assert why in answer["detail"]
        time.sleep(5)
        assert starts(system) - before == 2
        assert why in system.show("famulus-exec.service", "StatusText")
    assert job(system, "print(1)")["stdout"] == "1\n"
    stop(system)


def test_the_daemon_asks_an_executor_that_refuses_more_and_more_seldom(system: Machine) -> None:
    """Three times in the first ten seconds; and at once when somebody wants to know."""
    with configured(system, 'python = "/usr/bin/python9"'):
        before = starts(system)
        start(system)
        system.wait_for("a first question", lambda: starts(system) > before)
        time.sleep(18)
        assert starts(system) - before == 3
        assert "no such program" in system.run(FAMULUS, "status", *CONFIG)
    assert "in a sandbox" in system.run(FAMULUS, "status", *CONFIG)
    stop(system)


def test_an_executor_that_was_stopped_is_started_by_the_next_job(running: Machine) -> None:
    """And not by a daemon that has nothing to ask."""
    job(running, "print(1)")
    before = starts(running)
    running.run("systemctl", "stop", "famulus-exec.service")
    time.sleep(5)
    assert starts(running) == before
    assert job(running, "print(2)")["stdout"] == "2\n"
    assert starts(running) == before + 1


def test_an_executor_that_cannot_say_why_is_not_started_for_ever(system: Machine) -> None:
    """Its client gets no answer, and so has it started again at once; a start by hand mends it."""
    drop_in = system.root / "etc/systemd/system/famulus-exec.service.d/broken.conf"
    drop_in.parent.mkdir(exist_ok=True)
    drop_in.write_text("[Service]\nExecStart=\nExecStart=/bin/false\n")
    system.run("systemctl", "daemon-reload")
    system.run("systemctl", "start", "famulus-exec.socket")
    before = starts(system)
    system.run("/opt/famulus/bin/python", "-c", LEAVE, user="famulus")
    failed = "a socket that has failed"
    system.wait_for(failed, lambda: system.show("famulus-exec.socket", "ActiveState") == "failed")
    assert starts(system) - before <= 61
    drop_in.unlink()
    system.run("systemctl", "daemon-reload")
    system.run("systemctl", "start", "famulus-exec.service")
    assert job(system, "print(1)")["stdout"] == "1\n"
    stop(system)


@pytest.mark.parametrize("unit", EXPOSURE)
def test_the_units_are_held_as_far_as_they_go(system: Machine, unit: str) -> None:
    """By systemd's own judgement."""
    said = system.run("systemd-analyze", "security", "--offline=true", "--no-pager", unit)
    (line,) = [line for line in said.splitlines() if "Overall exposure" in line]
    assert float(line.split(":")[1].split()[0]) <= EXPOSURE[unit], line


def test_systemd_finds_nothing_wrong_with_the_units(system: Machine) -> None:
    said = system.run("systemd-analyze", "verify", *EXPOSURE, "famulus-exec.socket")
    assert said == ""
