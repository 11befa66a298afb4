"""Messages out of a stream of bytes, and which of them are too much. Pure.

A message is a line. What an answer may hold is bounded before it is parsed, because parsing cannot
be interrupted: measured on one core, 1 MiB of small values takes 0.2 s and 100,000 small objects
take two seconds, in which the whole program stands still. A long string, such as a picture, costs
next to nothing. So a large message has to be mostly that.

Of a line that is too long only its two ends are kept. They are enough to tell which request it
answers, so that the one call fails, and at once.
"""

from __future__ import annotations

import re

from attrs import define, field, frozen

from agent.text import repaired

MAX_MESSAGE = 8 * 1024 * 1024  # bytes; a picture of 6 MB
MAX_DENSE = 1024 * 1024  # bytes of a message that is not mostly one string
MAX_MARKS = 5_000  # commas and escapes in a message beyond that
MAX_VALUES = 5_000  # objects and arrays in any message
MAX_STRINGS = 10_000  # in a message that is not small ...
MAX_BARE = 128 * 1024  # ... and bytes of it outside of strings
END = 256  # bytes kept of each end of what is too long

_SMALL = 32 * 1024  # bytes, which cannot hold so many values that it matters
_MEDIUM = 128 * 1024  # bytes, of which no numbers and strings take so long that it matters
_OPENING = re.compile(rb'[{\[]\s*["{}\[\]]')
# A string, or what begins as one and never ends: so that no byte is looked at twice.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
# Where the id stands: at the head as Python's servers write it, at the tail as JavaScript's do.
_HEAD = re.compile(rb'^\s*\{\s*"jsonrpc"\s*:\s*"2\.0"\s*,\s*"id"\s*:\s*(\d{1,18})\s*,')
_TAIL = re.compile(rb'"id"\s*:\s*(\d{1,18})\s*(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*$')


@frozen
class TooMuch:
    """A message that is not parsed: why, and the request that it answers, if that can be told."""

    why: str
    answers: int | None


def excess(message: bytes) -> TooMuch | None:
    """Whether a message is too much to be parsed."""
    if len(message) > MAX_MESSAGE:
        return too_much(f"is larger than {MAX_MESSAGE} bytes", message[:END], message[-END:])
    if len(message) > MAX_DENSE and message.count(b",") + message.count(b"\\") > MAX_MARKS:
        why = f"is larger than {MAX_DENSE} bytes, and not because of a picture or other file"
        return too_much(why, message[:END], message[-END:])
    if len(message) > _SMALL and _values(message) > MAX_VALUES:
        return too_much(f"has more than {MAX_VALUES} values", message[:END], message[-END:])
    if len(message) > _MEDIUM and message.count(b",") > MAX_MARKS and _is_dense(message):
        why = f"has more than {MAX_STRINGS} strings, or {MAX_BARE} bytes outside of them"
        return too_much(why, message[:END], message[-END:])
    return None


def _values(message: bytes) -> int:
    """About how many objects and arrays there are; no more than needed are counted."""
    found = 0
    for _ in _OPENING.finditer(message):
        found += 1
        if found > MAX_VALUES:
            break
    return found


def _is_dense(message: bytes) -> bool:
    """Whether there are many strings, or much that is none; no more is counted than needed."""
    bare = len(message)
    for number, found in enumerate(_STRING.finditer(message)):
        bare -= len(found[0])
        if number >= MAX_STRINGS:
            return True
    return bare > MAX_BARE


def whole(message: bytes) -> bytes:
    """A message whose texts were cut within a character, which parsers refuse, made whole."""
    if b"\\u" not in message:
        return message
    return repaired(message.decode("latin-1")).encode("latin-1")


def too_much(why: str, head: bytes, tail: bytes) -> TooMuch:
    found = _HEAD.search(head) or _TAIL.search(tail)
    return TooMuch(why, int(found.group(1)) if found else None)


@define
class Lines:
    """Takes bytes as they come and gives lines; of one over MAX_MESSAGE, only that it was."""

    _buffer: bytearray = field(factory=bytearray)
    _head: bytes | None = None  # of a line that is too long, while it goes on

    def feed(self, data: bytes | bytearray) -> list[bytes | TooMuch]:
        """The messages that `data` completes, in order; empty lines are none."""
        *ends, rest = bytes(data).split(b"\n")
        found = [message for piece in ends if (message := self._end(piece)) is not None]
        self._go_on(rest)
        return found

    def _end(self, piece: bytes) -> bytes | TooMuch | None:
        self._go_on(piece)
        line, head = bytes(self._buffer), self._head
        self._buffer.clear()
        self._head = None
        if head is not None:
            return too_much(f"is larger than {MAX_MESSAGE} bytes", head, line[-END:])
        line = line.strip()
        return (excess(line) or line) if line else None

    def _go_on(self, piece: bytes) -> None:
        self._buffer += piece
        if self._head is None and len(self._buffer) > MAX_MESSAGE:
            self._head = bytes(self._buffer[:END])
        if self._head is not None:
            del self._buffer[:-END]
