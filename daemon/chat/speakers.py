"""Who says what in a group, as the model reads it. Pure.

Each message begins with the name of who wrote it, at the beginning of a line, and nothing else
does: further lines of a message are indented, and a name is one line without a colon. People choose
their names and may choose anybody's, so one that is not the bearer's alone is shown with their id.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

MAX_NAME: Final = 40  # characters

INDENT: Final = "  "

# What could be read as a party to the conversation that is no person.
RESERVED: Final = frozenset(
    {"owner", "admin", "administrator", "system", "developer", "assistant", "user", "tool"}
    | {"famulus", "the program", "program"}
)

# Signs that end a name or begin a remark of the program, also as other scripts draw them: when
# compatibility forms are taken together, they are these.
_SIGNS = re.compile(r"[:\[\]\u02d0\ua789\u0589\u05c3\u2982]")


@lru_cache(maxsize=1024)  # those of the people who are listed are made anew for each batch
def plain(name: str) -> str:
    """A name as people would read it aloud: one line of letters, no signs of ours; '' if none."""
    composed = unicodedata.normalize("NFKC", name)
    seen = (" " if _is_unseen(char) else char for char in composed)
    return " ".join(_SIGNS.sub(" ", "".join(seen)).split())[:MAX_NAME].strip()


def _is_unseen(char: str) -> bool:
    """Controls, marks of direction, fillers, and what no character has been given to."""
    return unicodedata.category(char)[0] == "C" or char in "\u115f\u1160\u3164\u2800\u034f"


def shown_name(name: str, user_id: int, known: Mapping[str, int]) -> str:
    """The name of a person in a transcript; `known` are the names that belong to somebody."""
    found = plain(name)
    if not found:
        return f"User {user_id}"
    folded = found.casefold()
    if folded in RESERVED or known.get(folded, user_id) != user_id:
        return f"{found} (id {user_id})"
    return found


def spoken(name: str, text: str) -> str:
    """What somebody says, under a name that `shown_name` gave."""
    first, *others = text.splitlines() or [""]
    return "\n".join([f"{name}: {first}", *(INDENT + line for line in others)])
