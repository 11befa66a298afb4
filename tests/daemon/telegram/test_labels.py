"""Lines in front of a part: what its entities cover stays covered, and no more than that."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.store.sending import Part
from daemon.store.values import Place
from daemon.telegram.outbox import address
from daemon.telegram.parts import units
from daemon.telegram.render import LATE_AFTER, MAX_UNITS, PART_UNITS, rendered
from tests.daemon.telegram.markup import DOCUMENTS


def part(params: dict[str, Any], method: str = "sendMessage", about: str = "why?") -> Part:
    """One that is late and doubtful."""
    place = Place("telegram", "42", "7")
    return Part(1, place, 1, method, params, 1, 1, about, 0.0)


def covered(params: dict[str, Any]) -> list[tuple[str, str]]:
    """The kind of each entity, and its words."""
    text = params["text"].encode("utf-16-le")
    return [
        (each["type"], text[2 * each["offset"] :][: 2 * each["length"]].decode("utf-16-le"))
        for each in params["entities"]
    ]


@given(DOCUMENTS, st.text(st.characters(codec="utf-8"), max_size=60))
def test_labels_move_entities_with_their_words(source: str, about: str) -> None:
    for plain in rendered(source):
        labelled = address(part(plain, about=about), LATE_AFTER + 1)
        assert labelled["text"].endswith(plain["text"])
        assert covered(labelled) == covered(plain)
        assert units(labelled["text"]) <= MAX_UNITS


@pytest.mark.parametrize("source", ["```py\nx = 1\n```", "> quoted", "|a|\n|-|\n|b|"])
def test_a_label_is_no_part_of_what_a_message_begins_with(source: str) -> None:
    """Code, a quote or a table begins below it."""
    (plain,) = rendered(source)
    labelled = address(part(plain), LATE_AFTER + 1)
    first = labelled["entities"][0]
    assert labelled["text"][first["offset"] - 1] == "\n"
    assert covered(labelled) == covered(plain)


def test_a_full_part_has_room_for_its_labels() -> None:
    (plain, *_) = rendered("x" * 10_000)
    assert units(plain["text"]) == PART_UNITS


def test_the_label_of_a_rich_message_is_no_markdown() -> None:
    """What a person asked is shown as it was written."""
    params = {"rich_message": {"markdown": "|a|\n|-|"}}
    labelled = address(part(params, "sendRichMessage", "*why* $5?"), LATE_AFTER + 1)
    markdown = labelled["rich_message"]["markdown"]
    assert markdown.endswith("\n\n|a|\n|-|")
    assert "\\*why\\* \\$5\\?" in markdown
    assert params == {"rich_message": {"markdown": "|a|\n|-|"}}
