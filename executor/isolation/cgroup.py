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
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import ClassVar

from attrs import evolve, frozen

from executor.isolation.layer import Capability, Layer, Missing, Plan, Usage
from executor.settings import Limits

ROOT = Path("/sys/fs/cgroup")
# What a job is held to, and what is needed to know and end it. cpuacct and freezer are v1's.
_V1 = ("memory", "pids", "cpuacct", "freezer")
_V2 = ("memory", "pids")
# The box and its helper are in the group too.
_SPARE_PROCESSES = 4
_SPARE_MEMORY = 16 * 1024 * 1024
# A group is busy until its last process is reaped, which the keeper has just seen to.
_REMOVE_SECONDS = 0.2
# More than any of the files that are read here, but for the list of a group's processes.
_READ_SIZE = 64 * 1024

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

    def of(self, box: str) -> dict[str, str]:
        return {name: f"{parent}/{box}" for name, parent in self.parents.items()}


class Cgroup(Layer):
    name: ClassVar[str] = "cgroup"

    def __init__(self, groups: Groups | None) -> None:
        """`groups` as found by `find`, or None where the host has none for us."""
        self._groups = groups
        self._limits: dict[str, Limits] = {}

    def capabilities(self, _stack: frozenset[str]) -> frozenset[Capability]:
        return frozenset({Capability.MEM_TOTAL, Capability.PIDS, Capability.CPU})

    def missing(self) -> Missing | None:
        if self._groups is None:
            return Missing("no cgroup is delegated to the executor", _REMEDY)
        return None

    def version(self) -> str:
        return "" if self._groups is None else f"v{self._groups.version}"

    def begin(self, plan: Plan) -> Plan:
        groups = self._of(plan.name)
        for path in set(groups.values()):
            os.mkdir(path, 0o755)
        self._apply(plan, groups)
        if self._version == 2:  # noqa: PLR2004 - the version's name is its number
            return evolve(plan, cgroup=groups["memory"])
        joins = tuple(f"{path}/cgroup.procs" for path in sorted(set(groups.values())))
        return evolve(plan, joins=(*plan.joins, *joins))

    def limit(self, plan: Plan) -> Plan:
        self._apply(plan, self._of(plan.name))
        return plan

    def stray(self, box: str) -> str:
        """A group with nobody in it holds nobody, whatever its limits say."""
        if all(_populated(path) for path in set(self._of(box).values())):
            return ""
        return "the box is not in the cgroup that was made for it"

    def freeze(self, box: str, *, on: bool) -> None:
        groups = self._of(box)
        with contextlib.suppress(OSError):
            if self._version == 2:  # noqa: PLR2004 - as above
                _write(f"{groups['memory']}/cgroup.freeze", "1" if on else "0")
            elif groups:
                _write(f"{groups['freezer']}/freezer.state", "FROZEN" if on else "THAWED")

    def kill(self, box: str) -> None:
        groups = self._of(box)
        with contextlib.suppress(OSError):
            if self._version == 2:  # noqa: PLR2004 - as above
                _write(f"{groups['memory']}/cgroup.kill", "1")
            else:
                _kill_frozen(groups["freezer"])

    def usage(self, box: str) -> Usage:
        """Four small files, read the short way: it is asked for several times in a job."""
        groups = self._of(box)
        memory, pids = groups["memory"], groups["pids"]
        if self._version == 1:
            return Usage(
                cpu_seconds=_number(f"{groups['cpuacct']}/cpuacct.usage", 1e-9),
                peak_memory_bytes=_whole(f"{memory}/memory.max_usage_in_bytes"),
                oom_kills=_counter(f"{memory}/memory.oom_control", b"oom_kill"),
                refused_forks=_counter(f"{pids}/pids.events", b"max"),
            )
        return Usage(
            cpu_seconds=_counter(f"{memory}/cpu.stat", b"usage_usec") / 1e6,
            peak_memory_bytes=_whole(f"{memory}/memory.peak"),
            oom_kills=_counter(f"{memory}/memory.events", b"oom_kill"),
            refused_forks=_counter(f"{memory}/pids.events", b"max"),
        )

    def end(self, box: str) -> None:
        """Remove the box's groups. One that stays busy is swept when an executor next starts."""
        self._limits.pop(box, None)
        _remove_all(set(self._of(box).values()))

    @property
    def _version(self) -> int:
        return self._groups.version if self._groups else 0

    def _of(self, box: str) -> dict[str, str]:
        return self._groups.of(box) if self._groups else {}

    def _apply(self, plan: Plan, groups: Mapping[str, str]) -> None:
        """Write what has changed; most jobs have the limits that their box was made with."""
        if self._limits.get(plan.name) == plan.limits:
            return
        for path, value in self._settings(plan, groups):
            _write(path, str(value))
        self._limits[plan.name] = plan.limits

    def _settings(self, plan: Plan, groups: Mapping[str, str]) -> list[tuple[str, int]]:
        memory = plan.limits.memory_bytes + _SPARE_MEMORY
        pids = plan.limits.pids + _SPARE_PROCESSES
        if self._version == 1:
            return [
                (f"{groups['memory']}/memory.limit_in_bytes", memory),
                (f"{groups['pids']}/pids.max", pids),
            ]
        group = groups["memory"]
        wanted = [
            (f"{group}/memory.max", memory),
            (f"{group}/memory.swap.max", 0),
            (f"{group}/pids.max", pids),
        ]
        return [(path, value) for path, value in wanted if os.path.exists(path)]


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
            _write(f"{leaf}/cgroup.procs", pid)
        _write(f"{base}/cgroup.subtree_control", " ".join(f"+{name}" for name in _V2))
    except OSError:
        return False
    return True


