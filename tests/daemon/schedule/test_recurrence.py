"""Once and at intervals, ends, and times as people write them; cron has a file of its own."""

from __future__ import annotations

import datetime as dt
import math
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from daemon.schedule.recurrence import (
    BadRecurrence,
    Cron,
    Interval,
    Once,
    Recurrence,
    Rule,
    from_json,
    known_zone,
    newest_due,
    next_after,
    parse_at,
    parse_cron,
    parse_end,
    shortest_gap,
    to_json,
    upcoming,
)

NOON = 1_800_000_000.0
TEN_YEARS = 10 * 366 * 86400.0
EVERY = st.floats(60, 40 * 86400)
ANCHORS = st.floats(NOON - TEN_YEARS, NOON + TEN_YEARS)
AFTER = st.floats(0, TEN_YEARS)
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/St_Johns"])


def utc(text: str) -> float:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp()


# --- What comes ---


def test_once_comes_once() -> None:
    """Before it, and not at it."""
    rule = Recurrence(Once(NOON))
    assert upcoming(rule, NOON - 1, 3) == [NOON]
    assert next_after(rule, NOON) is None
    assert shortest_gap(rule) == math.inf


@given(EVERY, ANCHORS, AFTER, st.integers(1, 10))
def test_an_interval_has_no_drift(every: float, anchor: float, after: float, most: int) -> None:
    """Each instant is a whole number of intervals from the anchor, whenever one asks."""
    rule = Recurrence(Interval(every, anchor))
    found = upcoming(rule, anchor + after, most)
    steps = [round((each - anchor) / every) for each in found]
    assert found == [anchor + step * every for step in steps]
    assert all(later - step == 1 for step, later in pairwise(steps))
    assert found[0] > anchor + after
    assert steps[0] == 1 or anchor + (steps[0] - 1) * every <= anchor + after


@given(EVERY, ANCHORS, AFTER)
def test_an_interval_from_run_to_run(every: float, anchor: float, after: float) -> None:
    """It leaves none out and has none twice, if one asks at each for the next."""
    rule = Recurrence(Interval(every, anchor))
    found = upcoming(rule, anchor + after, 5)
    for each, later in pairwise(found):
        assert next_after(rule, each) == later


@given(EVERY, ANCHORS, AFTER)
def test_an_anchor_is_no_instant(every: float, anchor: float, before: float) -> None:
    """The first is an interval after it, however long before one asks."""
    assert next_after(Recurrence(Interval(every, anchor)), anchor - before) == anchor + every


@given(st.integers(1, 20), st.integers(0, 25))
def test_a_count_is_of_all_that_come(count: int, begun: int) -> None:
    rule = Recurrence(Interval(60, NOON), count=count)
    assert len(upcoming(rule, NOON, 30, begun)) == max(0, count - begun)
    assert (next_after(rule, NOON, begun) is None) is (begun >= count)


@given(st.floats(-100, 1000))
def test_an_end_belongs_to_what_comes(until: float) -> None:
    """An instant at the end is run, and none after it."""
    rule = Recurrence(Interval(60, NOON), until=NOON + until)
    found = upcoming(rule, NOON, 30)
    assert found == [NOON + 60 * n for n in range(1, 30) if 60 * n <= until]


def test_ends_of_cron() -> None:
    rule = parse_cron("0 9 * * *", "UTC")
    last = utc("2027-01-03T09:00")
    after = utc("2027-01-01T12:00")
    assert upcoming(Recurrence(rule, until=last), after, 5) == [last - 86400, last]
    assert upcoming(Recurrence(rule, until=last, count=3), after, 5, begun=2) == [last - 86400]
    assert shortest_gap(Recurrence(rule, count=1)) == math.inf


# --- What has come ---


@given(
    st.integers(60, 10_000),
    st.floats(0, 500_000),
    st.floats(0, 500_000),
    st.integers(1, 12),
    st.none() | st.integers(1, 300),
    st.none() | st.floats(-1000, 1_000_000),
)
def test_the_newest_are_the_last_of_all(
    every: int, since: float, later: float, most: int, count: int | None, until: float | None
) -> None:
    """They are the last of those that come one after another, and all are counted."""
    rule = Recurrence(Interval(every, NOON), None if until is None else NOON + until, count)
    first = next_after(rule, NOON + since)
    assume(first is not None)
    assert first is not None
    now = first + later
    coming = [each for each in upcoming(rule, first, 20_000, begun=1) if each <= now]
    due = newest_due(rule, first, now, most)
    assert due.total == 1 + len(coming)
    assert list(due.instants) == [first, *coming][-most:]


