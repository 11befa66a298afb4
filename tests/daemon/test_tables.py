"""Reports for a terminal: aligned, relative in time, and harmless to it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon import tables

NOW = 1_800_000_000.0


def test_a_report_has_pairs_and_tables() -> None:
    """Nested values get dotted names; lists of objects become tables below."""
    text = tables.report(
        {
            "version": "0.1.0",
            "poll": {"state": "polling", "since": NOW - 5},
            "tasks": [
                {"name": "poll", "state": "running", "last_error": "", "since": NOW - 3700},
                {"name": "outbox", "state": "waiting", "last_error": "", "since": NOW - 61},
            ],
            "layers": ["rlimit", "firejail"],
            "ok": True,
            "none": None,
        },
        NOW,
    )

    assert text == (
        "version     0.1.0\n"
        "poll.state  polling\n"
        "poll.since  5 s ago\n"
        "layers      rlimit, firejail\n"
        "ok          yes\n"
        "none\n"
        "\n"
        "tasks\n"
        "  NAME    STATE    SINCE\n"
        "  poll    running  1 h 1 min ago\n"
        "  outbox  waiting  1 min 1 s ago"
    )


def test_old_moments_are_dates() -> None:
    """Nobody counts in 100 hours."""
    assert tables.report({"since": NOW - 200_000}, NOW) == "since  2027-01-13 00:26 UTC"


def test_nothing_is_nothing() -> None:
    """An empty report is no reason to fail."""
    assert tables.report({}) == ""
    assert tables.report({"tasks": []}) == "tasks"


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.dictionaries(st.text(), values, max_size=4))
def test_any_report_can_be_shown(report: dict[str, object]) -> None:
    """And no value of it moves the cursor."""
    lines = tables.report(report, NOW).split("\n")

    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("value", ["\x1b[2J", "a\nb", "\u202e"])
def test_values_cannot_speak_to_the_terminal(value: str) -> None:
    """A stranger's message may be quoted in an error."""
    assert "\\" in tables.report({"last_error": value})
