"""From a model's Markdown to blocks of text with entities: pure, and never an error.

What is read is CommonMark with tables, task lists, footnotes and `~~strikethrough~~`, by
pulldown-cmark, which is linear in time. What Telegram cannot show is kept as text: HTML, links
that it would drop in silence, nested quotes, the rule between two paragraphs. What CommonMark takes
for a mark and people do not (`2*3*4`, `~5~`, `__init__`) is text as well.

Positions are in characters; `daemon.telegram.parts` counts as Telegram does.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from attrs import Factory, define, frozen

from agent.text import clean
from daemon.telegram.columns import aligned
from daemon.telegram.leaf import Leaf, Span
from daemon.telegram.links import is_link

if TYPE_CHECKING:
    from pyromark import Markdown

Event: TypeAlias = Any  # a tag or text of pyromark

BULLETS: Final = ("•", "◦", "▪")
BOXES: Final = {False: "☐", True: "☑"}
RULE: Final = "———"
STYLES: Final = {"Emphasis": "italic", "Strong": "bold", "Strikethrough": "strikethrough"}
# Beyond these the rest of a document is text. A page of dense Markdown has 1,500 events, and a list
# within a list is two containers.
MOST_EVENTS: Final = 20_000
MOST_DEEP: Final = 32

LANGUAGE: Final = re.compile(r"[\w+#.-]{1,32}")
_BLANK = re.compile(rb"\n[ \t>]*\n")
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_DUNDER = re.compile(rb"__[a-z0-9]+(_[a-z0-9]+)*__")
# What Telegram makes blanks of, and what it takes away.
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]")
_UNWANTED = re.compile("[\u2028-\u202e]")


@frozen
class Block:
    """A piece of a document that stands on lines of its own; `spans` are by start, outer first.

    `apart` says that an empty line is before it. Blocks of one `quote` are shown as one; 0: none.
    """

    text: str
    spans: tuple[Span, ...] = ()
    kind: Literal["text", "code", "table"] = "text"
    language: str = ""
    apart: bool = True
    quote: int = 0


def parse(source: str) -> list[Block]:
    """The blocks of a document; none for one of white space."""
    source = cleaned(source)
    writer = _Writer(source.encode())
    events = reader().events_with_range(source)
    try:
        for event, where in islice(events, MOST_EVENTS):
            writer.take(event, where["start"], where["end"])
    except _TooDeepError:
        writer.give_up()
    else:
        if next(events, None) is not None:
            writer.give_up()
    return writer.blocks


def cleaned(source: str) -> str:
    """`source` as Telegram will have it, in lines that end with a line feed alone."""
    text = _CONTROLS.sub(" ", clean(source).replace("\r\n", "\n").replace("\r", "\n"))
    return text if text.isascii() else _UNWANTED.sub("", text)


@cache
def reader() -> Markdown:
    """The parser; imported for the first answer and not for the start, in a thread (`preload`)."""
    from pyromark import Markdown, Options  # noqa: PLC0415  (see above)

    return Markdown(
        options=Options.ENABLE_TABLES
        | Options.ENABLE_STRIKETHROUGH
        | Options.ENABLE_TASKLISTS
        | Options.ENABLE_FOOTNOTES
    )


class _TooDeepError(Exception):
    """There are containers within containers that nobody means."""


@define
class _Container:
    """A list, an item or a quote that is open. A `mark` is shown once, on an item's first line."""

    kind: Literal["list", "item", "quote", "note"]
    number: int | None = None
    mark: str = ""
    width: int = 0


@define
class _Table:
    sides: tuple[str, ...]
    rows: list[list[str]] = Factory(list)


