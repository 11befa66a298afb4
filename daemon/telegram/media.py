"""What Telegram takes as a picture and as a file, decided from the bytes alone: pure functions.

A picture is what `sendPhoto` shows: PNG, JPEG or WebP within its limits of size and shape. All else
goes by `sendDocument`, unchanged. A name's ending says nothing here, since jobs choose it. A header
that we cannot read, or that Telegram reads differently, costs one request: what is refused as a
picture is sent as a document then.
"""

from __future__ import annotations

import re
import struct

from attrs import frozen

PHOTO_BYTES = 10 * 1024 * 1024
DOCUMENT_BYTES = 50 * 1024 * 1024
PHOTO_SIDES = 10_000  # pixels, width and height together
PHOTO_RATIO = 20  # of the longer side to the shorter
NAME_LENGTH = 120  # characters; longer ones lose their middle in every client
# A job may send a header without an end. A camera's has some twenty segments; one with a large
# colour profile, a few hundred.
JPEG_STEPS = 1000

PHOTO, DOCUMENT = "sendPhoto", "sendDocument"
FIELDS = {PHOTO: "photo", DOCUMENT: "document"}

_JPEG_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length
_JPEG_NO_FRAME = frozenset({0xC4, 0xC8, 0xCC})  # within the frames' range, and none
_UNFIT = re.compile(r'[\x00-\x1f\x7f-\x9f/\\"\u200e\u200f\u2028-\u202e\u2066-\u2069]+')


@frozen
class Shape:
    width: int
    height: int

    @property
    def fits(self) -> bool:
        small, large = sorted((self.width, self.height))
        return small > 0 and small + large <= PHOTO_SIDES and large <= PHOTO_RATIO * small


def method_for(data: bytes) -> str:
    """The method that sends these bytes best."""
    shape = shape_of(data) if len(data) <= PHOTO_BYTES else None
    return PHOTO if shape is not None and shape.fits else DOCUMENT


def refusal(data: bytes) -> str:
    """Why Telegram cannot take these bytes at all; '' if it can."""
    if not data:
        return "it is empty"
    if len(data) > DOCUMENT_BYTES:
        return f"it has {len(data):,} bytes, and Telegram takes {DOCUMENT_BYTES:,}"
    return ""


def safe_name(name: str) -> str:
    """A file name without what could break a header, a path or a reader's eye; never empty."""
    plain = _UNFIT.sub("_", name).strip(" .") or "file"
    if len(plain) <= NAME_LENGTH:
        return plain
    stem, dot, suffix = plain.rpartition(".")
    if not dot or len(suffix) > NAME_LENGTH // 4:
        return plain[:NAME_LENGTH]
    return f"{stem[: NAME_LENGTH - len(suffix) - 1]}.{suffix}"


def shape_of(data: bytes) -> Shape | None:
    """The width and height in a picture's header; None if it is no PNG, JPEG or WebP."""
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return Shape(*struct.unpack_from(">II", data, 16))
        if data.startswith(b"\xff\xd8\xff"):
            return _jpeg_shape(data)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _webp_shape(data)
    except (struct.error, IndexError):
        pass
    return None


def _jpeg_shape(data: bytes) -> Shape | None:
    """Walk from segment to segment up to the frame's header, which lies within the first few."""
    at = 2
    for _ in range(JPEG_STEPS):
        if data[at] != 0xFF:  # noqa: PLR2004  (every marker begins so)
            break
        marker = data[at + 1]
        if marker == 0xFF or marker in _JPEG_STANDALONE:  # noqa: PLR2004  (a filling byte)
            at += 1 if marker == 0xFF else 2  # noqa: PLR2004
            continue
        if 0xC0 <= marker <= 0xCF and marker not in _JPEG_NO_FRAME:  # noqa: PLR2004
            height, width = struct.unpack_from(">HH", data, at + 5)
            return Shape(width, height)
        at += 2 + int(struct.unpack_from(">H", data, at + 2)[0])
    return None


def _webp_shape(data: bytes) -> Shape | None:
    match data[12:16]:
        case b"VP8 ":
            width, height = struct.unpack_from("<HH", data, 26)
            return Shape(width & 0x3FFF, height & 0x3FFF)
        case b"VP8L":
            (bits,) = struct.unpack_from("<I", data, 21)
            return Shape((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
        case b"VP8X":
            wide, high = data[24:27], data[27:30]
            return Shape(int.from_bytes(wide, "little") + 1, int.from_bytes(high, "little") + 1)
    return None
