"""Frames: how bytes on the executor's socket become messages, with no I/O in sight.

A connection carries one job. The client opens with RUN (or STATUS, or FILE) and from then on the
executor answers STARTED, any number of STDOUT, STDERR and GAP frames, for each artifact an ARTIFACT
with its DATA, and last of all RESULT. There is no job id, because there is nothing to confuse it
with, and no frame for "stop": closing the connection is the order to kill the job.

FILE is one operation on the files of a workspace. What is written follows it in DATA frames, the
last of them empty; what is read comes in DATA frames, and last of all comes FILE_RESULT.

A frame is a length (4 bytes, big endian, of the body alone), a type (1 byte) and the body. STDOUT,
STDERR, DATA and STDIN bodies are raw bytes; every other body is one JSON object. The length is
judged as soon as the header is complete, before a byte of the body is waited for, so a peer cannot
make us reserve memory by announcing a large frame.

Both directions use the same machine: `FrameReader.feed` takes bytes as they come, `next_frame`
gives the next complete frame or None, and `end` says whether the stream stopped between frames.
"""

from __future__ import annotations

import enum
import json
import struct
from collections.abc import Mapping
from typing import Any

from attrs import define, field, frozen

# As large as the largest code that a model writes in practice, and small enough that one frame
# per connection held in memory is of no account.
MAX_BODY = 1024 * 1024

_HEADER = struct.Struct(">IB")


class ProtocolError(Exception):
    """The peer sent something that is not a frame we know. The connection is of no more use."""


@enum.unique
class FrameType(enum.IntEnum):
    """What a frame is. Numbers are the wire's: never reuse one."""

    RUN = 1
    STATUS = 2
    FILE = 3
    DATA = 4
    STDIN = 5
    SIGNAL = 6

    STARTED = 16
    STDOUT = 17
    STDERR = 18
    GAP = 19
    RESULT = 20
    STATUS_REPORT = 21
    FILE_RESULT = 22
    ARTIFACT = 24


@frozen
class Frame:
    """One message: its type and its body, at most MAX_BODY bytes."""

    type: FrameType
    body: bytes = b""


def encode(frame: Frame) -> bytes:
    """Turn a frame into bytes; raises ProtocolError if the body is over MAX_BODY."""
    if len(frame.body) > MAX_BODY:
        raise ProtocolError(f"a frame body of {len(frame.body)} bytes is over {MAX_BODY}")
    return _HEADER.pack(len(frame.body), frame.type) + frame.body


def control(kind: FrameType, values: Mapping[str, Any]) -> Frame:
    """A frame whose body is the JSON object `values`."""
    return Frame(kind, json.dumps(values, separators=(",", ":")).encode())


def control_values(frame: Frame) -> dict[str, Any]:
    """Give the JSON object in a control frame; raises ProtocolError if it holds none."""
    try:
        values = json.loads(frame.body)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"the body of {frame.type.name} is not JSON") from error
    if not isinstance(values, dict):
        raise ProtocolError(f"the body of {frame.type.name} is not a JSON object")
    return values


@define
class FrameReader:
    """Collects bytes until they make frames. Holds at most one frame and one read."""

    _buffer: bytearray = field(factory=bytearray)

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next_frame(self) -> Frame | None:
        """Give the next complete frame, or None until more bytes have been fed.

        Raises ProtocolError for an unknown type or a length over MAX_BODY, in both cases from the
        header alone.
        """
        if len(self._buffer) < _HEADER.size:
            return None
        length, kind = self._header()
        end = _HEADER.size + length
        if len(self._buffer) < end:
            return None
        body = bytes(self._buffer[_HEADER.size : end])
        del self._buffer[:end]
        return Frame(kind, body)

    def end(self) -> None:
        """Say that no more bytes will come; raises ProtocolError in the middle of a frame."""
        if self._buffer:
            raise ProtocolError(f"the stream ended {len(self._buffer)} bytes into a frame")

    def _header(self) -> tuple[int, FrameType]:
        length, number = _HEADER.unpack_from(self._buffer)
        if length > MAX_BODY:
            raise ProtocolError(f"a frame body of {length} bytes is over {MAX_BODY}")
        try:
            return length, FrameType(number)
        except ValueError:
            raise ProtocolError(f"frame type {number} is unknown") from None
