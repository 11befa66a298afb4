"""The units on control groups of version 2, where every limit of a job is firm.

One boot, two executors in it: the namespaces that are the default, under the AppArmor profile, then
firejail with the unit's drop-in; both as the README says. Each is asked to run the jobs of
`matrix.py` by the daemon's account.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system import debian, emulated

pytestmark = pytest.mark.slow

HERE = Path(__file__).resolve().parent
(UBUNTU,) = debian.readme_commands("On Ubuntu")
(FIREJAIL,) = debian.readme_commands("With firejail as the stack")
(STACK,) = debian.readme_commands("With firejail as the stack", "toml")
# The kernel's own switch, where it has one, takes user namespaces away as Ubuntu does. Then the
# README's commands for it, in whose end the executor starts; then those for firejail.
SCRIPT = f"""
as_daemon() {{
    setpriv --reuid=famulus --regid=famulus --clear-groups "$@"
}}
executor() {{
    systemctl show --value --property=MainPID famulus-exec
}}
ask() {{
    as_daemon /opt/famulus/bin/python /opt/matrix.py /etc/famulus.toml "/var/lib/famulus/$1.json"
    as_daemon /opt/famulus/bin/famulus executor probe --config /etc/famulus.toml >"/var/$1.probe"
    systemctl show --property=NRestarts,ActiveState famulus-exec >"/var/$1.unit"
    readlink "/proc/$(executor)/ns/net" >"/var/$1.network"
    cat "/proc/$(executor)/attr/current" >"/var/$1.profile"
    systemctl stop famulus-exec.socket famulus-exec
    ps -o pid=,args= -u famulus-exec >"/var/$1.left" || true
}}
cd /root/famulus
switch=/proc/sys/kernel/apparmor_restrict_unprivileged_userns
[ ! -e $switch ] || echo 1 >$switch
{UBUNTU}
ask namespaces
echo '{STACK.partition("[executor]")[2].strip()}' >>/etc/famulus.toml
{FIREJAIL}
ask firejail
"""
# Processes that keep a job, and count as the job's.
_BOX = 4
STACKS = ("namespaces", "firejail")


@pytest.fixture(scope="module")
def reports(emulator: None, installed: Path, place: Path) -> Iterator[dict[str, str]]:
    """What the machine wrote, by path."""
    root = debian.copy_of(installed, place / "emulated")
    shutil.copy(HERE / "matrix.py", root / "opt")
    # Nothing of Debian's own profiles is needed, and to load them all takes the emulator long.
    debian.chroot(root, "systemctl disable apparmor.service")
    kinds = ("unit", "left", "probe", "network", "profile")
    written = [f"/var/{stack}.{kind}" for stack in STACKS for kind in kinds]
    paths = [*written, *(f"/var/lib/famulus/{stack}.json" for stack in STACKS)]
    yield emulated.run_in(root, SCRIPT, tuple(paths))
    shutil.rmtree(root)


@pytest.fixture(params=STACKS)
def stack(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def report(reports: dict[str, str], stack: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(reports[f"/var/lib/famulus/{stack}.json"])
    return found


def test_nothing_is_soft(report: dict[str, Any], stack: str) -> None:
    """The delegated groups make the limit of a job's memory a firm one."""
    assert {stack, "cgroup"} <= set(report["status"]["layers"])
    assert report["status"]["versions"]["cgroup"] == "v2"
    assert "MEM_TOTAL" not in report["status"]["soft"]


def test_the_whole_probe_holds(reports: dict[str, str], stack: str) -> None:
    said = reports[f"/var/{stack}.probe"]
    assert "held" in said
    assert "NOT HELD" not in said


def test_honest_jobs_run_before_and_after(report: dict[str, Any]) -> None:
    for name in ("honest", "shell", "honest again"):
        job = report["jobs"][name]
        assert (job["reason"], job["code"], job["stdout"]) == ("exit", 0, "42\n"), job


@pytest.mark.parametrize("name", ["memory", "memory of many", "memfd"])
def test_memory_is_held_however_it_is_taken(report: dict[str, Any], name: str) -> None:
    """A process that is killed for it may not be the one that the job ends with."""
    job = report["jobs"][name]
    assert job["reason"] in {"memory", "timeout"}, job
    assert "needed more than its 512 MiB of memory" in job["detail"], f"{job}"
    assert job["peak"] <= 600 * 1024 * 1024


def test_a_fork_bomb_is_held(report: dict[str, Any]) -> None:
    """It comes near its limit and not over it, but for the box's own few processes.

    One more is the box that is made for the next job.
    """
    job = report["jobs"]["fork bomb"]
    assert job["reason"] in {"pids", "timeout"}, job
    assert report["pids"] // 2 <= job["processes"] <= report["pids"] + _BOX + 1, job


def test_there_is_no_network(report: dict[str, Any], reports: dict[str, str], stack: str) -> None:
    """Nor the machine's loopback, where somebody listens; it is neither its nor the executor's."""
    *tried, network = report["jobs"]["network"]["stdout"].splitlines()
    assert len(tried) == 2
    assert [said for said in tried if "Error" not in said] == []
    assert network.startswith("net:[")
    assert network not in {report["network"], reports[f"/var/{stack}.network"].strip()}


def test_the_executor_runs_under_its_profile(reports: dict[str, str], stack: str) -> None:
    """By name, and unconfined: it is there for the permission that hangs on it."""
    assert reports[f"/var/{stack}.profile"].strip() == "famulus-exec (unconfined)"


def test_no_job_leaves_a_process_or_a_group(report: dict[str, Any]) -> None:
    assert {name: job["left"] for name, job in report["jobs"].items() if job["left"]} == {}
    assert report["groups"] == []


def test_the_executor_outlived_all_of_it(reports: dict[str, str], stack: str) -> None:
    """It was not restarted, and when it was stopped nothing was left."""
    assert "NRestarts=0" in reports[f"/var/{stack}.unit"]
    assert "ActiveState=active" in reports[f"/var/{stack}.unit"]
    assert reports[f"/var/{stack}.left"] == ""
