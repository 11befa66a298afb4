"""What a model can be shown: pictures and documents, told by their bytes alone. Pure.

A name's ending says nothing here, since jobs choose it. What a thing takes of a request is a
careful figure by its measure: providers count it so, and never by its bytes.

- A picture: OpenAI counts patches of 32 pixels, at most 1,536 of them, some models by 1.62 each; or
  85 and 170 for each tile of 512 pixels; Anthropic its pixels by 750. Taken is what is most.
- A document: Anthropic counts 1,500 to 3,000 a page, for its text and for what it looks like. Where
  a file does not say plainly how many pages it has, every 50,000 bytes are one.
"""

from __future__ import annotations

import math
import re
import struct
from typing import Final

from agent.transcript import View

PICTURES: Final = ("image/png", "image/jpeg", "image/gif", "image/webp")
PDF: Final = "application/pdf"

MOST_PICTURE: Final = 5 * 1024 * 1024  # bytes
MOST_DOCUMENT: Final = 10 * 1024 * 1024
# Bytes of all that one turn shows, since each of its requests has them all. With a third more for
# base64 that is below the 20 MB that the smallest of the large providers takes.
MOST_IN_A_TURN: Final = 14_000_000
MOST_SIDE: Final = 8000  # pixels; providers refuse larger pictures, or leave nothing to see of them

PATCH, PATCHES, PER_100_PATCHES = 32, 1536, 162
TILE, TILES, PER_TILE, BASE = 512, 8, 170, 85
PER_PAGE, PAGE_BYTES = 3000, 50_000

# A header may have no end. A camera's has some twenty segments; one with a large colour profile, a
# few hundred.
JPEG_STEPS: Final = 1000
_JPEG_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length
_JPEG_NO_FRAME = frozenset({0xC4, 0xC8, 0xCC})  # within the frames' range, and none

_PAGE = re.compile(rb"/Type\s{0,9}/Page(?![a-zA-Z])")
LONGEST_PAGE: Final = 20  # bytes that it looks at
PIECE: Final = 256 * 1024
NAME_LENGTH: Final = 100


class NotSeen(Exception):
    """The bytes are nothing that a model can be shown; the text says why, and what would help."""


def view(name: str, data: bytes) -> View:
    """These bytes as what a model is shown. Raises NotSeen."""
    media = media_type(data)
    if media == PDF:
        return _document(name, data)
    if media:
        return _picture(name, media, data)
    raise NotSeen("it is no PNG, JPEG, GIF or WebP picture and no PDF, whatever its name says")


def _picture(name: str, media: str, data: bytes) -> View:
    if len(data) > MOST_PICTURE:
        raise NotSeen(f"a picture may have {MOST_PICTURE:,} bytes; make a smaller one by code")
    width, height = size_of(data) or (0, 0)
    if not (width and height):
        raise NotSeen("the picture is broken: it does not say how large it is")
    if max(width, height) > MOST_SIDE:
        raise NotSeen(f"{width}x{height} is more than {MOST_SIDE} pixels; make a smaller one")
    return View(_shown(name), media, f"{width}x{height}", picture_tokens(width, height), data)


def _document(name: str, data: bytes) -> View:
    pages = _pages(data)
    plural = "" if pages == 1 else "s"
    measure = f"{pages} page{plural}" if pages else f"{len(data):,} bytes"
    return View(_shown(name), PDF, measure, document_tokens(pages, len(data)), data)


def _pages(data: bytes) -> int:
    """How many pages it names, looked for in pieces: one long search would hold up every thread."""
    count = 0
    for at in range(0, len(data), PIECE):
        found = _PAGE.finditer(data, at, at + PIECE + LONGEST_PAGE)
        count += sum(match.start() < at + PIECE for match in found)
    return count


def _shown(name: str) -> str:
    """A name as a part of one line: in a workspace anything can be one."""
    plain = name if name.isprintable() else ascii(name)
    return plain[:NAME_LENGTH]


def picture_tokens(width: int, height: int) -> int:
    """What a picture takes of a request, at most."""
    patches = min(math.ceil(width / PATCH) * math.ceil(height / PATCH), PATCHES)
    tiles = min(math.ceil(width / TILE) * math.ceil(height / TILE), TILES)
    return max(math.ceil(patches * PER_100_PATCHES / 100), BASE + PER_TILE * tiles)


def document_tokens(pages: int, size: int) -> int:
    """What a document of so many pages takes of a request; 0 pages: it does not say."""
    return PER_PAGE * (pages or math.ceil(size / PAGE_BYTES))


def media_type(data: bytes) -> str:
    """What the bytes are, of what a model can be shown; '' for anything else."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "image/webp"
    return PDF if data.startswith(b"%PDF-") else ""


def size_of(data: bytes) -> tuple[int, int] | None:
    """The width and height in a picture's header; None if that does not say."""
    try:
        match media_type(data):
            case "image/png":
                width, height = struct.unpack_from(">II", data, 16)
                return int(width), int(height)
            case "image/jpeg":
                return _jpeg_size(data)
            case "image/gif":
                width, height = struct.unpack_from("<HH", data, 6)
                return int(width), int(height)
            case "image/webp":
                return _webp_size(data)
    except (struct.error, IndexError):
        pass
    return None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
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
            return int(width), int(height)
        at += 2 + int(struct.unpack_from(">H", data, at + 2)[0])
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    match data[12:16]:
        case b"VP8 ":
            width, height = struct.unpack_from("<HH", data, 26)
            return width & 0x3FFF, height & 0x3FFF
        case b"VP8L":
            (bits,) = struct.unpack_from("<I", data, 21)
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8X" if len(data) >= 30:  # noqa: PLR2004  (a slice does not say that it is short)
            wide, high = data[24:27], data[27:30]
            return int.from_bytes(wide, "little") + 1, int.from_bytes(high, "little") + 1
    return None
