"""Cutting: every part is one that Telegram takes whole, and together they are the document."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.telegram.leaf import Span
from daemon.telegram.markdown import parse
from daemon.telegram.parts import (
    MOST_ENTITIES,
    Document,
    document,
    entities,
    is_unseen,
    split,
    units,
)
from tests.daemon.telegram.markup import DOCUMENTS, Telegram, seen, written


@pytest.fixture(scope="module")
def telegram() -> Telegram:
    return Telegram()


def check(whole: Document, limit: int) -> list[Document]:
    """The parts of a document, of which everything holds that must."""
    parts = split(whole, limit)
    assert seen("".join(part.text for part in parts)) == seen(whole.text)
    for part in parts:
        assert units(part.text) <= limit
        assert not is_unseen(part.text)
        assert len(part.spans) <= MOST_ENTITIES
        check_entities(part)
    return parts


def check_entities(part: Document) -> None:
    """Each covers something, begins and ends between characters, and is in another or beside it."""
    ends = {0}
    for character in part.text:
        ends.add(max(ends) + units(character))
    found = [(each["offset"], each["offset"] + each["length"]) for each in entities(part)]
    assert all(start < end and {start, end} <= ends for start, end in found)
    assert found == sorted(found, key=lambda each: (each[0], -each[1]))
    for first, second in pairwise(found):
        assert second[0] >= first[0]
    for start, end in found:
        assert not any(start < other < end < last for other, last in found)


@given(DOCUMENTS, st.integers(8, 80))
def test_any_document_is_cut_into_parts_that_are_valid(source: str, limit: int) -> None:
    """Of any length: entities nest, are at most a hundred, and no word is lost."""
    check(document(parse(source)), limit)


@given(DOCUMENTS, st.integers(8, 80))
def test_telegram_keeps_every_entity(telegram: Telegram, source: str, limit: int) -> None:
    """Its own parser gives back what it was given, but for blanks."""
    for part in split(document(parse(source)), limit):
        sent, kept = telegram.kept(part)
        blank = "".join(each * units(each) for each in part.text)
        for unit, (ours, theirs) in enumerate(zip(sent, kept, strict=True)):
            assert ours == theirs or blank[unit].isspace()


LONG = """\
# What was *found*

The first of **three `reasons`**, with [a link](https://example.org/?a=b) and ~~no~~ end:

1. one 😀 thing
   - that has _parts_
   - [x] and is done
2. another[^1]

> quoted **at
> length**
>
> ```python
> for each in range(3):
> \tprint(each)
> ```

| name | 名前 |
|:--|--:|
| a | `b` |

<div>not a *tag*</div>

[^1]: A note.
"""


def test_every_beginning_of_an_answer_is_valid() -> None:
    """As a preview shows it, while it is written."""
    for size in range(len(LONG) + 1):
        for limit in (24, 4096):
            check(document(parse(LONG[:size])), limit)


def test_code_goes_on_with_its_language() -> None:
    """In both parts, without a line cut through or an indent lost."""
    source = "```py\nif a:\n    first()\n    second()\n```"
    parts = [written(part) for part in check(document(parse(source)), 20)]
    assert parts == ["{pre:py}if a:\n    first(){/}", "{pre:py}    second(){/}"]


def test_a_quote_goes_on_as_one() -> None:
    parts = [written(part) for part in check(document(parse("> one two. three four")), 12)]
    assert parts == ["{blockquote}one two.{/}", "{blockquote}three four{/}"]


def test_a_document_is_cut_between_blocks_if_that_fills_half_of_a_part() -> None:
    parts = check(document(parse("one two three\n\n- four\n- five six seven")), 24)
    assert [part.text for part in parts] == ["one two three\n\n• four", "• five six seven"]


def test_more_entities_than_a_message_keeps_are_two_messages() -> None:
    whole = document(parse("**bold** and words " * 150))
    assert [len(part.spans) for part in check(whole, 4096)] == [100, 50]


def test_of_very_many_entities_those_that_matter_most_are_kept() -> None:
    """Rather than make a message of every few words."""
    crowded = "[x](http://e.org)" + "*i***b**" * 200
    (part,) = check(document(parse(crowded)), 4096)[:1]
    assert part.spans[0] == Span(0, 1, "text_link", "http://e.org")


@pytest.mark.parametrize("cluster", ["\U0001f468\u200d\U0001f469\u200d\U0001f467", "e\u0301"])
def test_what_is_shown_as_one_character_is_not_cut_through(cluster: str) -> None:
    parts = check(Document(cluster * 10), units(cluster) + 1)
    assert {part.text for part in parts} == {cluster}


def test_tabs_in_code_are_columns() -> None:
    assert document(parse("```\na\tb\n```")).text == "a   b"


def test_nothing_that_can_be_seen_is_no_message() -> None:
    """Telegram refuses a message of joiners and blanks."""
    assert split(Document("\u200b \u2060\n\u3164"), 4096) == []
