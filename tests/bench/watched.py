"""Runs the daemon with its loop watched for steps that kept everything else waiting.

    python -m tests.bench.watched FILE COMMAND...      (COMMAND as for `famulus`)

A step is what a task does between two waits; while it lasts, no other task moves. One of more than
`LIMIT` is at fault if it used the processor all that time, or slept in a call that blocks; not if
the kernel let another process run meanwhile, which a busy machine does to the best of programs.
The kernel tells the three apart: processor time and time in the run queue are counted for each
thread, and what remains of the wall clock was sleep. (Waiting for the interpreter's lock is sleep,
too: a thread of ours that holds it for so long is as much at fault.) The counts begin before the
wall clock and end after it, so a process that is stopped between two readings is not blamed.

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
class Times:
    """What a step took, in seconds: of the wall clock, of the processor, and in the run queue."""

    wall: float
    cpu: float
    queued: float

    @property
    def slept(self) -> float:
        return self.wall - self.cpu - self.queued

    @property
    def at_fault(self) -> bool:
        """Whether a step that took this long kept the loop by its own doing."""
        return max(self.cpu, self.slept) > LIMIT


@define
class Stopwatch:
    """Times the steps of the thread that made it; keeps a descriptor for as long as it lives."""

    _fd: int = field(factory=lambda: os.open(_schedstat(), os.O_RDONLY))
    _began: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def start(self) -> None:
        counts = self._counts()
        self._began = (time.monotonic(), *counts)

    def stop(self) -> Times:
        ended = (time.monotonic(), *self._counts())
        return Times(*(end - begin for end, begin in zip(ended, self._began, strict=True)))

    def _counts(self) -> tuple[float, float]:
        """Seconds of processor time and of waiting for it, since the thread began."""
        queued = int(os.pread(self._fd, 100, 0).split()[1]) / 1e9
        return time.thread_time(), queued


def _schedstat() -> str:
    return f"/proc/self/task/{threading.get_native_id()}/schedstat"


@define(eq=False)  # Trio keeps instruments in a dictionary
class StepWatch(trio.abc.Instrument):
    """Calls `tell` with the name of a task and the time of its step, for each step at fault."""

    tell: Callable[[str, Times], None]
    steps: int = 0
    _stopwatch: Stopwatch = field(factory=Stopwatch)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._stopwatch.start()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        took = self._stopwatch.stop()
        self.steps += 1
        if took.at_fault:
            self.tell(task.name, took)


def main() -> int:
    """Run a command of the daemon, whose `trio.run` is watched."""
    path = Path(sys.argv[1])
    path.touch()

    def tell(name: str, took: Times) -> None:
        with path.open("a") as file:
            line = {"task": name, "slept": took.slept, **attrs.asdict(took)}
            file.write(json.dumps(line) + "\n")

    watch = StepWatch(tell)
    setattr(trio, "run", partial(trio.run, instruments=[watch]))  # noqa: B010 -- no type fits
    return cli.main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
