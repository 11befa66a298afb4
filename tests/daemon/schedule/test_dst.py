"""docs/dst.md says when appointments are kept where clocks are changed."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from tests.daemon.schedule import dst_table
from tests.daemon.schedule.bruteforce import MINUTE, instants, minutes
from tests.daemon.schedule.dst_table import CASES, Case


def test_the_table_is_what_the_scheduler_does() -> None:
    """`python -m tests.daemon.schedule.dst_table` writes it."""
    assert dst_table.text().splitlines() == dst_table.PATH.read_text("utf-8").splitlines()


def test_every_case_is_there_once() -> None:
    assert len(set(CASES)) == len(CASES)
    assert {case.way for case in CASES} == {"cron", "interval", "time"}


def offset(at: float, zone: str) -> dt.timedelta | None:
    return dt.datetime.fromtimestamp(at, ZoneInfo(zone)).utcoffset()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.zone} {case.asked}")
def test_a_case_is_of_the_change_that_it_names(case: Case) -> None:
    """Between what was asked and a day after its last run the clock is changed, or never."""
    zone = ZoneInfo(case.zone)
    since = dt.datetime.fromisoformat(case.since).replace(tzinfo=zone).timestamp()
    after = dst_table.runs(case)[-1] + 86400
    assert (offset(since, case.zone) != offset(after, case.zone)) is (case.change != "none")


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.way == "cron" and not case.asked.startswith("@")],
    ids=lambda case: f"{case.zone} {case.asked}",
)
def test_the_cases_by_cron_are_those_of_the_reference(case: Case) -> None:
    """Which looks at every minute, and has no code of the scheduler's."""
    since = dt.datetime.fromisoformat(case.since).replace(tzinfo=ZoneInfo(case.zone)).timestamp()
    found = dst_table.runs(case)
    looked_at = minutes(case.zone, int(since) + MINUTE, int(found[-1]) + MINUTE)
    assert found == instants(case.asked, looked_at)


def test_intervals_count_seconds() -> None:
    """They are as far apart across a change as ever."""
    for case in CASES:
        if case.way == "interval":
            gaps = {later - each for each, later in pairwise(dst_table.runs(case))}
            assert gaps == {float(case.asked)}
