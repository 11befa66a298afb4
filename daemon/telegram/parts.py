"""From blocks to messages that Telegram takes whole: pure, and counted as Telegram counts.

A message holds 4,096 characters after its entities are parsed, and keeps 100 entities; the rest are
dropped in silence. Telegram counts code points there and UTF-16 code units in entity offsets; a cut
at 4,096 UTF-16 units is right by either count.

A document is one text with spans. It is cut where a reader would cut it, and a span that a cut goes
through is in both parts: so a code block goes on with its language, and a quote as a quote.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import Any, Final

from attrs import Factory, define, frozen

from daemon.telegram.leaf import Span
from daemon.telegram.markdown import Block

MOST_ENTITIES: Final = 100
TAB: Final = 4  # columns; Telegram makes one blank of a tab
# A cut in the first part of what fits would leave mostly air; a worse place is better then. Nor are
# entities worth a cut there: those that mean least are left out.
LEAST_FILL: Final = 0.5
LEAST_FOR_ENTITIES: Final = 0.25
WORTH: Final = {"pre": 0, "blockquote": 0, "text_link": 1}  # others less

# Where a text is best cut within a block, best first: between paragraphs, lines, sentences, words.
BREAKS: Final = (
    re.compile(r"\n\n+"),
    re.compile(r"\n"),
    re.compile("(?<=[.!?;:]) |(?<=[\u3002\uff01\uff1f\uff1b])"),
    re.compile(r"\s"),
)
BLANKS, LINES = re.compile(r"\s*"), re.compile(r"\n*")
ASTRAL: Final = re.compile("[\U00010000-\U0010ffff]")
LONGEST_CLUSTER: Final = 16  # characters that are shown as one, to be kept together
# A message of nothing else is empty for Telegram, and refused.
UNSEEN: Final = re.compile(
    "[\\s\x00-\x20\x7f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f"
    "\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff]*"
)


@frozen
class Document:
    """A text with spans, by start, outer first; `breaks` are where its blocks begin, ascending."""

    text: str
    spans: tuple[Span, ...] = ()
    breaks: tuple[int, ...] = ()


def units(text: str) -> int:
    """The length of `text` in UTF-16 code units."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def document(blocks: Iterable[Block]) -> Document:
    """All blocks below one another."""
    pieces: list[str] = []
    spans: list[Span] = []
    breaks: list[int] = []
    length = 0
    quotes: dict[int, tuple[int, int]] = {}
    for block in blocks:
        gap = "" if not pieces else "\n\n" if block.apart else "\n"
        text = block.text.expandtabs(TAB) if block.kind == "code" else block.text
        start = length + len(gap)
        length = start + len(text)
        pieces += (gap, text)
        breaks.append(start)
        if block.quote:
            quotes[block.quote] = quotes.get(block.quote, (start, 0))[0], length
        if block.kind != "text":
            spans.append(Span(start, length, "pre", block.language))
        spans += (Span(start + s.start, start + s.end, s.kind, s.value) for s in block.spans)
    spans += (Span(start, end, "blockquote") for start, end in quotes.values())
    spans.sort(key=lambda each: (each.start, -each.end, each.kind != "blockquote"))
    return Document("".join(pieces), tuple(spans), tuple(breaks))


def split(whole: Document, limit: int, first: int = 0) -> list[Document]:
    """`whole` in parts of at most `limit` units and MOST_ENTITIES spans; none is empty.

    The first part has a limit of its own, if one is given. Nothing but white space at cuts is lost,
    and styles where there are very many.
    """
    return list(_Cutter(whole, first or limit, limit).parts())


