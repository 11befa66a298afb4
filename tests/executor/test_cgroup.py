"""The groups of boxes: a limit is believed only where somebody is held to it."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.isolation import cgroup
from executor.isolation.cgroup import Cgroup, Groups
from executor.isolation.layer import Missing, Plan
from executor.settings import Limits
from tests.executor import groups, harness

MIB = 1 << 20
SPARE = 16 * MIB


def v2(base: Path) -> Groups:
    return Groups(2, {"memory": base, "pids": base})


def own_group(root: Path, path: str) -> Groups:
    """What is found on v2 by a process in that group."""
    (root / "cgroup.controllers").touch()
    found = cgroup.candidates({"": path}, "me", root)
    assert found is not None
    return found


@pytest.mark.parametrize("version", [1, 2])
def test_a_box_that_is_in_no_group_of_its_own_is_found_out(tmp_path: Path, version: int) -> None:
    """The groups are there and have their limits, but what was started never joined them."""
    names = ("memory", "pids", "cpuacct", "freezer") if version == 1 else ("memory", "pids")
    parents = {name: tmp_path / name if version == 1 else tmp_path for name in names}
    layer = Cgroup(Groups(version, parents))
    for parent in set(parents.values()):
        (parent / "box").mkdir(parents=True)
        (parent / "box" / "cgroup.procs").write_text("17\n")
    assert layer.stray("box") == ""
    (parents["pids"] / "box" / "cgroup.procs").write_text("")
    assert "not in the cgroup" in layer.stray("box")


def test_a_group_that_is_not_there_holds_nobody(tmp_path: Path) -> None:
    layer = Cgroup(Groups(2, {"memory": tmp_path, "pids": tmp_path}))
    assert "not in the cgroup" in layer.stray("box")


# ---- settling in on v2, over plain directories ----


def test_it_moves_itself_into_a_leaf_and_divides_its_group(tmp_path: Path) -> None:
    """The kernel takes a process by its number; here the number stays in the file."""
    base = tmp_path / "unit"
    groups.make_v2(base)
    groups.make_v2(base / "executor")
    (base / "cgroup.procs").write_text(f"{os.getpid()}\n")
    assert cgroup.usable(v2(base)) == v2(base)
    assert (base / "executor" / "cgroup.procs").read_text() == str(os.getpid())
    assert (base / "cgroup.subtree_control").read_text() == "+memory +pids"


def test_a_start_in_the_leaf_does_not_nest_another(tmp_path: Path) -> None:
    """Whoever was started by one that had moved itself is there already."""
    assert own_group(tmp_path, "/unit/executor") == v2(tmp_path / "unit")
    assert own_group(tmp_path, "/executor") == v2(tmp_path)
    assert own_group(tmp_path, "/unit") == v2(tmp_path / "unit")


def test_other_processes_are_left_where_they_are(tmp_path: Path) -> None:
    """The daemon that has started us, or all that a terminal runs."""
    base = tmp_path / "scope"
    groups.make_v2(base)
    (base / "cgroup.procs").write_text(f"1\n{os.getpid()}\n")
    missing = cgroup.usable(v2(base))
    assert isinstance(missing, Missing)
    assert "1 other processes are in" in missing.cause
    assert "Delegate=yes" in missing.remedy
    assert not (base / "executor").exists()
    assert Cgroup(missing).missing() is missing


def test_a_group_that_the_kernel_does_not_divide_is_of_no_use(tmp_path: Path) -> None:
    """It says no to the write: here, there is nothing to write to."""
    base = tmp_path / "scope"
    groups.make_v2(base)
    groups.make_v2(base / "executor")
    (base / "cgroup.subtree_control").unlink()
    missing = cgroup.usable(v2(base))
    assert isinstance(missing, Missing)
    assert "cannot be divided: No such file" in missing.cause


@pytest.mark.parametrize(("version", "remedy"), [(1, "root with --user"), (2, "Delegate=yes")])
def test_each_version_has_its_own_remedy(tmp_path: Path, version: int, remedy: str) -> None:
    missing = cgroup.usable(Groups(version, {"memory": tmp_path / "not-ours"}))
    assert isinstance(missing, Missing)
    assert remedy in missing.remedy


# ---- what is left behind ----


def test_what_an_executor_with_our_pid_has_left_is_swept(tmp_path: Path) -> None:
    """In a container the same pid comes again; what lives under another is somebody else's."""
    pids = {"ours": os.getpid(), "living": os.getppid(), "dead": _dead()}
    for pid in pids.values():
        (tmp_path / f"box-{pid}-1").mkdir()
    cgroup.sweep(v2(tmp_path))
    assert [one.name for one in tmp_path.iterdir()] == [f"box-{pids['living']}-1"]


