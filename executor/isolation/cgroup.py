"""The `cgroup` layer: limits on, and accounts of, all processes of a job together.

Two shapes of the same thing. On cgroup v2 the executor needs a delegated subtree (`Delegate=yes`
in its unit) with nobody else in it; it moves itself into a leaf there, for a group with processes
cannot limit its children, and makes a group for each job beside it. A memory limit there kills one
process, not the group (`memory.oom.group`), which holds the session that outlives its cells. On v1
every controller is a tree of its own; a group for the executor's user is made in each as root,
before privileges are given up, and handed to that user (`hand_over`).

A job's first process enters the group before it executes anything, so nothing of a job is ever
outside. Killing is `cgroup.kill` on v2, and freeze, SIGKILL to all, thaw on v1, where a fork bomb
could otherwise outrun the list of its pids.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from attrs import evolve, frozen

from executor.inside.keeper import removed
from executor.isolation.layer import Capability, Layer, Missing, Plan, Usage
from executor.settings import Limits

ROOT = Path("/sys/fs/cgroup")
# What a job is held to, and what is needed to know and end it. cpuacct and freezer are v1's.
_V1 = ("memory", "pids", "cpuacct", "freezer")
_V2 = ("memory", "pids")
# The box and its helper are in the group too.
_SPARE_PROCESSES = 4
_SPARE_MEMORY = 16 * 1024 * 1024
# What a killed executor had frozen takes a moment to die once it is thawed.
_SWEEP_SECONDS = 0.2
# More than any of the files that are read here, but for the list of a group's processes.
_READ_SIZE = 64 * 1024

# Of the executor's own group on v2, in which it stays; boxes are its siblings.
_LEAF = "executor"

_LEAVE_OUT = "or leave `cgroup` out of [executor] stack"
_REMEDIES = {
    0: f"mount cgroup v2 at {ROOT}; {_LEAVE_OUT}",
    1: f"start the executor as root with --user; {_LEAVE_OUT}",
    2: "start the executor from a unit with Delegate=yes, or by itself in a group of its own: "
    f"systemd-run --user --scope -p Delegate=yes famulus executor ...; {_LEAVE_OUT}",
}


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

    def __init__(self, groups: Groups | Missing) -> None:
        """`groups` as given by `usable`."""
        self._groups = groups if isinstance(groups, Groups) else None
        self._missing = groups if isinstance(groups, Missing) else None
        self._limits: dict[str, Limits] = {}
        self._busy: set[str] = set()

    def capabilities(self, _stack: frozenset[str]) -> frozenset[Capability]:
        return frozenset({Capability.MEM_TOTAL, Capability.PIDS, Capability.CPU})

    def missing(self) -> Missing | None:
        return self._missing

    def version(self) -> str:
        return "" if self._groups is None else f"v{self._groups.version}"

    def begin(self, plan: Plan) -> Plan:
        groups = self._of(plan.name)
        for path in set(groups.values()):
            _make(path)
        self._apply(plan, groups)
        if self._version == 2:  # noqa: PLR2004 - the version's name is its number
            return evolve(plan, cgroup=groups["memory"])
        # By `tasks` a process with one thread moves itself without the lock of all threads of the
        # machine, for which the kernel may wait 20 ms at `cgroup.procs`.
        joins = tuple(f"{path}/tasks" for path in sorted(set(groups.values())))
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
        """Remove the box's groups, and what was busy before: nobody waits for one that is.

        The last of them may be left for the sweep of the next executor.
        """
        self._limits.pop(box, None)
        self._busy.update(self._of(box).values())
        self._busy = {path for path in self._busy if not removed(path)}

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
        """The files to write, in this order. Not every kernel keeps accounts of swap."""
        limit = plan.limits.memory_bytes + _SPARE_MEMORY
        group = groups["memory"]
        pids = (f"{groups['pids']}/pids.max", plan.limits.pids + _SPARE_PROCESSES)
        if self._version == 2:  # noqa: PLR2004 - as above
            swap = [(f"{group}/memory.swap.max", 0)]
            return [(f"{group}/memory.max", limit), *_present(swap), pids]
        memory = (f"{group}/memory.limit_in_bytes", limit)
        # Memory and swap together may at no time be limited to less than memory alone.
        both = f"{group}/memory.memsw.limit_in_bytes"
        unlimited, limited = [(both, -1)], [(both, limit)]
        swap = [(f"{group}/memory.swappiness", 0)]
        return [*_present(swap), *_present(unlimited), memory, *_present(limited), pids]


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
        if base.name == _LEAF:  # a former start has moved us there, or who started us
            base = base.parent
        return Groups(2, dict.fromkeys(_V2, base))
    return None


def hand_over(groups: Groups, uid: int, gid: int) -> None:
    """As root: make the groups of v1 and give them to the user.

    A v2 subtree is systemd's to give: below a group with processes in it, such as that of a
    terminal, none could be limited, and what lies elsewhere is not ours.

    Raises OSError where the trees are read-only.
    """
    if groups.version != 1:
        return
    for path in groups.parents.values():
        path.mkdir(mode=0o755, exist_ok=True)
        for entry in (path, path / "cgroup.procs"):
            os.chown(entry, uid, gid)


def usable(groups: Groups | None) -> Groups | Missing:
    """Give the groups if this process may make children of them, after settling in on v2."""
    if groups is None:
        return Missing("this host has no cgroups", _REMEDIES[0])
    paths = set(groups.parents.values())
    if not all(os.access(path, os.W_OK | os.X_OK) for path in paths):
        return Missing("no cgroup is delegated to the executor", _REMEDIES[groups.version])
    if groups.version == 2:  # noqa: PLR2004 - as above
        try:
            _settle(groups.parents["memory"], os.getpid())
        except OSError as error:
            return Missing(f"its cgroup cannot be divided: {error.strerror}", _REMEDIES[2])
    sweep(groups)
    return groups


def _settle(base: Path, pid: int) -> None:
    """Move this process into the leaf, and nobody else. Raises OSError if there is somebody.

    Others are no business of ours: a terminal's whole scope may be in the group that we are in.
    """
    others = set(_read(f"{base}/cgroup.procs").split()) - {b"%d" % pid}
    if others:
        raise OSError(errno.EBUSY, f"{len(others)} other processes are in {base}")
    leaf = base / _LEAF
    leaf.mkdir(exist_ok=True)
    _write(f"{leaf}/cgroup.procs", str(pid))
    _write(f"{base}/cgroup.subtree_control", " ".join(f"+{name}" for name in _V2))


def sweep(groups: Groups) -> None:
    """Remove what is left of boxes whose executor is no more. Names are box-PID-NUMBER.

    For our start, when our own pid was another's, and for our end, when its boxes are gone. What
    was frozen when its executor was killed is thawed, and dies of the signals that wait for it.
    """
    found = [path for parent in set(groups.parents.values()) for path in parent.glob("box-*-*")]
    left = {str(one) for one in found if not _others_live(one.name.split("-")[1])}
    for path in left:
        with contextlib.suppress(OSError):
            _thaw(path)
    deadline = time.monotonic() + _SWEEP_SECONDS
    while (left := {path for path in left if not removed(path)}) and time.monotonic() < deadline:
        time.sleep(0.001)


def _others_live(pid: str) -> bool:
    return pid != str(os.getpid()) and Path("/proc", pid).exists()


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


def _make(group: str) -> None:
    os.mkdir(group, 0o755)


def _present(files: list[tuple[str, int]]) -> list[tuple[str, int]]:
    return [(path, value) for path, value in files if os.path.exists(path)]


def _write(path: str, text: str) -> None:
    """Write to a file that the kernel has made."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
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
