"""Talks to a server that is a child process: lines of JSON on its standard streams.

The package has a transport of its own for this; it lets go of what a server has started when the
server itself ends, and takes a line of any length into memory. What a server writes that is no
message (banners, mostly) is dropped.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import mcp.types as protocol
import trio
from attrs import define, field
from mcp.shared.message import SessionMessage

from agent.mcp import process
from agent.mcp.frames import END, Lines, TooMuch, too_much, whole
from agent.mcp.process import Process
from agent.mcp.spec import Host, Stdio
from agent.mcp.streams import ROOM, Outbound, Relay, Streams, refusal

WRITE_TIMEOUT: Final = 10.0  # seconds for the server to take a message
MAX_NOISE: Final = 1000  # lines in a row that are no messages; a banner has a few
SHOWN: Final = 200  # bytes of such a line, for the log


@asynccontextmanager
async def connected(server: Stdio, host: Host) -> AsyncIterator[Streams]:
    """A connection that lives as long as the block, as does the server. Raises ServerDown."""

    def says(line: str) -> None:
        host.say("debug", "MCP server says", line=line)

    async with process.running(server, says) as child:
        send_in, inbound = trio.open_memory_channel[SessionMessage | Exception](0)
        send_out, outbound = trio.open_memory_channel[SessionMessage](ROOM)
        pumps = _Pumps(child, host, Relay(send_in, send_out.clone()), outbound)
        streams = Streams(inbound, Outbound(send_out), pumps.fate)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pumps.run, streams.lost)
            yield streams
            nursery.cancel_scope.cancel()


@define
class _Pumps:
    """Carry messages between the process and the session, until either side ends."""

    _child: Process
    _host: Host
    _relay: Relay
    _outbound: trio.MemoryReceiveChannel[SessionMessage]
    _noise: int = field(default=0, init=False)
    _fault: str = field(default="", init=False)  # what the server did that ended the connection

    async def run(self, lost: trio.Event) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read, nursery.cancel_scope)
                nursery.start_soon(self._write, nursery.cancel_scope)
        finally:
            lost.set()  # first, so that whoever is woken by what follows knows why
            self._relay.close()
            self._outbound.close()

    async def fate(self) -> str:
        return self._fault or await self._child.fate()

    async def _read(self, both: trio.CancelScope) -> None:
        lines = Lines()
        async for data in self._child.stdout:
            for line in lines.feed(data):
                if not await self._take(line):
                    both.cancel()
                    return
        both.cancel()

    async def _take(self, line: bytes | TooMuch) -> bool:
        """Pass on what a line says; False if one cannot go on after it."""
        found = line if isinstance(line, TooMuch) else _message(line)
        if isinstance(found, SessionMessage):
            self._noise = 0
            await self._relay.take(found)
        elif found.answers is not None:
            await self._relay.take(refusal(found.answers, found))
        elif isinstance(line, TooMuch):
            self._fault = f"it sent a message that {line.why}"
            return False
        else:
            return await self._is_bearable(line)
        return True

    async def _is_bearable(self, line: bytes) -> bool:
        """Whether to go on after what is no message: banners are, a flood is not."""
        await self._relay.pause()
        self._noise += 1
        if self._noise > MAX_NOISE:
            self._fault = "it writes to its standard output what is no message"
            return False
        self._host.say("debug", "no MCP message", line=line[:SHOWN].decode("utf-8", "replace"))
        return True

    async def _write(self, both: trio.CancelScope) -> None:
        try:
            async for message in self._outbound:
                text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                with trio.fail_after(WRITE_TIMEOUT):
                    await self._child.stdin.send_all(text.encode() + b"\n")
        except trio.TooSlowError:
            self._fault = f"it has not read its input for {WRITE_TIMEOUT:g} s"
        except trio.BrokenResourceError:
            # It has ended or closed its input. What it still says is worth hearing.
            with trio.move_on_after(process.DRAIN):
                await trio.sleep_forever()
        both.cancel()


def _message(line: bytes) -> SessionMessage | TooMuch:
    """What a line says; of what is no message, which request it would answer if it were one."""
    try:
        message = protocol.jsonrpc_message_adapter.validate_json(whole(line), by_name=False)
    except ValueError:
        return too_much("is not what the protocol says", line[:END], line[-END:])
    return SessionMessage(message)
