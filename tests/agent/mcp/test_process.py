"""A server's process: what it is given, and that nothing of it is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
import trio

from agent.mcp import process
from agent.mcp.spec import Stdio
from tests.agent.mcp.rig import FakeHost, bare, call, ended, living, parent_of, rough


async def test_a_server_gets_nothing_of_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for three plain variables, and what is configured."""
    monkeypatch.setenv("FAMULUS_TELEGRAM_TOKEN", "123:abc")
    monkeypatch.setenv("LANG", "C.UTF-8")
    async with living(rough(env=lambda: {"KEY": "value"})) as server:
        seen = json.loads(bare(await call(server, "env")))
    assert seen.pop("LC_CTYPE", "C.UTF-8") == "C.UTF-8"  # Python's own doing
    assert seen.keys() <= {"PATH", "HOME", "LANG", "KEY"}
    assert seen["KEY"] == "value"


async def test_a_server_has_no_descriptors_of_ours() -> None:
    """Only its three streams: a socket or a database that it held would be a way in."""
    read, write = os.pipe()
    os.set_inheritable(write, True)
    try:
        async with process.running(_lister(), lambda _line: None) as child:
            listed = b""
            async for data in child.stdout:
                listed += data
    finally:
        os.close(read)
        os.close(write)
    assert listed.split() == [b"0", b"1", b"2"]


def _lister() -> Stdio:
    script = "import os\nfor n in range(64):\n try: os.fstat(n); print(n)\n except OSError: pass"
    return Stdio(command=(sys.executable, "-S", "-c", script))


async def test_a_server_that_logs_without_end_is_heard_at_a_pace() -> None:
    """What it has to say is kept in its pipe meanwhile, and so is the server."""
    script = "import os\nwhile True: os.write(2, b'a line of a log\\n' * 256)"
    heard = 0

    def hear(line: str) -> None:
        nonlocal heard
        heard += len(line) + 1

    async with process.running(Stdio(command=(sys.executable, "-S", "-c", script)), hear):
        while heard < process.HEARD // 2:
            await trio.lowlevel.checkpoint()
        begun = trio.current_time()
        await trio.sleep(5 * process.PAUSE)
        pauses = (trio.current_time() - begun) / process.PAUSE
        assert heard <= process.HEARD * (pauses + 2)


async def test_a_grandchild_in_a_session_of_its_own_ends_with_the_server() -> None:
    """For certain: it is gone when the block has ended."""
    async with living(rough()) as server:
        pid = int(bare(await call(server, "child")))
        assert not ended(pid)
    assert ended(pid)


async def test_a_grandchild_ends_when_the_server_dies() -> None:
    """A server that crashes leaves nothing behind either."""
    async with living(rough()) as server:
        pid = int(bare(await call(server, "child")))
        await call(server, "killed")
        assert ended(pid)


async def test_a_server_that_does_not_end_is_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After its grace, in which it may see the end of its input."""
    monkeypatch.setattr(process, "GRACE", 0.1)
    host = FakeHost()
    async with living(rough("stubborn"), host):
        (first,) = await host.marks(1)
    assert ended(int(first.split()[1]))


KILLED = """
import sys, trio
sys.path.insert(0, {root!r})
from tests.agent.mcp.rig import FakeHost, bare, call, living, rough
async def main():
    host = FakeHost()
    async with living(rough("stubborn"), host) as server:
        grandchild = bare(await call(server, "child"))
        print(grandchild, (await host.marks(1))[0].split()[1], flush=True)
        await trio.sleep_forever()
trio.run(main)
"""


def test_a_daemon_that_is_killed_leaves_no_server(request: pytest.FixtureRequest) -> None:
    """SIGKILL gives nobody a chance to clear up, but the keeper sees its lifeline end."""
    script = KILLED.format(root=str(request.config.rootpath))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as daemon:
        assert daemon.stdout is not None
        pids = [int(pid) for pid in daemon.stdout.readline().split()]
        fds = [os.pidfd_open(pid) for pid in pids]
        daemon.send_signal(signal.SIGKILL)
    for fd in fds:
        trio.run(_gone, fd)
        os.close(fd)


async def _gone(pidfd: int) -> None:
    with trio.fail_after(10):
        await trio.lowlevel.wait_readable(pidfd)


async def test_a_server_dies_with_its_keeper() -> None:
    """Should somebody kill the keeper, the kernel sees to the server."""
    host = FakeHost()
    async with living(rough("stubborn"), host) as server:
        pid = int((await host.marks(1))[0].split()[1])
        keeper = parent_of(pid)
        fd = os.pidfd_open(pid)
        os.kill(keeper, signal.SIGKILL)
        await _gone(fd)
        os.close(fd)
        outcome = await call(server, "echo")
        assert "its keeper was killed" in outcome.text
