"""Attacks 10, 11 and 34: a job that fills disks, and what it takes to clean up after it."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from executor.client import Limits
from tests.attacks.stacks import Target

pytestmark = pytest.mark.executor

MIB = 1 << 20
# "Within 5 s" on a machine that does nothing else.
CLEANED_SECONDS = 30.0


QUOTA = Limits(wall_seconds=60.0, workspace_bytes=40 * MIB, workspace_files=2000)
# What may have been written between two looks of the watcher.
SLACK = 64 * MIB


def used(path: Path) -> int:
    """Bytes that are taken on the disk by a directory and all in it."""
    return sum(512 * entry.lstat().st_blocks for entry in path.rglob("*"))


@pytest.mark.attack("10a", slow=True)
async def test_a_workspace_that_is_filled_ends_the_job(target: Target) -> None:
    """Four writers of many files: the host loses no more than the quota and a little."""
    code = (
        "import os\nos.fork(); os.fork()\n"
        "for n in range(10):\n"
        "    with open(f'{os.getpid()}-{n}', 'wb', 0) as file:\n"
        "        for _ in range(16): file.write(bytes(1 << 20))\n"
    )
    where = target.running.workspace("filled")
    result = await target.python(code, workspace="filled", limits=QUOTA)
    left = used(where)
    await target.files(where.name).discard()
    assert result.reason == "disk"
    assert left <= QUOTA.workspace_bytes + SLACK


@pytest.mark.attack("10b", slow=True)
async def test_a_workspace_that_is_filled_with_files_ends_the_job(target: Target) -> None:
    """Empty files take inodes, which the host has a number of as well."""
    code = "for n in range(100_000): open(f'file-{n}', 'w').close()"
    where = target.running.workspace("many")
    result = await target.python(code, workspace="many", limits=QUOTA)
    left = len(list(where.iterdir()))
    await target.files(where.name).discard()
    assert result.reason == "disk"
    assert left < 50_000


@pytest.mark.attack("10c", slow=True)
async def test_tmp_is_small_or_out_of_reach(target: Target) -> None:
    """It has a size of its own, or counts as memory, or as the workspace, or cannot be written."""
    code = (
        "import os, sys, tempfile\n"
        "written = 0\n"
        "try:\n"
        "    for n in range(400):\n"
        "        with open(f'/tmp/fill{n}', 'wb', 0) as file:\n"
        "            written += file.write(bytes(1 << 20))\n"
        "except OSError as error: sys.exit(f'stopped after {written >> 20}')\n"
        "print('filled')\n"
    )
    limits = Limits(wall_seconds=60.0, memory_bytes=128 * MIB)
    result = await target.python(code, workspace="tmp", limits=limits)
    assert b"filled" not in result.stdout
    assert result.reason in {"exit", "memory", "disk"}


@pytest.mark.attack("11")
async def test_a_sparse_terabyte_is_refused(target: Target) -> None:
    """It takes no space, and would be read in full by whoever copies it."""
    for code in ("truncate -s 1T big", "dd if=/dev/zero of=big bs=1 count=1 seek=1T status=none"):
        result = await target.bash(code, workspace="sparse")
        assert result.reason == "disk" or result.code != 0
        size = "stat -c %s big 2>/dev/null || echo 0; rm -f big"
        assert int((await target.bash(size, workspace="sparse")).stdout) < 1 << 30


# ---- cleaning up ----


@pytest.mark.attack("34a", slow=True)
async def test_3000_directories_in_each_other_are_removed(target: Target) -> None:
    """Neither recursion nor the length of a path ends the removal."""
    code = "import os\nfor n in range(3000):\n    os.mkdir('d')\n    os.chdir('d')\nprint('deep')\n"
    assert (await target.python(code, workspace="deep")).stdout == b"deep\n"
    with trio.fail_after(CLEANED_SECONDS):
        removed = await target.files("deep").discard()
    assert removed.value.names >= 3000
    assert not target.running.workspace("deep").exists()


@pytest.mark.attack("34b", slow=True)
async def test_200000_files_are_stopped_and_removed(target: Target) -> None:
    """The limit on files ends the job long before; what there is goes with the workspace."""
    code = "for n in range(200_000): open(f'file-{n}', 'w').close()"
    limits = Limits(wall_seconds=60.0)
    result = await target.python(code, workspace="crowded", limits=limits)
    assert result.reason == "disk"
    with trio.fail_after(CLEANED_SECONDS):
        removed = await target.files("crowded").discard()
    assert removed.value.names > limits.workspace_files
    assert not target.running.workspace("crowded").exists()
