"""From an answer to messages that Telegram takes: pure, and counted as Telegram counts.

A message holds 4,096 characters after its entities are parsed. Telegram counts code points there
and UTF-16 code units in entity offsets; a cut at 4,096 UTF-16 units is right by either count. Some
units are kept free in every part, because the outbox may have to put a line in front of one.
"""

from __future__ import annotations

import datetime as dt
import re

MAX_UNITS = 4096
LABEL_UNITS = 64  # kept free for the lines below, together
PART_UNITS = MAX_UNITS - LABEL_UNITS
CAPTION_UNITS = 1024 - LABEL_UNITS

MAYBE_TWICE = "Possibly sent twice:\n"
LATE_AFTER = 6 * 3600.0  # seconds after which an answer says what it answers
# `Re "...", 21 Nov 14:05 UTC:` and its line break take 27 units around the quotation.
QUOTE_UNITS = LABEL_UNITS - len(MAYBE_TWICE) - 27

# Where a text is best cut, best first: between paragraphs, lines, sentences, words.
BREAKS = (re.compile(r"\n\n+"), re.compile(r"\n"), re.compile(r"(?<=[.!?;:]) "), re.compile(r"\s"))
# A break in the first half would leave a part that is mostly air; a worse break is better then.
LEAST_FILL = 0.5


def units(text: str) -> int:
    """The length of `text` in UTF-16 code units."""
    return len(text) + sum(character > "\uffff" for character in text)


def split_text(text: str, limit: int = PART_UNITS) -> list[str]:
    """`text` in parts of at most `limit` units, cut where a reader would; none is empty.

    Nothing but the white space at a cut is lost. A text of white space has no parts.
    """
    parts = []
    rest = text.strip()
    while rest:
        end = _fitting(rest, limit)
        cut = end if end == len(rest) else _best_cut(rest[:end])
        parts.append(rest[:cut].rstrip())
        rest = rest[cut:].lstrip("\n") if cut < end else rest[cut:].lstrip()
    return [part for part in parts if part]


def cut_caption(text: str) -> str:
    """`text` as it fits below a picture or a file; what is left out is marked."""
    text = text.strip()
    if units(text) <= CAPTION_UNITS:
        return text
    return text[: _fitting(text, CAPTION_UNITS - 1)] + "…"


def _fitting(text: str, limit: int) -> int:
    """How many characters of `text` fit into `limit` units."""
    if len(text) * 2 <= limit:
        return len(text)
    used = 0
    for index, character in enumerate(text):
        used += 2 if character > "\uffff" else 1
        if used > limit:
            return index
    return len(text)


def _best_cut(window: str) -> int:
    least = int(len(window) * LEAST_FILL)
    for pattern in BREAKS:
        ends = [match.end() for match in pattern.finditer(window, least)]
        if ends:
            return ends[-1]
    return len(window)


def label(*, doubts: int, about: str, asked_at: float | None, now: float) -> str:
    """The lines that go in front of a part; '' for one that is neither late nor doubtful."""
    late = asked_at is not None and now - asked_at > LATE_AFTER
    first = MAYBE_TWICE if doubts else ""
    return first + (_late_line(about, asked_at) if late and asked_at is not None else "")


def _late_line(about: str, asked_at: float) -> str:
    asked = dt.datetime.fromtimestamp(asked_at, dt.UTC)
    quote = about[: _fitting(about, QUOTE_UNITS - 1)]
    quote = about if quote == about else quote + "…"
    return f'Re "{quote}", {asked:%d %b %H:%M} UTC:\n'
