"""The demo from start to end: with a stand-in for the daemon, and with the real one."""

from __future__ import annotations

import argparse
import ast
import io
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest
import trio
from attrs import define, field

from daemon.demo import run
from daemon.demo.changes import Changes
from daemon.demo.place import temporary_place
from daemon.demo.play import Play, load, parse
from daemon.demo.process import REAL_DAEMON, DaemonDied
from daemon.demo.run import Demo, _unwrapped, main
from daemon.demo.setup import choose
from daemon.demo.terminal import Terminal
from daemon.errors import FamulusError
from tests.harness import ledger

ECHO = (sys.executable, str(Path(__file__).with_name("echo_daemon.py")))


class Screen(io.StringIO):
    """What the demo writes; tests can wait for a text on it."""

    def __init__(self) -> None:
        super().__init__()
        self.changes = Changes()

    def write(self, text: str) -> int:
        written = super().write(text)
        self.changes.tell()
        return written

    async def shows(self, text: str) -> None:
        await self.changes.wait_for(lambda: text in self.getvalue(), 10, self.getvalue)


@define
class Running:
    """A demo whose input the test types."""

    demo: Demo
    screen: Screen
    keyboard: int
    codes: list[int] = field(factory=list)

    def type(self, *lines: str) -> None:
        os.write(self.keyboard, "".join(f"{line}\n" for line in lines).encode())


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)


@contextmanager
def prepared() -> Iterator[Running]:
    screen = Screen()
    with temporary_place() as place, pipe() as (read_end, write_end):
        terminal = Terminal(out=screen, input_fd=read_end)
        yield Running(Demo(choose({}, None), place, False, terminal, ECHO), screen, write_end)


@asynccontextmanager
async def running(play: Play | None = None) -> AsyncIterator[Running]:
    """Run a demo beside the block, which must see to its end."""
    with prepared() as found:
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def live() -> None:
                found.codes.append(await _unwrapped(found.demo, play))

            yield found


async def played(text: str) -> tuple[int, str]:
    """Play to the end; gives the exit code and the screen."""
    with prepared() as found:
        code = await _unwrapped(found.demo, parse(text))
        return code, found.screen.getvalue()


async def test_a_play_that_is_met() -> None:
    """A play whose replies come ends with 0 and counts them."""
    code, screen = await played("> hello\n< echo: hello\n<! goodbye\n> edit\n< second")
    assert code == 0, screen
    assert "play: 3 replies as expected" in screen
    assert "code tools off" in screen
    assert "no sandbox; build one" in screen


async def test_a_reply_that_does_not_come() -> None:
    """A play that is not met ends with 1 and says what was expected and what came."""
    code, screen = await played("! timeout 0.2\n> hello\n< goodbye")
    assert code == 1
    assert "line 3: expected: a reply containing 'goodbye' within 0.2 s" in screen
    assert "what came: 'echo: hello'" in screen
    code, screen = await played("! timeout 0.2\n> be silent\n< anything")
    assert (code, "what came: nothing" in screen) == (1, True)
    code, screen = await played("> hello\n< echo\n<! echo")
    assert (code, "no reply containing 'echo'" in screen) == (1, True)


async def test_a_restart_in_a_play() -> None:
    """The daemon is killed and started again, and the conversation goes on."""
    code, screen = await played("> one\n< one\n! seen\n! restart\n> two\n< echo: two\n! seen")
    assert code == 0, screen
    assert screen.count("killed and restarted") == 1


async def test_a_daemon_that_dies_is_told_with_its_last_words() -> None:
    """An end that nobody meant ends the demo with the end of the log."""
    with pytest.raises(DaemonDied, match=r"(?s)ended with 3.*famous last words"):
        await played("> die\n< never")


async def test_a_conversation_and_its_end() -> None:
    """Typed lines are answered; /quit ends everything with 0 and removes the place."""
    async with running() as demo:
        demo.type("hello", "", "ask")
        await demo.screen.shows("famulus> echo: hello")
        await demo.screen.shows("[1] Yes")
        demo.type("/press 1", "/press 9")
        await demo.screen.shows("famulus> pressed yes!")
        await demo.screen.shows("there is no button 9")
        demo.type("/quit")
    assert demo.codes == [0]
    assert not demo.demo.place.root.exists()


async def test_a_file_is_saved_and_the_screen_says_where() -> None:
    """Under a name of ours: what the sender called it is not to be trusted with a path."""
    async with running() as demo:
        await demo.screen.shows("/quit or Ctrl-D")
        file_id = demo.demo.servers.bot.add_file(bytes(1234), "../a b.txt")
        demo.type(f"send {file_id}")
        saved = demo.demo.place.received / "2-.._a_b.txt"
        await demo.screen.shows(f"[document ../a b.txt, 1.2 kB] saved as {saved}")
        assert "famulus> here\n" in demo.screen.getvalue()
        assert saved.read_bytes() == bytes(1234)
        demo.type("/quit")
    assert demo.codes == [0]


