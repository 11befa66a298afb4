"""When a job is run: once, at an interval, or by cron. Pure; times are Unix seconds.

The instants of a recurrence are a set that does not depend on when one looks: intervals are counted
from their anchor and never drift, and cron goes by the wall clock of its zone (`cron`).
"""

from __future__ import annotations

import datetime as dt
import math
import zoneinfo
from collections import deque
from collections.abc import Iterator
from itertools import count, islice, takewhile
from typing import Final

from daemon.schedule import cron
from daemon.schedule.rules import (
    BadRecurrence,
    Cron,
    Due,
    Interval,
    Once,
    Recurrence,
    Rule,
    from_json,
    to_json,
)
from daemon.schedule.wallclock import meant, shown, zone_of
from daemon.schedule.wording import describe, moment

__all__ = [
    "BadRecurrence",
    "Cron",
    "Due",
    "Interval",
    "Once",
    "Recurrence",
    "Rule",
    "describe",
    "from_json",
    "known_zone",
    "load",
    "lost_zone",
    "moment",
    "newest_due",
    "next_after",
    "parse_at",
    "parse_cron",
    "parse_end",
    "shortest_gap",
    "to_json",
    "upcoming",
]

# How many instants of cron are counted that were missed; of more it is only known that there are.
MOST_COUNTED: Final = 50


def load() -> None:
    """Import what is slow to import, so that no transaction has to."""
    import croniter  # noqa: F401, PLC0415


# --- What people and models write ---


def known_zone(name: str) -> str:
    """The name of a zone. Raises BadRecurrence."""
    zone = zone_of(name.strip())
    if zone is None:
        raise BadRecurrence(
            f"{name.strip()[:60]!r} is no time zone; write an IANA name such as Europe/Berlin"
        )
    return str(zone.key)


def parse_cron(expression: str, zone: str) -> Cron:
    """Five fields, or @daily and the like. Raises BadRecurrence."""
    try:
        fields = cron.normalised(expression)
        cron.check(fields)
    except cron.BadCron as error:
        raise BadRecurrence(str(error)) from None
    return Cron(fields, known_zone(zone))


def parse_at(text: str, zone: str, now: float) -> float:
    """An ISO 8601 date and time, local in `zone` if it has no offset; or a time of day, the next.

    Raises BadRecurrence.
    """
    written, where = text.strip(), zoneinfo.ZoneInfo(known_zone(zone))
    try:
        return _at(written, where, now)
    except (ValueError, OverflowError, OSError):
        raise BadRecurrence(
            f"{written[:40]!r} is no time; write such as 2026-12-01T09:00, or 09:00 for the next"
        ) from None


def parse_end(text: str, zone: str, now: float) -> float:
    """As `parse_at`; a day alone is its last second. Raises BadRecurrence."""
    where = zoneinfo.ZoneInfo(known_zone(zone))
    try:
        day = dt.date.fromisoformat(text.strip())
        midnight = dt.datetime.combine(day + dt.timedelta(days=1), dt.time())
        return meant(midnight, where)[0] - 1.0
    except (ValueError, OverflowError, OSError):
        return parse_at(text, zone, now)


def _at(written: str, zone: zoneinfo.ZoneInfo, now: float) -> float:
    if ":" not in written:
        raise ValueError("a day has no time")
    if "-" not in written[:8]:
        return _time_of_day(dt.time.fromisoformat(written), zone, now)
    at = dt.datetime.fromisoformat(written)
    return at.timestamp() if at.tzinfo else meant(at, zone)[0]


def _time_of_day(time: dt.time, zone: zoneinfo.ZoneInfo, now: float) -> float:
    """The next time that a clock shows that."""
    if time.tzinfo is not None:
        raise ValueError("an offset without a day")
    today = shown(now, zone).date()
    days = (dt.datetime.combine(today + dt.timedelta(days=n), time) for n in range(3))
    return next(at for day in days if (at := meant(day, zone)[0]) > now)


# --- What comes ---


def lost_zone(rule: Rule, zone: str) -> str | None:
    """The zone of a rule, or that of its times, if this system has none of that name any more."""
    names = (rule.zone, zone) if isinstance(rule, Cron) else (zone,)
    return next((name for name in names if zone_of(name) is None), None)


