"""The front matter of a Markdown file: the lines of YAML that a skill or a specialist begins with.

    ---
    name: web-research
    description: >-
      How to answer from sources.
    metadata:
      author: somebody
    ---
    The text.

What is read is a subset of YAML with one meaning: maps, lists of scalars, scalars in one of four
forms (plain, quoted, `|` and `>` blocks). Every scalar is text; `no` is "no" and `1.10` is "1.10".
What YAML could take in another way (tags, anchors, tabs, a plain text with ": " in it, a key given
twice) is refused by its line, so what is accepted here means the same to every other reader.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeAlias

from attrs import define, frozen

FENCE = "---"
MAX_LINES = 200
MAX_LINE = 4000  # characters; the longest text that we read has a quarter
MAX_DEPTH = 3  # of maps in maps; what we read has two

# What no line may hold: what is not printable, and what is a line break to some readers only.
_STRANGE = re.compile(
    "[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_KEY = re.compile(r"([A-Za-z_][A-Za-z0-9_-]*):(?: +(.*))?")
_BLOCK = re.compile(r"([|>])[+-]?(?: +#.*)?")
_DOUBLE = re.compile(r'"((?:[^"\\]|\\["\\nt])*)"(?: +#.*)?')
_SINGLE = re.compile(r"'((?:[^']|'')*)'(?: +#.*)?")
_INLINE = re.compile(r"\[(.*)\](?: +#.*)?")
_ITEM = re.compile(
    r""" *("(?:[^"\\]|\\["\\nt])*"|'(?:[^']|'')*'|[A-Za-z0-9_][A-Za-z0-9_ ./*-]*?) *(,|$)"""
)
_ESCAPES = {'\\"': '"', "\\\\": "\\", "\\n": "\n", "\\t": "\t"}
# Signs that begin something else than a plain text; three of them only before a blank.
_SIGNS = tuple(",[]{}#&*!|>'\"%@`")
_SIGNS_ALONE = ("-", "?", ":")

Value: TypeAlias = "str | tuple[str, ...] | Mapping[str, Value]"


class BadFrontMatter(ValueError):
    """The front matter cannot be read; the text says which line, and what to do."""


@frozen
class Document:
    """A file in two parts; texts are without blanks around them."""

    fields: Mapping[str, Value]
    body: str


def read(text: str) -> Document:
    """Read a file that begins with front matter. Raises BadFrontMatter."""
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    if lines[0].rstrip() != FENCE:
        raise BadFrontMatter(f"line 1: expected {FENCE}, then `key: value` lines, then {FENCE}")
    end = next((n for n, line in enumerate(lines[1:], 1) if line.rstrip() == FENCE), None)
    if end is None:
        raise BadFrontMatter(f"the line {FENCE} that ends the front matter is missing")
    if end > MAX_LINES:
        raise BadFrontMatter(f"the front matter has more than {MAX_LINES} lines")
    if any(len(line) > MAX_LINE for line in lines[1:end]):
        raise BadFrontMatter(f"a line of the front matter has more than {MAX_LINE} characters")
    fields = _Lines([line.rstrip(" ") for line in lines[1:end]]).all()
    return Document(fields, "\n".join(lines[end + 1 :]).strip())