@define
class _Writer:
    """Takes the events of a document in order, and has its `blocks` in the end."""

    source: bytes
    blocks: list[Block] = Factory(list)
    _within: list[_Container] = Factory(list)
    _leaf: Leaf | None = None
    _code: list[str] | None = None
    _table: _Table | None = None
    _ended: int = 0  # where in the source the last thing shown ended
    _quotes: int = 0  # in all
    _quoted: int = 0  # those that are open
    _language: str = ""
    _apart: bool = False  # of the code or table that is open

    def take(self, event: Event, start: int, end: int) -> None:
        if isinstance(event, str):
            self._mark(event, start, end)
            return
        ((name, value),) = event.items()
        if name == "Start":
            tag, details = tag_of(value)
            self._start(tag, details, start, end)
        elif name == "End":
            self._end(tag_of(value)[0], end)
        else:
            self._inline(name, value, start)
            self._ended = end

    def give_up(self) -> None:
        """Show the rest of the source as it is."""
        at = self._ended
        if self._code is not None:
            self._end_code(at)
        elif self._table is not None:
            self._end_table(at)
        else:
            self._flush(at)
        self._quoted = 0
        rest = self.source[at:].decode().strip("\n").rstrip()
        if rest.strip():
            self._add(rest)

    # --- What is in a line ---

    def _inline(self, name: str, value: Any, start: int) -> None:  # noqa: ANN401
        if self._code is not None:
            self._code.append(value)
            return
        leaf = self._writing(start)
        match name:
            case "Text":
                leaf.write(value)
            case "Code":
                leaf.code(value)
            case "TaskListMarker":
                self._box(leaf, ticked=value)
            case "FootnoteReference":
                leaf.write(f"[{value}]")
            case "InlineHtml" | "Html" if is_break(value):
                leaf.write("\n")
            case _:
                leaf.write(value)

    def _mark(self, name: str, start: int, end: int) -> None:
        if name == "Rule":
            self._flush(start)
            self._add(f"{self._prefixes()[0]}{RULE}", apart=self._is_apart(start))
            self._ended = end
        else:
            self._writing(start).write("\n")

    def _box(self, leaf: Leaf, *, ticked: bool) -> None:
        """A task's box takes the place of a bullet, and follows a number."""
        if leaf.first.endswith(tuple(f"{bullet} " for bullet in BULLETS)):
            leaf.pieces[0] = leaf.first = leaf.first[:-2]
            leaf.length -= 2
        leaf.write(f"{BOXES[ticked]} ")

    # --- What has a beginning and an end ---

    def _start(self, tag: str, details: Any, start: int, end: int) -> None:  # noqa: ANN401, C901
        match tag:
            case "Paragraph" | "HtmlBlock":
                self._writing(start)
            case "Emphasis" | "Strong" | "Strikethrough":
                self._begin_style(tag, start, end)
            case "Item":
                self._enter(self._item())
            case "List":
                self._flush(start)
                self._enter(_Container("list", details))
            case "Heading":
                self._writing(start).begin("bold")
            case "Link" | "Image":
                self._writing(start).begin("text_link", details["dest_url"])
            case "TableCell":
                self._leaf = Leaf()
            case "TableHead" | "TableRow" if self._table is not None:
                self._table.rows.append([])
            case "Table":
                self._unmark(start)
                self._table, self._apart = _Table(details), self._is_apart(start)
            case "CodeBlock":
                self._unmark(start)
                self._code, self._apart = [], self._is_apart(start)
                self._language = language_of(details)
            case "BlockQuote":
                self._flush(start)
                self._quotes += not self._quoted
                self._quoted += 1
                self._enter(_Container("quote"))
            case "FootnoteDefinition":
                self._enter(_Container("note", mark=f"[{details}] "))

    def _end(self, tag: str, end: int) -> None:
        match tag:
            case "Paragraph" | "HtmlBlock":
                self._flush(end)
            case "Emphasis" | "Strong" | "Strikethrough":
                self._writing(end).end()
            case "Item":
                self._unmark(end)
                self._within.pop()
            case "Heading":
                self._writing(end).end()
                self._flush(end)
            case "Link" | "Image":
                self._end_link(tag)
            case "TableCell":
                self._end_cell(end)
            case "Table":
                self._end_table(end)
            case "CodeBlock":
                self._end_code(end)
            case "List" | "BlockQuote" | "FootnoteDefinition":
                self._flush(end)
                self._quoted -= self._within.pop().kind == "quote"

    def _begin_style(self, tag: str, start: int, end: int) -> None:
        """A product has stars and a name has lines, whatever CommonMark says."""
        mark = "*" if tag == "Emphasis" else "~~" if tag == "Strikethrough" else "**"
        shown = self.source[start:end]
        if tag == "Strikethrough":
            literal = "" if shown.startswith(b"~~") else "~"
        elif shown.startswith(b"*"):
            around = self.source[start - 1 : start], self.source[end : end + 1]
            literal = mark if all(each.isalnum() for each in around) else ""
        else:
            literal = "__" if _DUNDER.fullmatch(shown) else ""
        self._writing(start).begin("" if literal else STYLES[tag], literal=literal)

    def _end_link(self, tag: str) -> None:
        """In a table nothing can be a link; and what is none has its address behind it."""
        leaf = self._writing(self._ended)
        link = leaf.open[-1]
        if tag == "Image" and not leaf.since(link.start).strip():
            leaf.write("image")
        if self._table is not None or not is_link(link.value):
            leaf.disown()
            shown = leaf.since(link.start)
            if link.value and link.value not in {shown, f"mailto:{shown}"}:
                leaf.write(f" ({link.value})")
        leaf.end()

    def _end_code(self, end: int) -> None:
        text = "".join(self._code or ()).rstrip("\n")
        self._code, self._ended = None, end
        if text.strip():
            self._add(text, kind="code", language=self._language, apart=self._apart)

    def _end_cell(self, end: int) -> None:
        text, _ = self._writing(end).finished()
        self._leaf = None
        if self._table is not None:
            self._table.rows[-1].append(" ".join(text.split()))

    def _end_table(self, end: int) -> None:
        if self._leaf is not None:
            self._end_cell(end)
        table, self._table, self._ended = self._table, None, end
        if table is not None and any(any(row) for row in table.rows):
            self._add(aligned(table.rows, table.sides), kind="table", apart=self._apart)

    # --- Between blocks ---

    def _writing(self, start: int) -> Leaf:
        """The text that is being written, or a new one that begins here."""
        if self._leaf is None:
            self._leaf = Leaf(*self._prefixes(), self._is_apart(start))
        return self._leaf

    def _flush(self, end: int) -> None:
        """End the text that is being written."""
        leaf, self._leaf = self._leaf, None
        if leaf is None:
            return
        self._ended = self._content_end(end)
        text, spans = leaf.finished()
        if text and not text.isspace():
            self._add(text, spans, apart=leaf.apart)

    def _content_end(self, end: int) -> int:
        """Where what ends there is over: the last item of a list takes the blank line below it."""
        while end > self._ended and self.source[end - 1] in b" \t\n>":
            end -= 1
        return end

    def _unmark(self, end: int) -> None:
        """End the text; an item that has none yet is shown as its mark alone."""
        if any(each.mark for each in self._within):
            self._writing(end)
        self._flush(end)

    def _add(
        self,
        text: str,
        spans: tuple[Span, ...] = (),
        *,
        kind: Literal["text", "code", "table"] = "text",
        language: str = "",
        apart: bool = True,
    ) -> None:
        quote = self._quotes if self._quoted else 0
        apart = apart and bool(self.blocks)
        self.blocks.append(Block(text, spans, kind, language, apart, quote))

    def _is_apart(self, start: int) -> bool:
        return _BLANK.search(self.source, max(0, self._ended - 1), start) is not None

    def _enter(self, container: _Container) -> None:
        if len(self._within) >= MOST_DEEP:
            raise _TooDeepError
        self._within.append(container)

    def _item(self) -> _Container:
        self._flush(self._ended)
        lists = [each for each in self._within if each.kind == "list"]
        if lists[-1].number is None:
            mark = f"{BULLETS[(len(lists) - 1) % len(BULLETS)]} "
        else:
            mark = f"{lists[-1].number}. "
            lists[-1].number += 1
        return _Container("item", mark=mark, width=len(mark))

    def _prefixes(self) -> tuple[str, str]:
        """What the first line of a text begins with, and its further ones; marks are used up."""
        first, rest, quotes = "", "", 0
        for each in self._within:
            if each.kind == "quote":
                quotes += 1
                first, rest = (first + "> ", rest + "> ") if quotes > 1 else (first, rest)
            first += each.mark or " " * each.width
            rest += " " * each.width
            each.mark = ""
        return first, rest


def tag_of(value: Any) -> tuple[str, Any]:  # noqa: ANN401
    """A tag's name and its details; in the parser's output it is either a name or one of each."""
    if isinstance(value, dict):
        ((tag, details),) = value.items()
        return tag, details
    return value, None


def is_break(html: str) -> bool:
    """Whether a tag is the one that we read."""
    return _BREAK.fullmatch(html.strip()) is not None


def language_of(details: Any) -> str:  # noqa: ANN401
    """The language that a fence names, if it looks like one."""
    info = details.get("Fenced", "") if isinstance(details, dict) else ""
    found = LANGUAGE.match(info)
    return found.group() if found else ""
