"""What becomes of a text before a chat shows it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.demo.calls import ApiError
from daemon.demo.text import MAX_ENTITIES, Entity, read_text, units


def bold(offset: int, length: int) -> Entity:
    return {"type": "bold", "offset": offset, "length": length}


def test_the_limit_counts_code_points_not_units() -> None:
    """4,096 emoji fit, though they are 8,192 UTF-16 units; one more does not."""
    assert units("\N{GRINNING FACE}") == 2
    read_text("\N{GRINNING FACE}" * 4096, None, "")
    with pytest.raises(ApiError, match="message is too long"):
        read_text("\N{GRINNING FACE}" * 4097, None, "")


def test_very_long_text_is_refused_before_it_is_parsed() -> None:
    """Over 32,768 bytes nothing is parsed."""
    with pytest.raises(ApiError, match="text is too long"):
        read_text("<b>" + "x" * 40_000, None, "HTML")


def test_only_a_hundred_entities_are_kept() -> None:
    """The rest is dropped without a word."""
    many = [bold(i, 1) for i in range(150)]
    assert len(read_text("x" * 150, many, "")[1]) == MAX_ENTITIES


def test_text_is_stripped_and_entities_follow() -> None:
    """White space around the text goes; entities keep their words."""
    assert read_text("  hi there \n", [bold(5, 5)], "") == ("hi there", [bold(3, 5)])
    assert read_text("  code", [bold(0, 6)], "") == ("  code", [bold(0, 6)])


def test_html_becomes_entities_in_units() -> None:
    """Offsets count UTF-16 units, also after an emoji."""
    text, entities = read_text(
        '\N{GRINNING FACE} <b>a &lt; <i>b</i></b> <a href="u">l</a>', None, "HTML"
    )
    assert text == "\N{GRINNING FACE} a < b l"
    assert entities == [
        bold(3, 5),
        {"type": "italic", "offset": 7, "length": 1},
        {"type": "text_link", "offset": 9, "length": 1, "url": "u"},
    ]


@pytest.mark.parametrize("markup", ["<b>open", "<b>x</i>", "a < b", "<blink>x</blink>"])
def test_bad_html_is_refused(markup: str) -> None:
    """Markup that does not parse is a 400, never text."""
    with pytest.raises(ApiError, match="can't parse entities"):
        read_text(markup, None, "HTML")


@given(
    st.text(st.characters(exclude_categories=("Cs",)), max_size=60),
    st.lists(st.builds(bold, st.integers(0, 80), st.integers(0, 80)), max_size=5),
)
def test_entities_always_lie_inside_the_text(text: str, entities: list[Entity]) -> None:
    """Whatever was sent, what is shown is consistent."""
    shown, kept = read_text(text, entities, "")
    assert all(0 <= e["offset"] < e["offset"] + e["length"] <= units(shown) for e in kept)
    assert shown == shown.rstrip(" \n\t\r")
