"""Cron against a reference that looks at every minute, around every change of clocks."""

from __future__ import annotations

import datetime as dt
import math
import random
from collections.abc import Sequence
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.schedule.recurrence import (
    BadRecurrence,
    Cron,
    Recurrence,
    newest_due,
    next_after,
    parse_cron,
    shortest_gap,
    upcoming,
)
from tests.crash.conftest import Figures, figures  # noqa: F401  (a fixture)
from tests.daemon.schedule.bruteforce import MINUTE, Minute, changes, instants, minutes

# Half-hour zones, southern ones, changes at midnight, by half an hour, twice around Ramadan, and
# one whose winter is the exception; one that never changes is what the others are on other days.
ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
    "America/St_Johns",
    "Africa/Casablanca",
    "America/Santiago",
    "Africa/Cairo",
    "Europe/Dublin",
    "Asia/Kathmandu",
)
# Chosen so that each lies in some gap and some fold, or on their edges.
EXPRESSIONS = (
    "30 2 * * *",
    "0 2 * * *",
    "0 3 * * *",
    "0,30 2,3 * * *",
    "*/10 1-3 * * *",
    "* 2 * * *",
    "* * * * *",
    "*/30 * * * *",
    "15 * * * *",
    "0 0 * * *",
    "59 23 * * *",
    "15 0 * * sun",
    "45 2 * * sun#2",
    "30 1 L * *",
    "30 2 * 3,10 L0",
    "0 12 1 * mon",
)
YEARS = (
    int(dt.datetime(2026, 1, 1, tzinfo=dt.UTC).timestamp()),
    int(dt.datetime(2028, 1, 1, tzinfo=dt.UTC).timestamp()),
)
AROUND = 36 * 3600
APIA = int(dt.datetime(2011, 12, 30, 10, tzinfo=dt.UTC).timestamp())
SEVERAL = 1_500


@cache
def changes_of(zone: str) -> list[int]:
    return changes(zone, *YEARS)


