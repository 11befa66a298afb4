"""Directories that look like cgroups: with the files that the kernel would have put there."""

from __future__ import annotations

from pathlib import Path

V1 = (
    "memory.limit_in_bytes",
    "memory.memsw.limit_in_bytes",
    "memory.swappiness",
    "pids.max",
    "cgroup.procs",
)
V2 = ("memory.max", "memory.swap.max", "pids.max", "cgroup.procs", "cgroup.subtree_control")


def make_v1(group: Path | str) -> None:
    _make(group, V1)


def make_v2(group: Path | str) -> None:
    _make(group, V2)


def _make(group: Path | str, names: tuple[str, ...]) -> None:
    Path(group).mkdir()
    for name in names:
        (Path(group) / name).touch()
