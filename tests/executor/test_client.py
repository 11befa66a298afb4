"""The client against an executor that talks nonsense."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from executor import client, messages, protocol
from executor.client import ExecutorClient, ExecutorUnavailable, Job, Result, Status
from executor.protocol import Frame, FrameType, ProtocolError

STARTED = protocol.control(FrameType.STARTED, {"layers": []})
RESULT = protocol.control(FrameType.RESULT, messages.result_to_json(Result("exit", 0)))


def artifact(name: str, size: int) -> Frame:
    return Frame(FrameType.ARTIFACT, json.dumps({"name": name, "size": size}).encode())


def data(body: bytes) -> Frame:
    return Frame(FrameType.DATA, body)


async def talk(
    path: Path, frames: Sequence[Frame], inbox: trio.MemoryReceiveChannel[bytes | int] | None = None
) -> Result:
    """Give what the client makes of these frames."""
    socket = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
    await socket.bind(str(path))
    socket.listen(1)

    async def serve() -> None:
        connection, _ = await socket.accept()
        async with trio.SocketStream(connection) as stream:
            await stream.send_all(b"".join(map(protocol.encode, frames)))
            await stream.send_eof()
            await stream.receive_some(100_000)

    with trio.fail_after(30), socket:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            result = await ExecutorClient(str(path)).run(Job("python", "pass", "w"), inbox=inbox)
    return result


async def test_files_come_in_pieces(tmp_path: Path) -> None:
    frames = [artifact("a", 5), data(b"123"), data(b"45"), artifact("b", 0), RESULT]
    result = await talk(tmp_path / "s", [STARTED, *frames])
    assert [(one.name, one.data) for one in result.artifacts] == [("a", b"12345"), ("b", b"")]


@pytest.mark.parametrize(
    "frames",
    [
        [data(b"1")],
        [artifact("a", 2), data(b"123")],
        [artifact("a", 2), data(b"")],
        [artifact("a", 2), data(b"1"), RESULT],
        [artifact("a", 2), artifact("b", 2)],
        [artifact("a", 1 << 40)],
        [artifact("a", 2), data(b"12"), data(b"3")],
    ],
)
async def test_files_that_do_not_add_up_are_an_error(tmp_path: Path, frames: list[Frame]) -> None:
    result = await talk(tmp_path / "s", [STARTED, *frames])
    assert result.reason == "executor_error"
    assert result.artifacts == ()


@given(
    st.lists(
        st.one_of(
            st.builds(artifact, st.text("ab", max_size=2), st.integers(-1, 5)),
            st.builds(data, st.binary(max_size=5)),
        ),
        max_size=8,
    )
)
def test_any_order_of_frames_makes_whole_files_or_an_error(frames: list[Frame]) -> None:
    collected = client._Collected(None, bytearray(), bytearray(), started=True)
    announced = [json.loads(one.body) for one in frames if one.type is FrameType.ARTIFACT]
    try:
        for frame in frames:
            assert collected.take(frame) is None
        result = collected.take(RESULT)
    except ProtocolError:
        return
    assert result is not None
    assert [len(one.data) for one in result.artifacts] == [one["size"] for one in announced]


async def test_a_job_that_was_not_begun_is_said_so_also_while_input_waits(tmp_path: Path) -> None:
    _send, inbox = trio.open_memory_channel[bytes | int](0)
    with pytest.RaisesGroup(ExecutorUnavailable):  # of the test's own nursery, and of no other
        await talk(tmp_path / "socket", [], inbox)


# --- Status ---


async def ask(path: Path, seconds: float) -> Status:
    """Ask an executor that this connection has started, and that is ready after so long."""
    socket = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
    await socket.bind(str(path))
    socket.listen(1)
    status = messages.status_to_json(Status(("namespaces",), (), ()))

    async def serve() -> None:
        await trio.sleep(seconds)
        connection, _ = await socket.accept()
        async with trio.SocketStream(connection) as stream:
            report = protocol.control(FrameType.STATUS_REPORT, status)
            await stream.send_all(protocol.encode(report))

    with socket:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            try:
                found = await ExecutorClient(str(path)).status()
            finally:
                nursery.cancel_scope.cancel()
    return found


async def test_an_executor_that_is_starting_is_waited_for(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """On a small machine the proof at its start takes seconds."""
    assert (await ask(tmp_path / "s", 20)).layers == ("namespaces",)


async def test_one_that_hangs_is_not_waited_for_for_ever(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(ExecutorUnavailable, match="does not answer")):
        await ask(tmp_path / "s", 3600)
