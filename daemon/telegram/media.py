"""What Telegram takes as a picture, a film, a sound or a file, decided from the bytes alone: pure.

A picture is what `sendPhoto` shows: PNG, JPEG or WebP within its limits of size and shape. A GIF
moves, MP4 is a film, Opus in OGG is a voice message, MP3 and M4A are music. All else goes by
`sendDocument`, unchanged. A name's ending says nothing here, since jobs choose it. A header that we
cannot read, or that Telegram reads differently, costs one request: what is refused as one of these
is sent as a document then.
"""

from __future__ import annotations

import re

from attrs import frozen

from agent.sight import media_type, size_of

PHOTO_BYTES = 10 * 1024 * 1024
DOCUMENT_BYTES = 50 * 1024 * 1024
PHOTO_SIDES = 10_000  # pixels, width and height together
PHOTO_RATIO = 20  # of the longer side to the shorter
NAME_LENGTH = 120  # characters; longer ones lose their middle in every client

SHOWN = ("image/png", "image/jpeg", "image/webp")
PHOTO, DOCUMENT, ANIMATION = "sendPhoto", "sendDocument", "sendAnimation"
VIDEO, VOICE, AUDIO, ALBUM = "sendVideo", "sendVoice", "sendAudio", "sendMediaGroup"
# The parameter that is the file; in an album, the type of its item.
FIELDS = {
    PHOTO: "photo",
    DOCUMENT: "document",
    ANIMATION: "animation",
    VIDEO: "video",
    VOICE: "voice",
    AUDIO: "audio",
}
# What people call it; a document is told by its size.
WORDS = {
    PHOTO: "picture",
    ANIMATION: "animation",
    VIDEO: "video",
    VOICE: "voice message",
    AUDIO: "music",
}

# Brands of MP4 as its beginning names them. Others (QuickTime, HEIC, AVIF) are documents.
_FILMS = frozenset(
    {b"isom", b"iso2", b"iso4", b"iso5", b"iso6", b"mp41", b"mp42", b"avc1", b"M4V ", b"dash"}
)
_SOUNDS = frozenset({b"M4A ", b"M4B "})
_OGG_HEADER = 27  # bytes of a page before the lengths of its segments

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
    if shape is not None and shape.fits:
        return PHOTO
    if data.startswith((b"GIF87a", b"GIF89a")):
        return ANIMATION
    if data[4:8] == b"ftyp":
        brand = data[8:12]
        return VIDEO if brand in _FILMS else AUDIO if brand in _SOUNDS else DOCUMENT
    if _is_opus(data):
        return VOICE
    return AUDIO if _is_mp3(data) else DOCUMENT


def _is_opus(data: bytes) -> bool:
    """Whether the first page of an OGG file begins a stream of Opus."""
    if not data.startswith(b"OggS") or len(data) < _OGG_HEADER:
        return False
    at = _OGG_HEADER + data[_OGG_HEADER - 1]
    return data[at : at + 8] == b"OpusHead"


def _is_mp3(data: bytes) -> bool:
    """Whether it begins with tags, or with a frame of MPEG's layer III that makes sense."""
    if data.startswith(b"ID3"):
        return True
    if len(data) < 4 or data[0] != 0xFF or data[1] & 0xE6 != 0xE2:  # noqa: PLR2004  (sync, layer)
        return False
    version, rate, sampling = data[1] >> 3 & 3, data[2] >> 4, data[2] >> 2 & 3
    return version != 1 and rate not in {0, 15} and sampling != 3  # noqa: PLR2004  (reserved)


def refusal(data: bytes) -> str:
    """Why Telegram cannot take these bytes at all, and what would help; '' if it can."""
    if not data:
        return "it is empty"
    if len(data) > DOCUMENT_BYTES:
        size = f"it has {len(data):,} bytes, and Telegram takes {DOCUMENT_BYTES:,} from a bot"
        return f"{size}; make it smaller, split it, or zip it"
    return ""


def parameters(method: str, count: int) -> list[str]:
    """The names by which a request by `method` carries its `count` files."""
    if method == ALBUM:
        return [f"file{index}" for index in range(count)]
    return [FIELDS[method]]


def unshown(data: bytes) -> str:
    """Why a picture is not shown as one; '' for one that is, and for what is none."""
    shape = shape_of(data)
    if shape is None or method_for(data) == PHOTO:
        return ""
    if len(data) > PHOTO_BYTES:
        return f"pictures of more than {PHOTO_BYTES:,} bytes are not shown"
    size = f"{shape.width}x{shape.height} pixels are not shown"
    return f"{size}: together {PHOTO_SIDES:,} at most, and neither {PHOTO_RATIO} times the other"


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
    if media_type(data) not in SHOWN:
        return None
    size = size_of(data)
    return Shape(*size) if size else None
