"""The groups of boxes: a limit is believed only where somebody is held to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from executor.isolation.cgroup import Cgroup, Groups


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
