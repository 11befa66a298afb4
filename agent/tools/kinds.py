"""What the bytes of a file are, as far as it can be told from how they look: text, or what else."""

from __future__ import annotations

from typing import Final

# How files of a kind begin.
_BEGINNINGS: Final = (
    (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF87a", "a GIF picture"),
    (b"GIF89a", "a GIF picture"),
    (b"%PDF-", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive, or a document that is one"),
    (b"\x1f\x8b", "compressed by gzip"),
    (b"BZh", "compressed by bzip2"),
    (b"\xfd7zXZ\0", "compressed by xz"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\x7fELF", "a program"),
    (b"OggS", "an Ogg recording"),
    (b"ID3", "an MP3 recording"),
    (b"fLaC", "a FLAC recording"),
    (b"\xff\xfe", "UTF-16 text"),
    (b"\xfe\xff", "UTF-16 text"),
)
# Of a RIFF file, which says after its length what is in it.
_RIFF: Final = {b"WEBP": "a WebP picture", b"WAVE": "a WAV recording", b"AVI ": "an AVI film"}
# The bytes of text in an old one-byte encoding that are no UTF-8 are fewer than one in so many.
_SELDOM: Final = 4


def not_text(data: bytes) -> str:
    """What a file that begins with `data` is, if it is no text to be read; else ''."""
    kind = _known(data)
    if b"\0" in data:
        return kind or "binary data"
    strange = data.decode("utf-8", "replace").count("\ufffd")
    if strange * _SELDOM > len(data):
        return kind or "binary data"
    # Words that begin like a recording or an archive are words, as long as they are plain.
    return kind if strange or data.startswith(b"%PDF-") else ""


def _known(data: bytes) -> str:
    if data.startswith(b"RIFF"):
        return _RIFF.get(data[8:12], "")
    return next((kind for start, kind in _BEGINNINGS if data.startswith(start)), "")
