"""The frames, by example and by fuzz."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor import messages, protocol
from executor.protocol import Frame, FrameReader, FrameType, ProtocolError
from executor.settings import Limits

frames = st.lists(
    st.builds(Frame, st.sampled_from(FrameType), st.binary(max_size=2000)), max_size=8
)


def read_all(reader: FrameReader) -> list[Frame]:
    found = []
    while (frame := reader.next_frame()) is not None:
        found.append(frame)
    return found


@given(frames, st.data())
def test_frames_survive_any_cutting_of_the_stream(sent: list[Frame], data: st.DataObject) -> None:
    """What one side encodes the other decodes, however the bytes arrive."""
    stream = b"".join(map(protocol.encode, sent))
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=10).map(sorted))
    reader, got = FrameReader(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        reader.feed(stream[start:end])
        got += read_all(reader)
    reader.end()
    assert got == sent


@given(st.binary(max_size=300))
def test_garbage_is_refused_or_waited_on_but_never_crashes(garbage: bytes) -> None:
    """Bytes from a stranger make frames, an error of ours, or a wait for more: nothing else."""
    reader = FrameReader()
    reader.feed(garbage)
    try:
        for frame in read_all(reader):
            messages.parse_job(protocol.control_values(frame))
        reader.end()
    except ProtocolError:
        pass


@given(
    st.dictionaries(
        st.sampled_from(["language", "code", "workspace", "limits", "else"]),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text("ab", max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3)
            ),
            max_leaves=5,
        ),
    )
)
def test_any_json_object_is_a_job_or_a_protocol_error(values: dict[str, object]) -> None:
    """A RUN body of the wrong shape is named as such, whatever the shape."""
    with contextlib.suppress(ProtocolError):
        messages.parse_job(values)


def test_an_oversized_length_is_refused_from_the_header_alone() -> None:
    """The body is not waited for, so announcing a gigabyte costs us five bytes."""
    reader = FrameReader()
    reader.feed(struct.pack(">IB", protocol.MAX_BODY + 1, FrameType.RUN))
    with pytest.raises(ProtocolError, match="over"):
        reader.next_frame()


def test_an_unknown_type_is_refused_from_the_header_alone() -> None:
    reader = FrameReader()
    reader.feed(struct.pack(">IB", 10, 99))
    with pytest.raises(ProtocolError, match="99"):
        reader.next_frame()


def test_a_body_over_the_limit_is_not_sent() -> None:
    with pytest.raises(ProtocolError, match="over"):
        protocol.encode(Frame(FrameType.STDOUT, bytes(protocol.MAX_BODY + 1)))


def test_a_stream_that_ends_within_a_frame_is_an_error() -> None:
    reader = FrameReader()
    reader.feed(protocol.encode(Frame(FrameType.RUN, b"{}"))[:-1])
    with pytest.raises(ProtocolError, match="ended"):
        reader.end()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"language": "perl"}, "language"),
        ({"language": None}, "language"),
        ({"code": 3}, "code"),
        ({"code": "\ud800"}, "code"),
        ({"workspace": "../other"}, "workspace"),
        ({"workspace": ""}, "workspace"),
        ({"workspace": "a" * 65}, "workspace"),
        ({"workspace": "a\n"}, "workspace"),
        ({"limits": []}, "limits"),
        ({"limits": {"pids": 0}}, "pids"),
        ({"limits": {"pids": True}}, "pids"),
        ({"limits": {"pids": 1.5}}, "pids"),
        ({"limits": {"wall_seconds": float("nan")}}, "wall_seconds"),
        ({"limits": {"wall_seconds": float("inf")}}, "wall_seconds"),
    ],
)
def test_a_bad_field_of_a_job_is_named(change: dict[str, object], named: str) -> None:
    good = {"language": "python", "code": "pass", "workspace": "a-1"}
    with pytest.raises(ProtocolError, match=named):
        messages.parse_job({**good, **change})


def test_a_job_and_a_result_survive_the_wire() -> None:
    job = messages.Job("bash", "echo ü", "chat-1", Limits(wall_seconds=1.5, pids=3))
    frame = protocol.control(FrameType.RUN, messages.job_to_json(job))
    assert messages.parse_job(protocol.control_values(frame)) == job
    result = messages.Result("signal", 9, b"out", b"err", 1, 2, 0.5, 0.25, 4096, ("a", "b"), "why")
    frame = protocol.control(FrameType.RESULT, messages.result_to_json(result))
    assert messages.parse_result(protocol.control_values(frame), b"out", b"err") == result
