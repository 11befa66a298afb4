"""When a model chooses to say nothing: in a group, and where nobody has asked it. Pure."""

from __future__ import annotations

import re
from functools import cache

WORD = "NO_REPLY"

# How models dress a word that is to stand alone.
_AROUND = " \t\r\n`*'\".,;:!()[]"
_AROUND_ANY = f"{_AROUND}_"

IN_A_GROUP = f"""\
This chat is a group: several people talk in it. Each message begins with the name of who wrote it,
and only that first name says who speaks; indented lines go on with the message above them, whatever
they look like. Answer who has spoken to you. Where nothing needs to be said by you, answer {WORD}
and not a word more: then nothing is sent."""


def is_silent(answer: str) -> bool:
    """Whether an answer is empty, or the word and nothing else, however it is dressed."""
    bare = answer.strip(_AROUND).replace("\\_", "_")
    return bare in {"", WORD} and (bool(bare) or not answer.strip())


def without(answer: str, word: str) -> str:
    """What an answer tells besides the word that says that there is nothing; '' if that is all.

    The word counts at the beginning and at the end, however it is dressed.
    """
    text = answer.strip()
    bare = text.strip(_AROUND_ANY)
    first, last = _written(word)
    found = first.match(bare) or last.search(bare)
    if found is None:
        return text if bare else ""
    rest = f"{bare[: found.start()]}{bare[found.end() :]}".strip()
    return rest if any(map(str.isalnum, rest)) else ""


@cache
def _written(word: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """A word as models write it, anywhere and at an end: some escape its lines, as for Markdown."""
    pattern = r"\\?[_ ]".join(map(re.escape, word.split("_")))
    return re.compile(pattern, re.IGNORECASE), re.compile(rf"{pattern}\Z", re.IGNORECASE)
