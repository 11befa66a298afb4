"""What is kept of a job's output."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from executor.output import HeadTail


@given(st.lists(st.binary(max_size=40), max_size=30), st.integers(2, 100))
def test_head_tail_and_gap_add_up_to_what_was_written(pieces: list[bytes], limit: int) -> None:
    """Head and tail are exact, nothing is kept twice, and the gap is counted to the byte."""
    kept = HeadTail(limit)
    for piece in pieces:
        kept.write(piece)
    written = b"".join(pieces)
    head = kept.take(10_000)
    dropped, tail = kept.end()
    assert len(head) + len(tail) <= limit
    assert len(head) + dropped + len(tail) == len(written) == kept.total
    assert written.startswith(head)
    assert written.endswith(tail)
    if len(written) <= limit:
        assert dropped == 0


def test_the_head_is_handed_out_once_and_as_it_comes() -> None:
    kept = HeadTail(8)
    kept.write(b"ab")
    assert kept.take(1) == b"a"
    kept.write(b"cd")
    assert kept.take(9) == b"bcd"
    assert kept.take(9) == b""
