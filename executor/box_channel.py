"""The executor's side of the conversation with the box, over descriptor 3 of the job.

See `executor.inside.box` for the other side and for the order of events. The socket is made anew
for each box and its far end is held by the box's first process alone, so what arrives here before
the code has been sent can only come from trusted code, and end-of-file means that the box is
gone. What arrives is bounded and parsed as lines of `name value`; nothing is evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping

import trio
from attrs import define, field, frozen

_MAX_REPORT = 16 * 1024


class BoxError(Exception):
    """The box is gone, or says what the trusted part of it never would."""


@frozen
class Order:
    """What the box is to run once it has been verified."""

    language: str
    code: str
    rlimits: Mapping[int, int]
    ceilings: Mapping[int, int]  # what the code itself can raise them to
    session: bool = False
    watched_memory: int = 0  # bytes, for the box to watch; 0 where the kernel does

    def encode(self) -> bytes:
        code = self.code.encode()
        lines = [f"language {self.language}", f"memory {self.watched_memory}"]
        lines += ["session 1"] if self.session else []
        lines += [
            f"limit {number} {most} {self.ceilings[number]}"
            for number, most in self.rlimits.items()
        ]
        lines += [f"code {len(code)}", "", ""]
        return "\n".join(lines).encode() + code


@frozen
class Ended:
    """How the code's main process ended: a wait(2) status, and what it and its children used.

    `lost` says that the session whose cell this was is no more; `empty` that the box's first
    process, as the init of its pid namespace, has proved that it is alone in it.
    """

    status: int
    cpu_seconds: float
    peak_memory_bytes: int
    out_of_memory: bool = False
    lost: bool = False
    empty: bool = False


@define
class BoxChannel:
    """One job's control socket. It does not own `stream`."""

    stream: trio.SocketStream
    _buffer: bytearray = field(factory=bytearray)

    async def greet(self, workspace: str, canary: str) -> dict[str, str]:
        """Say whose box it is now, and give what it observes. Raises BoxError."""
        await self._send(f"workspace {workspace}\ncanary {canary}\n\n".encode())
        return await self._report()

    async def order(self, order: Order) -> None:
        """Send the user's code: to be called when the observations are as they must be."""
        await self._send(order.encode())

    async def say(self, word: str) -> None:
        """Say `kill`, or `signal N`, while the code runs. Raises BoxError."""
        await self._send(f"{word}\n".encode())

    async def ended(self) -> Ended:
        """Wait for the code to end. Raises BoxError if the box goes without a word."""
        values = await self._report()
        try:
            return Ended(
                int(values["status"]),
                float(values["cpu"]),
                int(values["peak"]),
                "out_of_memory" in values,
                "lost" in values,
                "empty" in values,
            )
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
