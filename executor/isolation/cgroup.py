"""The `cgroup` layer: limits on, and accounts of, all processes of a job together.

Two shapes of the same thing. On cgroup v2 the executor needs a delegated subtree (`Delegate=yes`
in its unit); it moves itself into a leaf there and makes a group for each job beside it. On v1
every controller is a tree of its own; a group for the executor's user is made in each as root,
before privileges are given up, and handed to that user (`hand_over`).

A job's first process enters the group before it executes anything, so nothing of a job is ever
outside. Killing is `cgroup.kill` on v2, and freeze, SIGKILL to all, thaw on v1, where a fork bomb
could otherwise outrun the list of its pids.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from attrs import evolve, frozen

from executor.isolation.layer import Capability, Layer, Missing, Plan, Usage

ROOT = Path("/sys/fs/cgroup")
# What a job is held to, and what is needed to know and end it. cpuacct and freezer are v1's.
_V1 = ("memory", "pids", "cpuacct", "freezer")
_V2 = ("memory", "pids")
# The box and its helper are in the group too.
_SPARE_PROCESSES = 4
_SPARE_MEMORY = 16 * 1024 * 1024
# A group is busy until its last process is reaped, which the keeper has just seen to.
_REMOVE_SECONDS = 0.2

_REMEDY = (
    "start the executor as root with --user, or under systemd with Delegate=yes; "
    "or leave `cgroup` out of [executor] stack"
)


@frozen
class Groups:
    """Where the executor may make groups for jobs: a directory for each controller.

    On v2 all controllers share one directory.
    """

    version: int
    parents: Mapping[str, Path]

    def of(self, job: str) -> dict[str, Path]:
        return {name: parent / job for name, parent in self.parents.items()}


class Cgroup(Layer):
    name: ClassVar[str] = "cgroup"

    def __init__(self, groups: Groups | None) -> None:
        """`groups` as found by `find`, or None where the host has none for us."""
        self._groups = groups

    def capabilities(self, _stack: frozenset[str]) -> frozenset[Capability]:
        return frozenset({Capability.MEM_TOTAL, Capability.PIDS, Capability.CPU})

    def missing(self) -> Missing | None:
        if self._groups is None:
            return Missing("no cgroup is delegated to the executor", _REMEDY)
        return None

    def version(self) -> str:
        return "" if self._groups is None else f"v{self._groups.version}"

    def begin(self, plan: Plan) -> Plan:
        groups = self._of(plan.job)
        for path in set(groups.values()):
            path.mkdir(mode=0o755)
        for path, value in self._settings(plan, groups):
            path.write_text(str(value))
        joins = tuple(str(path / "cgroup.procs") for path in sorted(set(groups.values())))
        return evolve(plan, joins=(*plan.joins, *joins))

    def kill(self, job: str) -> None:
        groups = self._of(job)
        with contextlib.suppress(OSError):
            if self._version == 2:  # noqa: PLR2004 - the version's name is its number
                _write(groups["memory"] / "cgroup.kill", "1")
            else:
                _kill_frozen(groups["freezer"])

    def usage(self, job: str) -> Usage:
        groups = self._of(job)
        if self._version == 1:
            return Usage(
                cpu_seconds=_number(groups["cpuacct"] / "cpuacct.usage", 1e-9),
                peak_memory_bytes=_whole(groups["memory"] / "memory.max_usage_in_bytes"),
                out_of_memory=_counter(groups["memory"] / "memory.oom_control", "oom_kill") > 0,
                out_of_pids=_counter(groups["pids"] / "pids.events", "max") > 0,
            )
        group = groups["memory"]
        return Usage(
            cpu_seconds=_counter(group / "cpu.stat", "usage_usec") / 1e6,
            peak_memory_bytes=_whole(group / "memory.peak"),
            out_of_memory=_counter(group / "memory.events", "oom_kill") > 0,
            out_of_pids=_counter(group / "pids.events", "max") > 0,
        )

    def end(self, job: str) -> None:
        """Remove the job's groups. One that stays busy is swept when an executor next starts."""
        deadline = time.monotonic() + _REMOVE_SECONDS
        for path in set(self._of(job).values()):
            while not _removed(path) and time.monotonic() < deadline:
                time.sleep(0.001)

    @property
    def _version(self) -> int:
        return self._groups.version if self._groups else 0

    def _of(self, job: str) -> dict[str, Path]:
        return self._groups.of(job) if self._groups else {}

    def _settings(self, plan: Plan, groups: Mapping[str, Path]) -> list[tuple[Path, int]]:
        memory = plan.limits.memory_bytes + _SPARE_MEMORY
        pids = plan.limits.pids + _SPARE_PROCESSES
        if self._version == 1:
            return [
                (groups["memory"] / "memory.limit_in_bytes", memory),
                (groups["pids"] / "pids.max", pids),
            ]
        group = groups["memory"]
        wanted = [
            (group / "memory.max", memory),
            (group / "memory.swap.max", 0),
            (group / "memory.oom.group", 1),
            (group / "pids.max", pids),
        ]
        return [(path, value) for path, value in wanted if path.exists()]


