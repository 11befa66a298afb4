"""Clients that do not behave: nonsense, silence, slowness, the wrong account."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import cast

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from executor import messages, protocol, server
from executor.client import ExecutorClient, ExecutorUnavailable, Job
from executor.job import Runner
from executor.output import Output
from executor.protocol import Frame, FrameReader, FrameType
from executor.server import Server
from executor.settings import Limits, Settings
from executor.wire import FrameStream
from tests.executor import harness
from tests.executor.harness import Running

pytestmark = pytest.mark.executor


@contextlib.contextmanager
def connected(running: Running) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(20)
        sock.connect(running.settings.socket)
        yield sock


def answer(sock: socket.socket) -> list[Frame]:
    """Read frames until the executor hangs up."""
    reader, frames = FrameReader(), []
    with contextlib.suppress(ConnectionResetError):
        while data := sock.recv(65536):
            reader.feed(data)
            while (frame := reader.next_frame()) is not None:
                frames.append(frame)
    return frames


def refusal(frames: list[Frame]) -> messages.Result:
    return messages.parse_result(protocol.control_values(frames[-1]), b"", b"")


@pytest.mark.parametrize(
    ("sent", "named"),
    [
        (struct.pack(">IB", 1 << 31, 1), "over"),
        (struct.pack(">IB", 4, 1) + b"nope", "not JSON"),
        (struct.pack(">IB", 2, 1) + b"[]", "not a JSON object"),
        (struct.pack(">IB", 2, 99) + b"{}", "99"),
        (protocol.encode(Frame(FrameType.STDOUT, b"hello")), "begins with RUN"),
        (protocol.encode(Frame(FrameType.RUN, b"{}")), "language"),
    ],
)
def test_nonsense_is_refused_by_name(running: Running, sent: bytes, named: str) -> None:
    with connected(running) as sock:
        sock.sendall(sent)
        result = refusal(answer(sock))
    assert result.reason == "denied"
    assert named in result.detail


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.binary(max_size=200))
def test_no_bytes_bring_the_executor_down(running: Running, garbage: bytes) -> None:
    """After any garbage, and a client that vanishes in mid-frame, it still answers."""
    with connected(running) as sock:
        sock.sendall(garbage)
        sock.shutdown(socket.SHUT_WR)
        answer(sock)
    with connected(running) as sock:
        sock.sendall(protocol.encode(Frame(FrameType.STATUS, b"{}")))
        assert answer(sock)[0].type is FrameType.STATUS_REPORT


async def test_a_client_that_talks_during_its_job_loses_it(running: Running) -> None:
    frame = protocol.control(FrameType.RUN, messages.job_to_json(Job("bash", "sleep 60", "chatty")))
    stream = await trio.open_unix_socket(running.settings.socket)
    async with stream:
        frames = FrameStream(stream)
        await frames.send(frame)
        await frames.send(Frame(FrameType.RUN, b"{}"))
        with trio.fail_after(20):
            assert await _last(frames) in {None, FrameType.STARTED}


async def _last(frames: FrameStream) -> FrameType | None:
    last = None
    while (frame := await frames.receive()) is not None:
        last = frame.type
    return last


async def test_a_client_that_does_not_read_holds_up_neither_its_job_nor_others(
    running: Running,
) -> None:
    """Its job is drained and ends, and the workspace is free for the next one."""
    code = "import os\nfor _ in range(500): os.write(1, b'x' * 65536)\nopen('done', 'w')"
    frame = protocol.control(FrameType.RUN, messages.job_to_json(Job("python", code, "slow")))
    stream = await trio.open_unix_socket(running.settings.socket)
    async with stream:
        await FrameStream(stream).send(frame)
        await FrameStream(stream).receive()  # STARTED: it holds the workspace now
        with trio.fail_after(20):
            result = await running.client.run(Job("bash", "ls done", "slow"))
    assert result.stdout == b"done\n"


@pytest.mark.skipif(not harness.IS_ROOT, reason="needs root to be somebody else")
def test_another_account_is_refused_by_the_kernels_word() -> None:
    """Even if the socket's permissions let it in, a stranger's uid does not pass."""
    script = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
        "s.sendall(b'\\0\\0\\0\\2\\2{}'); print(s.recv(9999))"
    )
    with harness.place() as where, harness.executor(where) as running:
        Path(running.settings.socket).chmod(0o666)
        for account in ("nobody", harness.USER):
            command = ["/usr/bin/python3", "-I", "-c", script, running.settings.socket]
            as_other = ["setpriv", f"--reuid={account}", "--clear-groups", *command]
            done = subprocess.run(as_other, capture_output=True, text=True, check=True)
            assert "may not use this executor" in done.stdout


@pytest.mark.skipif(not harness.IS_ROOT, reason="as one's own, the socket is one's own")
def test_the_socket_is_for_the_account_that_started_it() -> None:
    with harness.place() as where, harness.executor(where) as running:
        found = Path(running.settings.socket).stat()
        assert (found.st_uid, found.st_mode & 0o777) == (0, 0o600)


async def test_an_executor_that_dies_in_mid_job_is_an_error_of_the_executor() -> None:
    """The caller hears that the job may have begun; the next call hears that nobody listens."""
    with harness.place() as where, harness.executor(where) as running:

        def kill(_stream: str, _data: bytes) -> None:
            running.process.kill()

        result = await running.client.run(
            Job("bash", "echo started; sleep 60", "dying"), on_output=kill
        )
        assert (result.reason, result.stdout) == ("executor_error", b"started\n")
        with pytest.raises(ExecutorUnavailable):
            await ExecutorClient(running.settings.socket).status()


async def test_stopping_the_executor_ends_its_jobs_as_cancelled() -> None:
    with harness.place() as where, harness.executor(where) as running:

        def stop(_stream: str, _data: bytes) -> None:
            running.process.terminate()

        result = await running.client.run(
            Job("bash", "echo started; sleep 60", "stopped"), on_output=stop
        )
        assert (result.reason, result.detail) == ("cancelled", "the executor is stopping")
        assert running.process.wait(10) == 0


async def test_a_client_that_goes_while_it_gets_its_files_is_no_harm(running: Running) -> None:
    code = "open('big', 'wb').write(b'x' * 15_000_000)"
    job = Job("python", code, "vanishes", artifacts=("big",))
    async with await trio.open_unix_socket(running.settings.socket) as stream:
        frames = FrameStream(stream)
        await frames.send(protocol.control(FrameType.RUN, messages.job_to_json(job)))
        with trio.fail_after(30):
            while (frame := await frames.receive()) and frame.type is not FrameType.ARTIFACT:
                pass
    assert frame is not None
    result = await running.client.run(Job("bash", "ls big", "vanishes"))
    assert result.stdout == b"big\n"


# ---- a server of our own, in this process ----


class _Talkative:
    """A runner whose jobs print more than a socket holds."""

    settings = Settings(socket="", workspaces="", limits=Limits(output_bytes=4 * 1024**2))

    def __init__(self) -> None:
        self.stopping = trio.Event()

    async def run(self, job: Job, output: Output, _inbox: object) -> messages.Result:
        if job.code == "fail":
            raise RuntimeError("a bug of ours")
        output.begin(messages.Started(("none",)))
        output.stdout.write(b"o" * 900_000)
        return messages.Result("exit", 0)


@contextlib.asynccontextmanager
async def serving(path: Path) -> AsyncIterator[str]:
    """A server that runs nothing; gives the path of its socket."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path / "socket"))
        listener.listen()
        listener.setblocking(False)
        runner = cast("Runner", _Talkative())
        status = messages.Status((), (), ())
        ours = Server(runner, frozenset({os.getuid()}), lambda: status)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: ours.serve(listener, ready=lambda: None))
            yield str(path / "socket")
            nursery.cancel_scope.cancel()


