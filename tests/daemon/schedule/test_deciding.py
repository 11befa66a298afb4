"""What becomes of instants that have come: in time, late, missed, and while a run goes on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.schedule.deciding import (
    GRACE,
    MOST_MADE_UP,
    RETRIES,
    Arrival,
    Arrivals,
    Clock,
    Standing,
    arrivals,
    lateness,
    retry_after,
)
from daemon.schedule.recurrence import Interval, Once, Recurrence, upcoming

EVERY = 600.0
RULE = Recurrence(Interval(EVERY, 0.0))  # 600, 1200, 1800 ...


def come(missed: str, now: float, *, awake: float = 0.0, open_runs: int = 0) -> Arrivals:
    """What is done at `now` about a job whose first instant was at 600."""
    return arrivals(Standing(RULE, missed, EVERY, 0, open_runs), Clock(now, awake))


def instants(found: Arrivals) -> list[float]:
    return [each.instant for each in found.run]


@pytest.mark.parametrize("missed", ["skip", "once", "all"])
def test_what_comes_in_time_is_run(missed: str) -> None:
    """Whatever is done about missed ones."""
    found = come(missed, EVERY)
    assert found == Arrivals((Arrival(EVERY),), None, 1, 2 * EVERY)


def test_a_restart_is_no_absence() -> None:
    """Who comes back within the grace runs what came meanwhile, also if it would be skipped."""
    assert instants(come("skip", EVERY + GRACE, awake=EVERY + GRACE)) == [EVERY]


def test_what_is_missed_is_skipped() -> None:
    """After an absence nothing is made up for, and the next one comes at its time."""
    now = 5 * EVERY + GRACE + 1
    found = come("skip", now, awake=now)
    assert (found.run, found.missed) == ((), Arrival(5 * EVERY, 4))
    assert (found.begun, found.next_at) == (5, 6 * EVERY)


def test_late_by_our_own_work_is_not_missed() -> None:
    """What waits for its turn since we look without a break is run, however late."""
    assert instants(come("skip", 1.9 * EVERY, awake=0.0)) == [EVERY]


def test_once_stands_for_all() -> None:
    """The newest is run, and says for how many."""
    now = 5 * EVERY + 1
    found = come("once", now, awake=now)
    assert found.run == (Arrival(5 * EVERY, 4),)
    assert found.missed is None


def test_all_are_made_up_for_up_to_a_cap() -> None:
    """The newest ones; the first of them stands for those before."""
    now = 25 * EVERY + 1
    found = come("all", now, awake=now)
    assert instants(found) == [n * EVERY for n in range(26 - MOST_MADE_UP, 26)]
    assert found.run[0].stands_for == 25 - MOST_MADE_UP
    assert found.begun == 25


@pytest.mark.parametrize(
    ("missed", "open_runs", "run"),
    [("skip", 1, []), ("once", 1, [EVERY]), ("once", 2, []), ("all", 9, [EVERY]), ("all", 10, [])],
)
def test_a_run_that_goes_on(missed: str, open_runs: int, run: list[float]) -> None:
    """`skip` lets nothing wait behind it, `once` one, `all` as many as are made up for."""
    found = come(missed, EVERY, open_runs=open_runs)
    assert instants(found) == run
    assert (found.missed is None) == bool(run)


def test_what_comes_once_has_no_next() -> None:
    """Nor has what has come as often as it should."""
    once = Standing(Recurrence(Once(5.0)), "once", 5.0, 0, 0)
    assert arrivals(once, Clock(5.0, 0.0)).next_at is None
    twice = Standing(Recurrence(Interval(EVERY, 0.0), count=2), "once", 2 * EVERY, 1, 0)
    assert arrivals(twice, Clock(2 * EVERY, 0.0)).next_at is None


@given(
    st.sampled_from(["skip", "once", "all"]),
    st.lists(st.floats(1.0, 5 * EVERY), min_size=1, max_size=20),
    st.integers(1, 40),
    st.booleans(),
)
def test_every_instant_comes_once(
    missed: str, steps: list[float], count: int, dozing: bool
) -> None:
    """However one looks: each is run or stood for or missed, once, and in order."""
    rule = Recurrence(Interval(EVERY, 0.0), count=count)
    now, begun, first = 0.0, 0, EVERY
    told: list[Arrival] = []
    for step in steps:
        now += step
        if first is None or first > now:
            continue
        found = arrivals(Standing(rule, missed, first, begun, 0), Clock(now, now if dozing else 0))
        told += [*found.run, *([found.missed] if found.missed else [])]
        begun, first = found.begun, found.next_at
    come = [each for each in upcoming(rule, 0.0, count) if each <= now]
    assert sum(1 + each.stands_for for each in told) == len(come) == begun
    assert [each.instant for each in told] == sorted({each.instant for each in told})


def test_tries_come_to_an_end() -> None:
    """Each later than the one before it."""
    pauses = [retry_after(attempt) for attempt in range(1, len(RETRIES) + 2)]
    assert pauses == [*RETRIES, None]
    assert sorted(RETRIES) == list(RETRIES)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, None), (GRACE - 1, None), (GRACE, "1 min"), (3540, "59 min"), (7200, "2 h"),
     (47 * 3600, "47 h"), (3 * 86400, "3 days")],
)  # fmt: skip
def test_lateness_in_words(seconds: float, words: str | None) -> None:
    """From the grace on."""
    assert lateness(seconds) == words
