"""Recurrences and instants in words, for chats and tables. Pure."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from typing import Any, Final

from daemon.schedule import cron
from daemon.schedule.rules import Cron, Interval, Once, Recurrence
from daemon.schedule.wallclock import meant, zone_of

# As cron counts them, where 0 and 7 are the same.
DAYS: Final = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
WEEKDAYS: Final = [1, 2, 3, 4, 5]
WEEKEND: Final = [0, 6]
ANY: Final = ["*"]
MOST_TIMES: Final = 4  # of a day that are written out
UTC: Final = zoneinfo.ZoneInfo("UTC")
UNITS: Final = ((604800, "week"), (86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def moment(at: float, zone: str) -> str:
    """An instant as a person reads it; with its seconds, and its offset, where these matter.

    In UTC, and said so, where this system has lost the zone.
    """
    where = zone_of(zone) or UTC
    local = dt.datetime.fromtimestamp(round(at), where)
    seconds = ":%S" if local.second else ""
    twice = len(meant(local.replace(tzinfo=None, fold=0), where)) > 1
    told = twice or where.key != zone
    return local.strftime(f"%a %Y-%m-%d %H:%M{seconds}{' %Z' if told else ''}")


def describe(recurrence: Recurrence, zone: str) -> str:
    """A recurrence in words; `zone` is where its times are told that have none of their own."""
    words = _rule(recurrence, zone)
    if recurrence.until is not None:
        words += f", until {moment(recurrence.until, zone)}"
    if recurrence.count is not None and not isinstance(recurrence.rule, Once):
        words += f", {counted(recurrence.count, 'time')}"
    return words


def _rule(recurrence: Recurrence, zone: str) -> str:
    match recurrence.rule:
        case Once(at):
            return f"once, on {moment(at, zone)} ({zone})"
        case Interval(every):
            return f"every {_span(every)}"
        case Cron(expression, its_zone):
            words = _cron(expression)
            return f"{words or f'by cron {expression}'} ({its_zone})"


def _span(seconds: float) -> str:
    """In the largest unit of which it is a whole number."""
    size, unit = next((each for each in UNITS if seconds % each[0] == 0), UNITS[-1])
    number = seconds / size
    return unit if number == 1 else counted(number, unit)


def counted(number: float, noun: str) -> str:
    return f"{number:.12g} {noun}{'' if number == 1 else 's'}"


def _cron(expression: str) -> str | None:
    """An expression in words; None if it has no simple ones."""
    minutes, hours, days, months, weekdays = cron.fields(expression)
    if "#" in expression or "l" in expression.rsplit(maxsplit=1)[-1]:
        return None
    when = _day(days, months, weekdays)
    if when is None:
        return None
    if hours == ANY:
        return _in_the_hour(minutes) if when == "day" else None
    if minutes == ANY or len(minutes) * len(hours) > MOST_TIMES:
        return None
    times = [f"{hour:02}:{minute:02}" for hour in sorted(hours) for minute in sorted(minutes)]
    return f"{when if when.startswith('on ') else f'every {when}'} at {_and(times)}"


def _in_the_hour(minutes: list[Any]) -> str | None:
    if minutes == ANY:
        return "every minute"
    step = 60 // len(minutes)
    if len(minutes) > 1 and sorted(minutes) == list(range(0, 60, step)):
        return f"every {step} minutes"
    if len(minutes) <= MOST_TIMES:
        return f"every hour at minute {_and([str(each) for each in sorted(minutes)])}"
    return None


def _day(days: list[Any], months: list[Any], weekdays: list[Any]) -> str | None:
    """Which days: "day", "weekday", "Monday and Friday", or "on day 1 of every month"."""
    if days == ANY and months == ANY:
        return _weekday(weekdays)
    if weekdays != ANY or days == ANY or len(days) > MOST_TIMES:
        return None
    last = ["the last day" if each == "l" else f"day {each}" for each in days]
    if months == ANY:
        return f"on {_and(last)} of every month"
    if len(months) <= MOST_TIMES:
        return f"on {_and(last)} of {_and([MONTHS[each - 1] for each in months])}"
    return None


def _weekday(weekdays: list[Any]) -> str:
    if weekdays == ANY:
        return "day"
    chosen = sorted(weekdays)
    if chosen == WEEKDAYS:
        return "weekday"
    if chosen == WEEKEND:
        return "Saturday and Sunday"
    return _and([DAYS[each] for each in sorted(chosen, key=lambda day: day or 7)])


def _and(words: list[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last