async def test_a_client_that_says_nothing_is_hung_up_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_OPENING_SECONDS", 0.1)
    async with serving(tmp_path) as path, await trio.open_unix_socket(path) as silent:
        with trio.fail_after(20):
            assert await silent.receive_some() == b""
        assert (await ExecutorClient(path).status()).layers == ()


async def test_a_bug_in_one_conversation_ends_no_other(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with serving(tmp_path) as path:
        with pytest.raises(ExecutorUnavailable):
            await ExecutorClient(path).run(Job("bash", "fail", "w"))
        assert (await ExecutorClient(path).status()).layers == ()
    assert "a bug of ours" in capfd.readouterr().err


async def test_a_delivery_that_was_cut_short_sends_nothing_more(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    """It was cut within a frame: a result would be read as the rest of it."""
    async with serving(tmp_path) as path, await trio.open_unix_socket(path) as stream:
        job = Job("bash", "", "w")
        run = protocol.control(FrameType.RUN, messages.job_to_json(job))
        await FrameStream(stream).send(run)
        await wait_all_tasks_blocked(0.05)
        mock_clock.jump(server._DELIVERY_SECONDS + 1)
        await wait_all_tasks_blocked(0.05)
        sent = b""
        while piece := await stream.receive_some():
            sent += piece
    assert len(sent) > 0
    assert b"reason" not in sent