def all_in(expression: str, zone: str, begin: int, end: int) -> list[int]:
    """All instants in [begin, end) as the implementation has them, one after the other."""
    rule = Recurrence(parse_cron(expression, zone), until=end - 1)
    return [int(each) for each in upcoming(rule, begin - 1, (end - begin) // MINUTE + 1)]


def compare(expression: str, zone: str, looked_at: Sequence[Minute]) -> int:
    """How many minutes were compared."""
    begin, end = looked_at[0].at, looked_at[-1].at + MINUTE
    expected = instants(expression, looked_at)
    found = all_in(expression, zone, begin, end)
    if found != expected:
        odd = sorted(set(found) ^ set(expected))[:5] or found[:5]
        shown = [dt.datetime.fromtimestamp(each, dt.UTC).isoformat() for each in odd]
        raise AssertionError(f"{expression} in {zone}: {shown}")
    return len(looked_at)


def around(zone: str, change: int, before: int, after: int) -> list[Minute]:
    return list(minutes(zone, change - before, change + after))


@pytest.mark.parametrize("zone", ZONES)
def test_every_change_of_two_years(zone: str) -> None:
    """Each minute of that night; the zone that has none is looked at somewhere."""
    for change in changes_of(zone) or [YEARS[0] + AROUND]:
        night = around(zone, change, 2 * 3600, 5 * 3600)
        for expression in EXPRESSIONS:
            assert compare(expression, zone, night)


def test_a_day_that_never_was() -> None:
    """Samoa went to bed on a Thursday and rose on a Saturday: what was due between is run then."""
    days = around("Pacific/Apia", APIA, 3600, AROUND)
    for expression in EXPRESSIONS:
        assert compare(expression, "Pacific/Apia", days)


@pytest.mark.slow
@pytest.mark.parametrize("zone", ZONES)
def test_every_minute_of_two_years(zone: str, figures: Figures) -> None:  # noqa: F811
    """For all expressions; those of every minute in the days around each change."""
    everything = list(minutes(zone, *YEARS))
    compared = 0
    for expression in EXPRESSIONS:
        if expression.startswith("* "):
            days = [around(zone, each, AROUND, AROUND) for each in changes_of(zone)]
            compared += sum(compare(expression, zone, each) for each in days)
        else:
            compared += compare(expression, zone, everything)
    row = {"zone": zone, "changes": len(changes_of(zone)), "minutes compared": f"{compared:,}"}
    figures("cron against a reference that looks at every minute", row)


# --- By chance ---

HOURS = st.sampled_from(["*", "2", "0", "1-3", "*/2", "23", "0,3", "2,3"])
MINUTES = st.sampled_from(["*", "0", "30", "59", "*/7", "*/30", "5-20/5", "0,15,45"])
DAYS = st.sampled_from(["*", "1", "L", "*/3", "25-31", "1,15,L"])
MONTHS = st.sampled_from(["*", "3", "mar-apr", "9-11", "*/2"])
WEEKDAYS = st.sampled_from(["*", "sun", "1-5", "7", "sat#1", "sun#4", "L0", "mon,wed"])
# With a day of the month, # and L have no meaning that two programs agree on.
FIELDS = st.tuples(MINUTES, HOURS, DAYS, MONTHS, WEEKDAYS).filter(
    lambda fields: fields[2] == "*" or not set("#L") & set(fields[4])
)


@st.composite
def moments_near_changes(draw: st.DrawFn) -> tuple[str, float]:
    """A zone, and a time somewhere in the two years, mostly near one of its changes."""
    zone = draw(st.sampled_from(ZONES))
    near = draw(st.sampled_from([*changes_of(zone), YEARS[0] + AROUND]))
    away = draw(st.one_of(st.integers(-3 * 3600, 3 * 3600), st.floats(-90_000.0, 90_000.0)))
    return zone, near + away


@settings(max_examples=100, deadline=None)
@given(FIELDS, moments_near_changes())
def test_the_next_instant_of_any_time(fields: tuple[str, ...], moment: tuple[str, float]) -> None:
    """Within a gap, within a fold, and between two seconds, too."""
    zone, at = moment
    expression = " ".join(fields)
    begin = math.floor(at / MINUTE) * MINUTE
    expected = next(
        (
            each
            for each in instants(expression, minutes(zone, begin, begin + 8 * 3600))
            if each > at
        ),
        None,
    )
    found = next_after(Recurrence(parse_cron(expression, zone)), at)
    if expected is None:
        assert found is None or found >= begin + 8 * 3600
    else:
        assert found == expected


@settings(max_examples=80, deadline=None)
@given(
    FIELDS,
    moments_near_changes(),
    st.floats(0, 86400),
    st.integers(1, 12),
    st.none() | st.integers(1, 30),
)
def test_the_newest_of_those_that_are_due(
    fields: tuple[str, ...],
    moment: tuple[str, float],
    later: float,
    most: int,
    count: int | None,
) -> None:
    """They are the last of those that come one after another."""
    zone, at = moment
    rule = Recurrence(parse_cron(" ".join(fields), zone), count=count)
    first = next_after(rule, at)
    if first is None:
        return
    now = first + later
    due = newest_due(rule, first, now, most)
    coming = upcoming(rule, first, SEVERAL, begun=1)
    expected = [first, *(each for each in coming if each <= now)]
    assert list(due.instants) == expected[-most:]
    assert due.total in {None, len(expected)}
    assert due.total is not None or count is None


def test_ten_years_of_absence_cost_little() -> None:
    """A job of every minute: its newest instants, and not all the millions before."""
    rule = Recurrence(Cron("* * * * *", "Europe/Berlin"))
    now = float(YEARS[1])
    due = newest_due(rule, now - 10 * 365 * 86400, now, 3)
    assert due.instants == (now - 120, now - 60, now)
    assert due.total is None


@pytest.mark.parametrize(
    ("expression", "seconds"),
    [("* * * * *", 60), ("*/15 * * * *", 900), ("0 9 * * *", 86400), ("50 23,0 * * *", 3600),
     ("0,50 * * * *", 600), ("0 9 * * mon", 86400)],
)  # fmt: skip
def test_the_shortest_gap(expression: str, seconds: float) -> None:
    """Between two times of a day, or of two days."""
    assert shortest_gap(Recurrence(parse_cron(expression, "UTC"))) == seconds


# --- What is written ---


@pytest.mark.parametrize(
    ("written", "read"),
    [("@daily", "0 0 * * *"), (" 0  9 * *  MON-FRI ", "0 9 * * mon-fri"),
     ("0 9 ? * 5L", "0 9 * * l5"), ("0 9 */1 * mon", "0 9 * * mon"),
     ("*/5 0-23 1 jan-dec 1-7", "*/5 * 1 * *"), ("0 9 L JAN,dec *", "0 9 l jan,dec *")],
)  # fmt: skip
def test_what_is_written_is_made_plain(written: str, read: str) -> None:
    assert parse_cron(written, "UTC").expression == read


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("", "has 0"),
        ("* * * *", "has 4"),
        ("0 0 9 * * *", "has 6"),
        ("@reboot", "@reboot is not known"),
        ("H 9 * * *", "'h' is no minute"),
        ("R 9 * * *", "'r' is no minute"),
        ("0 9am * * *", "'9am' is no hour"),
        ("60 9 * * *", "not understood"),
        ("0 0 30 2 *", "never comes"),
        ("0 0 * * sunday", "no day of the week"),
        ("0 0 1W * *", "no day of the month"),
        ("\uff10 9 * * *", "five short fields"),
        ("*/0 * * * *", "not understood"),
        ("0 9 1 * fri#3", "no day of the month can be named"),
        ("0 9 1 * L5", "no day of the month can be named"),
        ("0 9 * * * " * 50, "five short fields"),
    ],
)
def test_what_is_no_expression(written: str, told: str) -> None:
    """The answer says what is wrong with it."""
    with pytest.raises(BadRecurrence, match=told):
        parse_cron(written, "UTC")


@given(st.text(max_size=40) | st.text("0123456789*,-/#L ?abc@", max_size=40))
def test_anything_that_is_written(text: str) -> None:
    """It is read, or refused with a sentence; nothing else is raised."""
    try:
        rule = parse_cron(text, "Europe/Berlin")
    except BadRecurrence as error:
        assert str(error)
        return
    assert parse_cron(rule.expression, rule.zone) == rule
    assert next_after(Recurrence(rule), random.Random(1).uniform(*YEARS))
