"""Rich messages, as the page shows them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from daemon.demo.webrich import blocks

TABLE = "# Prices\n\n| what | **cost** |\n|---|--:|\n| a \\| b | `2` |\n| c | |\n\nThat is all."


def test_a_table_stands_between_its_texts() -> None:
    """With what is in its cells, escaped bars and marks included."""
    before, table, after = blocks(TABLE)
    assert before["text"] == "Prices"
    assert [[cell["text"] for cell in row] for row in table["rows"]] == [
        ["what", "cost"],
        ["a | b", "2"],
        ["c", ""],
    ]
    assert table["rows"][0][1]["entities"][0]["type"] == "bold"
    assert after["text"] == "That is all."


def test_a_table_in_code_is_code() -> None:
    """What is fenced is shown as it is written."""
    (only,) = blocks("```\n| a |\n|---|\n| b |\n```")
    assert only["entities"][0]["type"] == "pre"


@given(st.lists(st.sampled_from(["| a | b |", "|--|--|", "a", "|", "-", "```", "~~~", ""])))
def test_anything_is_shown(lines: list[str]) -> None:
    """Whatever stands in which order, each block is a text or a table."""
    for block in blocks("\n".join(lines)):
        assert ("rows" in block) != ("text" in block)
