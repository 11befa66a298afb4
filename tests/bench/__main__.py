"""`make bench`: measures the daemon and the floor, and prints a table.

    python -m tests.bench [--runs N] [--pin] [--scratch DIR]
        [--only start,first,turns,burst,slow,executor,jobs,rendering,appointments]

Every measurement is repeated with fresh servers, processes and files, the daemon and the floor by
turns, so that a slow minute of the machine falls on both. With --pin this process and the servers
in it keep to the last core and the bots to the others.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
from collections.abc import Awaitable, Callable
from functools import partial

import trio

from tests.bench import measures
from tests.bench.appointments import appointments
from tests.bench.disk import disk_line
from tests.bench.executor import code_turns, executor_memory
from tests.bench.jobs import jobs
from tests.bench.measures import Load, Samples
from tests.bench.rendering import rendering
from tests.bench.subjects import CORES, FAMULUS, FLOOR, SCRATCH_VARIABLE, Subject
from tests.bench.table import table

Measure = Callable[[Subject], Awaitable[Samples]]


def _measures(load: Load) -> dict[str, Measure]:
    return {
        "start": measures.start_and_memory,
        "first": measures.first_turn,
        "turns": partial(measures.turns, load=load),
        "burst": partial(measures.burst, load=load),
        "slow": partial(measures.slow_model, load=load),
    }


async def bench(names: list[str], runs: int, load: Load) -> tuple[Samples, Samples]:
    """Run the named measurements `runs` times each; returns the samples (ours, the floor's)."""
    ours: Samples = {}
    floor: Samples = {}
    for subject in (FLOOR, FAMULUS):  # not measured: what they import is compiled
        await measures.first_turn(subject)
    for name, measure in _measures(load).items():
        for _ in range(runs if name in names else 0):
            _add(floor, await measure(FLOOR))
            _add(ours, await measure(FAMULUS))
            gc.collect()  # the servers' rubbish, not in the middle of the next measurement
    for _ in range(runs if "executor" in names else 0):
        _add(ours, await executor_memory())
    if "executor" in names:
        _add(ours, await code_turns(30))
    if "jobs" in names:
        _add(ours, await jobs())
    if "appointments" in names:
        _add(ours, await appointments())
    if "rendering" in names:
        _add(ours, rendering())
    return ours, floor


def _add(to: Samples, found: Samples) -> None:
    for name, values in found.items():
        to.setdefault(name, []).extend(values)


def _options() -> argparse.Namespace:
    known = [*_measures(Load()), "executor", "jobs", "rendering", "appointments"]
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="repetitions of each measurement")
    parser.add_argument("--only", default=",".join(known), help="measurements, with commas")
    parser.add_argument("--scratch", help="where databases are kept; /dev/shm leaves the disk out")
    parser.add_argument("--pin", action="store_true", help="servers on one core, bots on others")
    return parser.parse_args()


def _pin() -> None:
    """Keep to the last core; bots are started on the others."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.environ[CORES] = ",".join(map(str, cores[:-1]))
        os.sched_setaffinity(0, cores[-1:])


def main() -> None:
    options = _options()
    if options.pin:
        _pin()
    if options.scratch:
        os.environ[SCRATCH_VARIABLE] = options.scratch
    gc.freeze()
    names = options.only.split(",")
    disk = disk_line()
    ours, floor = trio.run(bench, names, options.runs, Load())
    load = ", ".join(f"{each:.2f}" for each in os.getloadavg())
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {load}")
    print(f"{disk}; afterwards: {disk_line().removeprefix('disk: ')}")
    print(table(ours, floor))
    print("+ within the stretch, ! over the budget; ratio: to the floor, a bot that only echoes")


if __name__ == "__main__":
    main()
