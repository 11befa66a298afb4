"""Streams of events, however they are cut and spread over lines, and their bounds."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.mcp import frames
from agent.mcp.events import Event, Events
from agent.mcp.frames import TooMuch

ENDS = st.sampled_from([b"\n", b"\r", b"\r\n"])
LINES = st.lists(
    st.sampled_from(
        [b"data: {}", b"data:1", b"id: 7", b"event: message", b": hm", b"", b"data", b"x"]
    ),
    max_size=12,
)


def events(*pieces: bytes) -> list[Event | TooMuch]:
    taken = Events()
    return [event for piece in pieces for event in taken.feed(piece)]


def texts(*pieces: bytes) -> list[bytes]:
    return [event.text for event in events(*pieces) if isinstance(event, Event)]


@given(LINES, ENDS, st.lists(st.integers(1, 9), max_size=30))
def test_events_do_not_depend_on_how_the_bytes_are_cut(
    lines: list[bytes], end: bytes, cuts: list[int]
) -> None:
    """Nor on which of the three ends their lines have."""
    whole = b"".join(line + end for line in lines)
    pieces, rest = [], whole
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    usual = b"".join(line + b"\n" for line in lines)
    # A \r at the very end may be half of an end; what follows shows it.
    assert texts(*pieces, rest, b": x\n") == texts(usual + b": x\n")


@given(LINES)
def test_what_is_put_anew_is_understood_as_before(lines: list[bytes]) -> None:
    """The same events again, each with its data on one line."""
    once = b"".join(texts(b"".join(line + b"\n" for line in lines) + b"\n"))
    assert b"".join(texts(once)) == once
    assert all(
        line.startswith((b"data: ", b"id: ", b"event: ")) for line in once.split(b"\n") if line
    )


def test_data_over_several_lines_are_one_value() -> None:
    """Comments and fields that nobody knows are left out; a mark at the beginning is none."""
    stream = b'\xef\xbb\xbfdata: {"a":\n: comment\ndata: 1}\nid: 5\nfoo: bar\n\n'
    (event,) = events(stream)
    assert event == Event(b'id: 5\ndata: {"a": 1}\n\n', "5")


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_what_an_event_holds_is_bounded_as_a_whole(end: bytes) -> None:
    """Many small values are too many, spread over as many lines as they may be."""
    spread = b"data: [" + end + (b"data: {}," + end) * 20_000 + b"data: {}]" + end + end
    (found,) = events(spread)
    assert isinstance(found, TooMuch)
    assert found.why == "has more than 5000 values"


def test_events_of_another_kind_are_left_out() -> None:
    """The package would log each of them."""
    stream = b"event: ping\ndata: 1\n\nevent: message\ndata: 2\n\nevent: " + b"x" * 9_000 + b"\n\n"
    assert texts(stream) == [b"event: message\ndata: 2\n\n"]


def test_an_event_without_an_end_takes_no_memory() -> None:
    """Neither as one line nor as many."""
    for piece in (b"x" * 100_000, (b"data: " + b"x" * 93 + b"\n") * 1000):
        taken, found = Events(), []
        for _ in range(200):
            found += taken.feed(piece)
            if found:
                break
            assert taken.size <= frames.MAX_MESSAGE
        assert isinstance(found[0], TooMuch)


@pytest.mark.parametrize(
    ("said", "kept"),
    [(b"0", b"500"), (b"3000", b"3000"), (b"99999999999999999999", b"30000"), (b"soon", None)],
)
def test_a_stream_is_asked_for_again_in_good_time(said: bytes, kept: bytes | None) -> None:
    """Neither at once nor in a year, whatever the server wishes."""
    stream = b"retry: " + said + b"\ndata: \n\n"
    expected = b"data: \n\n" if kept is None else b"retry: " + kept + b"\ndata: \n\n"
    assert texts(stream) == [expected]


@pytest.mark.parametrize("name", [b"x" * 501, b"a\0b", "ü".encode()])
def test_an_id_that_cannot_be_sent_back_is_none(name: bytes) -> None:
    """It would go into a header."""
    assert texts(b"id: " + name + b"\ndata: 1\n\n") == [b"data: 1\n\n"]


def test_a_text_that_was_cut_within_a_character_is_mended() -> None:
    """The parser would refuse the whole answer."""
    (text,) = texts(b'data: "a\\ud83d"\n\n')
    assert json.loads(text.removeprefix(b"data: ")) == "a\ufffd"
