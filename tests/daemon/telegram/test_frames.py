"""A preview as a message: what is written now, and the line below it, within Telegram's limits."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.demo.text import carelessness
from daemon.telegram.frames import BEFORE, drawn
from daemon.telegram.parts import units
from daemon.telegram.render import MAX_UNITS
from daemon.telegram.show import Frame

LINE = "running Python ..."


def test_words_and_line() -> None:
    """The words are rendered, and the line stands below them in italics."""
    assert drawn(Frame("It is **so**", LINE)) == {
        "text": f"It is so\n\n{LINE}",
        "entities": [
            {"type": "bold", "offset": 6, "length": 2},
            {"type": "italic", "offset": 10, "length": len(LINE)},
        ],
    }


def test_a_line_alone() -> None:
    """Before the first word, the line is all there is."""
    assert drawn(Frame("", LINE))["text"] == LINE


def test_of_a_long_answer_the_end_is_shown() -> None:
    """Where something happens, with a mark that more stands before it."""
    text = "\n\n".join(f"paragraph {number} {'x' * 90}" for number in range(100))
    shown = drawn(Frame(text, LINE))["text"]
    assert shown.startswith(BEFORE)
    assert "paragraph 99 " in shown


@settings(deadline=None)
@given(
    st.text(alphabet="ab*_`\n #>[](x)|-😀é", max_size=200),
    st.integers(1, 60),
    st.sampled_from(["", LINE, "x" * 56]),
)
def test_every_preview_is_a_message_that_telegram_takes(text: str, times: int, line: str) -> None:
    """Whatever the model has written as yet, length and entities are within the limits."""
    shown = drawn(Frame((text + "\n") * times, line))
    assert units(shown["text"]) <= MAX_UNITS
    assert not carelessness(shown["text"], shown["entities"])