@define
class _Lines:
    """The lines between the fences, and how far they have been read."""

    lines: list[str]
    at: int = 0

    def all(self) -> dict[str, Value]:
        strange = (n for n, line in enumerate(self.lines) if _STRANGE.search(line))
        if (number := next(strange, None)) is not None:
            raise self._bad("a tab or a sign that is not printable; use spaces", number)
        return self._map(0, MAX_DEPTH)

    def _map(self, indent: int, depth: int) -> dict[str, Value]:
        found: dict[str, Value] = {}
        while (line := self._line(indent)) is not None:
            match = _KEY.fullmatch(line)
            if match is None:
                raise self._bad("expected `key: value`")
            key, rest = match[1], (match[2] or "").strip()
            if key in found:
                raise self._bad(f"{key} is there twice")
            if not depth:
                raise self._bad("maps are nested too deeply")
            self.at += 1
            found[key] = self._value(rest, indent, depth)
        return found

    def _value(self, rest: str, indent: int, depth: int) -> Value:
        """What stands behind a key: `rest` of its line, or the lines below it."""
        if rest.startswith("#") or not rest:
            return self._below(indent, depth)
        if rest[0] in "|>":
            return self._block(rest, indent)
        if rest[0] == "[":
            return self._inline(rest)
        return self._text(rest, indent)

    def _below(self, indent: int, depth: int) -> Value:
        self._skip()
        if self.at == len(self.lines):
            return ""
        line = self.lines[self.at]
        deeper = _indent(line)
        if deeper >= indent and line.lstrip(" ").startswith("- "):
            return self._list(deeper)
        if deeper <= indent:
            return ""
        if _KEY.fullmatch(line.lstrip(" ")):
            return self._map(deeper, depth - 1)
        self.at += 1
        return self._text(line.lstrip(" "), indent)

    def _list(self, indent: int) -> tuple[str, ...]:
        items: list[str] = []
        while (line := self._line(indent)) is not None and line.startswith("- "):
            self.at += 1
            items.append(self._scalar(line[2:].strip()))
        return tuple(items)

    def _text(self, first: str, indent: int) -> str:
        """A scalar; a plain one goes on in lines that are indented more than its key."""
        if first[0] in "\"'":
            return self._scalar(first)
        words = [self._scalar(first)]
        while words[-1] and not _commented(first) and self._goes_on(indent):
            first = self.lines[self.at].strip(" ")
            self.at += 1
            words.append(self._plain(first))
            if _commented(first) or first.startswith("#"):
                raise self._bad("a comment within a text; put it on a line of its own, before", -1)
        return " ".join(words)

    def _goes_on(self, indent: int) -> bool:
        line = self.lines[self.at] if self.at < len(self.lines) else ""
        return bool(line) and _indent(line) > indent

    def _scalar(self, text: str) -> str:
        """A text on the line that was just read, quoted or plain."""
        if text.startswith('"'):
            match = self._quoted(_DOUBLE, text)
            return re.sub(r"\\.", lambda escape: _ESCAPES[escape[0]], match)
        if text.startswith("'"):
            return self._quoted(_SINGLE, text).replace("''", "'")
        alone = text[:1] in _SIGNS_ALONE and text[1:2] in {"", " "}
        if alone or text.startswith(_SIGNS):
            raise self._bad(f"a text that begins with {text[0]} has to be in quotes", -1)
        return self._plain(text)

    def _plain(self, text: str) -> str:
        plain = text.split(" #", 1)[0].rstrip()
        if ": " in plain or plain.endswith(":"):
            raise self._bad("a text with a colon and a blank has to be in quotes", -1)
        if not plain:
            raise self._bad("a text is missing", -1)
        return plain

    def _quoted(self, form: re.Pattern[str], text: str) -> str:
        match = form.fullmatch(text)
        if match is None:
            raise self._bad('a quoted text has to end on its line, escaped as \\" \\\\ \\n \\t', -1)
        return match[1]

    def _inline(self, text: str) -> tuple[str, ...]:
        match = _INLINE.fullmatch(text)
        inner = match[1].strip() if match else ","
        items: list[str] = []
        at = 0
        while at < len(inner):
            item = _ITEM.match(inner, at)
            if item is None or (item[2] and item.end() == len(inner)):
                raise self._bad(
                    "a list in brackets has simple words or quoted texts, by commas", -1
                )
            items.append(self._scalar(item[1]))
            at = item.end()
        return tuple(items)

    def _block(self, head: str, indent: int) -> str:
        match = _BLOCK.fullmatch(head)
        if match is None:
            raise self._bad(f"expected | or > and then a line's end, found {head:.20}", -1)
        found = self._block_lines(indent)
        if match[1] == "|":
            return "\n".join(found).strip()
        if any(line.startswith(" ") for line in found):
            raise self._bad("a > block has lines of one indentation; use | here", -1)
        return _folded(found)

    def _block_lines(self, indent: int) -> list[str]:
        """The lines of a block, without the indentation of its first."""
        found: list[str] = []
        width = 0
        while self.at < len(self.lines):
            line = self.lines[self.at]
            if line and not width:
                width = max(_indent(line), indent + 1)
            if line and _indent(line) < width:
                break
            found.append(line[width:] if line else "")
            self.at += 1
        return found

    def _line(self, indent: int) -> str | None:
        """The next line of a map or list with this indentation; None where that has ended."""
        self._skip()
        if self.at == len(self.lines) or _indent(self.lines[self.at]) < indent:
            return None
        if _indent(self.lines[self.at]) > indent:
            raise self._bad("the line is indented, and nothing above it says why")
        return self.lines[self.at][indent:]

    def _skip(self) -> None:
        """Pass over blank lines and comments."""
        while self.at < len(self.lines):
            line = self.lines[self.at].lstrip(" ")
            if line and not line.startswith("#"):
                return
            self.at += 1

    def _bad(self, why: str, back: int = 0) -> BadFrontMatter:
        return BadFrontMatter(f"line {self.at + 2 + back}: {why}")


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _commented(text: str) -> bool:
    return " #" in text


def _folded(lines: list[str]) -> str:
    """A `>` block: lines make a paragraph, and each blank line a break."""
    paragraphs = re.split(r"\n(\n+)", "\n".join(lines).strip("\n"))
    return "".join(
        part if number % 2 else part.replace("\n", " ") for number, part in enumerate(paragraphs)
    ).strip()
