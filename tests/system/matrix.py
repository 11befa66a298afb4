"""Jobs that try to take more than they may, run inside a machine as the daemon's user would.

This file is copied into the machine and run there, by the interpreter that Famulus is installed
for: `matrix.py CONFIG REPORT`. It asks the executor over its socket, which starts it, and writes a
report as JSON: what the executor says of itself, and for each job how it ended, how many processes
it had and what was left.
It judges nothing; the test that reads the report does.
"""

from __future__ import annotations

import json
import os
import pwd
import socket
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import attrs
import trio

from daemon import config
from executor.client import ExecutorClient, ExecutorUnavailable, Job
from executor.messages import Result, Status
from executor.settings import Limits

# What is left of a job is counted until it is nothing, for so long.
_SETTLE_SECONDS = 10.0
_START_SECONDS = 120.0
# An executor is at rest when the number of its processes was the same so many times.
_SAME = 5
# How often processes are counted while a job runs.
_SAMPLE_SECONDS = 0.05
# Some of the jobs only end by it.
_LIMITS = Limits(wall_seconds=30.0)

MANY = """
import os, time
for _ in range(12):
    if os.fork() == 0:
        x = b"x" * 2**26
        time.sleep(60)
time.sleep(60)
"""
MEMFD = """
import os
while True:  # a single one would meet the limit of a file's size
    os.write(os.memfd_create("x"), b"x" * 2**24)
"""
HYDRA = """
import os, time
for _ in range(20):
    if os.fork() == 0:
        os.setsid()
        time.sleep(600)
print("grown")
"""
NETWORK = """
import os, socket
for address in (("192.0.2.1", 80), ("127.0.0.1", PORT)):
    try:
        socket.create_connection(address, 2)
        print("connected to", *address)
    except OSError as error:
        print(type(error).__name__)
print(os.readlink("/proc/self/ns/net"))
"""
JOBS = {
    "honest": ("python", "print(6 * 7)"),
    "shell": ("bash", "echo $((6 * 7))"),
    "memory": ("python", "x = []\nwhile True: x.append(b'x' * 2**24)"),
    "memory of many": ("python", MANY),
    "memfd": ("python", MEMFD),
    "fork bomb": ("bash", "bomb() { bomb | bomb & }; bomb; sleep 60"),
    "hydra": ("python", HYDRA),
    "network": ("python", NETWORK),
    "honest again": ("python", "print(6 * 7)"),
}


def main(configuration: Path, report: Path) -> None:
    settings = config.load(configuration).executor
    client = ExecutorClient(settings.socket)
    status = started(client)
    idle = at_rest(settings.user)
    jobs = {}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        socket.create_connection(("127.0.0.1", port)).close()  # whoever is not held gets through
        for name, (language, code) in JOBS.items():
            job = Job(language, code.replace("PORT", str(port)), "matrix", _LIMITS)
            jobs[name] = tried(client, job, settings.user, idle)
            say(f"{name}: {jobs[name]}")
    found = {
        "status": attrs.asdict(status),
        "uid": os.getuid(),
        "idle": idle,
        "pids": _LIMITS.pids,
        "network": str(Path("/proc/self/ns/net").readlink()),
        "jobs": jobs,
        "groups": sorted(map(str, Path("/sys/fs/cgroup").glob("system.slice/*/job-*"))),
    }
    report.write_text(json.dumps(found, indent=1, default=list))


def started(client: ExecutorClient) -> Status:
    """The first to connect starts the executor, which may take longer than it may be silent."""
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            return trio.run(client.status)
        except ExecutorUnavailable as error:
            if time.monotonic() > deadline:
                raise
            say(str(error))
            time.sleep(1)


def tried(client: ExecutorClient, job: Job, account: str, idle: int) -> dict[str, Any]:
    """Run one job and say how it ended, how many processes it had, and how many it left."""
    begun = time.monotonic()
    result, most = trio.run(watched, client, job, account)
    seconds = time.monotonic() - begun
    found = {**summary(result), "seconds": round(seconds, 2), "processes": most - idle}
    return {**found, "left": left(account, idle)}


async def watched(client: ExecutorClient, job: Job, account: str) -> tuple[Result, int]:
    """Run a job, and count the most processes that the account had meanwhile."""
    most = 0

    async def watch() -> NoReturn:
        nonlocal most
        while True:
            most = max(most, len(await trio.to_thread.run_sync(processes, account)))
            await trio.sleep(_SAMPLE_SECONDS)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        result = await client.run(job)
        nursery.cancel_scope.cancel()
    return result, most


def summary(result: Result) -> dict[str, Any]:
    return {
        "reason": result.reason,
        "code": result.code,
        "stdout": result.stdout[:200].decode(errors="replace"),
        "stderr": result.stderr[-200:].decode(errors="replace"),
        "detail": result.detail,
        "layers": result.layers,
        "peak": result.peak_memory_bytes,
    }


def left(account: str, idle: int) -> int:
    """Processes beyond those that an idle executor has, once there are no more or time is up."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    while len(processes(account)) > idle and time.monotonic() < deadline:
        time.sleep(0.1)
    return max(0, len(processes(account)) - idle)


def at_rest(account: str) -> int:
    """How many processes the executor has when it has nothing to do: its warm boxes are made."""
    seen: list[int] = []
    while len(seen) < _SAME or len(set(seen[-_SAME:])) > 1:
        seen.append(len(processes(account)))
        time.sleep(0.3)
    return seen[-1]


def processes(account: str) -> list[int]:
    """Pids of the account's processes, zombies included."""
    uid = pwd.getpwnam(account).pw_uid
    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if owner(entry) == uid]


def owner(entry: Path) -> int | None:
    try:
        return entry.stat().st_uid
    except OSError:
        return None


def say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
