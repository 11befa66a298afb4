"""Which answers go as rich messages, and as what: pure.

A rich message shows tables and formulas, and not everybody's client shows it. So an answer is one
only if it holds either, and nothing in it that Telegram would take for more than we do: it fetches
pictures, and reads tags. What is a formula is decided here, and every other dollar is escaped:
`$395k vs $483k` is none.
"""

from __future__ import annotations

import re
from typing import Any, Final

from attrs import Factory, define

from daemon.telegram.links import is_link
from daemon.telegram.markdown import STYLES, cleaned, is_break, reader, tag_of

METHOD: Final = "sendRichMessage"
# Telegram's limits, and what is kept free for the lines that the outbox puts in front.
MOST_CHARACTERS: Final = 32_768 - 512
MOST_BLOCKS: Final = 500
MOST_LEVELS: Final = 16
MOST_COLUMNS: Final = 20

_CONTAINERS = frozenset({"List", "Item", "BlockQuote", "FootnoteDefinition"})
_CELLS = frozenset({"TableHead", "TableRow", "TableCell"})

# Formulas between dollars, or brackets with a backslash, and what might begin one and does not.
# None goes beyond where another begins, so that no text is looked through again and again.
_DOLLARS = re.compile(
    rb"\\\\|\\\$"
    rb"|\$\$(?P<display>[^$]{1,1500}?)\$\$(?!\$)"
    rb"|\\\[(?P<square>(?>\\\\|\\(?![\[\]])|[^\n\\]|\n(?![ \t]*\n)){1,1500}+)\\\]"
    rb"|\\\((?P<round>(?>\\\\|\\(?![()])|[^\n\\]){1,500}+)\\\)"
    rb"|(?<![\w$])\$(?P<inline>[^\s$\\]|[^\s$][^$\n]{0,500}[^\s$\\])\$(?![\w$])"
    rb"|\$"
)
_BARE = re.compile(rb"\\.|\$", re.DOTALL)
_COMMAND = re.compile(rb"\\[A-Za-z]|[A-Za-z0-9)}\]][\^_][A-Za-z0-9{\\]")
_VARIABLES = re.compile(rb"[A-Za-z]\d?(?:\s?[-+*/=<>]+\s?[\w.]{1,12})*")
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")


def rich_markdown(source: str) -> str | None:
    """The Markdown of a rich message; None for what is no better as one, or does not fit."""
    if len(source) > MOST_CHARACTERS:
        return None
    source = cleaned(source)
    found = _survey(source)
    if not found.is_allowed:
        return None
    text, has_formula = _formulas(source.encode(), found.code)
    if len(text) > MOST_CHARACTERS or not (found.tables or has_formula):
        return None
    return text


def literally(text: str) -> str:
    """Markdown that shows `text` as it is."""
    return _PUNCTUATION.sub(r"\\\1", text).replace("\n", "\\\n")


@define
class _Survey:
    """What there is in a document."""

    blocks: int = 0
    tables: int = 0
    columns: int = 0
    level: int = 0
    deepest: int = 0
    strange: bool = False  # tags, pictures, links that are none
    code: list[tuple[int, int]] = Factory(list)  # where, in bytes, ascending

    @property
    def is_allowed(self) -> bool:
        return (
            not self.strange
            and self.blocks <= MOST_BLOCKS
            and self.deepest <= MOST_LEVELS
            and self.columns <= MOST_COLUMNS
        )

    def take(self, event: Any, start: int, end: int) -> None:  # noqa: ANN401  (see `markdown.Event`)
        if isinstance(event, str):
            self.blocks += event == "Rule"
            return
        ((name, value),) = event.items()
        if name == "Start":
            self._start(*tag_of(value), start, end)
        elif name == "End":
            self.level -= tag_of(value)[0] in _CONTAINERS
        elif name == "Code":
            self.code.append((start, end))
        elif name in {"Html", "InlineHtml"}:
            self.strange |= not is_break(value)

    def _start(self, tag: str, details: Any, start: int, end: int) -> None:  # noqa: ANN401
        if tag == "Image":
            self.strange = True
        elif tag == "Link":
            self.strange |= not is_link(details["dest_url"])
        elif tag not in STYLES and tag not in _CELLS:
            self.blocks += 1
        self.level += tag in _CONTAINERS
        self.deepest = max(self.deepest, self.level)
        if tag == "Table":
            self.tables += 1
            self.columns = max(self.columns, len(details))
        if tag == "CodeBlock":
            self.code.append((start, end))


def _survey(source: str) -> _Survey:
    found = _Survey()
    for event, where in reader().events_with_range(source):
        found.take(event, where["start"], where["end"])
        if not found.is_allowed:
            break
    return found


def _formulas(source: bytes, code: list[tuple[int, int]]) -> tuple[str, bool]:
    """The text with its formulas between dollars and no other dollar, and whether it has any."""
    found = False

    def shown(match: re.Match[bytes]) -> bytes:
        nonlocal found
        kind, body = match.lastgroup, match[match.lastgroup or 0]
        if kind is None or not is_formula(body):
            return _BARE.sub(_escaped, match[0])
        found = True
        mark = b"$$" if kind in {"display", "square"} else b"$"
        return mark + body.strip() + mark

    pieces: list[bytes] = []
    at = 0
    for start, end in (*code, (len(source), len(source))):
        pieces += (_DOLLARS.sub(shown, source[at:start]), source[start:end])
        at = end
    return b"".join(pieces).decode(), found


def _escaped(match: re.Match[bytes]) -> bytes:
    return b"\\$" if match[0] == b"$" else match[0]


def is_formula(body: bytes) -> bool:
    """Whether it is one for certain: it has a command of TeX, a power, an index, or is letters."""
    text = body.strip()
    if b"$" in text:
        return False
    return _COMMAND.search(text) is not None or _VARIABLES.fullmatch(text) is not None
