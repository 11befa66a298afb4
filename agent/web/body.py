"""A page's body, taken in and unpacked piece by piece, within a cap. Pure.

What comes over the wire is counted, and so is what it unpacks to, and nothing is unpacked beyond
the cap: a bomb of a few kilobytes costs what the largest page costs, and no more.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

from attrs import define, field

from agent.web.guard import Refused

PIECE: Final = 256 * 1024  # bytes that are unpacked in one step, in about a millisecond
MEMBERS: Final = 16  # gzip files one after another: legal, and hardly ever seen
MOST_DIGITS: Final = 18  # of a length that is looked at

_WBITS: Final = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": 15}
_BARE: Final = -15  # deflate without its envelope, which some servers send


@define
class Body:
    """Collects a body of at most `most` bytes."""

    most: int
    _unpacker: Unpacker | None
    _content: bytearray = field(factory=bytearray, init=False)
    _received: int = field(default=0, init=False)

    @classmethod
    def of(cls, encoding: str, most: int) -> Body:
        """For a Content-Encoding header. Raises Refused for one that was not asked for."""
        codings = [each.strip().lower() for each in encoding.split(",")]
        codings = [each for each in codings if each not in {"", "identity"}]
        if len(codings) > 1 or not set(codings) <= _WBITS.keys():
            raise Refused(f"the page is packed as {encoding!r:.60}, which was not asked for")
        return cls(most, Unpacker(codings[0]) if codings else None)

    def announce(self, length: str) -> None:
        """Refuse a Content-Length beyond the cap before anything has come."""
        digits = length.lstrip("0")
        if not (length.isascii() and length.isdigit()):
            return
        if len(digits) > MOST_DIGITS or int(digits or "0") > self.most:
            raise Refused(f"the page has {length:.20} bytes; {self.most:,} are taken at most")

    def feed(self, data: bytes) -> Iterator[None]:
        """Take in what came; each step of the iteration is a small one. Raises Refused."""
        self._received += len(data)
        self._check(self._received)
        for piece in self._unpacker.feed(data) if self._unpacker else (data,):
            self._check(len(self._content) + len(piece))
            self._content += piece
            yield

    def end(self) -> bytes:
        """All of it. Raises Refused if what is packed did not come to its end."""
        if self._unpacker is not None and self._received and not self._unpacker.complete:
            raise Refused("the page is packed, and breaks off in the middle")
        return bytes(self._content)

    def _check(self, count: int) -> None:
        if count > self.most:
            raise Refused(f"the page has more than the {self.most:,} bytes that are taken")


@define
class Unpacker:
    """Unpacks gzip or deflate in pieces of at most PIECE bytes."""

    _coding: str
    _packed: zlib._Decompress = field(init=False)
    _begun: bool = field(default=False, init=False)
    _members: int = field(default=1, init=False)

    def __attrs_post_init__(self) -> None:
        self._packed = zlib.decompressobj(_WBITS[self._coding])

    @property
    def complete(self) -> bool:
        return self._packed.eof

    def feed(self, data: bytes) -> Iterator[bytes]:
        piece = b""
        # A full piece may have left more behind, also when all input is used up.
        while (data or len(piece) == PIECE) and not self._is_over(data):
            piece = self._step(data)
            data = self._packed.unused_data if self._packed.eof else self._packed.unconsumed_tail
            yield piece

    def _is_over(self, data: bytes) -> bool:
        """Whether all is unpacked. Another gzip file may follow; anything else is air."""
        if not self._packed.eof:
            return False
        if self._coding == "deflate" or not data.startswith(b"\x1f"):
            return True
        self._members += 1
        if self._members > MEMBERS:
            raise Refused(f"the page is packed in more than {MEMBERS} parts")
        self._packed = zlib.decompressobj(_WBITS[self._coding])
        return False

    def _step(self, data: bytes) -> bytes:
        try:
            piece = self._packed.decompress(data, PIECE)
        except zlib.error:
            if self._begun or self._coding != "deflate":
                raise Refused(f"the page is not the {self._coding} that it says it is") from None
            self._packed = zlib.decompressobj(_BARE)
            self._begun = True
            return self._step(data)
        self._begun = True
        return piece
