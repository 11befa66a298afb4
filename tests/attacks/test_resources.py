"""Attacks 9 and 12: memory and output."""

from __future__ import annotations

import os

import pytest

from executor.client import Limits, Result
from tests.attacks.stacks import Target
from tests.executor import harness

pytestmark = pytest.mark.executor

MIB = 1 << 20
# Small enough for eight at once on a small machine. A poll without a cgroup sees 128 MB in time.
MEMORY = Limits(wall_seconds=30.0, memory_bytes=128 * MIB)
NOISY = Limits(wall_seconds=60.0, cpu_seconds=20)


async def attack_flatly(target: Target, code: str, limits: Limits, grows: int) -> Result:
    """Run it, and assert that the executor itself grows by no more than `grows` bytes."""
    await target.answers()
    before = harness.rss_kib(target.pid)
    result = await target.python(code, limits=limits)
    assert harness.rss_kib(target.pid) - before < grows >> 10
    return result


@pytest.mark.attack("9a")
async def test_memory_over_the_limit_ends_with_memory(target: Target) -> None:
    """With a cgroup and without: there the box looks, and the limit is called soft."""
    code = (
        "import time\nparts = []\n"
        "while True:\n    parts.append(bytearray(8 << 20)); time.sleep(0.02)\n"
    )
    result = await attack_flatly(target, code, MEMORY, 8 * MIB)
    assert result.reason == "memory"
    assert "128 MiB" in result.detail


@pytest.mark.attack("9b", slow=True)
async def test_the_memory_limit_is_the_jobs_and_not_each_processs(target: Target) -> None:
    """Twenty processes with 16 MB each are over 128 MB, though none of them is."""
    code = (
        "import os, time\n"
        "for _ in range(20):\n"
        "    if os.fork() == 0:\n"
        "        part = bytearray(16 << 20)\n"
        "        time.sleep(100)\n"
        "    time.sleep(0.02)\n"
        "os.wait()\n"
        "print('one was killed', flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    result = await attack_flatly(target, code, MEMORY, 8 * MIB)
    assert result.reason == "memory"


@pytest.mark.attack("9c")
async def test_memory_behind_a_descriptor_counts(target: Target) -> None:
    """A memfd that is written and never mapped is in no process's account, but in the group's."""
    code = (
        "import os\n"
        "files = [os.memfd_create('fill') for _ in range(10)]\n"
        "for file in files:\n"
        "    for _ in range(40): os.write(file, bytes(1 << 20))\n"
        "print('filled')\n"
    )
    result = await attack_flatly(target, code, MEMORY, 8 * MIB)
    assert result.reason == "memory"
    assert result.stdout == b""


@pytest.mark.attack("9d")
async def test_shared_memory_is_small_or_out_of_reach(target: Target) -> None:
    """/dev/shm is the box's own and small, or counts as the job's memory, or is not to be had."""
    code = (
        "import sys\n"
        "try:\n"
        "    for n in range(10):\n"
        "        with open(f'/dev/shm/fill{n}', 'wb', 0) as file:\n"
        "            for _ in range(40): file.write(bytes(1 << 20))\n"
        "except OSError as error: sys.exit(f'errno {error.errno}')\n"
        "print('filled')\n"
    )
    result = await attack_flatly(target, code, MEMORY, 8 * MIB)
    assert result.reason == "memory" or b"errno" in result.stderr, result
    assert b"filled" not in result.stdout


@pytest.mark.attack("12a", slow=True)
async def test_300_mb_of_output_cost_the_executor_nothing(target: Target) -> None:
    """Neither the executor nor the caller grows; head and tail are there."""
    ours = harness.rss_kib(os.getpid())
    code = "line = 'x' * 9999 + '\\n'\nfor _ in range(30000): print(line, end='')\nprint('END')"
    result = await attack_flatly(target, code, NOISY, 8 * MIB)
    assert result.reason == "exit"
    assert result.stdout_dropped > 298_000_000
    assert result.stdout.endswith(b"END\n")
    assert harness.rss_kib(os.getpid()) - ours < 20 * 1024


@pytest.mark.attack("12b", slow=True)
async def test_one_line_without_an_end_is_cut_and_in_the_end_stopped(target: Target) -> None:
    """A job that writes more than a gigabyte is ended with the reason `output`."""
    code = "import os\nblock = b'x' * (1 << 20)\nwhile True: os.write(1, block)"
    result = await attack_flatly(target, code, NOISY, 8 * MIB)
    assert result.reason == "output"
    assert result.truncated
    assert len(result.stdout) < 1.1 * MIB


@pytest.mark.attack("12c")
async def test_nuls_and_bad_utf_8_come_back_as_they_are(target: Target) -> None:
    """Output is bytes: nobody on the way tries to read it."""
    code = "import os\nos.write(1, bytes(range(256)))\nos.write(2, b'\\xff\\0\\xc3')"
    result = await target.python(code)
    assert (result.stdout, result.stderr) == (bytes(range(256)), b"\xff\0\xc3")
    flood = "import os\nfor _ in range(40): os.write(1, b'\\0\\xff' * 50_000)"
    result = await attack_flatly(target, flood, NOISY, 8 * MIB)
    assert result.truncated
    assert len(result.stdout) < 1.1 * MIB
