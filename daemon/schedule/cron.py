"""Cron expressions of five fields, by the clock on the wall of a zone. Pure.

croniter knows the calendar and is asked about wall clocks alone: given zones, it runs what is due
at half past two twice in the night in which that hour is repeated. What walls mean is
`daemon.schedule.wallclock`'s to say. Where a clock is set

- forward, what it skips is run once, at the first instant after the gap;
- back, what it shows twice is run once, at its first pass; but an expression for every hour of the
  day counts hours that pass, and is run in both.
"""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo
from collections.abc import Iterator
from functools import lru_cache
from heapq import heappop, heappush
from itertools import pairwise
from typing import Any, Final

from daemon.schedule.wallclock import meant, set_back_near, shown

MOST_CHARACTERS: Final = 200
ALIASES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
FIELDS: Final = ("minute", "hour", "day of the month", "month", "day of the week")
_PLAIN: Final = r"\d{1,2}"
_MONTH: Final = r"\d{1,2}|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
_DAY: Final = r"[0-7]|sun|mon|tue|wed|thu|fri|sat"


def _pattern(value: str, more: str = "") -> str:
    """A field: a list of values, ranges and steps, and `more` forms of its own."""
    part = rf"(?:\*|(?:{value})(?:-(?:{value}))?)(?:/\d{{1,2}})?{more}"
    return rf"(?:{part})(?:,(?:{part}))*"


_PATTERNS: Final = (
    _pattern(_PLAIN),
    _pattern(_PLAIN),
    _pattern(_PLAIN, r"|l|\?"),
    _pattern(_MONTH),
    _pattern(_DAY, rf"|(?:{_DAY})#[1-5]|l[0-7]|[0-7]l|\?"),
)
# What a field holds that names everything; of two day fields the other one decides then.
_WHOLE: Final = (
    ("*/1", "0-59"),
    ("*/1", "0-23"),
    ("*/1", "1-31"),
    ("*/1", "1-12", "jan-dec"),
    ("*/1", "0-6", "0-7", "1-7", "sun-sat", "mon-sun"),
)
_LAST: Final = r"\b([0-7])l\b"

# A leap day that is a certain day of the week comes every 28 years, and not in 2100.
FARTHEST_YEARS: Final = 41


class BadCron(ValueError):
    """It is none, or never comes; the text says why, and what to write."""


def normalised(expression: str) -> str:
    """The five fields, in lower case, one blank apart. Raises BadCron."""
    if len(expression) > MOST_CHARACTERS or not expression.isascii():
        raise BadCron("a cron expression has five short fields, such as 0 9 * * mon-fri")
    words = expression.lower().split()
    if len(words) == 1 and words[0] in ALIASES:
        return ALIASES[words[0]]
    if words and words[0].startswith("@"):
        raise BadCron(f"{words[0]} is not known; there are {', '.join(ALIASES)}")
    if len(words) != len(FIELDS):
        fields = ", ".join(FIELDS)
        raise BadCron(f"a cron expression has five fields ({fields}), and this has {len(words)}")
    for name, pattern, word in zip(FIELDS, _PATTERNS, words, strict=True):
        if not re.fullmatch(pattern, word, re.ASCII):
            raise BadCron(f"{word!r} is no {name}; write such as {_EXAMPLES[name]}")
    *others, weekday = (
        "*" if word in {"?", *whole} else word for word, whole in zip(words, _WHOLE, strict=True)
    )
    if {"#", "l"} & set(weekday) and others[2] != "*":
        raise BadCron(f"with {weekday!r} no day of the month can be named; write * for that")
    return " ".join([*others, re.sub(_LAST, r"l\1", weekday)])


_EXAMPLES: Final = {
    "minute": "0, */15 or 10,40",
    "hour": "9, 8-18 or */2",
    "day of the month": "1, 1-7 or L for the last",
    "month": "*, 3 or jan-mar",
    "day of the week": "mon-fri, 0,6, fri#3 for the third or L5 for the last one",
}


def check(expression: str) -> None:
    """Make sure that a normalised expression can come. Raises BadCron."""
    made = _croniter(expression, dt.datetime(2024, 1, 1))  # noqa: DTZ001  (a wall clock)
    try:
        made.get_next(dt.datetime)
    except ValueError:
        raise BadCron(f"{expression} never comes: there is no such day") from None


@lru_cache(maxsize=256)
def is_hourly(expression: str) -> bool:
    """Whether the expression names every hour of the day."""
    hours = fields(expression)[1]
    return hours == ["*"] or len(set(hours)) == 24  # noqa: PLR2004


def following(expression: str, zone: zoneinfo.ZoneInfo, after: float) -> Iterator[float]:
    """The instants after `after`, in order, until the calendar ends."""
    return _in_order(expression, zone, after, sign=1)


def preceding(expression: str, zone: zoneinfo.ZoneInfo, before: float) -> Iterator[float]:
    """The instants before `before`, the latest first, until the calendar begins."""
    return (-each for each in _in_order(expression, zone, before, sign=-1))


def _in_order(expression: str, zone: zoneinfo.ZoneInfo, at: float, *, sign: int) -> Iterator[float]:
    """The instants beyond `at`, times the `sign`, which is -1 where one goes back."""
    twice, last = is_hourly(expression), sign * at
    found: list[float] = []  # a heap: what is run in a second pass comes after later walls
    for wall in _walls(expression, zone, at, forward=sign > 0):
        instants = [sign * each for each in _instants(wall, zone, twice=twice)]
        while found and found[0] < min(instants):
            each = heappop(found)
            if each > last:
                yield each
                last = each
        for each in instants:
            heappush(found, each)
    yield from sorted({each for each in found if each > last})


def _instants(wall: dt.datetime, zone: zoneinfo.ZoneInfo, *, twice: bool) -> tuple[float, ...]:
    """When it is run that is due at `wall`: of later walls neither pass is earlier."""
    instants = meant(wall, zone)
    return instants if twice else instants[:1]


def _walls(
    expression: str, zone: zoneinfo.ZoneInfo, at: float, *, forward: bool
) -> Iterator[dt.datetime]:
    """What the clock shows when it is due, from a little on the other side of `at` on."""
    start = shown(at, zone).replace(microsecond=0)
    spare = dt.timedelta(seconds=set_back_near(at, zone) + 1)
    try:
        walls = _croniter(expression, start - spare if forward else start + spare)
        while True:
            yield walls.get_next(dt.datetime) if forward else walls.get_prev(dt.datetime)
    except (ValueError, OverflowError):
        return  # the calendar has an end


def shortest_gap(expression: str) -> float:
    """The least seconds between two times, on one day or on two that follow each other."""
    minutes, hours, *_ = fields(expression)
    times = sorted(
        60 * hour + minute
        for hour in (range(24) if hours == ["*"] else hours)
        for minute in (range(60) if minutes == ["*"] else minutes)
    )
    return 60.0 * min(later - each for each, later in pairwise([*times, times[0] + 24 * 60]))


def fields(expression: str) -> list[list[Any]]:
    """The values of each field; a list of one "*" if that is any."""
    made = _croniter(expression, dt.datetime(2024, 1, 1))  # noqa: DTZ001  (a wall clock)
    return [list(each) for each in made.expanded[:5]]


def _croniter(expression: str, start: dt.datetime) -> Any:  # noqa: ANN401  (it has no types)
    from croniter import croniter  # noqa: PLC0415  (40 ms, for those who have appointments)

    try:
        return croniter(expression, start, max_years_between_matches=FARTHEST_YEARS)
    except ValueError as error:
        raise BadCron(f"{expression} is not understood: {error}") from None
