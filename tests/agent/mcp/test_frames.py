"""Messages out of bytes, however they are cut, and bounds on what one may hold."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
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