def next_after(recurrence: Recurrence, after: float, begun: int = 0) -> float | None:
    """The first instant after `after`; None if there is none, or `begun` were all."""
    return next(_coming(recurrence, after, begun), None)


def upcoming(recurrence: Recurrence, after: float, most: int, begun: int = 0) -> list[float]:
    """The next instants after `after`, `most` of them, or as many as there are."""
    return list(islice(_coming(recurrence, after, begun), most))


def _coming(recurrence: Recurrence, after: float, begun: int) -> Iterator[float]:
    """The instants after `after`, as long as the count and the end allow."""
    until = math.inf if recurrence.until is None else recurrence.until
    left = None if recurrence.count is None else max(0, recurrence.count - begun)
    within = takewhile(lambda at: at <= until, _following(recurrence.rule, after))
    return islice(within, left)


def _following(rule: Rule, after: float) -> Iterator[float]:
    match rule:
        case Once(at):
            return iter([at] if at > after else [])
        case Interval(every, anchor):
            return (anchor + step * every for step in count(_steps(rule, after)))
        case Cron(expression, zone):
            where = zone_of(zone)
            return iter(()) if where is None else cron.following(expression, where, after)


def _steps(rule: Interval, after: float) -> int:
    """The number of the first instant after `after`; floats may be off by one at the edge."""
    steps = max(1, math.floor((after - rule.anchor) / rule.every))
    while rule.anchor + steps * rule.every <= after:
        steps += 1
    return steps


def newest_due(recurrence: Recurrence, first: float, now: float, most: int, begun: int = 0) -> Due:
    """The newest `most` of the instants from `first`, which has come, to `now`.

    A count is kept to from `first` on. It costs no more after ten years than after ten minutes.
    """
    rule = recurrence.rule
    if isinstance(rule, Once):
        return Due((first,), 1)
    until = now if recurrence.until is None else min(now, max(recurrence.until, first))
    if isinstance(rule, Interval):
        return _newest_of_interval(rule, first, until, most, _left(recurrence, begun))
    if recurrence.count is not None:
        return _counted(rule, first, until, most, _left(recurrence, begun))
    return _newest_of_cron(rule, first, until, most)


def _left(recurrence: Recurrence, begun: int) -> float:
    return math.inf if recurrence.count is None else max(1, recurrence.count - begun)


def _newest_of_interval(rule: Interval, first: float, until: float, most: int, left: float) -> Due:
    # An instant of an earlier rule may be the first; from then on it goes by this one.
    later = max(0, _steps(rule, until) - _steps(rule, first))
    total = int(min(left, 1 + later))
    begin, shown_from = _steps(rule, first), max(0, total - 1 - most)
    after = [rule.anchor + (begin + n) * rule.every for n in range(shown_from, total - 1)]
    return Due((first, *after)[-most:], total)


def _counted(rule: Rule, first: float, until: float, most: int, left: float) -> Due:
    newest, total = deque([first], most), 1
    for each in _following(rule, first):
        if total >= left or each > until:
            break
        newest.append(each)
        total += 1
    return Due(tuple(newest), total)


def _newest_of_cron(rule: Cron, first: float, until: float, most: int) -> Due:
    """Walk back from `until`; what is not in sight then is not counted."""
    zone = zoneinfo.ZoneInfo(rule.zone)
    back = cron.preceding(rule.expression, zone, math.floor(until) + 1.0)
    most_seen = max(most, MOST_COUNTED)
    found = [*islice(takewhile(lambda at: at > first, back), most_seen)]
    whole = len(found) < most_seen
    instants = (*([first] if whole else []), *reversed(found))
    return Due(instants[-most:], len(instants) if whole else None)


def shortest_gap(recurrence: Recurrence) -> float:
    """The least seconds that can lie between two instants, by the clock on the wall.

    Of cron: between two times of a day, or the last of a day and the first of the next.
    """
    if recurrence.count == 1:
        return math.inf
    match recurrence.rule:
        case Once():
            return math.inf
        case Interval(every):
            return every
        case Cron(expression):
            return cron.shortest_gap(expression)
