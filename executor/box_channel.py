"""The executor's side of the conversation with the box, over descriptor 3 of the job.

See `executor.box` for the other side and for the order of events. The socket is made anew for
each job and its far end is held by the box's first process alone, so what arrives here before
the code has been sent can only come from trusted code, and end-of-file means that the box is
gone. What arrives is bounded and parsed as lines of `name value`; nothing is evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import trio
from attrs import define, field, frozen

# -I keeps the workspace and the environment out of the interpreter. The source is read from
# descriptor 3, so that the command line is short and always the same.
BOOTSTRAP = (
    "f=open(3,'rb',closefd=False);n={'__builtins__':__builtins__};"
    "exec(f.read(int(f.readline())),n);exec(*n['enter'](f))"
)

_MAX_REPORT = 16 * 1024


class BoxError(Exception):
    """The box is gone, or says what the trusted part of it never would."""


@frozen
class Order:
    """What the box is to run once it has been verified."""

    language: str
    code: str
    env: Mapping[str, str]
    rlimits: Mapping[int, int]

    def encode(self) -> bytes:
        code = self.code.encode()
        lines = [f"language {self.language}"]
        lines += [f"env {name}={value}" for name, value in self.env.items()]
        lines += [f"limit {number} {most}" for number, most in self.rlimits.items()]
        lines += [f"code {len(code)}\n"]
        return "\n".join(lines).encode() + code


@frozen
class Ended:
    """How the code's main process ended: a wait(2) status, and what it and its children used."""

    status: int
    cpu_seconds: float
    peak_memory_bytes: int


def command(python: str) -> tuple[str, ...]:
    """Give the argument list of the box's first process."""
    return (python, "-I", "-c", BOOTSTRAP)


def load_source() -> bytes:
    """Read the box's source. Done once, at start: later the file may be out of reach."""
    return Path(__file__).with_name("box.py").read_bytes()


@define
class BoxChannel:
    """One job's control socket. It does not own `stream`."""

    stream: trio.SocketStream
    _buffer: bytearray = field(factory=bytearray)

    async def greet(self, source: bytes, canary: str) -> dict[str, str]:
        """Hand over the trusted source and give what it observes. Raises BoxError."""
        head = f"{len(source)}\n".encode()
        await self._send(head + source + f"{canary}\n".encode())
        return await self._report()

    async def order(self, order: Order) -> None:
        """Send the user's code: to be called when the observations are as they must be."""
        await self._send(order.encode())

    async def ended(self) -> Ended:
        """Wait for the code to end. Raises BoxError if the box goes without a word."""
        values = await self._report()
        try:
            return Ended(int(values["status"]), float(values["cpu"]), int(values["peak"]))
        except (KeyError, ValueError) as error:
            raise BoxError("the box reported nonsense") from error

    async def _send(self, data: bytes) -> None:
        try:
            await self.stream.send_all(data)
        except trio.BrokenResourceError as error:
            raise BoxError("the box is gone") from error

    async def _report(self) -> dict[str, str]:
        while b"\n\n" not in self._buffer:
            if len(self._buffer) > _MAX_REPORT:
                raise BoxError("the box talks too much")
            self._buffer += await self._receive()
        text, _, rest = bytes(self._buffer).partition(b"\n\n")
        self._buffer[:] = rest
        pairs = (line.partition(" ") for line in text.decode(errors="replace").splitlines())
        return {name: value for name, _, value in pairs}

    async def _receive(self) -> bytes:
        try:
            data = await self.stream.receive_some(_MAX_REPORT)
        except trio.BrokenResourceError as error:
            raise BoxError("the box is gone") from error
        if not data:
            raise BoxError("the box is gone")
        return bytes(data)
