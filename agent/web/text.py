"""Bytes of a page as text, whatever they claim to be. Pure, and in time that grows with the length.

Called in worker threads: a few megabytes take longer than the event loop may wait.
"""

from __future__ import annotations

import codecs
import html
import json
import re
from collections.abc import Iterator
from typing import Final

# The encodings of the web, by Python's names. Others that Python knows are no character sets, or
# take quadratic time.
CHARSETS: Final = frozenset(
    {
        *("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "ascii", "ibm866"),
        *("iso8859-1", *(f"iso8859-{n}" for n in (*range(2, 12), *range(13, 17)))),
        *("cp866", "cp874", *(f"cp{n}" for n in range(1250, 1259)), "koi8-r", "koi8-u"),
        *("mac-roman", "mac-cyrillic", "gb2312", "gbk", "gb18030", "big5", "big5hkscs"),
        *("euc_jp", "iso2022_jp", "shift_jis", "cp932", "euc_kr", "cp949", "tis-620"),
    }
)
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_META: Final = re.compile(
    rb"<meta[^>]{0,200}?charset\s{0,9}=\s{0,9}[\"']?([\w-]{2,40})", re.IGNORECASE
)
_META_WITHIN: Final = 2048  # bytes
_JSON_MOST: Final = 256 * 1024  # bytes that are parsed: they may take forty times as much memory

_SKIPPED: Final = ("script", "style", "template", "svg", "noscript")
_INLINE: Final = frozenset(
    {"a", "abbr", "b", "code", "em", "i", "span", "strong", "sub", "sup", "u"}
)
_TAG: Final = re.compile(r"/?([A-Za-z][A-Za-z0-9]{0,20})")


def decode(body: bytes, charset: str) -> tuple[str, str]:
    """Text, and a remark if the charset that was named is none or does not fit; '' if all is well.

    Without a charset it is UTF-8, or else what western pages are that do not say.
    """
    found = _marked(body) or _known(charset)
    if found is None and charset:
        return _guessed(body), f"[{charset!r:.40} is no known charset; read as well as can be]\n"
    if found is None:
        return _guessed(body), ""
    try:
        return body.decode(found), ""
    except UnicodeDecodeError:
        return body.decode(found, "replace"), f"[not all of it is {found}, which it says it is]\n"


def declared(body: bytes) -> str:
    """The charset that a page of HTML names at its beginning, or ''."""
    match = _META.search(body[:_META_WITHIN])
    return match[1].decode() if match else ""


def _marked(body: bytes) -> str | None:
    return next((name for mark, name in _MARKS if body.startswith(mark)), None)


def _known(charset: str) -> str | None:
    try:
        name = codecs.lookup(charset).name if charset else ""
    except (LookupError, ValueError):
        return None
    return name if name in CHARSETS else None


def _guessed(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        return body.decode("cp1252", "replace")


def pretty(text: str, most: int) -> str:
    """JSON with its structure to be seen, if that has at most `most` characters."""
    if len(text) > _JSON_MOST:
        return text
    try:
        plain = json.dumps(json.loads(text), ensure_ascii=False, indent=1)
    except (ValueError, RecursionError):
        return text
    return plain if len(plain) <= most else text


def plain_text(source: str) -> str:
    """All the text of a page, without its tags: what is left when no extractor could read it."""
    lines = html.unescape("".join(_texts(source))).split("\n")
    found = (" ".join(line.split()) for line in lines)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(found)).strip()


def _texts(source: str) -> Iterator[str]:
    """What stands between tags; each look goes on where the last one ended, so none is twice."""
    lower, at = source.lower(), 0
    if len(lower) != len(source):  # a letter that has two in lower case: positions would not fit
        lower = source
    while (begin := source.find("<", at)) >= 0:
        yield source[at:begin]
        match = _TAG.match(source, begin + 1)
        name = match[1].lower() if match else ""
        end = _end(lower, begin, name)
        if end < 0:
            return
        yield "" if name in _INLINE else "\n"
        at = end
    yield source[at:]


def _end(lower: str, begin: int, name: str) -> int:
    """Where the tag, the comment, or the element that nobody reads, at `begin` ends; -1: never."""
    if lower.startswith("<!--", begin):
        found = lower.find("-->", begin)
        return found + 3 if found >= 0 else -1
    if name in _SKIPPED and not lower.startswith("</", begin):
        begin = lower.find(f"</{name}", begin)
    found = lower.find(">", begin) if begin >= 0 else -1
    return found + 1 if found >= 0 else -1
