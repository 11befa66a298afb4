"""docs/dst.md as text: each case is computed by the scheduler's own code and written down.

`python -m tests.daemon.schedule.dst_table` writes the file.
"""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from attrs import frozen

from daemon.schedule.recurrence import (
    Interval,
    Once,
    Recurrence,
    parse_at,
    parse_cron,
    upcoming,
)

PATH: Final = Path(__file__).resolve().parents[3] / "docs" / "dst.md"

HEAD: Final = """\
# When clocks are changed

What is scheduled by cron or for a time goes by the clock on the wall of its zone. A time that the
clock skips is kept once, at the first instant after the gap. A time that it shows twice is kept
once, at its first pass; but an expression for every hour counts hours that pass, and is kept in
both. An interval counts seconds and does not look at clocks.

Each row is a change, what was asked for shortly before it, and when it is run from then on: by the
clock of the zone, with its offset, and by UTC. `python -m tests.daemon.schedule.dst_table` writes
this file, and a test sees that it is as it was written.

| zone | change | asked for | is run at | by UTC |
|---|---|---|---|---|
"""


@frozen
class Case:
    """What is asked for at `since`, a wall time of the zone before one of its changes."""

    zone: str
    change: str
    since: str
    asked: str  # a cron expression, seconds between two runs, or a time
    way: str = "cron"
    shown: int = 3


CASES: Final = (
    Case("Europe/Berlin", "02:00 to 03:00", "2026-03-28T12:00", "30 2 * * *"),
    Case("Europe/Berlin", "03:00 to 02:00", "2026-10-24T12:00", "30 2 * * *"),
    Case("Europe/Berlin", "02:00 to 03:00", "2026-03-29T00:30", "0,30 2,3 * * *", shown=4),
    Case("Europe/Berlin", "03:00 to 02:00", "2026-10-25T01:30", "*/30 2 * * *"),
    Case("Europe/Berlin", "03:00 to 02:00", "2026-10-25T01:00", "15 * * * *", shown=4),
    Case("Europe/Berlin", "02:00 to 03:00", "2026-03-27T10:00", "0 9 * * mon-fri"),
    Case("America/New_York", "02:00 to 03:00", "2026-03-07T12:00", "0 2 * * *"),
    Case("America/New_York", "02:00 to 01:00", "2026-10-31T12:00", "30 1 * * sun"),
    Case("America/New_York", "02:00 to 01:00", "2026-11-01T00:45", "*/30 * * * *", shown=5),
    Case("Australia/Lord_Howe", "02:00 to 02:30", "2026-10-03T12:00", "15 2 * * *"),
    Case("Australia/Lord_Howe", "02:00 to 01:30", "2026-04-04T12:00", "45 1 * * *"),
    Case("Pacific/Chatham", "02:45 to 03:45", "2026-09-26T12:00", "0 3 * * *"),
    Case("America/St_Johns", "02:00 to 01:00", "2026-10-31T12:00", "15 1 * * *"),
    Case("America/Santiago", "24:00 to 01:00", "2026-09-05T12:00", "0 0 * * *"),
    Case("America/Santiago", "24:00 to 23:00", "2026-04-04T12:00", "59 23 * * *"),
    Case("Africa/Cairo", "24:00 to 01:00", "2026-04-23T12:00", "@daily"),
    Case("Africa/Casablanca", "03:00 to 02:00", "2026-02-14T12:00", "30 2 * * *"),
    Case("Pacific/Apia", "30 December left out", "2011-12-29T12:00", "0 9 * * *"),
    Case("Pacific/Apia", "30 December left out", "2011-12-29T12:00", "0 9 * * fri", shown=2),
    Case("Europe/Berlin", "02:00 to 03:00", "2026-03-28T12:00", "0,15,30,45 2 * * *", shown=2),
    Case("Europe/Berlin", "02:00 to 03:00", "2026-03-29T00:45", "30 * * * *", shown=4),
    Case("Europe/Berlin", "03:00 to 02:00", "2026-10-25T01:00", "30 0-22 * * *", shown=4),
    Case("Europe/Dublin", "02:00 to 01:00", "2026-10-24T12:00", "30 1 * * *"),
    Case("Australia/Lord_Howe", "02:00 to 01:30", "2026-04-05T01:00", "45 * * * *"),
    Case("Antarctica/Troll", "01:00 to 03:00", "2026-03-28T12:00", "0,30 1,2 * * *", shown=2),
    Case("America/Asuncion", "24:00 to 01:00", "2024-10-05T12:00", "0 0 * * sun", shown=2),
    Case("Asia/Pyongyang", "23:30 to 24:00", "2018-05-03T12:00", "45 23 * * *"),
    Case("Asia/Kathmandu", "none", "2026-03-28T12:00", "30 2 * * *", shown=2),
    Case("Europe/Berlin", "02:00 to 03:00", "2026-03-28T09:00", "86400", "interval"),
    Case("Europe/Berlin", "03:00 to 02:00", "2026-10-25T01:30", "3600", "interval"),
    Case("Europe/Berlin", "02:00 to 03:00", "2026-03-28T12:00", "2026-03-29T02:30", "time"),
    Case("Europe/Berlin", "03:00 to 02:00", "2026-10-24T12:00", "2026-10-25T02:30", "time"),
    Case("Europe/Berlin", "03:00 to 02:00", "2026-10-24T12:00", "2026-10-25T02:30+01:00", "time"),
    Case("Africa/Cairo", "24:00 to 01:00", "2026-04-23T12:00", "00:30", "time"),
)


def text() -> str:
    return HEAD + "\n".join(map(_line, CASES)) + "\n"


def runs(case: Case) -> list[float]:
    """The first instants of a case."""
    since = dt.datetime.fromisoformat(case.since).replace(tzinfo=ZoneInfo(case.zone)).timestamp()
    return upcoming(_recurrence(case, since), since, case.shown)


def _recurrence(case: Case, since: float) -> Recurrence:
    match case.way:
        case "cron":
            return Recurrence(parse_cron(case.asked, case.zone))
        case "interval":
            return Recurrence(Interval(float(case.asked), since))
        case _:
            return Recurrence(Once(parse_at(case.asked, case.zone, since)))


def _line(case: Case) -> str:
    ways = {"cron": "cron `{}`", "interval": "every {} seconds", "time": "the time {}"}
    cells = (
        case.zone,
        case.change,
        f"{ways[case.way].format(case.asked)}, from {_day(case.since)} on",
        "<br>".join(_local(case)),
        "<br>".join(f"{dt.datetime.fromtimestamp(at, dt.UTC):%d %b %H:%M}" for at in runs(case)),
    )
    return f"| {' | '.join(cells)} |"


def _day(since: str) -> str:
    return f"{dt.datetime.fromisoformat(since):%d %b %Y %H:%M}"


def _local(case: Case) -> Iterator[str]:
    for at in runs(case):
        yield f"{dt.datetime.fromtimestamp(at, ZoneInfo(case.zone)):%d %b %H:%M %z}"


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
    sys.stdout.write(f"{PATH} is written.\n")
