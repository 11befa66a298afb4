"""Bodies, taken in and unpacked within a cap."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.web.body import MEMBERS, PIECE, Body, Unpacker
from agent.web.guard import Refused


def bare(data: bytes) -> bytes:
    """Deflate without its envelope."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKERS = {
    "": bytes,
    "identity": bytes,
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    " DEFLATE ": bare,
}


def take(encoding: str, data: bytes, most: int = 1_000_000, step: int = 1000) -> bytes:
    """Feed `data` in pieces."""
    body = Body.of(encoding, most)
    for at in range(0, len(data), step):
        for _ in body.feed(data[at : at + step]):
            pass
    return body.end()


@given(st.binary(max_size=2000), st.sampled_from(sorted(PACKERS)), st.integers(2, 500))
def test_what_was_packed_is_unpacked(data: bytes, encoding: str, step: int) -> None:
    """However it is packed, and in whatever pieces it comes."""
    assert take(encoding, PACKERS[encoding](data), step=step) == data


@pytest.mark.parametrize("size", [PIECE - 1, PIECE, PIECE + 1, 3 * PIECE])
def test_no_piece_is_forgotten_at_the_bound_of_a_step(size: int) -> None:
    """All input can be used up while there is still output to come."""
    for encoding, pack in PACKERS.items():
        assert take(encoding, pack(b"\0" * size)) == b"\0" * size


@given(st.binary(max_size=300), st.sampled_from(["gzip", "deflate"]))
def test_noise_is_refused_and_nothing_worse(data: bytes, encoding: str) -> None:
    """A server may send anything."""
    try:
        take(encoding, data)
    except Refused:
        return


def test_exactly_the_cap_is_taken_and_one_byte_more_is_not() -> None:
    """Packed or not."""
    for encoding, pack in PACKERS.items():
        assert len(take(encoding, pack(b"a" * 5000), 5000)) == 5000
        with pytest.raises(Refused, match="more than the 4,999 bytes"):
            take(encoding, pack(b"a" * 5000), 4999)


def test_what_comes_over_the_wire_counts_as_well() -> None:
    """Else packed air (empty blocks, rubbish after the end) could come for ever."""
    with pytest.raises(Refused, match="more than"):
        take("gzip", gzip.compress(b"a") + b"\0" * 5000, 4000)


@pytest.mark.parametrize("pack", ["gzip", "deflate"])
def test_a_bomb_costs_no_more_than_the_cap(pack: str) -> None:
    """A hundred megabytes in a hundred kilobytes; the megabyte that is allowed is all it gets."""
    bomb = PACKERS[pack](b"\0" * 100_000_000)
    tracemalloc.start()
    with pytest.raises(Refused, match="more than"):
        take(pack, bomb, 1_000_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4_000_000


def test_nothing_is_unpacked_in_steps_that_would_hold_up_the_loop() -> None:
    """A step gives at most PIECE bytes."""
    pieces = list(Unpacker("gzip").feed(gzip.compress(b"\0" * 10 * PIECE)))
    assert max(map(len, pieces)) == PIECE


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "gzip, br", "gzip;q=1", "x"])
def test_a_packing_that_was_not_asked_for_is_refused(encoding: str) -> None:
    """Nested ones among them: the cap would hold, but nobody honest sends them."""
    with pytest.raises(Refused, match="not asked for"):
        Body.of(encoding, 10)


def test_gzip_files_in_a_row_are_one_body_as_long_as_they_are_few() -> None:
    """Each takes a new unpacker, which an endless row of empty ones would use against us."""
    assert take("gzip", gzip.compress(b"a") + gzip.compress(b"b")) == b"ab"
    with pytest.raises(Refused, match="parts"):
        take("gzip", gzip.compress(b"") * (MEMBERS + 1))


def test_a_packed_body_that_breaks_off_is_no_body() -> None:
    """What is there of it would look whole. No body at all is one, though: a 204 has none."""
    with pytest.raises(Refused, match="breaks off"):
        take("gzip", gzip.compress(b"hello" * 100)[:-9])
    assert take("gzip", b"") == b""


@pytest.mark.parametrize("length", ["11", "99999999999999999999999", "9" * 5000])
def test_a_body_that_announces_too_much_is_refused_at_once(length: str) -> None:
    """Before a byte of it is taken."""
    with pytest.raises(Refused, match="are taken at most"):
        Body.of("", 10).announce(length)


@pytest.mark.parametrize(
    "length", ["", "10", "0", "0000000000000000000000010", "-1", "x", "\u0662"]
)
def test_a_length_that_is_small_or_none_is_no_reason_to_refuse(length: str) -> None:
    """What comes is counted in any case."""
    Body.of("", 10).announce(length)
