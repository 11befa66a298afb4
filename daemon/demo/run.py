"""`famulus demo`: the real daemon, against servers of our own, in this terminal.

Both servers run in this process; the daemon is a child (`python -m daemon run --with-executor`)
that knows them only by their addresses and talks to them over real HTTP. So the demo shows the
program that is installed, not a model of it. Everything that it writes is in a private temporary
directory that goes away at the end (`--keep` keeps it).

The order of the end is the reverse of the start's: the conversation, the daemon (which ends its
executor), the servers, the directory. Ctrl-C, SIGTERM and the terminal's end take the same way.
"""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, NoReturn

import trio
from attrs import define, field

from daemon import config, supervise
from daemon.demo import play as plays
from daemon.demo import webcast
from daemon.demo.botapi import BotApiServer
from daemon.demo.changes import NeverHappened
from daemon.demo.neighbours import Neighbours, library_is_open, open_neighbours
from daemon.demo.place import Place, temporary_place, toml, write_private
from daemon.demo.play import Play
from daemon.demo.process import REAL_DAEMON, STOP_TIMEOUT, DaemonDied, DaemonProcess
from daemon.demo.sandbox import Sandbox, find_sandbox
from daemon.demo.servers import DemoServers, open_demo_servers
from daemon.demo.setup import USER_ID, Setup, choose, document
from daemon.demo.stage import Stage
from daemon.demo.terminal import BOLD, RED, Terminal
from daemon.demo.webapi import ChatPage
from daemon.errors import FamulusError

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_INTERRUPTED: Final = 130

# From the start of the daemon to its first poll; budgeted at 0.5 s, a busy machine gets more.
START_TIMEOUT: Final = 30.0
# A daemon that is killed under the page is started again, unless it has lived for less than this.
SHORT_LIFE: Final = 3.0

ENDINGS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(options: argparse.Namespace) -> int:
    """Run the demo, `options` having `play`, `config` and perhaps `keep`; gives the exit code.

    Raises FamulusError for what the owner can correct: the play, the configuration, a daemon that
    does not start, a port that is taken.
    """
    setup = choose(os.environ, options.config)
    web = (options.port or 0) if getattr(options, "web", False) else None
    play = None if options.play is None else plays.load(plays.find(options.play))
    keep = bool(getattr(options, "keep", False))
    with temporary_place(user=str(setup.executor.get("user", "famulus-exec")), keep=keep) as place:
        demo = Demo(setup, place, keep, web=web)
        return trio.run(_unwrapped, demo, play, strict_exception_groups=True)


async def _unwrapped(demo: Demo, play: Play | None) -> int:
    """Run the demo; what the command line knows arrives alone, out of the nurseries' groups."""
    try:
        return await _whole(demo, play)
    except BaseExceptionGroup as group:
        ours, others = group.split((FamulusError, BrokenPipeError))
        if ours is None or others is not None:
            raise
        raise next(supervise.leaves(ours)) from None


