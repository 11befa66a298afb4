"""Keeps registered secret values out of any text that leaves the process.

Redaction goes by value, never by shape: a pattern for "things that look like tokens" masks what
it should not and misses what it should. A value is looked for in every form in which the stack is
known to print it: as it is, percent-encoded in a URL, escaped inside a repr, in JSON, and escaped
by our own log lines. Only the standard library is imported here, so that reading the configuration
does not cost the import of the logger.
"""

from __future__ import annotations

import json
import re
import threading
from typing import Final
from urllib.parse import quote, quote_plus

MASK: Final = "[secret]"

# Local model servers accept any key, and people write "none" or "x". To mask those would make
# the log unreadable and protect nothing; real tokens are several times as long.
MIN_LENGTH: Final = 6

# Longest first where one form contains another, which the pattern's order must respect.
_forms: set[str] = set()
_pattern: re.Pattern[str] | None = None
_lock = threading.Lock()


def register(value: str) -> None:
    """Mask `value` from now on, for the life of the process.

    A value shorter than `MIN_LENGTH` is not masked. Safe from any thread; registering a value
    twice changes nothing.
    """
    if len(value) < MIN_LENGTH:
        return
    with _lock:
        _forms.update(_spellings(value))
        _compile()


def forget_all() -> None:
    """Mask nothing any more. For tests, which make secrets by the hundred."""
    with _lock:
        _forms.clear()
        _compile()


def redact(text: str) -> str:
    """`text` with every registered value masked, whole or percent-encoded or escaped."""
    return text if _pattern is None else _pattern.sub(MASK, text)


def found_in(text: str) -> bool:
    """Whether a registered value can be read in `text`."""
    return _pattern is not None and _pattern.search(text) is not None


def escape(text: str) -> str:
    r"""`text` on one line: quotes, backslashes and whatever is not printable become escapes.

    Printable is what `str.isprintable` says, so line and paragraph separators, bidirectional
    overrides and lone surrogates are escaped too, and the result can always be encoded.
    """
    if text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return "".join(map(_escape_one, text))


_SHORT_ESCAPES: Final = {"\n": r"\n", "\r": r"\r", "\t": r"\t", '"': r"\"", "\\": r"\\"}


def _escape_one(char: str) -> str:
    short = _SHORT_ESCAPES.get(char)
    if short is not None:
        return short
    if char.isprintable():
        return char
    code = ord(char)
    if code <= 0xFF:  # noqa: PLR2004 -- two hex digits hold a byte
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 -- likewise


def _compile() -> None:
    global _pattern  # noqa: PLW0603 -- the registry is the process's, like the log it protects
    longest_first = sorted(_forms, key=len, reverse=True)
    _pattern = re.compile("|".join(map(_matching, longest_first))) if longest_first else None


def _matching(form: str) -> str:
    """A pattern for `form`; percent escapes match in either case, since both are valid."""
    return re.sub(r"%[0-9A-F]{2}", r"(?i:\g<0>)", re.escape(form))


def _spellings(value: str) -> set[str]:
    """Every form in which `value` may be printed, each at least `MIN_LENGTH` long."""
    encoded = value.encode("utf-8", "backslashreplace")
    percent = {quote(encoded), quote(encoded, safe=""), quote_plus(encoded)}
    escaped = {
        repr(value)[1:-1],
        ascii(value)[1:-1],
        repr(encoded)[2:-1],
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
    }
    plain = {value, value.strip()} | percent | escaped
    forms = plain | set(map(escape, plain))
    return {form for form in forms if len(form) >= MIN_LENGTH}
