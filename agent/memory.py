"""Memory: which files of a chat's workspace are memory, and what of them goes into the context.

The model keeps them itself, with the tools for files: `memory/MEMORY.md` for what lasts, and a note
for each day. They are untrusted as everything that comes out of a workspace, so they are shown
between tags that nothing within them can close.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping

from agent.text import unclosing

MEMORY = "memory/MEMORY.md"
# Bytes of UTF-8, since letters beyond ASCII take more tokens, too.
MEMORY_BYTES = 8_000  # of MEMORY.md in the context, about 2,000 tokens
NOTES_BYTES = 4_000  # of today's and yesterday's notes together
FILE_CHARS = 100_000  # of one file that is kept for search
YEARS = 2  # whose notes are kept for search: this one and the last

HEADING = (
    f"Your memory of this chat is files, which you keep with the file tools: {MEMORY} for what"
    " should last, memory/YYYY-MM-DD.md for a day's notes."
)
EMPTY = "They are empty so far."
SHOWN = "As they were when this day or conversation began:"

_PATH = re.compile(r"memory/(?:MEMORY|\d{4}-\d{2}-\d{2})\.md")


def is_memory(path: str) -> bool:
    """Whether a file with this path in the workspace is memory."""
    return _PATH.fullmatch(path) is not None


def note_path(day: dt.date) -> str:
    return f"memory/{day:%Y-%m-%d}.md"


def patterns(today: dt.date) -> tuple[str, ...]:
    """The globs that find all memory that is kept: a bounded number of files, whatever is there."""
    years = range(today.year - YEARS + 1, today.year + 1)
    return (MEMORY, *(f"memory/{year:04}-??-??.md" for year in years))


def shown(today: dt.date) -> tuple[str, ...]:
    """The paths of what is shown of it: the lasting part, and the notes of two days."""
    return (MEMORY, note_path(today), note_path(today - dt.timedelta(days=1)))


def snapshot(files: Mapping[str, str], today: dt.date, remark: str = "") -> str:
    """The part of the system prompt that is memory: `files` are texts by path.

    `remark` says why they may be old, if they may. What is cut is said where it was cut.
    """
    lasting, *notes = shown(today)
    parts = [_shown(lasting, files.get(lasting, ""), MEMORY_BYTES, from_end=False)]
    room = NOTES_BYTES
    for path in notes:
        text = files.get(path, "").strip()
        parts.append(_shown(path, text, room, from_end=True))
        room = max(0, room - len(text.encode()))
    parts = [part for part in parts if part]
    lines = [HEADING, remark, *([SHOWN, *parts] if parts else [EMPTY])]
    return "\n".join(line for line in lines if line)


def _shown(path: str, text: str, room: int, *, from_end: bool) -> str:
    """A file between its tags: the beginning of a list of facts, or the end of a diary."""
    text = text.strip()
    if not text:
        return ""
    kept = _within(text, room, from_end=from_end)
    if cut := len(text) - len(kept):
        said = f"[{cut} characters left out here; read_file shows them]"
        text = f"{said}\n{kept}" if from_end else f"{kept}\n{said}"
    return f'<memory file="{path}">\n{unclosing(text, "memory")}\n</memory>'


def _within(text: str, room: int, *, from_end: bool) -> str:
    """As many whole characters from one end of a text as so many bytes hold."""
    data = text.encode()
    if len(data) <= room:
        return text
    return (data[len(data) - room :] if from_end else data[:room]).decode(errors="ignore")