async def test_a_file_with_a_long_name_is_saved_under_a_shorter_one() -> None:
    """A file system counts bytes, of which a letter may have three."""
    async with running() as demo:
        await demo.screen.shows("/quit or Ctrl-D")
        file_id = demo.demo.servers.bot.add_file(b"data", "\u6f22" * 84 + ".csv")
        demo.type(f"send {file_id}")
        await demo.screen.shows("saved as")
        (saved,) = demo.demo.place.received.iterdir()
        assert saved.read_bytes() == b"data"
        assert saved.suffix == ".csv"
        demo.type("/quit")
    assert demo.codes == [0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_everything(number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM take the daemon along."""
    async with running() as demo:
        await demo.screen.shows("/quit or Ctrl-D")
        os.kill(os.getpid(), number)
    assert demo.codes == [130]
    assert demo.demo.process._popen is not None
    assert demo.demo.process._popen.poll() is not None


async def test_input_from_a_file_is_answered_line_by_line(tmp_path: Path) -> None:
    """Each line of a file is answered before the next one is said."""
    script = tmp_path / "lines"
    script.write_text("one\ntwo")
    with prepared() as found, script.open() as file:
        found.demo.terminal.input_fd = file.fileno()
        assert await _unwrapped(found.demo, None) == 0
        shown = [line for line in found.screen.getvalue().splitlines() if ">" in line]
    assert shown == ["you> one", "famulus> echo: one", "you> two", "famulus> echo: two"]


def test_messages_are_indented_and_coloured_only_on_a_terminal() -> None:
    """Further lines stand below the first; without a terminal there are no escapes."""
    screen = io.StringIO()
    terminal = Terminal(out=screen)
    terminal.message("famulus", "1", "one\n\ntwo")
    assert screen.getvalue() == "famulus> one\n         \n         two\n"
    terminal.colours = True
    assert terminal.paint("x", "1") == "\033[1mx\033[0m"


def test_an_unknown_play_is_refused_before_anything_starts() -> None:
    """What the owner can correct is an error of the owner's kind."""
    options = argparse.Namespace(play=Path("nothing"), config=None)
    with pytest.raises(Exception, match="there is no play nothing"):
        main(options)


@pytest.mark.parametrize(
    "play",
    [
        "main",
        "tests/plays/mistakes.play",
        "tests/plays/code.play",
        "tests/plays/notes.play",
        "tests/plays/files.play",
        "tests/plays/inputs.play",
        "tests/plays/schedule.play",
        pytest.param("tests/plays/restarts.play", marks=pytest.mark.slow),
    ],
)
async def test_the_real_daemon_plays(play: str) -> None:
    """The plays are played to their end by the program itself."""
    command = [sys.executable, "-m", "daemon", "demo", "--play", play]
    run = partial(trio.run_process, capture_stdout=True, stderr=subprocess.STDOUT, check=False)
    with trio.fail_after(90):
        done = await run(command)
    assert done.returncode == 0, done.stdout.decode()
    assert b"replies as expected" in done.stdout


def defined_tools() -> set[str]:
    """The names of all tools that are written in the code, whatever offers them."""
    trees = (ast.parse(path.read_text()) for path in Path("agent/tools").glob("*.py"))
    return {
        node.name
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.AsyncFunctionDef)
        and any(ast.unparse(each).startswith("tool(") for each in node.decorator_list)
    }


async def test_a_play_uses_every_tool() -> None:
    """Every tool of the code, and every one that is offered there, is called by the tools' play."""
    with prepared() as found, trio.fail_after(180):
        demo, screen = found.demo, found.screen
        demo.command = REAL_DAEMON
        code = await _unwrapped(demo, load(Path("tests/plays/tools.play")))
        assert code == 0, screen.getvalue()
        ledger.note(demo.servers.bot.calls)
        with closing(sqlite3.connect(demo.place.state / "famulus.db")) as db:
            called = {
                name for (name,) in db.execute("SELECT name FROM tool_calls WHERE state = 'done'")
            }
    if not demo.sandbox.works:
        pytest.skip(f"no code runs here, so its tools are not called: {demo.sandbox.why}")
    offered = {name for request in demo.servers.model.requests for name in request.tool_names}
    assert len(defined_tools()) > 20
    assert called == offered == defined_tools() | {"library__find_book", "library__lend_book"}


async def test_the_page_is_served_until_a_signal_comes() -> None:
    """Its address is on the screen, what is said there is answered, and a signal ends it with 0."""
    with prepared() as found:
        found.demo.web = 0
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def live() -> None:
                found.codes.append(await _unwrapped(found.demo, None))

            await found.screen.shows("http://127.0.0.1:")
            address = re.search(r"http://\S+/", found.screen.getvalue())
            assert address is not None
            await _say_on_the_page(address[0], "hello")
            await found.demo.servers.bot.wait_for(lambda bot: bot.texts(1) == ["echo: hello"])
            os.kill(os.getpid(), signal.SIGTERM)
    assert found.codes == [0]


async def test_a_daemon_killed_under_the_page_is_started_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By whomever it is killed; what is said afterwards is answered."""
    monkeypatch.setattr(run, "SHORT_LIFE", 0.0)
    with prepared() as found:
        found.demo.web = 0
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def live() -> None:
                found.codes.append(await _unwrapped(found.demo, None))

            await found.screen.shows("http://127.0.0.1:")
            bot, page = found.demo.servers.bot, found.demo.page
            assert page is not None
            os.kill(found.demo.process.pid, signal.SIGKILL)
            await bot.wait_for(lambda _: not page.alive)
            await bot.wait_for(lambda _: page.alive, 20)
            bot.user_says("hello")
            await bot.wait_for(lambda bot: bot.texts(1) == ["echo: hello"])
            os.kill(os.getpid(), signal.SIGTERM)
    assert found.codes == [0]


async def _say_on_the_page(url: str, text: str) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        act = {"kind": "say", "chat": 1, "user": 1, "text": text}
        origin = f"http://{httpx.URL(url).netloc.decode()}"
        answer = await http.post(f"{url}act", json=act, headers={"origin": origin})
        assert answer.status_code == 200


async def test_a_port_that_is_taken_is_said() -> None:
    """One sentence with the remedy, and no daemon is left."""
    with prepared() as found, socket.create_server(("127.0.0.1", 0)) as taken:
        found.demo.web = taken.getsockname()[1]
        with pytest.raises(FamulusError, match="the page cannot be served") as raised:
            await _unwrapped(found.demo, None)
    assert "--port" in raised.value.remedy
