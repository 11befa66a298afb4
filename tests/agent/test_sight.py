"""What a model can be shown, by its bytes, and what each takes of a request."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sight import (
    MOST_DOCUMENT,
    MOST_IN_A_TURN,
    MOST_PICTURE,
    NAME_LENGTH,
    PDF,
    PIECE,
    NotSeen,
    document_tokens,
    media_type,
    picture_tokens,
    size_of,
    view,
)
from agent.transcript import View


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + bytes(8) + struct.pack(">II", width, height)


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height)


def jpeg(width: int, height: int) -> bytes:
    frame = struct.pack(">HH", height, width)
    return b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc2\x00\x0b\x08" + frame + b"rest"


def webp(width: int, height: int) -> bytes:
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF\0\0\0\0WEBPVP8X" + bytes(8) + sides


MAKERS = {"image/png": png, "image/gif": gif, "image/jpeg": jpeg, "image/webp": webp}


@pytest.mark.parametrize("media", MAKERS)
def test_a_picture_is_told_by_its_bytes(media: str) -> None:
    """Whatever its name says; with its width and height."""
    data = MAKERS[media](640, 480)
    assert view("a.txt", data) == View("a.txt", media, "640x480", 486, data)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"hello", "no PNG"),
        (b"", "no PNG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no PNG"),
        (b"RIFF\0\0\0\0WAVE", "no PNG"),
        (png(640, 480)[:20], "broken"),
        (b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0", "broken"),
        (png(0, 480), "broken"),
        (b"\xff\xd8\xff" + b"\xff" * 100_000, "broken"),
        (png(8001, 1), "8001x1"),
        (png(1, 1) + bytes(MOST_PICTURE), "5,242,880"),
    ],
)
def test_what_cannot_be_shown_says_why(data: bytes, why: str) -> None:
    """Before anybody sends it to a provider."""
    with pytest.raises(NotSeen, match=why):
        view("a.png", data)


def test_a_document_tells_its_pages_if_it_can() -> None:
    """Else it is as large as it is, and each 50,000 bytes are taken to be a page."""
    two = b"%PDF-1.4 <</Type /Pages>> <</Type /Page >> <</Type/Page/Parent 1 0 R>>"
    assert view("a.pdf", two) == View("a.pdf", PDF, "2 pages", 6000, two)
    packed = b"%PDF-1.7" + bytes(120_000)
    assert view("a.pdf", packed) == View("a.pdf", PDF, "120,008 bytes", 9000, packed)


@pytest.mark.parametrize("at", range(PIECE - 12, PIECE + 2))
def test_no_page_is_missed_or_counted_twice(at: int) -> None:
    """Wherever the file is cut into the pieces that are looked through."""
    data = (b"%PDF-1.4".ljust(at) + b"/Type /Page/X").ljust(2 * PIECE) + b"/Type/Pages"
    assert view("a.pdf", data).measure == "1 page"


@pytest.mark.parametrize(
    ("width", "height", "least", "most"),
    [
        (1, 1, 255, 255),  # a tile, as OpenAI counts
        (640, 480, 425, 500),
        (1024, 1024, 1398, 1700),  # Anthropic: by 750
        (2048, 100, 765, 765),  # a strip is many tiles
        (8000, 8000, 2489, 2489),  # 1,536 patches by 1.62, and never more
    ],
)
def test_a_picture_takes_what_the_dearest_way_to_count_says(
    width: int, height: int, least: int, most: int
) -> None:
    """By its measure, whatever its bytes."""
    assert least <= picture_tokens(width, height) <= most


def test_what_a_turn_shows_is_taken_by_providers() -> None:
    """With a third more for base64 it stays below 20 MB, and one of each kind has its place."""
    assert MOST_IN_A_TURN * 4 / 3 < 20_000_000
    assert max(MOST_PICTURE, MOST_DOCUMENT) < MOST_IN_A_TURN
    assert document_tokens(0, 1) == document_tokens(1, 10**7) == 3000


@pytest.mark.parametrize("name", ["a\nb", "\u202egnp.exe", "x" * 300, "\x1b[31m"])
def test_a_name_is_one_line_of_its_own_length(name: str) -> None:
    """In a workspace anything can be one."""
    shown = view(name, png(1, 1)).name
    assert shown.isprintable()
    assert len(shown) <= NAME_LENGTH


beginnings = st.sampled_from([b"", *(make(9, 9)[:16] for make in MAKERS.values()), b"%PDF-"])


@given(beginnings, st.binary(max_size=300))
def test_no_bytes_break_it(beginning: bytes, rest: bytes) -> None:
    """They are something to show, or refused in words."""
    data = beginning + rest
    size_of(data)
    try:
        assert view("a", data).media == media_type(data)
    except NotSeen as why:
        assert str(why)
