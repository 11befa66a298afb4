"""Messages out of bytes, however they are cut, and bounds on what one may hold."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.mcp import frames
from agent.mcp.frames import Lines, TooMuch, excess

CUT = st.lists(st.binary(max_size=40), max_size=20)


@given(CUT)
def test_lines_do_not_depend_on_how_the_bytes_are_cut(pieces: list[bytes]) -> None:
    """And are what split says, without blanks around them and without empty ones."""
    lines = Lines()
    found = [line for piece in pieces for line in lines.feed(piece)]
    whole = b"".join(pieces)
    expected = [line.strip() for line in whole.split(b"\n")[:-1]]
    assert found == [line for line in expected if line]


@given(CUT, st.integers(0, 60))
def test_no_line_is_longer_than_the_bound(pieces: list[bytes], bound: int) -> None:
    """Nor is ever more of one kept than the bound and a piece."""
    before = frames.MAX_MESSAGE
    frames.MAX_MESSAGE = bound
    try:
        lines = Lines()
        for piece in pieces:
            for line in lines.feed(piece):
                assert isinstance(line, TooMuch) or len(line) <= bound
            assert len(lines._buffer) <= max(bound, frames.END)
    finally:
        frames.MAX_MESSAGE = before


LONG = "x" * (frames.MAX_MESSAGE + 1)
CONTENT = {"content": [{"type": "text", "text": '"id":9,' + LONG}]}


@pytest.mark.parametrize(
    "message",
    [
        {"jsonrpc": "2.0", "id": 7, "result": CONTENT},
        {"result": CONTENT, "jsonrpc": "2.0", "id": 7},
        {"result": CONTENT, "id": 7, "jsonrpc": "2.0"},
    ],
)
def test_what_is_too_long_still_tells_whom_it_answers(message: dict[str, object]) -> None:
    """Whichever way round the server writes its keys, and whatever the text says."""
    line = json.dumps(message).encode()
    (found,) = Lines().feed(line + b"\n")
    assert found == TooMuch("is larger than 8388608 bytes", 7)
    assert excess(line) == found


def test_after_a_line_that_is_too_long_the_next_is_read() -> None:
    """It has cost its own call, and nobody else's."""
    lines = Lines()
    first, second = lines.feed(LONG.encode() + b"\nnext\n")
    assert isinstance(first, TooMuch)
    assert first.answers is None
    assert second == b"next"


def test_a_large_message_has_to_be_mostly_one_string() -> None:
    """A picture is; a million numbers are not, and a text that large nobody reads."""
    picture = json.dumps({"id": 1, "result": {"data": "QUJD" * 1_000_000}})
    assert excess(picture.encode()) is None
    numbers = json.dumps({"jsonrpc": "2.0", "id": 1, "result": [1] * 1_000_000}).encode()
    assert excess(numbers) == TooMuch(
        "is larger than 1048576 bytes, and not because of a picture or other file", 1
    )


@pytest.mark.parametrize("value", [{}, [], {"a": 1}, [[]], [{}]])
@pytest.mark.parametrize("separators", [(",", ":"), (" , ", " : ")])
def test_many_small_values_are_too_much(value: object, separators: tuple[str, str]) -> None:
    """Each costs microseconds to parse, during which nothing else happens."""
    many = json.dumps({"id": 3, "result": [value] * 30_000}, separators=separators)
    assert excess(many.encode()) is not None
    few = json.dumps({"result": [value] * 1000}, separators=separators)
    assert excess(few.encode()) is None


def test_braces_in_a_text_are_no_values() -> None:
    """A program of many lines is one string."""
    text = "for (;;) { if (a) { b(); } else { c(); } }\n" * 5_000
    assert excess(json.dumps({"text": text}).encode()) is None


@pytest.mark.parametrize(
    "many", [[1] * 100_000, ["a"] * 40_000, {str(n): n for n in range(20_000)}]
)
def test_many_numbers_and_words_are_too_much_as_well(many: object) -> None:
    """They cost a tenth of what objects do, and there is room for more of them."""
    line = json.dumps({"jsonrpc": "2.0", "id": 3, "result": {"structuredContent": many}}).encode()
    found = excess(line)
    assert found is not None
    assert (found.answers, "strings" in found.why) == (3, True)


def test_a_long_table_is_one_string() -> None:
    """Whatever commas are in it."""
    table = "1,2,3\n" * 50_000
    assert excess(json.dumps({"text": table}).encode()) is None


def test_a_string_without_an_end_is_looked_at_once() -> None:
    """Each quote in it might begin another, and another look at all the rest."""
    line = b'["' + b'\\"' * 250_000 + b"," * 10_000
    begun = time.process_time()
    excess(line)
    assert time.process_time() - begun < 1.0  # with a look for each quote it takes minutes


HALVES = st.lists(
    st.sampled_from(
        ["\\ud83d", "\\ude00", "\\uD83D\\uDE00", "\\\\", "ud83d", "\\n", "\\u00e9", "x"]
    )
)


@given(HALVES.map("".join))
@example(r"\\ud83d\ude00")
def test_a_text_that_was_cut_within_a_character_is_mended(text: str) -> None:
    """As the text is, read in the most lenient way, and with nothing else changed."""
    line = f'{{"a": "{text}"}}'.encode()
    mended = frames.whole(line)
    assert json.loads(mended) == {"a": clean_halves(json.loads(line)["a"])}
    mended.decode()
    json.loads(mended)["a"].encode()


def clean_halves(text: str) -> str:
    return "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text)