@given(st.floats(-5000, 5000), st.floats(0, 50_000))
def test_the_first_may_be_of_an_earlier_rule(away: float, later: float) -> None:
    """It is one of those that are due, whether or not the rule of today has it."""
    rule, first = Recurrence(Interval(600, NOON)), NOON + 10_000 + away
    due = newest_due(rule, first, first + later, 200)
    assert due.instants[0] == first
    assert due.total == len(due.instants)
    assert all(later > each for each, later in pairwise(due.instants))


def test_what_is_left_of_a_count() -> None:
    """A count ends what is made up for, too; that which has come is one of it in any case."""
    rule = Recurrence(Interval(60, NOON), count=5)
    assert newest_due(rule, NOON + 60, NOON + 3600, 10, begun=3).total == 2
    assert newest_due(rule, NOON + 60, NOON + 3600, 10, begun=7).instants == (NOON + 60,)
    daily = Recurrence(parse_cron("0 9 * * *", "UTC"), count=3)
    first = utc("2027-01-01T09:00")
    due = newest_due(daily, first, first + 10 * 86400, 10, begun=1)
    assert due.instants == (first, first + 86400)


def test_as_many_of_cron_as_are_asked_for() -> None:
    """Also where there are more than are counted."""
    rule, first = Recurrence(parse_cron("* * * * *", "UTC")), utc("2027-01-01T09:00")
    due = newest_due(rule, first, first + 200 * 60, 120)
    assert due.instants == tuple(first + 60 * n for n in range(81, 201))


def test_once_is_due_at_its_time() -> None:
    assert newest_due(Recurrence(Once(NOON)), NOON, NOON + TEN_YEARS, 10).instants == (NOON,)


# --- What is written ---


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2026-12-01T09:00", "2026-12-01T08:00"),
        (" 2026-12-01 09:00:30 ", "2026-12-01T08:00:30"),
        ("2026-12-01T09:00Z", "2026-12-01T09:00"),
        ("2026-12-01T09:00+05:45", "2026-12-01T03:15"),
        ("2026-12-01T09:00-03:30", "2026-12-01T12:30"),
        # In the gap of that night: the first instant after it.
        ("2027-03-28T02:00", "2027-03-28T01:00"),
        ("2027-03-28T02:59", "2027-03-28T01:00"),
        ("2027-03-28T03:00", "2027-03-28T01:00"),
        # In the fold: the first of the two, unless the offset says which.
        ("2026-10-25T02:30", "2026-10-25T00:30"),
        ("2026-10-25T02:30+02:00", "2026-10-25T00:30"),
        ("2026-10-25T02:30+01:00", "2026-10-25T01:30"),
    ],
)
def test_a_time_of_a_day(written: str, read: str) -> None:
    """In Berlin."""
    assert parse_at(written, "Europe/Berlin", NOON) == utc(read)


@pytest.mark.parametrize(
    ("written", "now", "read"),
    [
        ("09:00", "2026-11-20T07:59", "2026-11-20T08:00"),
        ("09:00", "2026-11-20T08:00", "2026-11-21T08:00"),
        ("00:00", "2026-11-20T22:59", "2026-11-20T23:00"),
        ("00:00", "2026-11-20T23:00", "2026-11-21T23:00"),
        ("02:30", "2027-03-27T12:00", "2027-03-28T01:00"),
        ("02:30", "2027-03-28T01:00", "2027-03-29T00:30"),
        ("02:30", "2026-10-24T12:00", "2026-10-25T00:30"),
        ("02:30", "2026-10-25T00:30", "2026-10-26T01:30"),
        ("09:00:30", "2026-11-20T07:00", "2026-11-20T08:00:30"),
    ],
)
def test_a_time_alone_is_the_next(written: str, now: str, read: str) -> None:
    """In Berlin; also in nights in which it is skipped or comes twice."""
    assert parse_at(written, "Europe/Berlin", utc(now)) == utc(read)


