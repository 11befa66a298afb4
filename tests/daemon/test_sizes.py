"""Sizes in words: short, and never far from the truth."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from daemon.sizes import human

UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1500, "1.5 kB"),
        (999_949, "999.9 kB"),
        (999_960, "1.0 MB"),
        (12_000_000, "12.0 MB"),
        (10**13, "10000.0 GB"),
    ],
)
def test_sizes_are_for_people(size: int, text: str) -> None:
    """In powers of ten, as disks are sold."""
    assert human(size) == text


@given(
    st.integers(0, 10**16) | st.integers(0, 4).flatmap(lambda n: st.integers(0, 2 * 10 ** (3 * n)))
)
@example(999_950)
@example(999_949_999)
def test_a_size_is_said_in_the_unit_that_fits(size: int) -> None:
    """None is rounded up to a thousand of its unit, and what is said is right to the last digit."""
    number, unit = human(size).split()
    assert float(number) < 1000 or unit == "GB"
    assert float(number) >= 1 or unit == "B"
    assert float(number) * UNITS[unit] == pytest.approx(size, abs=0.0500001 * UNITS[unit])
    assert "." not in number or unit != "B"
