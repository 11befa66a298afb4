"""The terminal: lines in, replies out, colours only for a person who sees them.

Input is read without a thread and without making the terminal non-blocking (which would be true for
standard output and the shell, too): wait until something is there, then read it.
"""

from __future__ import annotations

import os
import stat
import sys
import textwrap
from collections.abc import AsyncGenerator
from typing import Final, TextIO

import trio
from attrs import define, field

BLUE: Final = "34"
BOLD: Final = "1"
DIM: Final = "2"
GREEN: Final = "32"
RED: Final = "31"
CLEAR_LINE: Final = "\r\033[K"
READ_BYTES: Final = 65536


@define
class Terminal:
    """Where the conversation is shown. `prompting` is whether a prompt stands on the last line."""

    out: TextIO = field(factory=lambda: sys.stdout)
    input_fd: int = 0
    colours: bool = field(init=False)
    interactive: bool = field(init=False)
    prompting: bool = False

    def __attrs_post_init__(self) -> None:
        seen = self.out.isatty() and os.environ.get("TERM") != "dumb"
        self.colours = seen and "NO_COLOR" not in os.environ
        self.interactive = seen and os.isatty(self.input_fd)

    def paint(self, text: str, colour: str) -> str:
        """Give the text in a colour, or as it is."""
        return f"\033[{colour}m{text}\033[0m" if self.colours else text

    def say(self, text: str = "") -> None:
        """Write whole lines, above the prompt if there is one."""
        lead = CLEAR_LINE if self.prompting else ""
        self.out.write(f"{lead}{text}\n")
        if self.prompting:
            self._write_prompt()
        self.out.flush()

    def close(self) -> None:
        """Leave the prompt's line; nothing is asked any more."""
        if self.prompting:
            self.prompting = False
            self.say()

    def message(self, name: str, colour: str, text: str) -> None:
        """Write a message of the conversation, further lines indented below the name."""
        indent = " " * (len(name) + 2)
        body = textwrap.indent(text, indent, lambda _line: True)[len(indent) :]
        self.say(f"{self.paint(f'{name}>', colour)} {body}")

    def prompt(self) -> None:
        """Ask for a line, where a person sees it."""
        if self.interactive:
            self.prompting = True
            self._write_prompt()
            self.out.flush()

    def _write_prompt(self) -> None:
        self.out.write(self.paint("you> ", BOLD + ";" + BLUE))

    async def lines(self) -> AsyncGenerator[str, None]:
        """Give the lines of standard input until it ends."""
        held = b""
        while chunk := await self._read():
            *whole, held = (held + chunk).split(b"\n")
            for line in whole:
                self.prompting = False
                yield line.decode("utf-8", "replace").rstrip("\r")
        if held:
            yield held.decode("utf-8", "replace")

    async def _read(self) -> bytes:
        # A regular file is always ready, and epoll refuses to say so.
        if not stat.S_ISREG(os.fstat(self.input_fd).st_mode):
            await trio.lowlevel.wait_readable(self.input_fd)
        else:
            await trio.lowlevel.checkpoint()
        return os.read(self.input_fd, READ_BYTES)
