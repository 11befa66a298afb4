"""Runs the program that makes text of a page, and owns its process, which no call outlives."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import trio
from attrs import field, frozen

from agent.web.guard import Refused

SCRIPT: Final = Path(__file__).with_name("extract.py")
SECONDS: Final = 20.0
AT_ONCE: Final = 2  # processes: each may use a gigabyte for a moment
MOST_OUTPUT: Final = 2 * 1024 * 1024  # bytes; it gives far less, but what it has read is not ours
END_SECONDS: Final = 5.0


@frozen
class Readable:
    """A page's title and text; `cut` if the text went on."""

    title: str
    text: str
    cut: bool


@frozen
class Reader:
    """Makes text of pages, a few at a time. `script` and `seconds` are for tests."""

    seconds: float = SECONDS
    script: Path = SCRIPT
    _places: trio.CapacityLimiter = field(factory=lambda: trio.CapacityLimiter(AT_ONCE))

    async def read(self, html: str, url: str) -> Readable:
        """The main text of a page, links kept. Raises Refused if none can be made of it."""
        data = await trio.to_thread.run_sync(_encoded, html, url)
        async with self._places:
            output = await self._run(data)
        return _parse(output)

    async def _run(self, data: bytes) -> bytes:
        process = await trio.lowlevel.open_process(
            [sys.executable, "-I", "-X", "utf8", str(self.script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},
        )
        try:
            with trio.fail_after(self.seconds):
                return await _converse(process, data)
        except trio.TooSlowError:
            raise Refused(f"its text took longer than {self.seconds:g} seconds to find") from None
        finally:
            process.kill()
            with trio.CancelScope(shield=True, deadline=trio.current_time() + END_SECONDS):
                await process.wait()
                await _close(process)


def _encoded(html: str, url: str) -> bytes:
    return f"{url}\n{html}".encode("utf-8", "replace")


async def _close(process: trio.Process) -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            await stream.aclose()


async def _converse(process: trio.Process, data: bytes) -> bytes:
    output = bytearray()
    assert process.stdin is not None  # noqa: S101  (pipes were asked for)
    assert process.stdout is not None  # noqa: S101
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_send, process.stdin, data)
        async for piece in process.stdout:
            output += piece
            if len(output) > MOST_OUTPUT:
                break
        nursery.cancel_scope.cancel()
    return bytes(output)


async def _send(stream: trio.abc.SendStream, data: bytes) -> None:
    try:
        await stream.send_all(data)
    except trio.BrokenResourceError:
        return  # whoever reads its output finds out why
    await stream.aclose()


def _parse(output: bytes) -> Readable:
    try:
        found = json.loads(output)
        return Readable(str(found["title"]), str(found["text"]), found["cut"] is True)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Refused("its text could not be found") from None
