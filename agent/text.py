"""Text that can be kept, sent and read: what comes from a model or a tool is first made such."""

from __future__ import annotations

import re
from functools import cache

# Half of a character, escaped as JSON does it; and one without its other half, where no pair of
# backslashes is in the way.
_HALF = re.compile(r"\\u[dD][89a-fA-F]")
_LONE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)

# What can stand between the characters of a tag without being seen: blanks, controls, fillers,
# joiners, marks of direction, selectors.
_UNSEEN = (
    r"[\s\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    r"\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    r"\U000e0000-\U000e0fff]*"
)


def clean(text: str) -> str:
    """`text` without lone surrogates, which JSON can carry and neither UTF-8 nor SQLite can.

    Two halves of one character that met by joining are made that character.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def repaired(text: str) -> str:
    """A text of JSON in which each escaped half of a character is U+FFFD.

    Programs that count in UTF-16 write them when they cut a text. In JSON a backslash is either the
    first of an escape or the second; between two pairs of them, each begins one.
    """
    if _HALF.search(text) is None:
        return text
    pairs = "\\\\"
    return pairs.join(_LONE.sub(r"\\ufffd", part) for part in text.split(pairs))


def unclosing(text: str, tag: str) -> str:
    """`text` in which nothing can pass for the end of `tag`, however it is written."""
    return _closing(tag).sub("&lt;", text)


@cache
def _closing(tag: str) -> re.Pattern[str]:
    """What a closing tag begins with, where the rest of it follows."""
    rest = _UNSEEN.join(["", "[/\uff0f\u2044\u2215]", *tag])
    return re.compile(rf"[<\uff1c\ufe64](?={rest})", re.IGNORECASE)


_CUT = re.compile(r"\n\[\.\.\. ([0-9]{1,12}) characters left out \.\.\.\]\n")


def shorten(text: str, cap: int) -> str:
    """`text` in at most about `cap` characters: two thirds from its head, the rest its tail.

    What an earlier cut has left out of the middle is counted with it.
    """
    if len(text) <= cap:
        return text
    head, rest = cap * 2 // 3, len(text) - (cap - cap * 2 // 3)
    middle = text[head:rest]
    left_out = len(_CUT.sub("", middle)) + sum(map(int, _CUT.findall(middle)))
    return f"{text[:head]}\n[... {left_out} characters left out ...]\n{text[rest:]}"
