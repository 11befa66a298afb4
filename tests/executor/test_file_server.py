"""File operations over a socket: the same files as jobs see, in order, whole or not at all."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from executor import client, file_messages, file_server, incoming, protocol
from executor.client import ExecutorClient, ExecutorUnavailable, FileClient
from executor.errors import FileRefused, NoWorkspace
from executor.file_messages import OPERATIONS, Answer, Request
from executor.file_values import Content, Edit, Info, Listing, Written
from executor.messages import Job
from executor.protocol import Frame, FrameType, ProtocolError
from executor.settings import Limits
from executor.wire import FrameStream
from executor.workspace import Workspaces
from tests.executor import trees
from tests.executor.harness import Running

LIMITS = Limits(workspace_bytes=8 * 1024 * 1024, workspace_files=100)


# ---- frames ----

TEXT = st.text(st.characters(codec=None), max_size=20)
REQUESTS = st.builds(
    Request,
    op=st.sampled_from(sorted(OPERATIONS)),
    workspace=st.just("key"),
    path=TEXT,
    pattern=TEXT,
    old=TEXT,
    new=TEXT,
    everywhere=st.booleans(),
    offset=st.integers(0, 1 << 40),
    limit=st.integers(0, 1 << 40),
    unit=st.sampled_from(["bytes", "lines"]),
    diff=TEXT,
)
INFOS = st.builds(Info, TEXT, st.just("file"), st.integers(0), st.floats(0, 1e10), st.integers(0))


@given(REQUESTS)
def test_a_request_survives_the_wire(request_: Request) -> None:
    """Names that are no UTF-8 included."""
    frame = protocol.control(FrameType.FILE, file_messages.request_to_json(request_))
    assert file_messages.parse_request(protocol.control_values(frame)) == request_


@given(infos=st.lists(INFOS, max_size=3), cut=st.booleans(), data=st.binary(max_size=50))
def test_an_answer_survives_the_wire(infos: list[Info], cut: bool, data: bytes) -> None:
    """With names of any kind in its value, and the bytes that went before it."""
    for op, value in (
        ("list", Listing(tuple(infos), cut)),
        ("read", Content(data, 1, 2, cut)),
        ("put", Written(3)),
    ):
        answer = Answer(value, 7)
        frame = protocol.control(FrameType.FILE_RESULT, file_messages.answer_to_json(answer))
        assert file_messages.parse_answer(op, protocol.control_values(frame), data) == answer


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
FIELDS = st.sampled_from(
    ["op", "workspace", "path", "offset", "unit", "ok", "revision", "value", "cause", "entries"]
)

JSON = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(FIELDS, SCALARS, max_size=3)


@given(op=st.sampled_from(sorted(OPERATIONS)), values=st.dictionaries(FIELDS, JSON, max_size=6))
def test_nonsense_is_an_error_of_the_protocol(op: str, values: dict[str, object]) -> None:
    """Whatever stands in the fields."""
    for parse in (file_messages.parse_request, lambda v: file_messages.parse_answer(op, v, b"")):
        try:
            parse({"ok": True, "op": op, **values})
        except (ProtocolError, FileRefused) as error:
            assert str(error)


@given(st.lists(st.tuples(st.sampled_from(["begin", "add"]), st.integers(0, 4)), max_size=8))
def test_artifacts_are_whole_or_an_error(steps: list[tuple[str, int]]) -> None:
    """Frames in an order that makes no sense never become a file that is too short or long."""
    collected = client.Artifacts()
    try:
        for step, size in steps:
            if step == "begin":
                collected.begin(f"{size}", size)
            else:
                collected.add(b"x" * size)
        done = collected.complete()
    except ProtocolError:
        return
    assert all(len(one.data) == int(one.name) for one in done)


def test_artifacts_are_bounded_before_they_come() -> None:
    """By the sizes that are announced."""
    with pytest.raises(ProtocolError, match="artifacts of more than"):
        client.Artifacts().begin("large", 1 << 40)


# ---- a server of files alone ----


@pytest.fixture
def workspaces(tmp_path: Path) -> Workspaces:
    (tmp_path / "root").mkdir()
    return Workspaces(tmp_path / "root")


async def no_sessions(_workspace: str) -> None:
    """There are none where no jobs run."""
    await trio.lowlevel.checkpoint()


@pytest.fixture
async def files(workspaces: Workspaces, tmp_path: Path) -> AsyncIterator[FileClient]:
    """The files of the workspace "w", served in this process."""
    path = str(tmp_path / "socket")
    place = file_server.Place(workspaces, LIMITS, no_sessions)
    listening = trio.socket.socket(trio.socket.AF_UNIX)
    await listening.bind(path)
    listening.listen()

    async def handle(stream: trio.SocketStream) -> None:
        frames = FrameStream(stream)
        async with stream:
            opening = await frames.receive()
            try:
                if opening is not None:
                    await file_server.serve(frames, opening, place)
            except (trio.BrokenResourceError, ProtocolError):
                return

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, handle, [trio.SocketListener(listening)])
        yield ExecutorClient(path).files("w")
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("name", trees.NAMES)
async def test_every_operation_takes_any_name(files: FileClient, name: str) -> None:
    """A name with new lines or bytes that are no text is written, found, read and removed."""
    assert (await files.write(name, b"one\ntwo\n")).value.size == 8
    assert [one.path for one in (await files.list()).value.entries] == [name]
    assert (await files.glob("**")).value.entries[0].path == name
    assert (await files.read(name, 1, 1, "lines")).value.data == b"two\n"
    assert (await files.edit(name, Edit("one", "1"))).value.replaced == 1
    assert (await files.stat(name)).value.size == 6
    assert (await files.usage()).value.files == 1
    assert (await files.remove(name)).value.names == 1
    assert (await files.list()).value.entries == ()


async def test_large_files_stream_both_ways(files: FileClient) -> None:
    """In pieces, without ever being in one frame."""
    data = os.urandom(5_000_000)
    await files.put("d/large", [data[:1], data[1:3_000_000], b"", data[3_000_000:]])
    taken = bytearray()
    assert (await files.get("d/large", taken.extend)).value.size == len(data)
    assert taken == data


async def test_a_refusal_ends_an_upload_early_and_says_why(
    files: FileClient, workspaces: Workspaces
) -> None:
    """Endless pieces would never be over by themselves; nothing of them stays."""

    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(1_000_000)

    with trio.fail_after(20), pytest.raises(FileRefused, match="does not fit"):
        await files.put("endless", endless())
    assert list((workspaces.root / "w").iterdir()) == []


async def test_pieces_that_cannot_be_read_are_the_callers_error(files: FileClient) -> None:
    """And the old file stays."""

    def failing() -> Iterator[bytes]:
        yield b"half"
        raise OSError("the disk is gone")

    await files.write("file", b"old")
    with pytest.raises(OSError, match="the disk is gone"):
        await files.put("file", failing())
    assert (await files.read("file")).value.data == b"old"


async def test_the_revision_goes_up_with_each_change_and_no_look(
    files: FileClient, workspaces: Workspaces, tmp_path: Path
) -> None:
    """A failed change counts as well; a new process goes on where the old one was."""
    first = (await files.write("a", b"1")).revision
    assert (await files.read("a")).revision == first
    with pytest.raises(FileRefused):
        await files.edit("a", Edit("nothing", "x"))
    second = (await files.list()).revision
    assert second > first
    again = Workspaces(workspaces.root)
    assert again.revision("w") == second
    await files.discard()
    assert (await files.write("a", b"1")).revision > second


async def test_a_revision_that_cannot_be_read_is_never_one_seen_before(
    workspaces: Workspaces,
) -> None:
    """The file is our own; if it holds nonsense, no number of before may come again."""
    seen = [workspaces.bump("w") for _ in range(5)]
    (workspaces.root / ".revisions" / "w").write_bytes(b"nonsense")
    assert Workspaces(workspaces.root).revision("w") > max(seen)


async def test_what_does_not_exist_is_not_made_by_looking(
    files: FileClient, workspaces: Workspaces
) -> None:
    """A key with a slip of the pen is refused."""
    for look in (files.list, files.usage, files.discard):
        with pytest.raises(NoWorkspace, match="no workspace w"):
            await look()
    assert workspaces.keys() == []


async def test_all_workspaces_are_told_with_what_they_hold(files: FileClient) -> None:
    """And what is beside them is not among them."""
    await files.write("a", bytes(5000))
    overview = await files.executor.workspaces()
    assert [(one.key, one.usage.files) for one in overview.workspaces] == [("w", 1)]
    assert not overview.cut


async def test_operations_wait_for_who_holds_the_workspace(
    files: FileClient, workspaces: Workspaces
) -> None:
    """As for a job that is running there; a caller that gives up has changed nothing."""
    async with workspaces.hold("w"):
        with trio.move_on_after(0.2) as scope:
            await files.patch("--- /dev/null\n+++ b/f\n@@ -0,0 +1 @@\n+x\n")
        assert scope.cancelled_caught
    assert (await files.list()).value.entries == ()


async def test_a_file_whose_writer_leaves_before_its_turn_is_not_written(
    files: FileClient, workspaces: Workspaces
) -> None:
    """All of it has been sent, and waits in the socket until the workspace is free."""
    async with workspaces.hold("w"):
        with trio.move_on_after(0.2) as scope:
            await files.write("late", b"data")
        assert scope.cancelled_caught
    assert (await files.list()).value.entries == ()


async def test_a_file_whose_writer_leaves_after_its_last_word_is_not_written(
    files: FileClient, monkeypatch: pytest.MonkeyPatch, workspaces: Workspaces
) -> None:
    """Here the client is gone when the file has been taken in and has not got its name."""
    write, written, gone = incoming.Incoming.write, threading.Event(), threading.Event()

    def slow(file: incoming.Incoming, data: bytes) -> None:
        write(file, data)
        written.set()
        gone.wait(20)

    monkeypatch.setattr(incoming.Incoming, "write", slow)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(files.write, "late", b"data")
        await trio.to_thread.run_sync(written.wait, 20)
        nursery.cancel_scope.cancel()
    gone.set()
    assert (await files.list()).value.entries == ()
    assert list((workspaces.root / "w").iterdir()) == []


async def test_a_workspace_that_was_discarded_is_not_made_again_by_who_waited_for_it(
    files: FileClient, workspaces: Workspaces
) -> None:
    """Whether there is one is judged when it is held."""
    await files.write("a", b"")

    async def look() -> None:
        with pytest.raises(NoWorkspace, match="no workspace w"):
            await files.list()

    async with trio.open_nursery() as nursery, workspaces.hold("w"):
        nursery.start_soon(look)
        lock = workspaces._locks["w"].lock
        with trio.fail_after(20):
            while not lock.statistics().tasks_waiting:  # noqa: ASYNC110 - it tells nobody
                await trio.sleep(0.001)
        workspaces.discard("w")
    assert workspaces.keys() == []


async def test_clients_that_vanish_anywhere_leave_all_or_nothing(
    files: FileClient, workspaces: Workspaces
) -> None:
    """Cancelled at any point, the file is the old one or the new one, and no lock stays."""
    before = trees.descriptors()
    old = b"0" * 300_000
    await files.write("file", old)
    for number in range(40):
        new = b"%d" % (number % 9 + 1) * 300_000
        with trio.move_on_after(number / 10_000):
            await files.put("file", [new])
        now = (await files.read("file")).value.data
        assert now in {old, new}
        old = now
    assert [one.name for one in (workspaces.root / "w").iterdir()] == ["file"]
    with trio.fail_after(20):
        while trees.descriptors() > before:  # noqa: ASYNC110 - connections end in their own time
            await trio.sleep(0.01)


@pytest.mark.parametrize(
    "sent",
    [
        [Frame(FrameType.FILE, b"{}")],
        [Frame(FrameType.FILE, b'{"op":"list","workspace":"../x"}')],
        [Frame(FrameType.FILE, b'{"op":"write","workspace":"w","path":"a"}'), Frame(FrameType.RUN)],
        [Frame(FrameType.FILE, b'{"op":"write","workspace":"w","path":"a"}')],
    ],
)
async def test_frames_out_of_place_change_nothing(
    files: FileClient, workspaces: Workspaces, sent: list[Frame]
) -> None:
    """A request without sense, one with a job after it, one that breaks off."""
    async with await files.executor.connect() as stream:
        for frame in sent:
            await FrameStream(stream).send(frame)
        await stream.send_eof()
        while await stream.receive_some():
            pass
    assert not (workspaces.root / "w" / "a").exists()


async def test_an_executor_that_hangs_up_is_unavailable(tmp_path: Path) -> None:
    """Nobody listening, and somebody who closes without a word."""
    path = str(tmp_path / "socket")
    with pytest.raises(ExecutorUnavailable, match="no executor listens"):
        await ExecutorClient(path).files("w").list()
    listening = trio.socket.socket(trio.socket.AF_UNIX)
    await listening.bind(path)
    listening.listen()
    with listening:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_accept_and_close, listening)
            with pytest.raises(ExecutorUnavailable, match="hung up"):
                await ExecutorClient(path).files("w").put("a", [bytes(1_000_000)])


async def _accept_and_close(listening: trio.socket.SocketType) -> None:
    accepted, _ = await listening.accept()
    accepted.close()


# ---- a real executor ----


@pytest.mark.executor
async def test_jobs_and_file_operations_see_the_same_files(running: Running) -> None:
    """What is put, a job reads; what a job writes, is got; a search runs in a box."""
    files = running.client.files("files-e2e")
    await files.write("in/put.txt", b"from outside\n")
    code = "cat in/put.txt; mkdir closed; echo x >closed/f; chmod 000 closed"
    assert (await running.client.run(Job("bash", code, "files-e2e"))).stdout == b"from outside\n"
    assert [one.path for one in (await files.glob("closed/*")).value.entries] == ["closed/f"]
    found = (await files.grep("out.ide")).value
    assert [(one.path, one.line) for one in found.matches] == [("in/put.txt", 1)]
    assert (await files.remove("closed")).value.names == 2
    with pytest.raises(FileRefused, match="no regular expression"):
        await files.grep("(")
    assert (await files.discard()).value.names >= 2


@pytest.mark.executor
async def test_a_link_that_a_job_made_leads_nowhere(running: Running) -> None:
    """Not to the workspace of another chat, and not to the executor's own files."""
    other, mine = running.client.files("other-chat"), running.client.files("link-chat")
    await other.write("secret", b"secret")
    links = "ln -s ../other-chat/secret a; ln -s .. b; ln -s /etc/passwd c"
    await running.client.run(Job("bash", links, "link-chat"))
    for path in ("a", "b/other-chat/secret", "c", "../other-chat/secret"):
        with pytest.raises(FileRefused):
            await mine.read(path)
    await mine.discard()
    assert (await other.read("secret")).value.data == b"secret"
    await other.discard()
