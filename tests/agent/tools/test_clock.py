"""The time, in any zone."""

from __future__ import annotations

import datetime as dt
import json
import zoneinfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.ports import ToolOutcome
from agent.tools.clock import clock_tools, find_zone, now_utc
from agent.tools.registry import Registry, ToolError
from agent.transcript import CallRequest

WINTER = dt.datetime(2026, 1, 15, 23, 30, 5, tzinfo=dt.UTC)
SUMMER = dt.datetime(2026, 7, 15, 23, 30, 5, tzinfo=dt.UTC)


async def tell(zone: str | None, moment: dt.datetime = WINTER) -> ToolOutcome:
    registry = Registry.of(clock_tools(lambda: moment))
    return await registry.run(CallRequest("x", "current_datetime", json.dumps({"timezone": zone})))


@pytest.mark.parametrize(
    ("zone", "moment", "text"),
    [
        (None, WINTER, "Thursday, 2026-01-15 23:30:05 UTC (UTC+0000)"),
        ("", WINTER, "Thursday, 2026-01-15 23:30:05 UTC (UTC+0000)"),
        ("Europe/Berlin", WINTER, "Friday, 2026-01-16 00:30:05 Europe/Berlin (UTC+0100)"),
        ("Europe/Berlin", SUMMER, "Thursday, 2026-07-16 01:30:05 Europe/Berlin (UTC+0200)"),
        ("Asia/Kolkata", WINTER, "Friday, 2026-01-16 05:00:05 Asia/Kolkata (UTC+0530)"),
        ("tokyo", WINTER, "Friday, 2026-01-16 08:30:05 Asia/Tokyo (UTC+0900)"),
        (" new york ", SUMMER, "Wednesday, 2026-07-15 19:30:05 America/New_York (UTC-0400)"),
    ],
)
async def test_the_time_in_a_zone(zone: str | None, moment: dt.datetime, text: str) -> None:
    """With weekday and offset, and the zone by its own name."""
    assert await tell(zone, moment) == ToolOutcome(text)


@pytest.mark.parametrize(
    ("hour", "text"),
    [
        (0, "Sunday, 2026-03-29 01:30:00 Europe/Berlin (UTC+0100)"),
        (1, "Sunday, 2026-03-29 03:30:00 Europe/Berlin (UTC+0200)"),
    ],
)
async def test_the_clocks_change(hour: int, text: str) -> None:
    """An hour that does not exist is never told."""
    moment = dt.datetime(2026, 3, 29, hour, 30, tzinfo=dt.UTC)
    assert (await tell("Europe/Berlin", moment)).text == text


@pytest.mark.parametrize(
    "name",
    ["Atlantis", "GMT+2", "UTC+2", "../../etc/passwd", "/etc/passwd", "Europe", "x" * 5000, "\0"],
)
async def test_an_unknown_zone_is_told(name: str) -> None:
    """Offsets too: what IANA calls GMT+2 is two hours behind, which nobody means."""
    outcome = await tell(name)
    assert outcome.failed
    assert "not an IANA time zone" in outcome.text
    assert len(outcome.text) < 200


@pytest.mark.parametrize("name", ["asia/tokyo", "ASIA/TOKYO", "Tokyo", "Japan/Tokyo"])
def test_names_are_found_by_their_place(name: str) -> None:
    """Whatever the case, and wherever the place was thought to be."""
    assert find_zone(name).key == "Asia/Tokyo"


@given(st.text(max_size=20) | st.sampled_from(sorted(zoneinfo.available_timezones())))
def test_any_name_is_a_zone_or_refused(name: str) -> None:
    """No other error comes out, whatever a model writes."""
    try:
        assert find_zone(name).key
    except ToolError as error:
        str(error).encode()


def test_the_present_is_aware() -> None:
    """The clock that is used knows its zone."""
    assert now_utc().tzinfo is dt.UTC
