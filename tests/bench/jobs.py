"""What a job costs, as ratios to the start of a bare interpreter in the same run.

Times on a shared machine drift; so each round times the bare interpreter, `python3 -I -c pass`,
and then each case once, and the samples are ratios within a round. Between two jobs there is a
pause in which the executor makes the box that was taken anew, as there is between a person's.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import trio
from attrs import frozen

from executor.client import Job, Limits, Result
from tests.bench.measures import Samples
from tests.executor import harness
from tests.executor.harness import Refused, Running

INSTRUCTION = "job: first instruction"
FRAME = "job: first frame"
RESULT = "job: result"
CELL = "job: cell"
COLD = "job: firejail cold"
KILL = "job: kill 64"
PLOT = "job: plot"
PARALLEL = "job: parallel"
BUSY = "job: processors busy"
SERIAL_RATE = "job: rate, one after another"
PARALLEL_RATE = "job: rate, side by side"
WARM_PSS = "job: pss"
BASE = "job: base"

ROUNDS = 30
_PAUSE = 0.08  # seconds
_EACH = 10  # jobs of a client, where clients are compared
_BARE = ("/usr/bin/python3", "-I", "-c", "pass")
_SHOW = "import time; print(time.perf_counter(), flush=True)"
_PLOT = "import matplotlib.pyplot as plt\nplt.plot([1, 3, 2])\nplt.show()"
_MANY = (
    "import os, time\n"
    "for _ in range(63):\n"
    "    if os.fork() == 0: time.sleep(600)\n"
    "print('up', flush=True)\n"
    "time.sleep(600)\n"
)
_FIREJAIL = ("firejail", "seccomp", "rlimit", "cgroup", "subreaper")


@frozen
class Timed:
    """A job's times in seconds, from before it was sent: to its first frame, and to its result."""

    result: Result
    first: float
    total: float


