"""Names for files of other people's in the workspace: pure.

What a sender calls a file may be a path, an option, a device or nothing at all. In the workspace it
is one name that shows what it is, fits any file system, and begins with neither a dot nor a dash.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from daemon.telegram.media import safe_name

INBOX = "inbox"
# Bytes of a name, so that a number still fits within the 255 that file systems take.
MOST_BYTES = 200
SUFFIX_BYTES = 20

# Names of devices in Windows, whatever follows their first dot: a workspace may be copied there.
_RESERVED = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE
)
# What shells and Windows make something of, and what nobody sees.
_AWKWARD = re.compile('[<>:"|?*\x7f\xad\u200b\u2060-\u2065\ufeff]')
# A name stands in brackets of ours where the model is told of it, which it must not end.
_BRACKETS = str.maketrans("[]", "()")


def plain_name(name: str) -> str:
    """A name as a file in the workspace may have it; never empty."""
    whole = safe_name(_AWKWARD.sub("_", unicodedata.normalize("NFC", name).translate(_BRACKETS)))
    whole = whole.lstrip(".- ") or "file"
    if _RESERVED.fullmatch(whole):
        whole = f"_{whole}"
    return _cut(whole)


def _cut(name: str) -> str:
    if len(name.encode()) <= MOST_BYTES:
        return name
    stem, suffix = _parts(name)
    room = MOST_BYTES - len(suffix.encode())
    return stem.encode()[:room].decode(errors="ignore").rstrip(". ") + suffix


def _parts(name: str) -> tuple[str, str]:
    """A name without its ending, and the ending with its dot; a long one is none."""
    stem, dot, suffix = name.rpartition(".")
    if not stem or len(suffix.encode()) > SUFFIX_BYTES:
        return name, ""
    return stem, dot + suffix


def paths(name: str, most: int = 1000) -> Iterator[str]:
    """Where it may lie, in this order: inbox/report.pdf, inbox/report-2.pdf, ..."""
    plain = plain_name(name)
    stem, suffix = _parts(plain)
    yield f"{INBOX}/{plain}"
    for number in range(2, most + 1):
        yield f"{INBOX}/{stem}-{number}{suffix}"