async def _whole(demo: Demo, play: Play | None) -> int:
    """Run until the conversation or the play ends, a signal comes, or the daemon dies."""
    with trio.open_signal_receiver(*ENDINGS) as signals:
        async with (
            open_demo_servers() as servers,
            _neighbours(demo, play),
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(demo.end_on, signals, nursery.cancel_scope)
            async with demo.daemon(servers, nursery):
                await (demo.converse(play) if demo.web is None else demo.show_page())
            nursery.cancel_scope.cancel()
    if demo.died is not None:
        raise demo.died
    return demo.code


@asynccontextmanager
async def _neighbours(demo: Demo, play: Play | None) -> AsyncIterator[None]:
    """Run the neighbourhood during the block, if the play is to be played in one."""
    if play is None or not play.wants_neighbours:
        yield
        return
    async with open_neighbours(demo.place) as demo.neighbours:
        yield


@define(eq=False)
class Demo:
    """A demo that runs: its place, its servers, its daemon, and how it ended.

    `web` is the port of the chat page, 0 for a free one; None: the terminal is the chat.
    """

    setup: Setup
    place: Place
    keep: bool
    terminal: Terminal = field(factory=Terminal)
    command: Sequence[str] = REAL_DAEMON
    web: int | None = None
    code: int = EXIT_INTERRUPTED
    died: DaemonDied | None = None
    neighbours: Neighbours | None = None
    process: DaemonProcess = field(init=False)
    page: ChatPage | None = field(default=None, init=False)
    servers: DemoServers = field(init=False)
    sandbox: Sandbox = field(init=False)
    _nursery: trio.Nursery = field(init=False)

    async def end_on(self, signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
        """Cancel everything at the first signal."""
        async for _number in signals:
            self.terminal.close()
            scope.cancel()

    @asynccontextmanager
    async def daemon(self, servers: DemoServers, nursery: trio.Nursery) -> AsyncIterator[None]:
        """Run the daemon during the block; its own death cancels `nursery`.

        Leaving waits for its end, at most its grace and then a kill.
        """
        self.servers, self._nursery = servers, nursery
        self._write_config()
        self.process = DaemonProcess(self.place, self.command)
        try:
            await self._start()
            yield
        finally:
            with trio.move_on_after(STOP_TIMEOUT, shield=True):
                await self._stop()

    def _write_config(self) -> None:
        bot, model = self.servers.bot, self.servers.model
        found = document(self.setup, self.place, bot, model)
        if self.web is not None:
            webcast.gather(bot)
            found = webcast.admit(found)
        text = toml(self.neighbours.add_to(found) if self.neighbours else found)
        config.parse(text, source=self.setup.source)
        write_private(self.place.token, bot.token + "\n")
        write_private(self.place.config, text)
        write_private(self.place.log, "")
        bot.open_chat(USER_ID)
        if self.web is None:
            bot.world.user(USER_ID)["first_name"] = os.environ.get("USER", "You").title()

    async def _start(self) -> None:
        """Start the daemon; returns when it polls and it is known whether it can run code."""
        logged = self.place.log.stat().st_size
        polls = self.servers.bot.count("getUpdates")
        self.process.start()
        self._nursery.start_soon(self._watch)
        try:
            await self.servers.bot.wait_for(
                lambda bot: bot.count("getUpdates") > polls, START_TIMEOUT
            )
        except NeverHappened:
            raise self.process.story(f"the daemon did not poll in {START_TIMEOUT:g} s") from None
        self._tell_page(alive=True)
        self.sandbox = await find_sandbox(self.place.socket, self.place.log, logged)

    async def _watch(self) -> None:
        began = trio.current_time()
        story = await self.process.watch()
        if story is None:
            return
        if self.page is not None and trio.current_time() - began > SHORT_LIFE:
            self.terminal.say("the daemon was killed; it is started again")
            await self.restart()
            return
        self.died = story
        self._nursery.cancel_scope.cancel()

    async def restart(self) -> None:
        """Kill the daemon, start it again, and return when it is as it was."""
        self._tell_page(alive=False)
        await self.process.kill()
        await self._start()

    def _tell_page(self, *, alive: bool) -> None:
        if self.page is not None:
            self.page.alive = alive
            self.servers.bot.world.changes.tell()

    async def _stop(self) -> None:
        code = await self.process.stop()
        if code and self.died is None:
            self._complain(f"the daemon ended with {code}:\n{self.process.last_words()}")

    async def converse(self, play: Play | None) -> None:
        """Hold the conversation, and set the exit code by how it went."""
        stage = Stage(self.servers.bot, self.terminal, self.restart, self.place.received)
        for line in banner(self.setup, self.sandbox, self.place, keep=self.keep):
            self.terminal.say(line)
        if play is None:
            await stage.chat()
            self.code = EXIT_OK
            return
        if self.neighbours is not None:
            await library_is_open(self.place.log)
            play = play.beside(self.neighbours.url)
        played = await stage.perform(play, with_code=self.sandbox.works)
        self.code = EXIT_OK if played else EXIT_FAILED
        if not played:
            self.terminal.say(f"the last lines of the log:\n{self.process.last_words()}")
        self._check_manners(self.servers.bot)

    async def show_page(self) -> NoReturn:
        """Serve the chat page until a signal comes, which here is an ordinary end."""
        about = {"model": self.setup.model_in_words, "code": str(self.sandbox)}
        kill, killed = trio.open_memory_channel[None](0)
        page = self.page = ChatPage(self.servers.bot, about, kill)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._restart_on, killed)
                url = await nursery.start(partial(page.serve, port=self.web or 0))
                for line in page_banner(url, self.place, keep=self.keep):
                    self.terminal.say(line)
                self.code = EXIT_OK
        except* OSError as group:
            cause = f"the page cannot be served: {next(supervise.leaves(group))}"
            raise FamulusError(cause, "choose another --port, or none for a free one") from None
        raise AssertionError("a page is served until it is cancelled")

    async def _restart_on(self, killed: trio.MemoryReceiveChannel[None]) -> None:
        """Restart the daemon whenever somebody wants to see that."""
        async for _wish in killed:
            await self.restart()

    def _check_manners(self, bot: BotApiServer) -> None:
        """A daemon that breaks the rules of its servers has not played well."""
        for violation in bot.violations:
            self._complain(f"{violation.method} {violation.parameter}: {violation.problem}")
        for refusal in self.servers.model.refusals:
            self._complain(f"the model refused a request: {refusal}")

    def _complain(self, text: str) -> None:
        self.terminal.say(self.terminal.paint(text, f"{BOLD};{RED}"))
        self.code = EXIT_FAILED


def page_banner(url: str, place: Place, *, keep: bool) -> list[str]:
    """Say where the page is."""
    fate = "kept" if keep else "removed at the end"
    return [
        "Famulus, the real daemon. A local server stands in for Telegram; the chat is this page:",
        "",
        f"  {url}",
        "",
        f"  log    {place.log} ({fate})",
        "  Whoever has this address can use the page, on this machine only. Ctrl-C ends the demo.",
        "",
    ]


def banner(setup: Setup, sandbox: Sandbox, place: Place, *, keep: bool) -> list[str]:
    """Say in a few lines what this is."""
    fate = "kept" if keep else "removed at the end"
    return [
        "Famulus, the real daemon, in this terminal. A local server stands in for Telegram.",
        f"  model  {setup.model_in_words}",
        f"  code   {sandbox}",
        f"  log    {place.log} ({fate})",
        f"  files  {place.received} ({fate})",
        '  Say "help" for what it can do; /send FILE sends one; /quit or Ctrl-D ends.',
        "",
    ]
