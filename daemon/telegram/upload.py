"""The body of a request with files in it, streamed from the disk.

httpx reads the files of its own multipart bodies synchronously, in the event loop. This body is
written by us: its length is known beforehand, the files are read in a thread, one piece at a time,
and no more than that piece is ever in memory.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import httpx
import trio
from attrs import Factory, define, frozen

PIECE = 256 * 1024  # bytes read at once; each costs a visit to a thread


@frozen
class Attached:
    """One file: the parameter that it is, the name that is shown, an open file."""

    parameter: str
    name: str
    file: BinaryIO

    @property
    def size(self) -> int:
        return os.fstat(self.file.fileno()).st_size


@define
class Upload:
    """The files of one request.

    They stay the caller's, who closes them. Until `is_handed_over` the connection has been given
    less than the whole body, so that nobody can have acted on the request.
    """

    files: tuple[Attached, ...]
    boundary: str = Factory(lambda: secrets.token_hex(16))
    is_handed_over: bool = False

    @property
    def size(self) -> int:
        return sum(each.size for each in self.files)

    def headers(self, params: Mapping[str, Any]) -> dict[str, str]:
        around = self._fields(params), *map(self._head, self.files), self._tail()
        length = sum(map(len, around)) + self.size
        kind = f"multipart/form-data; boundary={self.boundary}"
        return {"content-type": kind, "content-length": str(length)}

    def body(self, params: Mapping[str, Any]) -> Body:
        """The whole body, to be read once."""
        return Body(self._pieces(params))

    def _pieces(self, params: Mapping[str, Any]) -> Iterator[bytes]:
        lead = self._fields(params)
        for each in self.files:
            yield lead + self._head(each)
            each.file.seek(0)
            while piece := each.file.read(PIECE):
                yield piece
            lead = b""
        self.is_handed_over = True
        yield self._tail()

    def _fields(self, params: Mapping[str, Any]) -> bytes:
        """All parameters."""
        fields = (self._field(name, value) for name, value in params.items())
        return "".join(fields).encode(errors="replace")

    def _head(self, attached: Attached) -> bytes:
        """The beginning of a file's part; what ends the part before it is with that one."""
        name = attached.name.replace('"', "_").encode(errors="replace").decode()
        line = "" if attached is self.files[0] else "\r\n"
        start = (
            f"{line}--{self.boundary}\r\nContent-Disposition: form-data;"
            f' name="{attached.parameter}"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        return start.encode(errors="replace")

    def _field(self, name: str, value: object) -> str:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        head = f'--{self.boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
        return f"{head}{text}\r\n"

    def _tail(self) -> bytes:
        return f"\r\n--{self.boundary}--\r\n".encode()


@define
class Body(httpx.AsyncByteStream):
    """Pieces that are read in a thread, as httpx wants them.

    An iterator and no generator: one that a lost connection leaves unfinished would have to be
    closed by whoever iterates, and httpx does not.
    """

    _pieces: Iterator[bytes]

    def __aiter__(self) -> Body:
        return self

    async def __anext__(self) -> bytes:
        piece = await trio.to_thread.run_sync(next, self._pieces, None)
        if piece is None:
            raise StopAsyncIteration
        return piece
