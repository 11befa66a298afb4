"""Recurrences and instants as people read them."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.schedule.recurrence import Interval, Once, Recurrence, describe, moment, parse_cron


def utc(text: str) -> float:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp()


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("* * * * *", "every minute"),
        ("*/15 * * * *", "every 15 minutes"),
        ("0,30 * * * *", "every 30 minutes"),
        ("5 * * * *", "every hour at minute 5"),
        ("@hourly", "every hour at minute 0"),
        ("10,20 * * * *", "every hour at minute 10 and 20"),
        ("30 0-23 * * *", "every hour at minute 30"),
        ("@daily", "every day at 00:00"),
        ("0 9 * * *", "every day at 09:00"),
        ("0 9 1-31 1-12 *", "every day at 09:00"),
        ("0,30 9,18 * * *", "every day at 09:00, 09:30, 18:00 and 18:30"),
        ("0 9 * * mon-fri", "every weekday at 09:00"),
        ("0 9 * * sat,sun", "every Saturday and Sunday at 09:00"),
        ("0 9 * * 7", "every Sunday at 09:00"),
        ("0 9 * * 0,mon,fri", "every Monday, Friday and Sunday at 09:00"),
        ("@monthly", "on day 1 of every month at 00:00"),
        ("0 9 L * *", "on the last day of every month at 09:00"),
        ("0 9 1,15,L * *", "on day 1, day 15 and the last day of every month at 09:00"),
        ("@yearly", "on day 1 of January at 00:00"),
        ("0 12 24,31 dec *", "on day 24 and day 31 of December at 12:00"),
        ("0 9 * * fri#3", "by cron 0 9 * * fri#3"),
        ("0 9 * * 5L", "by cron 0 9 * * l5"),
        ("0 9 1 * mon", "by cron 0 9 1 * mon"),
        ("0 9 * 3 mon", "by cron 0 9 * 3 mon"),
        ("*/7 * * * *", "by cron */7 * * * *"),
        ("*/10 9 * * *", "by cron */10 9 * * *"),
        ("0 9-17 * * *", "by cron 0 9-17 * * *"),
        ("0 * * * mon", "by cron 0 * * * mon"),
    ],
)
def test_cron_in_words(expression: str, words: str) -> None:
    """Simple ones; what would take a paragraph is told as it was written."""
    rule = Recurrence(parse_cron(expression, "Europe/Berlin"))
    assert describe(rule, "UTC") == f"{words} (Europe/Berlin)"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(60, "every minute"), (90, "every 90 seconds"), (3600, "every hour"),
     (5400, "every 90 minutes"), (86400, "every day"), (604800, "every week"),
     (1209600, "every 2 weeks"), (100.5, "every 100.5 seconds"),
     (1_000_001, "every 1000001 seconds"), (1_234_567.5, "every 1234567.5 seconds")],
)  # fmt: skip
def test_intervals_in_words(seconds: float, words: str) -> None:
    """In the largest unit of which they are a whole number, and to the second."""
    assert describe(Recurrence(Interval(seconds, 0.0)), "UTC") == words


def test_once_in_words() -> None:
    """By the clock of the job's zone; it comes once, whatever its count."""
    rule = Recurrence(Once(utc("2026-12-01T08:00")), count=1)
    assert describe(rule, "Europe/Berlin") == "once, on Tue 2026-12-01 09:00 (Europe/Berlin)"


@pytest.mark.parametrize(
    ("until", "count", "words"),
    [
        ("2026-12-31T22:59:59", None, "every hour, until Thu 2026-12-31 23:59:59"),
        (None, 1, "every hour, 1 time"),
        ("2026-12-31T17:00", 5, "every hour, until Thu 2026-12-31 18:00, 5 times"),
    ],
)
def test_ends_in_words(until: str | None, count: int | None, words: str) -> None:
    rule = Recurrence(Interval(3600, 0.0), (until and utc(until)) or None, count)
    assert describe(rule, "Europe/Berlin") == words


@pytest.mark.parametrize(
    ("at", "zone", "words"),
    [
        ("2026-12-01T08:00", "Europe/Berlin", "Tue 2026-12-01 09:00"),
        ("2026-12-01T08:00:30", "Europe/Berlin", "Tue 2026-12-01 09:00:30"),
        ("2026-12-01T08:00", "Asia/Kathmandu", "Tue 2026-12-01 13:45"),
        ("2026-12-31T23:30", "Europe/Berlin", "Fri 2027-01-01 00:30"),
        # The hour before, both passes of the one that comes twice, and the hour after.
        ("2026-10-24T23:30", "Europe/Berlin", "Sun 2026-10-25 01:30"),
        ("2026-10-25T00:30", "Europe/Berlin", "Sun 2026-10-25 02:30 CEST"),
        ("2026-10-25T01:30", "Europe/Berlin", "Sun 2026-10-25 02:30 CET"),
        ("2026-10-25T02:00", "Europe/Berlin", "Sun 2026-10-25 03:00"),
        # Both sides of a gap need no telling apart.
        ("2027-03-28T00:59", "Europe/Berlin", "Sun 2027-03-28 01:59"),
        ("2027-03-28T01:00", "Europe/Berlin", "Sun 2027-03-28 03:00"),
        ("2026-04-04T14:45", "Australia/Lord_Howe", "Sun 2026-04-05 01:45 +11"),
        ("2026-04-04T15:15", "Australia/Lord_Howe", "Sun 2026-04-05 01:45 +1030"),
    ],
)
def test_a_moment(at: str, zone: str, words: str) -> None:
    """As the clock shows it; a repeated hour is told apart."""
    assert moment(utc(at), zone) == words


@given(st.floats(0, 4e9), st.integers(1, 7200), st.sampled_from(["Europe/Berlin", "UTC"]))
def test_two_moments_are_not_told_alike(at: float, later: int, zone: str) -> None:
    assert moment(at, zone) != moment(at + later, zone)
