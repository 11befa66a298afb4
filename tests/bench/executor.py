"""The executor's memory while it waits for jobs: its own and that of every process it keeps.

PSS rather than RSS: the processes share the interpreter's pages, which would be counted several
times. They share them with the daemon too, so the executor is weighed as it lives, beside its
daemon, and once alone. Where it cannot start on this host there is no figure, and the reason is
said.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import trio

from executor.client import ExecutorClient, ExecutorUnavailable
from tests.bench.measures import EXECUTOR, EXECUTOR_ALONE, Samples
from tests.bench.subjects import end, field_mb, scratch, servers, settled, start, write_config

START_TIMEOUT = 10.0  # seconds
INTERVAL = 0.05


async def executor_memory() -> Samples:
    """Start the executor as `famulus executor` does, let it settle, and weigh it."""
    async with servers() as unused:
        with scratch() as place:
            config = write_config(place, unused)
            user = ("--user", "famulus-exec") if os.geteuid() == 0 else ()
            popen = start(("-m", "daemon", "executor", "--config", str(config), *user), place)
            try:
                return await _weigh(popen, config, place)
            finally:
                end(popen)


async def _weigh(popen: subprocess.Popen[bytes], config: Path, place: Path) -> Samples:
    if not await _is_up(popen, place / "executor.sock"):
        print("no executor here:", (place / "log").read_text().strip()[-300:], file=sys.stderr)
        return {}
    await settled(1.0)
    alone = _family_pss(popen)
    daemon = start(("-m", "daemon", "run", "--config", str(config)), place)
    try:
        await settled(2.0)
        return {EXECUTOR: [_family_pss(popen)], EXECUTOR_ALONE: [alone]}
    finally:
        end(daemon)


async def _is_up(popen: subprocess.Popen[bytes], socket: Path) -> bool:
    """Ask until it answers, ends, or takes too long: nobody announces readiness to us."""
    client = ExecutorClient(str(socket))
    with trio.move_on_after(START_TIMEOUT):
        while popen.poll() is None:
            try:
                await client.status()
            except ExecutorUnavailable:
                await trio.sleep(INTERVAL)
            else:
                return True
    return False


def family(pid: int) -> list[int]:
    """A process and all that descend from it now."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in family(int(child)))]


def _family_pss(popen: subprocess.Popen[bytes]) -> float:
    return sum(_pss(pid) for pid in family(popen.pid))


def _pss(pid: int) -> float:
    return field_mb(Path(f"/proc/{pid}/smaps_rollup").read_text(), "Pss:")
