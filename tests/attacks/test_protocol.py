"""Attack 39: clients of the executor that do not behave; there are more in tests/executor."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from executor import messages, protocol
from executor.client import Job
from executor.protocol import Frame, FrameReader, FrameType
from executor.wire import FrameStream
from tests.attacks.stacks import Target
from tests.executor import harness

pytestmark = pytest.mark.executor


@contextlib.contextmanager
def connected(target: Target) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(20)
        sock.connect(target.running.settings.socket)
        yield sock


def refusal(sock: socket.socket) -> messages.Result:
    """Read frames until the executor hangs up; give the result in the last."""
    reader, frames = FrameReader(), []
    with contextlib.suppress(ConnectionResetError):
        while data := sock.recv(65536):
            reader.feed(data)
            while (frame := reader.next_frame()) is not None:
                frames.append(frame)
    return messages.parse_result(protocol.control_values(frames[-1]), b"", b"")


@pytest.mark.attack("39a")
async def test_an_oversized_frame_is_refused_before_it_is_read(target: Target) -> None:
    """By its header alone: two gigabytes are announced, and no memory is taken for them."""
    before = harness.rss_kib(target.pid)
    with connected(target) as sock:
        sock.sendall(struct.pack(">IB", 1 << 31, 1) + b"x" * 1000)
        result = await trio.to_thread.run_sync(refusal, sock)
    assert (result.reason, "over" in result.detail) == ("denied", True)
    assert harness.rss_kib(target.pid) - before < 8 * 1024
    await target.answers()


@pytest.mark.attack("39b")
async def test_bad_json_is_refused_by_name(target: Target) -> None:
    """Not JSON, not an object, endlessly nested, or without what a job needs."""
    bodies = {b"nope": "not JSON", b"[]": "not a JSON object", b"[" * 90000: "not JSON"}
    bodies[b"{}"] = "language"
    for body, named in bodies.items():
        with connected(target) as sock:
            sock.sendall(protocol.encode(Frame(FrameType.RUN, body)))
            result = await trio.to_thread.run_sync(refusal, sock)
        assert result.reason == "denied"
        assert named in result.detail
    await target.answers()


@pytest.mark.attack("39c", needs="root")
async def test_another_account_is_refused_by_the_kernels_word(target: Target) -> None:
    """Even if the socket's permissions let it in; a job's own account is such a stranger too."""
    script = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
        "s.sendall(b'\\0\\0\\0\\2\\2{}'); print(s.recv(9999))"
    )
    with open_to_all(Path(target.running.settings.socket)) as path:
        for account in ("nobody", harness.USER):
            command = ["/usr/bin/python3", "-I", "-c", script, str(path)]
            as_other = ["setpriv", f"--reuid={account}", "--clear-groups", *command]
            done = await trio.run_process(as_other, capture_stdout=True)
            assert b"may not use this executor" in done.stdout


@contextlib.contextmanager
def open_to_all(path: Path) -> Iterator[Path]:
    mode = path.stat().st_mode & 0o777
    path.chmod(0o666)
    try:
        yield path
    finally:
        path.chmod(mode)


@pytest.mark.attack("39d")
async def test_a_client_that_does_not_read_holds_up_nobody(target: Target) -> None:
    """Its job is drained and ends, the workspace is free, and the executor does not grow."""
    await target.answers()
    before = harness.rss_kib(target.pid)
    code = "import os\nfor _ in range(500): os.write(1, b'x' * 65536)\nopen('done', 'w')"
    frame = protocol.control(FrameType.RUN, messages.job_to_json(Job("python", code, "slow")))
    stream = await trio.open_unix_socket(target.running.settings.socket)
    async with stream:
        await FrameStream(stream).send(frame)
        await FrameStream(stream).receive()  # STARTED: it holds the workspace now
        result = await target.bash("ls done; rm done", workspace="slow")
        assert harness.rss_kib(target.pid) - before < 8 * 1024
    assert result.stdout == b"done\n"


@pytest.mark.attack("39e")
async def test_clients_that_stop_in_the_middle_hold_up_nobody(target: Target) -> None:
    """Fifty that say nothing and fifty with half a frame: others are served meanwhile."""
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            stack.enter_context(connected(target))
            stack.enter_context(connected(target)).sendall(struct.pack(">IB", 500, 1) + b'{"la')
        await target.answers()
    await target.answers()
