"""The text of one block while it is written, with its styles, links and code: pure.

Telegram's rules of nesting are kept here: nothing contains code but a quote, so a style is cut in
two around it; and a link is worth more than a typeface, so there is no code in one.

Positions are in characters.
"""

from __future__ import annotations

from typing import NamedTuple

from attrs import Factory, define


class Span(NamedTuple):
    """An entity from `start` to before `end`; `value` is a link's address or code's language.

    A tuple, because an answer has thousands of them.
    """

    start: int
    end: int
    kind: str
    value: str = ""


@define
class Open:
    """A style or link that is open: no entity if `kind` is ''."""

    kind: str
    start: int
    value: str = ""
    literal: str = ""  # a mark that is no style here, and is shown at both ends


@define
class Leaf:
    """A text that is being written. Its further lines begin with `rest`."""

    first: str = ""
    rest: str = ""
    apart: bool = False
    pieces: list[str] = Factory(lambda self: [self.first], takes_self=True)
    length: int = Factory(lambda self: len(self.first), takes_self=True)
    spans: list[Span] = Factory(list)
    open: list[Open] = Factory(list)
    shown: list[Open] = Factory(list)  # those of them that are entities: one of a kind

    def write(self, text: str) -> None:
        if self.rest and "\n" in text:
            text = text.replace("\n", f"\n{self.rest}")
        self.pieces.append(text)
        self.length += len(text)

    def begin(self, kind: str, value: str = "", literal: str = "") -> None:
        """Open a style or a link; one within its like is none."""
        if literal:
            self.write(literal)
        if self.is_within(kind):
            kind = ""
        begun = Open(kind, self.length, value, literal)
        self.open.append(begun)
        if kind:
            self.shown.append(begun)

    def end(self) -> None:
        """Close what was opened last."""
        ended = self.open.pop()
        if ended.kind:
            self.shown.pop()
            self._add(ended)
        if ended.literal:
            self.write(ended.literal)

    def disown(self) -> None:
        """What was opened last is to be no entity."""
        if self.open[-1].kind:
            self.shown.pop().kind = ""

    def code(self, text: str) -> None:
        if self.is_within("text_link"):
            self.write(text)
            return
        for each in self.shown:
            self._add(each)
        start = self.length
        self.write(text)
        self.spans.append(Span(start, self.length, "code"))
        for each in self.shown:
            each.start = self.length

    def is_within(self, kind: str) -> bool:
        return any(each.kind == kind for each in self.shown)

    def since(self, start: int) -> str:
        """What was written from there on."""
        count, length = len(self.pieces), self.length
        while length > start:
            count -= 1
            length -= len(self.pieces[count])
        return "".join(self.pieces[count:])[start - length :]

    def finished(self) -> tuple[str, tuple[Span, ...]]:
        """The text without blanks at its end, and spans that cover something, outer first."""
        text = "".join(self.pieces).rstrip()
        size = len(text)
        clipped = [
            each if each.end <= size else each._replace(end=size) for each in reversed(self.spans)
        ]
        kept = [each for each in clipped if not _is_blank(text, each)]
        # What was closed later contains what was closed before it: they were turned round.
        kept.sort(key=lambda each: (each.start, -each.end))
        return text, tuple(kept)

    def _add(self, ended: Open) -> None:
        if ended.start < self.length:
            self.spans.append(Span(ended.start, self.length, ended.kind, ended.value))


def _is_blank(text: str, span: Span) -> bool:
    covered = text[span.start : span.end]
    return not covered or covered.isspace()
