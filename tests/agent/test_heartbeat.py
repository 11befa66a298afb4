"""What makes a heartbeat act, speak and be quiet."""

from __future__ import annotations

import datetime as dt
import time
import zoneinfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.heartbeat import SILENT, is_actionable, is_quiet, parse_hours, prompt, worth_telling


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n  \n",
        "# Heartbeat\n\n## Later\n",
        "<!-- write tasks below -->\n- [ ]\n-\n---\n",
        "<!-- a comment\n- water the plants\nthat never ends",
        "- [x] water the plants\n* [X] done\n1. [x] and this\n2.",
        "> a remark",
    ],
)
def test_a_file_that_asks_for_nothing_costs_nothing(text: str) -> None:
    """Headings, comments, empty and ticked boxes are no tasks."""
    assert not is_actionable(text)


@pytest.mark.parametrize(
    "text",
    ["water the plants", "# Home\n- [ ] water the plants", "<!-- x --> - look at the mail", "1. x"],
)
def test_a_file_that_asks_for_something_is_acted_on(text: str) -> None:
    """One open line is enough."""
    assert is_actionable(text)


@pytest.mark.parametrize(
    "line", [" " * 16_000 + "x", "- " + " " * 16_000 + "x", "-" * 16_000 + "x"]
)
def test_no_file_takes_long_to_judge(line: str) -> None:
    """A job may have written anything into it, and the event loop waits."""
    began = time.process_time()
    assert is_actionable(line)
    assert time.process_time() - began < 0.1


@pytest.mark.parametrize(
    "answer",
    [
        *(SILENT, f" {SILENT}.\n", f"**{SILENT}**", f"`{SILENT}`", f'"{SILENT}"', "", "  ", "..."),
        *(
            "HEARTBEAT\\_OK",
            "heartbeat_ok",
            "Heartbeat OK!",
            f"{SILENT} \N{WHITE HEAVY CHECK MARK}",
        ),
    ],
)
def test_nothing_to_tell_is_no_message(answer: str) -> None:
    """However the word is dressed and written, and whatever stands beside it without a word."""
    assert worth_telling(answer) == ""


@given(st.text(alphabet=st.characters(whitelist_categories=["L", "N"]), min_size=1))
def test_what_is_told_beside_the_word_arrives(news: str) -> None:
    """Without the word, wherever the model put it; and an answer without it arrives as it is."""
    assert worth_telling(f"{SILENT}\n\n{news}") == news
    assert worth_telling(f"{news}\n\n{SILENT}") == news
    assert worth_telling(news) == news


def test_the_word_in_the_middle_is_a_word() -> None:
    """Somebody may be told about it."""
    text = f"I answer {SILENT} when nothing is due."
    assert worth_telling(text) == text


@pytest.mark.parametrize(
    ("now", "hours", "quiet"),
    [
        ("23:00", "22:00-07:00", True),
        ("06:59", "22:00-07:00", True),
        ("07:00", "22:00-07:00", False),
        ("22:00", "22:00-07:00", True),
        ("12:00", "09:00-17:00", True),
        ("08:59", "09:00-17:00", False),
        ("12:00", "", False),
    ],
)
def test_quiet_hours_may_go_through_midnight(now: str, hours: str, quiet: bool) -> None:
    """The first minute is quiet, the last is not."""
    assert is_quiet(dt.time.fromisoformat(now), parse_hours(hours)) is quiet


@pytest.mark.parametrize(
    ("moment", "quiet"),
    [
        # 29 March, 02:00 is 03:00: half an hour that is quiet is not there.
        *(("2026-03-28T21:59", False), ("2026-03-28T21:00", False), ("2026-03-28T23:30", True)),
        *(("2026-03-29T00:30", True), ("2026-03-29T01:00", False)),
        # 25 October, 03:00 is 02:00 again: half an hour is quiet twice.
        *(("2026-10-25T00:29", True), ("2026-10-25T00:30", False)),
        *(("2026-10-25T01:00", True), ("2026-10-25T01:30", False)),
    ],
)
def test_quiet_hours_are_the_clocks_on_the_wall(moment: str, quiet: bool) -> None:
    """On the days on which summer time begins and ends, too; `moment` is in UTC."""
    at = dt.datetime.fromisoformat(moment).replace(tzinfo=dt.UTC)
    local = at.astimezone(zoneinfo.ZoneInfo("Europe/Berlin"))
    assert is_quiet(local.time(), parse_hours("23:30-02:30")) is quiet


@pytest.mark.parametrize("hours", ["22", "22:00", "25:00-07:00", "a-b", "07:00-07:00", "1:2:3-4"])
def test_hours_that_are_none_are_refused(hours: str) -> None:
    """Guessing would wake somebody."""
    with pytest.raises(ValueError, match="no hours"):
        parse_hours(hours)


def test_the_model_is_told_the_time_and_the_file() -> None:
    """In the owner's zone."""
    now = dt.datetime(2026, 11, 28, 9, 30, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
    told = prompt("- water the plants\n", now)
    assert "Saturday, 2026-11-28 09:30 (Europe/Berlin)" in told
    assert "- water the plants" in told