def _dead() -> int:
    with subprocess.Popen(["true"]) as process:
        return process.pid


def test_a_group_that_is_busy_is_removed_with_the_next(tmp_path: Path) -> None:
    """Nobody waits for it: the event loop has more to do."""
    layer = Cgroup(v2(tmp_path))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    busy = tmp_path / "one" / "process"
    busy.mkdir()
    layer.end("one")
    assert (tmp_path / "one").exists()
    busy.rmdir()
    layer.end("two")
    assert list(tmp_path.iterdir()) == []


# ---- limits ----


def test_swap_is_no_way_around_the_limit_of_memory(tmp_path: Path) -> None:
    """Whether or not the kernel keeps an account of it."""
    parents = {name: tmp_path / name for name in ("memory", "pids", "cpuacct", "freezer")}
    layer = Cgroup(Groups(1, parents))
    for parent in parents.values():
        parent.mkdir()
        groups.make_v1(parent / "box")
    layer.limit(Plan("box", Limits(memory_bytes=64 * MIB)))
    group = parents["memory"] / "box"
    assert (group / "memory.limit_in_bytes").read_text() == str(64 * MIB + SPARE)
    assert (group / "memory.memsw.limit_in_bytes").read_text() == str(64 * MIB + SPARE)
    assert (group / "memory.swappiness").read_text() == "0"
    for name in ("memory.memsw.limit_in_bytes", "memory.swappiness"):
        (group / name).unlink()
    layer.limit(Plan("box", Limits(memory_bytes=32 * MIB)))
    assert (group / "memory.limit_in_bytes").read_text() == str(32 * MIB + SPARE)


def test_a_limit_that_there_is_no_file_for_is_an_error(tmp_path: Path) -> None:
    """And no file is made, wherever the path leads."""
    (tmp_path / "box").mkdir()
    with pytest.raises(FileNotFoundError):
        Cgroup(v2(tmp_path)).limit(Plan("box", Limits()))
    assert list((tmp_path / "box").iterdir()) == []


@contextlib.contextmanager
def real_v1() -> Iterator[Groups]:
    """Groups of the host's own, made and removed."""
    found = cgroup.here(f"test-{os.getpid()}")
    if not harness.IS_ROOT or found is None or found.version != 1:
        pytest.skip("there is no cgroup v1, or we may not make groups there")
    cgroup.hand_over(found, 0, 0)
    try:
        yield found
    finally:
        for path in found.parents.values():
            path.rmdir()


def test_the_kernel_takes_limits_that_go_up_and_down() -> None:
    """Of memory and swap together, which it never lets be less than memory alone."""
    with real_v1() as found:
        layer = Cgroup(found)
        plan = Plan("box-1-1", Limits(memory_bytes=256 * MIB))
        layer.begin(plan)
        try:
            group = found.parents["memory"] / plan.name
            for size in (64, 512, 128):
                layer.limit(Plan(plan.name, Limits(memory_bytes=size * MIB)))
                for name in ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"):
                    if (group / name).exists():
                        assert int((group / name).read_text()) == size * MIB + SPARE
            assert (group / "memory.swappiness").read_text() == "0\n"
        finally:
            layer.end(plan.name)
