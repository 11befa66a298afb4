"""From an answer to messages that Telegram takes: pure, and counted as Telegram counts.

Some units are kept free in every part, because the outbox may have to put a line in front of one.
Code of many messages' length is a file, of which the text shows the beginning.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

from attrs import evolve, frozen

from daemon.telegram.markdown import Block, cleaned, parse
from daemon.telegram.parts import Document, document, entities, fitting, split, units

MAX_UNITS = 4096
LABEL_UNITS = 64  # kept free for the lines below, together
PART_UNITS = MAX_UNITS - LABEL_UNITS
CAPTION_UNITS = 1024 - LABEL_UNITS

MAYBE_TWICE = "Possibly sent twice:\n"
LATE_AFTER = 6 * 3600.0  # seconds after which an answer says what it answers
# `Re "...", 21 Nov 14:05 UTC:` and its line break take 27 units around the quotation.
QUOTE_UNITS = LABEL_UNITS - len(MAYBE_TWICE) - 27

MOST_CODE = 2 * MAX_UNITS  # units of one code block that are sent as messages
PREVIEW_LINES = 15
PREVIEW_UNITS = 1000
LONGEST_SUFFIX = 10  # characters; a fence can name anything

# What files of code end with, where that is not the language's own name.
SUFFIXES = {
    "bash": "sh",
    "c++": "cpp",
    "console": "txt",
    "csharp": "cs",
    "golang": "go",
    "haskell": "hs",
    "javascript": "js",
    "kotlin": "kt",
    "latex": "tex",
    "markdown": "md",
    "perl": "pl",
    "plaintext": "txt",
    "python": "py",
    "python3": "py",
    "ruby": "rb",
    "rust": "rs",
    "shell": "sh",
    "text": "txt",
    "typescript": "ts",
    "yaml": "yml",
    "zsh": "sh",
}


# --- Answers ---


@frozen
class CodeFile:
    """Code that goes as a file after the messages of its answer."""

    name: str
    text: str


def rendered(
    markdown: str, limit: int = PART_UNITS, first: int = 0, lead: str = ""
) -> list[dict[str, Any]]:
    """A model's words as messages, each `text` with its `entities`; none for white space.

    The first has a limit of its own, if one is given: what stands below a file is shorter. A `lead`
    is a line of ours above them.
    """
    return _messages(_led(lead, parse(markdown)), limit, first)


def answer(markdown: str, lead: str = "") -> tuple[list[dict[str, Any]], list[CodeFile]]:
    """`rendered`, but very long code goes as files."""
    shown, files = aside(parse(markdown))
    return _messages(_led(lead, shown)), files


def _led(lead: str, blocks: list[Block]) -> list[Block]:
    if not lead:
        return blocks
    first = [evolve(each, apart=False) for each in blocks[:1]]
    return [Block(lead, apart=False), *first, *blocks[1:]]


def plain(text: str, limit: int = PART_UNITS) -> list[str]:
    """A text of ours in parts, with nothing in it that is a mark; none for white space."""
    return [part.text for part in split(Document(cleaned(text)), limit)]


def _messages(
    blocks: Iterable[Block], limit: int = PART_UNITS, first: int = 0
) -> list[dict[str, Any]]:
    parts = split(document(blocks), limit, first)
    return [{"text": part.text, "entities": entities(part)} for part in parts]


def aside(blocks: Iterable[Block]) -> tuple[list[Block], list[CodeFile]]:
    """`blocks` with beginnings in the place of very long code, and the files of all of it."""
    shown: list[Block] = []
    files: list[CodeFile] = []
    for block in blocks:
        if block.kind == "code" and units(block.text) > MOST_CODE:
            name = file_name(block.language, len(files))
            files.append(CodeFile(name, f"{block.text}\n"))
            shown += _beginning(block, name)
        else:
            shown.append(block)
    return shown, files


def _beginning(block: Block, name: str) -> list[Block]:
    lines = block.text[: fitting(block.text, 0, PREVIEW_UNITS)].split("\n")[:PREVIEW_LINES]
    total = block.text.count("\n") + 1
    rest = f"… the whole of it, {total:,} line{'' if total == 1 else 's'}: {name} (below)"
    return [evolve(block, text="\n".join(lines)), Block(rest, apart=False, quote=block.quote)]


def file_name(language: str, before: int) -> str:
    """What the file of code is called that comes after so many others."""
    suffix = SUFFIXES.get(language.lower(), language.lower())
    known = suffix.isascii() and suffix.isalnum() and len(suffix) <= LONGEST_SUFFIX
    return f"code{f'-{before + 1}' if before else ''}.{suffix if known else 'txt'}"


# --- Lines in front, and below files ---


def shifted(found: Iterable[dict[str, Any]], by: int) -> list[dict[str, Any]]:
    """Entities of a text that has so many units more in front of it."""
    return [{**each, "offset": each["offset"] + by} for each in found]


def label(*, doubts: int, about: str, asked_at: float | None, now: float) -> str:
    """The lines that go in front of a part; '' for one that is neither late nor doubtful."""
    late = asked_at is not None and now - asked_at > LATE_AFTER
    first = MAYBE_TWICE if doubts else ""
    return first + (_late_line(about, asked_at) if late and asked_at is not None else "")


def _late_line(about: str, asked_at: float) -> str:
    asked = dt.datetime.fromtimestamp(asked_at, dt.UTC)
    quote = about[: fitting(about, 0, QUOTE_UNITS - 1)]
    quote = about if quote == about else quote + "…"
    return f'Re "{quote}", {asked:%d %b %H:%M} UTC:\n'