def sweep(groups: Groups) -> None:
    """Remove the groups that an executor left behind which is no more. Names are box-PID-NUMBER.

    What it had frozen when it was killed is thawed, and then dies of the signals that wait for it.
    """
    found = (path for parent in set(groups.parents.values()) for path in parent.glob("box-*-*"))
    left = [str(one) for one in found if not Path("/proc", one.name.split("-")[1]).exists()]
    for path in left:
        with contextlib.suppress(OSError):
            _thaw(path)
    _remove_all(left)


# ---- single files ----


def _kill_frozen(group: str) -> None:
    _write(f"{group}/freezer.state", "FROZEN")
    try:
        for pid in _read(f"{group}/cgroup.procs").split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
    finally:
        _write(f"{group}/freezer.state", "THAWED")


def _thaw(group: str) -> None:
    """Let the processes of a v1 freezer group go on; any other group has none to thaw."""
    if os.path.exists(f"{group}/freezer.state"):
        _write(f"{group}/freezer.state", "THAWED")


def _remove_all(paths: Collection[str]) -> None:
    """Remove groups; one is busy until its last process is gone, for which there is little time."""
    deadline = time.monotonic() + _REMOVE_SECONDS
    for path in paths:
        while not _removed(path) and time.monotonic() < deadline:
            time.sleep(0.001)


def _removed(path: str) -> bool:
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_CREAT, 0o600)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, _READ_SIZE)
    finally:
        os.close(fd)


def _populated(group: str) -> bool:
    try:
        return bool(_read(f"{group}/cgroup.procs"))
    except OSError:
        return False


def _number(path: str, unit: float) -> float | None:
    try:
        return int(_read(path)) * unit
    except (OSError, ValueError):
        return None


def _whole(path: str) -> int | None:
    found = _number(path, 1)
    return None if found is None else int(found)


def _counter(path: str, name: bytes) -> int:
    """Read one line of a flat keyed file; 0 if it is not there."""
    try:
        words = _read(path).split()
    except OSError:
        return 0
    return int(words[words.index(name) + 1]) if name in words else 0