# ---- finding and making the groups ----


def own_groups(text: str) -> dict[str, str]:
    """Read /proc/self/cgroup: controller -> path. The unified tree's name is the empty string."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for name in controllers.split(","):
            found[name] = path
    return found


def here(user: str) -> Groups | None:
    """Say where the groups for this user's jobs would be on this host; None without cgroups."""
    try:
        text = Path("/proc/self/cgroup").read_text()
    except OSError:
        return None
    return candidates(own_groups(text), user)


def candidates(own: Mapping[str, str], user: str, root: Path = ROOT) -> Groups | None:
    """`here`, over plain values: what /proc/self/cgroup says, and the root of the hierarchies."""
    if all((root / name).is_dir() and name in own for name in _V1):
        return Groups(
            1, {name: root / name / own[name].strip("/") / f"executor-{user}" for name in _V1}
        )
    if "" in own and (root / "cgroup.controllers").exists():
        base = root / own[""].strip("/")
        return Groups(2, dict.fromkeys(_V2, base))
    return None


def hand_over(groups: Groups, uid: int, gid: int) -> None:
    """As root: make the groups of v1 and give them to the user. A v2 subtree is systemd's to give.

    Raises OSError where the trees are read-only.
    """
    if groups.version != 1:
        return
    for path in groups.parents.values():
        path.mkdir(mode=0o755, exist_ok=True)
        for entry in (path, path / "cgroup.procs"):
            os.chown(entry, uid, gid)


def usable(groups: Groups | None) -> Groups | None:
    """Give the groups if this process may make children of them, after settling in on v2."""
    if groups is None:
        return None
    paths = set(groups.parents.values())
    if not all(os.access(path, os.W_OK | os.X_OK) for path in paths):
        return None
    if groups.version == 2 and not _settle(groups.parents["memory"]):  # noqa: PLR2004 - as above
        return None
    sweep(groups)
    return groups


def _settle(base: Path) -> bool:
    """Move into a leaf, because a group with processes in it cannot limit its children."""
    try:
        leaf = base / "executor"
        leaf.mkdir(exist_ok=True)
        for pid in (base / "cgroup.procs").read_text().split():
            _write(leaf / "cgroup.procs", pid)
        _write(base / "cgroup.subtree_control", " ".join(f"+{name}" for name in _V2))
    except OSError:
        return False
    return True


def sweep(groups: Groups) -> None:
    """Remove the groups that an executor left behind which is no more. Names are job-PID-NUMBER."""
    for parent in set(groups.parents.values()):
        for path in parent.glob("job-*-*"):
            if not Path("/proc", path.name.split("-")[1]).exists():
                _removed(path)


# ---- single files ----


def _kill_frozen(group: Path) -> None:
    _write(group / "freezer.state", "FROZEN")
    try:
        for pid in (group / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
    finally:
        _write(group / "freezer.state", "THAWED")


def _removed(path: Path) -> bool:
    try:
        path.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _write(path: Path, text: str) -> None:
    path.write_text(text)


def _number(path: Path, unit: float) -> float | None:
    try:
        return int(path.read_text()) * unit
    except (OSError, ValueError):
        return None


def _whole(path: Path) -> int | None:
    found = _number(path, 1)
    return None if found is None else int(found)


def _counter(path: Path, name: str) -> int:
    """Read one line of a flat keyed file; 0 if it is not there."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    pairs = (line.split() for line in lines)
    return next((int(value) for key, value in pairs if key == name), 0)
