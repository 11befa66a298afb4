"""Which processes there are below another, told apart from later ones that get the same number."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import trio
from attrs import frozen

GONE_TIMEOUT = 10.0  # seconds; only reached by a test that has failed
LOOK_EVERY = 0.01  # seconds: /proc rings no bell


@frozen
class Process:
    """A process: `started` is in clock ticks since the machine's start, from /proc."""

    pid: int
    started: int
    parent: int
    command: str

    @property
    def alive(self) -> bool:
        """Whether it still runs; one that nobody has reaped does not."""
        now = look_up(self.pid)
        return now is not None and now.started == self.started


def look_up(pid: int) -> Process | None:
    """The process `pid`; None if there is none, or if it is dead and not reaped."""
    folder = Path("/proc") / str(pid)
    try:
        stat = (folder / "stat").read_text(encoding="ascii", errors="replace")
        command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name, in brackets, may hold anything; what follows it does not.
    state, parent, *rest = stat.rpartition(")")[2].split()
    return None if state in "ZX" else Process(pid, int(rest[17]), int(parent), command.strip())


def family(pid: int) -> list[Process]:
    """The children of `pid` and all theirs, parents first."""
    found = (look_up(int(path.name)) for path in Path("/proc").glob("[0-9]*"))
    everybody = [process for process in found if process is not None]
    family, parents = [], {pid}
    while parents:
        children = [process for process in everybody if process.parent in parents]
        family += children
        parents = {process.pid for process in children}
    return family


async def gone(processes: Iterable[Process]) -> None:
    """Wait until none of them runs. Raises AssertionError with those that do."""
    left = [process for process in processes if process.alive]
    with trio.move_on_after(GONE_TIMEOUT):
        while left:
            await trio.sleep(LOOK_EVERY)
            left = [process for process in left if process.alive]
    assert not left, f"left behind: {left}"
