"""Which addresses may stand behind other words: pure."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

MOST_URL: Final = 2048  # characters; a longer one is shown

# A name with a dot, or a number of version 6: Telegram drops all others in silence.
_HOST = re.compile(r"[\w-]+(\.[\w-]+)+|[0-9a-f:.]*:[0-9a-f:.]*", re.IGNORECASE)


def is_link(url: str) -> bool:
    """Whether Telegram makes `url` a link under other words, and it is one to follow."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        known = parts.scheme in {"http", "https"} and parts.port != 0
    except ValueError:
        return False
    return (
        known and len(url) <= MOST_URL and url.isprintable() and _HOST.fullmatch(host) is not None
    )
