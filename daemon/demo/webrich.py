"""A rich message as the chat page shows it: texts with entities, and tables. Pure.

Telegram's own clients lay such Markdown out; the page has it taken apart here, since it parses
nothing itself. What is no table looks as in an ordinary message; a formula stays as it is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from daemon.demo.world import Wire

_FENCE: Final = re.compile(r" {0,3}(```|~~~)")
_RULE: Final = re.compile(r" {0,3}\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*")
_BAR: Final = re.compile(r"(?<!\\)\|")


@lru_cache(maxsize=256)
def blocks(markdown: str) -> tuple[Wire, ...]:
    """The parts from top to bottom: `text` and `entities`, or `rows` of such cells."""
    return tuple(_blocks(markdown.splitlines()))


def _blocks(lines: list[str]) -> Iterator[Wire]:
    begin = at = 0
    fenced = ""
    while at < len(lines):
        fence = _FENCE.match(lines[at])
        if fence and fenced in ("", fence[1]):
            fenced = "" if fenced else fence[1]
        end = at if fenced else _table_end(lines, at)
        if end > at:
            yield from _texts("\n".join(lines[begin:at]))
            yield {"rows": [_cells(line) for line in (lines[at], *lines[at + 2 : end])]}
            begin = end
        at = max(end, at + 1)
    yield from _texts("\n".join(lines[begin:]))


def _table_end(lines: list[str], at: int) -> int:
    """Where the table ends that begins in this line; the line itself if none does."""
    if at + 1 >= len(lines) or "|" not in lines[at] or not _RULE.fullmatch(lines[at + 1]):
        return at
    if len(_split(lines[at])) != len(_split(lines[at + 1])):
        return at
    end = at + 2
    while end < len(lines) and "|" in lines[end]:
        end += 1
    return end


def _split(line: str) -> list[str]:
    return _BAR.split(line.strip().removeprefix("|").removesuffix("|"))


def _cells(line: str) -> list[Wire]:
    empty: Wire = {"text": "", "entities": []}
    return [next(_texts(cell.replace("\\|", "|")), empty) for cell in _split(line)]


def _texts(markdown: str) -> Iterator[Wire]:
    from daemon.telegram.render import answer  # noqa: PLC0415 (its parser, only when it is needed)

    if markdown.strip():
        for message in answer(markdown)[0]:
            yield {"text": message["text"], "entities": message.get("entities", [])}
