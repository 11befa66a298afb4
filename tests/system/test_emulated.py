"""The units on control groups of version 2, where every limit of a job is firm.

One boot, two executors in it: the namespaces that are the default, then firejail with the unit's
drop-in. Each is asked to run the jobs of `matrix.py` by the daemon's account.
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
DROP_IN = "famulus-exec.service.d/firejail.conf"
STACK = 'stack = ["rlimit", "cgroup", "firejail", "subreaper"]'
SCRIPT = f"""
as_daemon() {{
    setpriv --reuid=famulus --regid=famulus --clear-groups "$@"
}}
ask() {{
    as_daemon /opt/famulus/bin/python /opt/matrix.py /etc/famulus.toml "/var/lib/famulus/$1.json"
    as_daemon /opt/famulus/bin/famulus executor probe --config /etc/famulus.toml >"/var/$1.probe"
    systemctl show --property=NRestarts,ActiveState famulus-exec >"/var/$1.unit"
    systemctl stop famulus-exec.socket famulus-exec
    ps -o pid=,args= -u famulus-exec >"/var/$1.left" || true
}}
systemctl start famulus-exec.socket
ask namespaces
install -D -m 644 /opt/firejail.conf /etc/systemd/system/{DROP_IN}
systemctl daemon-reload
echo '{STACK}' >>/etc/famulus.toml
systemctl start famulus-exec.socket
ask firejail
"""
STACKS = ("namespaces", "firejail")


@pytest.fixture(scope="module")
def reports(emulator: None, installed: Path, place: Path) -> Iterator[dict[str, str]]:
    """What the machine wrote, by path."""
    root = debian.copy_of(installed, place / "emulated")
    shutil.copy(HERE / "matrix.py", root / "opt")
    shutil.copy(debian.ROOT / "systemd" / DROP_IN, root / "opt")
    written = [f"/var/{stack}.{kind}" for stack in STACKS for kind in ("unit", "left", "probe")]
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
    assert report["jobs"]["fork bomb"]["reason"] in {"pids", "timeout", "exit", "signal"}


def test_there_is_no_network(report: dict[str, Any]) -> None:
    assert "Error" in report["jobs"]["network"]["stdout"]


def test_no_job_leaves_a_process_or_a_group(report: dict[str, Any]) -> None:
    assert {name: job["left"] for name, job in report["jobs"].items() if job["left"]} == {}
    assert report["groups"] == []


def test_the_executor_outlived_all_of_it(reports: dict[str, str], stack: str) -> None:
    """It was not restarted, and when it was stopped nothing was left."""
    assert "NRestarts=0" in reports[f"/var/{stack}.unit"]
    assert "ActiveState=active" in reports[f"/var/{stack}.unit"]
    assert reports[f"/var/{stack}.left"] == ""
