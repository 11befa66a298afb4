"""The fields of one object of a file that people write: read, or complained of by their place.

Pure; whatever stands in a field, it is noted and not raised.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from attrs import define

from agent.text import clean
from daemon.schedule import booking, recurrence
from daemon.schedule.recurrence import BadRecurrence

MOST_WORDS: Final = 1000  # characters of a name, or the like
MOST_NUMBER: Final = 10**12


@define(init=False)
class Fields:
    """One object of a file: gives its values, and notes what is wrong with them.

    What is wrong is given as the value that it has when nothing is said; `bad` has its key.
    """

    values: Mapping[str, Any]
    where: str
    problems: list[str]
    bad: set[str]

    def __init__(self, values: object, where: str, problems: list[str]) -> None:
        self.where, self.problems, self.bad = where, problems, set()
        self.values = values if isinstance(values, dict) else {}
        if not self.values:
            problems.append(f"{where}: an object is wanted")

    def note(self, key: str, what: str) -> None:
        self.bad.add(key)
        self.problems.append(f"{self.where}.{key}: {what}")

    def only(self, known: tuple[str, ...]) -> None:
        for key in sorted(self.values.keys() - set(known)):
            self.bad.add(key)
            self.problems.append(f"{self.where}: {quoted(key)} is not known")

    def text(self, key: str, default: str, most: int) -> str:
        value = self.values.get(key)
        if value is None:
            return default
        if not isinstance(value, str) or len(value) > most:
            self.note(key, f"text of {most:,} characters at most is wanted")
            return default
        return clean(value)

    def word(self, key: str, words: tuple[str, ...], default: str) -> str:
        value = self.values.get(key)
        if value is None:
            return default
        if value not in words:
            self.note(key, f"one of {', '.join(words)} is wanted")
            return default
        return str(value)

    def flag(self, key: str) -> bool:
        value = self.values.get(key, False)
        if not isinstance(value, bool):
            self.note(key, "true or false is wanted")
        return value is True

    def whole(
        self, key: str, default: int | None, least: int, most: int = MOST_NUMBER
    ) -> int | None:
        value = self.values.get(key)
        if value is None:
            return default
        if type(value) is not int or not least <= value <= most:
            self.note(key, f"a whole number is wanted, from {least} to {most:,}")
            return default
        return value

    def number(self, key: str, form: re.Pattern[str]) -> str:
        """An id of the network, as text or as a number; '' if nothing is said."""
        value = self.values.get(key)
        if value is None or value == "":
            return ""
        if type(value) not in {int, str} or not form.fullmatch(str(value)):
            self.note(key, "the network's id is wanted, a number")
            return ""
        return str(value)

    def moment(self, key: str, zone: str, now: float) -> float | None:
        """A time: Unix seconds, or words that are read in `zone`."""
        value = self.values.get(key)
        if value is None:
            return None
        try:
            at = recurrence.parse_at(clean(value), zone, now) if isinstance(value, str) else value
        except BadRecurrence as error:
            self.note(key, str(error))
            return None
        if not is_number(at) or not 0 <= at <= now + booking.FARTHEST:
            self.note(key, "a time is wanted, at most ten years off")
            return None
        return float(at)

    def zone(self, key: str, default: str) -> str:
        name = self.text(key, "", MOST_WORDS)
        if not name:
            return default
        try:
            return recurrence.known_zone(name)
        except BadRecurrence as error:
            self.note(key, str(error))
            return default


def is_number(value: object) -> bool:
    return type(value) in {int, float}


def quoted(text: str) -> str:
    return f"{clean(text)[:60]!r}"
