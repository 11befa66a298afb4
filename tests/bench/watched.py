"""Runs the daemon with its loop watched for steps that kept everything else waiting.

    python -m tests.bench.watched FILE COMMAND...      (COMMAND as for `famulus`)

A step is what a task does between two waits; while it lasts, no other task moves. One of more than
`LIMIT` is at fault if it used the processor all that time, or slept in a call that blocks; not if
the kernel let another process run meanwhile, which a busy machine does to the best of programs.
The kernel tells the three apart: processor time and time in the run queue are counted for each
thread, and what remains of the wall clock was sleep. (Waiting for the interpreter's lock is sleep,
too: a thread of ours that holds it for so long is as much at fault.)

Each such step is a line of JSON in FILE.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import attrs
import trio
from attrs import define, field, frozen

from daemon import cli

LIMIT = 0.05  # seconds


@frozen
class Reading:
    """The clocks of one thread, in seconds: the wall's, its processor time, its time in queue."""

    wall: float
    cpu: float
    queued: float

    def since(self, earlier: Reading) -> Reading:
        return Reading(
            self.wall - earlier.wall, self.cpu - earlier.cpu, self.queued - earlier.queued
        )

    @property
    def slept(self) -> float:
        return self.wall - self.cpu - self.queued

    @property
    def at_fault(self) -> bool:
        """Whether a step that took this long kept the loop by its own doing."""
        return max(self.cpu, self.slept) > LIMIT


@frozen
class ThreadClocks:
    """Reads the clocks of the thread that made it; owns a descriptor for as long as it lives."""

    _fd: int = field(factory=lambda: os.open(_schedstat(), os.O_RDONLY))

    def read(self) -> Reading:
        cpu, queued, _ = os.pread(self._fd, 100, 0).split()
        return Reading(time.monotonic(), int(cpu) / 1e9, int(queued) / 1e9)


def _schedstat() -> str:
    return f"/proc/self/task/{threading.get_native_id()}/schedstat"


@define(eq=False)  # Trio keeps instruments in a dictionary
class StepWatch(trio.abc.Instrument):
    """Calls `tell` with the name of a task and the time of its step, for each step at fault."""

    tell: Callable[[str, Reading], None]
    clocks: Callable[[], Reading]
    steps: int = 0
    _began: Reading = Reading(0.0, 0.0, 0.0)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._began = self.clocks()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        took = self.clocks().since(self._began)
        self.steps += 1
        if took.at_fault:
            self.tell(task.name, took)


def main() -> int:
    """Run a command of the daemon, whose `trio.run` is watched."""
    path = Path(sys.argv[1])
    path.touch()

    def tell(name: str, took: Reading) -> None:
        with path.open("a") as file:
            line = {"task": name, "slept": took.slept, **attrs.asdict(took)}
            file.write(json.dumps(line) + "\n")

    watch = StepWatch(tell, ThreadClocks().read)
    setattr(trio, "run", partial(trio.run, instruments=[watch]))  # noqa: B010 -- no type fits
    return cli.main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
