"""A stream of events, as HTTP servers send them, taken apart and put together anew. Pure.

An event is what ends in an empty line; its data may be spread over any number of lines, and a line
may end in three ways. So what it holds is bounded when all of it is there, and only then passed on,
in the one form in which nobody can understand it otherwise.
"""

from __future__ import annotations

import re
from typing import Final

from attrs import define, field, frozen

from agent.mcp.frames import MAX_MESSAGE, TooMuch, excess, too_much, whole

# Milliseconds after which a broken stream is asked for again; servers may say anything.
RETRY: Final = (500, 30_000)
MAX_ID: Final = 500  # bytes; one that is longer cannot be gone on from

_END_OF_LINE: Final = re.compile(rb"\r\n|\r|\n")
_MESSAGE: Final = b"message"
_MARK: Final = b"\xef\xbb\xbf"  # of UTF-8, at the beginning of a stream


@frozen
class Event:
    """One event: the lines that it is, with data on one, and its id if it has one."""

    text: bytes
    id: str


@define
class Events:
    """Takes bytes as they come and gives events; after one that is too much, nothing."""

    _line: bytearray = field(factory=bytearray)
    _data: bytearray | None = None
    _fields: dict[bytes, bytes] = field(factory=dict)
    _after_return: bool = False  # a line has ended in \r, to which a \n may still belong

    def feed(self, data: bytes) -> list[Event | TooMuch]:
        """The events that `data` completes, in order."""
        if self._after_return and data[:1] == b"\n":
            data = data[1:]
        self._after_return = data.endswith(b"\r")
        *ends, rest = _END_OF_LINE.split(data)
        found = [event for piece in ends if (event := self._end(piece)) is not None]
        self._line += rest
        if self.size > MAX_MESSAGE:
            found.append(_too_large())
        return found

    @property
    def size(self) -> int:
        """Bytes that are kept of what is not complete."""
        return len(self._line) + len(self._data or b"")

    def _end(self, piece: bytes) -> Event | TooMuch | None:
        """The end of a line, and with an empty one of an event."""
        if not (piece or self._line or self._fields) and self._data is None:
            return None
        self._line += piece
        line = bytes(self._line)
        self._line.clear()
        if line:
            return self._take(line)
        event = self._event()
        self._data, self._fields = None, {}
        return event

    def _take(self, line: bytes) -> TooMuch | None:
        name, _, value = line.removeprefix(_MARK).partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            if self._data is None:
                self._data = bytearray(value)
            else:
                self._data += b"\n" + value
            return _too_large() if len(self._data) > MAX_MESSAGE else None
        if name in {b"id", b"event", b"retry"}:
            self._fields[name] = value
        return None

    def _event(self) -> Event | TooMuch | None:
        data = self._data
        if self._fields.get(b"event", _MESSAGE) != _MESSAGE:
            return None  # nothing of ours
        if data is not None and (found := excess(bytes(data))) is not None:
            return found
        fields = dict(filter(None, map(_kept, self._fields.items())))
        if data is not None:
            # A line break between two values of JSON is a blank; within one there is none.
            fields[b"data"] = whole(bytes(data).replace(b"\n", b" "))
        if not fields:
            return None
        lines = (name + b": " + value + b"\n" for name, value in fields.items())
        return Event(b"".join(lines) + b"\n", fields.get(b"id", b"").decode("latin-1"))


def _kept(item: tuple[bytes, bytes]) -> tuple[bytes, bytes] | None:
    name, value = item
    if name == b"retry":
        low, high = RETRY
        digits = value.isdigit() and value[:10]
        return (name, b"%d" % min(max(int(digits), low), high)) if digits else None
    if name == b"id" and (len(value) > MAX_ID or not value.isascii() or b"\0" in value):
        return None
    return item


def _too_large() -> TooMuch:
    return too_much(f"is larger than {MAX_MESSAGE} bytes", b"", b"")
