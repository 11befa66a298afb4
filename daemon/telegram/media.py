"""What Telegram takes as a picture and as a file, decided from the bytes alone: pure functions.

A picture is what `sendPhoto` shows: PNG, JPEG or WebP within its limits of size and shape. All else
goes by `sendDocument`, unchanged. A name's ending says nothing here, since jobs choose it. A header
that we cannot read, or that Telegram reads differently, costs one request: what is refused as a
picture is sent as a document then.
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
PHOTO, DOCUMENT = "sendPhoto", "sendDocument"
FIELDS = {PHOTO: "photo", DOCUMENT: "document"}

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
    if media_type(data) not in SHOWN:
        return None
    size = size_of(data)
    return Shape(*size) if size else None
