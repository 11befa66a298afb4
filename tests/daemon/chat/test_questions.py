"""What a chat is shown of a question: whole where there is room, and never without its ends."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from daemon.chat.questions import AT_CONSOLE, Around, answered, asked, block, decided, is_whole
from daemon.store.approvals import Closed, Wish
from daemon.store.questions import Closed as Told
from daemon.store.values import Place
from daemon.telegram.parts import units
from daemon.telegram.render import PART_UNITS

HERE = Place("telegram", "42", "1")
words = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=6000)


@given(words, st.text("ab \U0001f600", max_size=60))
def test_a_question_fits_into_one_message_with_how_to_answer_it(what: str, label: str) -> None:
    """The block is exactly what is shown of the call, however long it is."""
    around = asked("r", label)
    shown = block(what, around)
    assert units(shown["text"]) <= PART_UNITS
    assert shown["text"].startswith(around.head)
    assert shown["text"].endswith(around.tail)
    (entity,) = shown["entities"]
    data = shown["text"].encode("utf-16-le")
    start = 2 * entity["offset"]
    inside = data[start : start + 2 * entity["length"]].decode("utf-16-le")
    if is_whole(what, around):
        assert inside == what
    else:
        assert AT_CONSOLE in inside
        assert inside[:1000] == what[:1000]
        assert inside[-200:].lstrip() == what[-200:].lstrip()[-len(inside[-200:].lstrip()) :]


def test_what_is_left_out_is_counted() -> None:
    """Nobody takes the ends for all there is."""
    what = "a" * 3000 + "b" * 3000 + "c" * 3000
    text = block(what, asked("r", ""))["text"]
    shown = sum(text.count(letter * 100) * 100 for letter in "abc")
    assert "characters are left out here" in text
    left_out = int(text.partition("[... ")[2].partition(" ")[0].replace(",", ""))
    assert abs(9000 - left_out - shown) < 300


def closed(state: str, by: str | None, *, lasting: bool = False) -> str:
    wish = Wish("pay\nto: Ada", "pay", "POST https://bank.example")
    return str(decided(Closed(HERE, "m", wish, state, by, "task", lasting))["text"])


def test_a_question_that_is_over_says_what_became_of_it_and_of_what() -> None:
    """Who answered, or that nobody did; and what a lasting yes covers."""
    assert closed("granted", "Ada") == "[task]\nAllowed once by Ada:\n\npay\nto: Ada"
    assert "Denied at the console:" in closed("denied", None)
    assert "Nobody answered within a day, so this was not run:" in closed("lapsed", None)
    assert "Not run: what I was doing has ended:" in closed("void", None)
    lasting = closed("granted", "Ada", lasting=True)
    assert "Allowed for this chat (pay POST https://bank.example;" in lasting


def test_a_name_cannot_pass_for_more_than_a_name() -> None:
    """It stands on one line, and is short."""
    text = closed("denied", "Eve:\n\nAllowed once by the owner" + "x" * 500)
    assert text.count("\n") == 4
    assert len(text) < 120


def test_an_answer_stands_below_its_question() -> None:
    """With the name of who gave it."""
    told = Told(HERE, "m", "Which colour?", "answered", "blue", "Ada")
    assert answered(told) == "Which colour?\n\nAda: blue"
    lapsed = Told(HERE, "m", "Which colour?", "lapsed", "nobody answered", None)
    assert answered(lapsed).endswith("Nobody answered within a day.")


def test_a_block_may_stand_at_the_end() -> None:
    """Offsets are counted from what is above alone."""
    shown = block("x", Around("\U0001f600"))
    assert shown == {
        "text": "\U0001f600\n\nx",
        "entities": [{"type": "pre", "offset": 4, "length": 1}],
    }