@given(st.times(), ZONES, st.floats(NOON, NOON + TEN_YEARS))
def test_any_time_of_day(time: dt.time, zone: str, now: float) -> None:
    """It is to come, within the days that follow, and shown by the clock if it is not skipped."""
    at = parse_at(time.isoformat(), zone, now)
    assert now < at <= now + 2 * 86400
    local = dt.datetime.fromtimestamp(at, ZoneInfo(zone)).time()
    skipped = dt.datetime.fromtimestamp(at - 0.001, ZoneInfo(zone)).time() < time < local
    assert skipped or abs(seconds_of(local) - seconds_of(time)) < 0.01


def seconds_of(time: dt.time) -> float:
    return time.hour * 3600 + time.minute * 60 + time.second + time.microsecond / 1e6


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2026-12-31", "2026-12-31T22:59:59"),
        ("2026-12-31T18:00", "2026-12-31T17:00"),
        ("2026-10-25", "2026-10-25T22:59:59"),
    ],
)
def test_an_end_may_be_a_day(written: str, read: str) -> None:
    """Its last second, in Berlin."""
    assert parse_end(written, "Europe/Berlin", NOON) == utc(read)


def test_a_day_whose_next_begins_with_a_gap() -> None:
    """It ends with the gap's beginning: in Santiago, that midnight is one o'clock."""
    assert parse_end("2026-09-05", "America/Santiago", NOON) == utc("2026-09-06T03:59:59")


@pytest.mark.parametrize(
    "written",
    ["", "soon", "9am", "24:00", "25:00", "2026-12-01", "2026-13-01T09:00", "09:00+01:00",
     "2026-12-01T09:00 Europe/Berlin", "1e9", "nan", "tomorrow 09:00",
     "2026-12-01T09:00+99:00"],
)  # fmt: skip
def test_what_is_no_time(written: str) -> None:
    """The answer says what would be one."""
    with pytest.raises(BadRecurrence, match="is no time; write such as 2026-12-01T09:00"):
        parse_at(written, "Europe/Berlin", NOON)


@given(st.text(max_size=30) | st.text("0123456789-:TZ+. ", max_size=30), ZONES)
def test_anything_that_is_written(text: str, zone: str) -> None:
    """It is read, or refused with a sentence; nothing else is raised."""
    for parse in (parse_at, parse_end):
        try:
            assert math.isfinite(parse(text, zone, NOON))
        except BadRecurrence as error:
            assert str(error)


@pytest.mark.parametrize("name", ["", "Mars/Phobos", "Europe", "../etc/passwd", "/etc/localtime",
                                  "Europe/Berlin\0", "\udcff", "x" * 5000, "right/UTC",
                                  "posix/UTC", "posixrules", "localtime"])  # fmt: skip
def test_what_is_no_zone(name: str) -> None:
    """It is the zone that is said to be wrong, whatever was to be read in it.

    Nor is one what counts leap seconds, or is another on another host.
    """
    with pytest.raises(BadRecurrence, match="is no time zone"):
        known_zone(name)
    for parse in (parse_at, parse_end):
        with pytest.raises(BadRecurrence, match="is no time zone"):
            parse("2026-12-01T09:00", name, NOON)
    with pytest.raises(BadRecurrence, match="is no time zone"):
        parse_cron("0 9 * * *", name)


def test_a_zone_is_known_with_blanks_around_it() -> None:
    assert known_zone(" Europe/Berlin\n") == "Europe/Berlin"


# --- As text ---

RULES: st.SearchStrategy[Rule] = st.one_of(
    st.builds(Once, st.floats(allow_nan=False, allow_infinity=False)),
    st.builds(Interval, EVERY, ANCHORS),
    st.builds(Cron, st.sampled_from(["0 9 * * *", "*/5 * * * mon#1"]), ZONES),
)


@given(RULES)
def test_a_rule_comes_back_from_its_text(rule: Rule) -> None:
    """To the last bit of a float."""
    assert from_json(to_json(rule)) == rule