async def jobs(rounds: int = ROUNDS) -> Samples:
    """Measure all cases; nothing where this host has no sandbox."""
    found: Samples = {}
    with harness.place() as where, harness.try_executor(where, jobs_at_once=8) as running:
        if isinstance(running, Refused):
            print("no jobs here:", running.refusal.cause, file=sys.stderr)
            return {}
        if harness.IS_ROOT:  # others are not shown what an executor takes, whosever it is
            found[WARM_PSS] = [await _pss(running)]
        await _timed(running, Job("python", "pass", "bench", session="bench"))
        for _ in range(rounds):
            await _round(running, found)
        for _ in range(max(1, rounds // 10)):
            _add(found, SERIAL_RATE, await _one_after_another(running))
            _add(found, PARALLEL_RATE, await _side_by_side(running))
        for _ in range(max(3, rounds // 6)):
            await _kill(running, found)
        await _plots(running, found)
    await _scaling(rounds, found)
    await _cold(rounds, found)
    return found


async def _round(running: Running, found: Samples) -> None:
    base = _base(found)
    shown = await _timed(running, Job("python", _SHOW, "bench"))
    began = float(shown.result.stdout) - (time.perf_counter() - shown.total)
    _add(found, FRAME, shown.first / base)
    await trio.sleep(_PAUSE)
    plain = await _timed(running, Job("python", "print(1)", "bench"))
    _add(found, RESULT, plain.total / base)
    await trio.sleep(_PAUSE)
    cell = await _timed(running, Job("python", "print(1)", "bench", session="bench"))
    _add(found, CELL, cell.total / base)
    _add(found, INSTRUCTION, began / base)
    await trio.sleep(_PAUSE)


async def _scaling(rounds: int, found: Samples) -> None:
    """How many times as many jobs a second eight clients get done as one, without warm boxes.

    With them one client alone keeps more than one core busy, because the next box is made while
    its job runs: it is served sooner, and there is less left for the others to gain. Some of that
    is so without them, for a box is put away while the next job begins. So two cores cannot give
    twice as much; how much of them eight clients can use is what shows that nobody waits in vain.
    """
    cold = {"jobs_at_once": 8, "warm_boxes": 0}
    with harness.place() as where, harness.try_executor(where, **cold) as running:
        if isinstance(running, Refused):
            return
        for _ in range(max(1, rounds // 6)):
            serial = await _one_after_another(running)
            before = _processors()
            _add(found, PARALLEL, await _side_by_side(running) / serial)
            _add(found, BUSY, _busy(before, _processors()))


async def _one_after_another(running: Running) -> float:
    """Jobs a second of one client."""
    began = time.perf_counter()
    for number in range(4):
        await _some_jobs(running, f"serial-{number}")
    return 4 * _EACH / (time.perf_counter() - began)


async def _side_by_side(running: Running) -> float:
    """Jobs a second of eight clients, each in a workspace of its own."""
    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(_some_jobs, running, f"parallel-{number}")
    return 8 * _EACH / (time.perf_counter() - began)


def _processors() -> list[int]:
    """Ticks of all processors together, by what they were spent on (proc(5), /proc/stat)."""
    return [int(count) for count in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]


def _busy(before: list[int], after: list[int]) -> float:
    """The share of ticks that were not idle, nor idle for want of the disk."""
    spent = [late - early for early, late in zip(before, after, strict=True)]
    return 1 - sum(spent[3:5]) / sum(spent)


async def _some_jobs(running: Running, workspace: str) -> None:
    for _ in range(_EACH):
        await _timed(running, Job("python", "pass", workspace))


async def _kill(running: Running, found: Samples) -> None:
    """From the end of the client's patience to an executor that has proved 64 processes dead.

    The workspace is free again only when the proof is there: so a look into it, which takes a
    tenth of the base itself, is answered then.
    """
    base = _base(found)
    limits = Limits(pids=80)
    up = trio.Event()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            job = Job("python", _MANY, "bench", limits)
            nursery.start_soon(lambda: running.client.run(job, on_output=lambda *_: up.set()))
            await up.wait()
            began = time.perf_counter()
            scope.cancel()
    await running.client.files("bench").stat("")
    _add(found, KILL, (time.perf_counter() - began) / base)


async def _plots(running: Running, found: Samples) -> None:
    """A plot in a fresh interpreter against one in a box that has imported what it needs."""
    fresh = await _timed(running, Job("python", _PLOT, "bench"))
    if fresh.result.code != 0:
        return
    log = running.log
    await harness.until(lambda: "packages preloaded" in log.read_text(), 60)
    for _ in range(5):
        await trio.sleep(1.0)
        warm = await _timed(running, Job("python", _PLOT, "bench"))
        _add(found, PLOT, warm.total / fresh.total)


async def _cold(rounds: int, found: Samples) -> None:
    """Firejail starts anew for each job."""
    with harness.place() as where, harness.try_executor(where, stack=_FIREJAIL) as running:
        if isinstance(running, Refused):
            return
        for _ in range(rounds // 3):
            base = _base(found)
            timed = await _timed(running, Job("python", "print(1)", "bench"))
            _add(found, COLD, timed.total / base)


async def _timed(running: Running, job: Job) -> Timed:
    began = time.perf_counter()
    frames: list[float] = []
    result = await running.client.run(job, on_output=_note(frames))
    total = time.perf_counter() - began
    return Timed(result, (frames[0] - began) if frames else total, total)


def _note(frames: list[float]) -> Callable[[str, bytes], None]:
    return lambda _stream, _data: frames.append(time.perf_counter())


async def _pss(running: Running) -> float:
    """The executor with its zygote and warm boxes, MB."""
    (zygote,) = harness.children(running.pid)
    await harness.until(lambda: len(harness.children(zygote)) == running.settings.warm_boxes)
    await trio.sleep(1.0)
    family = [running.pid, zygote, *harness.children(zygote)]
    return sum(harness.pss_kib(pid) for pid in family) / 1024


def _base(found: Samples) -> float:
    """Seconds that a bare interpreter takes just now."""
    began = time.perf_counter()
    subprocess.run(_BARE, check=True)
    seconds = time.perf_counter() - began
    _add(found, BASE, seconds)
    return statistics.median(found[BASE][-5:])


def _add(found: Samples, name: str, value: float) -> None:
    found.setdefault(name, []).append(value)