@define
class _Cutter:
    whole: Document
    limit: int
    later: int  # the limit after the first part
    _alive: list[Span] = Factory(list)  # begun before this part, and not over
    _next: int = 0  # the first span that has not begun

    def parts(self) -> Iterator[Document]:
        text, at = self.whole.text, self._skip(0)
        while at < len(text):
            end = self._end(at)
            if end < len(text):
                end = self._cut(at, end)
            part = self._part(at, end)
            if not is_unseen(part.text):
                yield part
                self.limit = self.later
            at = self._skip(end)

    def _end(self, at: int) -> int:
        """Where at the latest a part ends that begins at `at`."""
        end = fitting(self.whole.text, at, self.limit)
        spans, more = self.whole.spans, MOST_ENTITIES - len(self._alive)
        if self._next + more < len(spans) and spans[self._next + more].start < end:
            by_entities = spans[self._next + more].start
            if by_entities - at >= self.limit * LEAST_FOR_ENTITIES:
                return by_entities
        return end

    def _cut(self, at: int, end: int) -> int:
        """The best place to cut in the text from `at` to `end`."""
        least = at + int((end - at) * LEAST_FILL)
        text, breaks = self.whole.text, self.whole.breaks
        found = bisect_right(breaks, end) - 1
        if found >= 0 and breaks[found] > least:
            return breaks[found]
        code = self._in_code(end)
        for pattern in BREAKS[:2] if code else BREAKS:
            ends = [match.end() for match in pattern.finditer(text, least, end)]
            if ends:
                return ends[-1]
        return whole_cluster(text, at, end)

    def _in_code(self, at: int) -> bool:
        """Whether code goes on there."""
        near = (*self._alive, *self.whole.spans[self._next : self._next + MOST_ENTITIES + 1])
        return any(each.kind == "pre" and each.start < at < each.end for each in near)

    def _skip(self, at: int) -> int:
        """Where the next part begins: after white space, but not that before a block or line."""
        text = self.whole.text
        found = bisect_left(self.whole.breaks, at)
        until = self.whole.breaks[found] if found < len(self.whole.breaks) else len(text)
        if self._in_code(at):
            return at
        skipped = LINES if at and text[at - 1] == "\n" else BLANKS
        found_blanks = skipped.match(text, at, until)
        return at if found_blanks is None else found_blanks.end()

    def _part(self, at: int, end: int) -> Document:
        """The text of a part, and what is in it of the spans, by its own count."""
        text = self.whole.text[at:end].rstrip()
        end = at + len(text)
        spans, first = self.whole.spans, self._next
        while self._next < len(spans) and spans[self._next].start < end:
            self._next += 1
        within = [each for each in (*self._alive, *spans[first : self._next]) if each.end > at]
        self._alive = [each for each in within if each.end > end]
        if len(within) > MOST_ENTITIES:
            within = sorted(within, key=lambda each: WORTH.get(each.kind, 2))[:MOST_ENTITIES]
            within.sort(key=lambda each: (each.start, -each.end, each.kind != "blockquote"))
        clipped = [
            Span(max(each.start - at, 0), min(each.end, end) - at, each.kind, each.value)
            for each in within
        ]
        return Document(text, tuple(s for s in clipped if text[s.start : s.end].strip()))


def is_unseen(text: str) -> bool:
    """Whether nobody would see anything of it."""
    return UNSEEN.fullmatch(text) is not None


def fitting(text: str, at: int, limit: int) -> int:
    """Where so much of `text` from `at` on ends as fits into `limit` units."""
    end = min(len(text), at + limit)
    over = units(text[at:end]) - limit
    while over > 0:
        # Each character is one unit or two: so many fewer are not too few.
        end -= (over + 1) // 2
        over = units(text[at:end]) - limit
    return end


def whole_cluster(text: str, at: int, end: int) -> int:
    """The last place up to `end` that is not between characters which are shown as one."""
    for cut in range(end, max(at, end - LONGEST_CLUSTER), -1):
        if cut == len(text) or not (_joins(text[cut]) or text[cut - 1] == "\u200d"):
            return cut
    return end


def _joins(character: str) -> bool:
    """Whether it belongs to the one before it: a mark, a joiner, a skin's colour."""
    joins = unicodedata.category(character) in {"Mn", "Me", "Mc"}
    return joins or character == "\u200d" or "\U0001f3fb" <= character <= "\U0001f3ff"


def entities(part: Document) -> list[dict[str, Any]]:
    """The spans as Telegram's MessageEntity objects, counted in UTF-16 code units."""
    pairs = [match.start() for match in ASTRAL.finditer(part.text)]

    def position(at: int) -> int:
        return at + bisect_left(pairs, at)

    return [_entity(each, position(each.start), position(each.end)) for each in part.spans]


def _entity(span: Span, start: int, end: int) -> dict[str, Any]:
    entity: dict[str, Any] = {"type": span.kind, "offset": start, "length": end - start}
    if span.value:
        entity["url" if span.kind == "text_link" else "language"] = span.value
    return entity
