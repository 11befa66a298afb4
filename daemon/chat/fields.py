"""Reading what comes from outside: fields that may be of any type, and words that may be anything.

`Fields` is an object of somebody's JSON, of which nothing is believed: what is not of the type that
is asked for is as if it were not there. `line` and `quoted` make words fit for a sentence of ours:
one line, bounded, without characters that hide or turn around others, and without the brackets and
quotation marks by which our own words are told from theirs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Self

from attrs import frozen

from agent.text import clean
from daemon.telegram.types import MAX_INTEGER

_NOTHING: Mapping[str, Any] = {}
_BRACKETS = str.maketrans("[]", "()")
# Controls, joiners that only hide, marks of direction, line and paragraph separators.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\xad\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]+")


@frozen
class Fields:
    """An object of JSON; false if it is empty, or was none."""

    values: Mapping[str, Any]

    @classmethod
    def of(cls, value: object) -> Self:
        return cls(value if isinstance(value, Mapping) else _NOTHING)

    def __bool__(self) -> bool:
        return bool(self.values)

    def inner(self, name: str) -> Fields:
        return Fields.of(self.values.get(name))

    def objects(self, name: str) -> list[Fields]:
        """The objects of a list."""
        found = self.values.get(name)
        items = found if isinstance(found, list) else []
        return [Fields.of(each) for each in items if isinstance(each, Mapping)]

    def text(self, name: str) -> str:
        found = self.values.get(name)
        return clean(found) if isinstance(found, str) else ""

    def number(self, name: str) -> int | None:
        found = self.values.get(name)
        return found if type(found) is int and abs(found) <= MAX_INTEGER else None

    def decimal(self, name: str) -> float | None:
        found = self.values.get(name)
        if isinstance(found, bool) or not isinstance(found, int | float):
            return None
        return float(found) if abs(found) <= MAX_INTEGER and math.isfinite(found) else None


def line(text: str, most: int) -> str:
    """Words from outside as a part of one line of ours, `most` characters and dots."""
    # Cut before the rest is done: what comes may be as long as a message.
    shown = _UNSEEN.sub(" ", text[: most * 4]).translate(_BRACKETS)
    shown = " ".join(shown.split())
    return shown if len(shown) <= most and len(text) <= most * 4 else f"{shown[:most].rstrip()}..."


def quoted(text: str, most: int, before: str = "", after: str = "") -> str:
    """The same in quotation marks, with `before` and `after` within them."""
    plain = line(text, most).replace('"', "'")
    return f'"{before}{plain}{after}"'


def utf16_slice(text: str, at: int, length: int) -> str:
    """A part of a text by UTF-16 units, as Telegram counts; halves of characters are dropped."""
    units = text.encode("utf-16-le", "replace")
    part = units[max(0, at) * 2 : max(0, at + max(0, length)) * 2]
    return part.decode("utf-16-le", "ignore")
