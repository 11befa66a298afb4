"""What cron should do, by looking at every minute: slow, plain, and without any code of ours.

An expression is read by hand, a clock's reading is Python's own, and a minute of real time is an
instant of the expression if the clock shows a time that it names, for the first time; or for the
second, if it names every hour. A minute that a clock skips counts for the one after the gap.
"""

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Iterable, Iterator
from zoneinfo import ZoneInfo

from attrs import frozen

MINUTE = 60
RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
NAMES = {
    **{name.lower(): number for number, name in enumerate(calendar.month_abbr) if name},
    **{name.lower(): (number + 1) % 7 for number, name in enumerate(calendar.day_abbr)},
}


def values(field: str, low: int, high: int) -> set[int]:
    """The numbers of a field without L and #."""
    found: set[int] = set()
    for part in field.split(","):
        body, _, step = part.partition("/")
        if body == "*":
            first, last = low, high
        else:
            begin, _, end = body.partition("-")
            first = int(NAMES.get(begin, begin))
            last = int(NAMES.get(end, end)) if end else (high if step else first)
        found |= set(range(first, last + 1, int(step or 1)))
    return found


class Expression:
    """Five fields, and which times of a wall clock they name."""

    def __init__(self, text: str) -> None:
        self.fields = text.lower().split()
        minute, hour, _, month, _ = self.fields
        self.minutes = values(minute, *RANGES[0])
        self.hours = values(hour, *RANGES[1])
        self.months = values(month, *RANGES[3])
        self.hourly = self.hours == set(range(24))
        self._days: dict[dt.date, bool] = {}

    def names(self, wall: dt.datetime) -> bool:
        if wall.minute not in self.minutes or wall.hour not in self.hours:
            return False
        day = wall.date()
        if day not in self._days:
            self._days[day] = day.month in self.months and self._is_day(day)
        return self._days[day]

    def _is_day(self, day: dt.date) -> bool:
        """Either of the two day fields, if both say something; else the one that does."""
        of_month, of_week = self.fields[2], self.fields[4]
        asks = [
            test(day)
            for field, test, everything in (
                (of_month, self._of_month, set(range(1, 32))),
                (of_week, self._of_week, set(range(7))),
            )
            if not self._is_any(field, everything)
        ]
        return any(asks) if asks else True

    def _is_any(self, field: str, everything: set[int]) -> bool:
        if field == "*":
            return True
        if "l" in field or "#" in field:
            return False
        low, high = (1, 31) if len(everything) == 31 else (0, 7)
        found = values(field, low, high)
        return everything <= ({each % 7 for each in found} if len(everything) == 7 else found)

    def _of_month(self, day: dt.date) -> bool:
        last = calendar.monthrange(day.year, day.month)[1]
        parts = self.fields[2].split(",")
        plain = ",".join(part for part in parts if part != "l")
        is_last = "l" in parts and day.day == last
        return is_last or (bool(plain) and day.day in values(plain, *RANGES[2]))

    def _of_week(self, day: dt.date) -> bool:
        return any(self._of_week_part(part, day) for part in self.fields[4].split(","))

    def _of_week_part(self, part: str, day: dt.date) -> bool:
        weekday = day.isoweekday() % 7
        if part.startswith("l"):
            last = calendar.monthrange(day.year, day.month)[1]
            return int(part[1:]) % 7 == weekday and day.day + 7 > last
        if "#" in part:
            which, _, number = part.partition("#")
            return int(NAMES.get(which, which)) % 7 == weekday and (day.day - 1) // 7 + 1 == int(
                number
            )
        return weekday in {each % 7 for each in values(part, *RANGES[4])}


@frozen
class Minute:
    """A minute of real time: when, what the clock shows, and what it has skipped just before."""

    at: int
    wall: dt.datetime
    again: bool  # the clock has shown this before
    skipped: tuple[dt.datetime, ...]


def minutes(zone: str, begin: int, end: int) -> Iterator[Minute]:
    """All minutes in [begin, end) of a zone whose offsets are whole minutes."""
    where = ZoneInfo(zone)
    before = dt.datetime.fromtimestamp(begin - MINUTE, where).replace(tzinfo=None, fold=0)
    for at in range(begin, end, MINUTE):
        local = dt.datetime.fromtimestamp(at, where)
        wall = local.replace(tzinfo=None, fold=0)
        gone = max(0, int((wall - before).total_seconds()) // MINUTE - 1)
        skipped = tuple(wall - dt.timedelta(minutes=n + 1) for n in range(gone))
        yield Minute(at, wall, bool(local.fold), skipped)
        before = wall


def instants(text: str, all_minutes: Iterable[Minute]) -> list[int]:
    """Those of the minutes at which an expression is run."""
    expression = Expression(text)
    return [each.at for each in all_minutes if _is_run(expression, each)]


def _is_run(expression: Expression, minute: Minute) -> bool:
    if expression.names(minute.wall) and (expression.hourly or not minute.again):
        return True
    return any(map(expression.names, minute.skipped))


def changes(zone: str, begin: int, end: int) -> list[int]:
    """The instants at which the offset of a zone changes, by looking at every minute."""
    where, found, old = ZoneInfo(zone), [], None
    for at in range(begin, end, MINUTE):
        offset = dt.datetime.fromtimestamp(at, where).utcoffset()
        if old is not None and offset != old:
            found.append(at)
        old = offset
    return found
