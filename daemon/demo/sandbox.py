"""Whether the demo's daemon can run code, and in what, or why not."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final

import trio
from attrs import frozen

from executor.client import ExecutorClient, ExecutorUnavailable

# Building a sandbox and trying it takes well under a second; a busy machine gets more.
TIMEOUT: Final = 10.0

# Another process's readiness, which nobody announces to us: asked for at this interval.
INTERVAL: Final = 0.05

# What the daemon logs of its executor. Its socket alone does not tell: after a kill, the executor
# of the daemon before may still answer there for a moment.
READY: Final = "executor ready"
REFUSAL: Final = "executor refuses"
FAILURE: Final = "task=executor"


@frozen
class Sandbox:
    """What isolates the code tools. Without layers they are off, and `why` says so."""

    layers: tuple[str, ...] = ()
    why: str = ""

    @property
    def works(self) -> bool:
        """Whether code tools run code."""
        return not self.why

    def __str__(self) -> str:
        return f"off: {self.why}" if self.why else f"runs in a sandbox of {' + '.join(self.layers)}"


async def find_sandbox(socket: Path, log: Path, already: int = 0) -> Sandbox:
    """Wait until the log, from byte `already` on, says that the executor is ready or refuses."""
    client = ExecutorClient(str(socket))
    with trio.move_on_after(TIMEOUT):
        while True:
            said = _read(log, already)
            if READY in said and (ready := await _ask(client)) is not None:
                return ready
            if why := refusal(said):
                return Sandbox(why=why)
            await trio.sleep(INTERVAL)
    return Sandbox(
        why=f"the executor was not ready within {TIMEOUT:g} s{failure(_read(log, already))}"
    )


def _read(log: Path, start: int) -> str:
    return log.read_bytes()[start:].decode("utf-8", "replace")


async def _ask(client: ExecutorClient) -> Sandbox | None:
    try:
        status = await client.status()
    except ExecutorUnavailable:
        return None
    return Sandbox(tuple(status.layers), status.unavailable)


def refusal(log: str) -> str:
    """Give the executor's last refusal in a daemon's log, cause and remedy; "" without one."""
    words = _last(log, REFUSAL)
    said = (words.get("cause", ""), words.get("remedy", ""))
    return "; ".join(part for part in said if part) or words.get("event", "")


def failure(log: str) -> str:
    """Give what the executor died of last, to be put behind a sentence; "" when it did not."""
    error = _last(log, FAILURE).get("error", "")
    return f": {error[:200]}" if error else "; the log may say why"


def _last(log: str, mark: str) -> dict[str, str]:
    """Read the last line of logfmt that has `mark`; a cut line gives what was whole."""
    lines = [line for line in log.splitlines() if mark in line]
    if not lines:
        return {}
    try:
        return dict(word.partition("=")[::2] for word in shlex.split(lines[-1]))
    except ValueError:
        return {"event": mark}
