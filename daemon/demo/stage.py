"""The conversation between terminal and daemon: typed by a person, or played from a file."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Final

import trio
from attrs import define, field

from daemon.demo import samples
from daemon.demo.botapi import BotApiServer
from daemon.demo.calls import Sent
from daemon.demo.changes import NeverHappened
from daemon.demo.people import Person
from daemon.demo.play import (
    DEFAULT_TIMEOUT,
    Expect,
    Neighbourhood,
    Play,
    Press,
    Restart,
    Say,
    Seen,
    Send,
    Step,
    Timeout,
)
from daemon.demo.setup import USER_ID
from daemon.demo.terminal import BLUE, BOLD, DIM, GREEN, RED, Terminal
from daemon.demo.world import Message, StoredFile
from daemon.sizes import human

# How long a reply to a piped line may take, in seconds.
REPLY_TIMEOUT: Final = 60.0

DELETED: Final = "deleteMessage"

# What files are called, by the field that holds them.
KINDS: Final = {
    "photo": "picture",
    "animation": "animation",
    "video": "video",
    "audio": "music",
    "voice": "voice message",
}

# What a file is saved as here loses of its name.
_UNSAFE: Final = re.compile(r"[^\w.-]+")
# File systems take 255; a number goes in front.
_NAME_BYTES: Final = 200


@define
class Stage:
    """One chat on the screen. `restart` kills the daemon and returns when it polls again.

    Pictures and documents that the chat is sent are saved in the directory `received`.
    """

    bot: BotApiServer
    terminal: Terminal
    restart: Callable[[], Awaitable[None]]
    received: Path
    _shown: int = 0
    # Where in `bot.sent` the replies to the user's last message begin.
    _mark: int = 0
    # How many presses had been answered before it.
    _told: int = 0
    _timeout: float = DEFAULT_TIMEOUT
    _met: int = field(default=0, init=False)

    # A person at the keyboard.

    async def chat(self) -> None:
        """Carry lines to the bot and replies to the screen until the user leaves."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._show_replies)
            await self._converse()
            nursery.cancel_scope.cancel()

    async def _converse(self) -> None:
        self.terminal.prompt()
        async with aclosing(self.terminal.lines()) as lines:
            async for line in lines:
                if line.strip() in {"/quit", "/exit"}:
                    return
                await self._take_line(line.strip())
                self.terminal.prompt()
        self.terminal.close()

    async def _take_line(self, line: str) -> None:
        verb, _, number = line.partition(" ")
        if verb == "/press":
            self._press(number)
        elif verb == "/send":
            self._send_path(number)
        elif line and self.terminal.interactive:
            self._say(line)
        elif line:
            self.terminal.message("you", f"{BOLD};{BLUE}", line)
            self._say(line)
            await self._a_reply_comes()

    async def _a_reply_comes(self) -> None:
        """Wait before the next line of piped input, which does not wait by itself."""
        with trio.move_on_after(REPLY_TIMEOUT):
            await self.bot.wait_for(lambda _bot: self._replies(), timeout=math.inf)
        self._show_new()

    async def _show_replies(self) -> None:
        while True:
            await self.bot.wait_for(lambda bot: len(bot.sent) > self._shown, timeout=math.inf)
            self._show_new()

    def _show_new(self) -> None:
        new, self._shown = self.bot.sent[self._shown :], len(self.bot.sent)
        for sent in new:
            self._show(sent)

    def _show(self, sent: Sent) -> None:
        if sent.method.startswith(DELETED):
            self.terminal.say(self.terminal.paint("(a message was deleted)", DIM))
            return
        edited = " (edited)" if sent.method.startswith("edit") else ""
        message = next((m for m in self._messages() if m.message_id == sent.message_id), None)
        parts = [sent.text, self._save(message) if message is not None and message.file else ""]
        text = "\n".join(part for part in parts if part)
        kind = sent.method.removeprefix("send").lower()
        self.terminal.message(f"famulus{edited}", f"{BOLD};{GREEN}", text or f"[{kind}]")
        labels = [f"[{i}] {b['text']}" for i, b in enumerate(self._buttons(sent.message_id), 1)]
        if labels:
            hint = f"{'  '.join(labels)}   (/press NUMBER, or what it says)"
            self.terminal.say(self.terminal.paint(f"         {hint}", DIM))

    def _messages(self) -> list[Message]:
        return self.bot.chat(USER_ID)

    def _save(self, message: Message) -> str:
        """Save a message's file, and give the line that says where it is."""
        stored = self.bot.world.files[message.file["file_id"]]
        # Numbered by the message, so that a second file of the same name is another file.
        name = f"{message.message_id}-{safe_name(stored.name)}"
        self.received.mkdir(mode=0o700, exist_ok=True)
        (self.received / name).write_bytes(stored.data)
        return f"{describe_file(message, stored)} saved as {self.received / name}"

    def _buttons(self, message_id: int) -> list[dict[str, str]]:
        found = [m for m in self._messages() if m.message_id == message_id]
        return [b for m in found for b in m.buttons if "callback_data" in b]

    def _press(self, which: str) -> None:
        """Press a button of the newest message that has it: by its number, or by its label."""
        found = self._find_button(which)
        if found is None:
            self.terminal.say(self.terminal.paint(f"there is no button {which}", DIM))
            return
        message, data = found
        self._mark, self._told = len(self.bot.sent), len(self.bot.world.answers)
        self.bot.press(message, data)

    def _find_button(self, which: str) -> tuple[Message, str] | None:
        """The newest message that has the button, and what the button sends.

        The beginning of what it says is enough.
        """
        for message in reversed(self._messages()):
            for number, button in enumerate(self._buttons(message.message_id), 1):
                if which == str(number) or button["text"].startswith(which):
                    return message, button["callback_data"]
        return None

    def _say(self, text: str) -> None:
        self._mark, self._told = len(self.bot.sent), len(self.bot.world.answers)
        self.bot.user_says(text, user_id=USER_ID)

    def _send_path(self, rest: str) -> None:
        """A file of this machine, with the words behind its name as a caption."""
        path, _, caption = rest.partition(" ")
        self._mark, self._told = len(self.bot.sent), len(self.bot.world.answers)
        try:
            samples.send_path(self._person(), Path(path), caption.strip())
        except samples.SampleError as error:
            self.terminal.say(self.terminal.paint(error.cause, DIM))

    def _person(self) -> Person:
        return Person(self.bot, USER_ID)

    def _replies(self) -> list[str]:
        """Give what the chat now shows of the messages that came since the user's last one."""
        since = {sent.message_id for sent in self.bot.sent[self._mark :]}
        shown = [self._in_words(m) for m in self._messages() if m.message_id in since]
        answers = list(self.bot.world.answers.values())[self._told :]
        return [*shown, *(str(answer.get("text", "")) for answer in answers)]

    def _in_words(self, message: Message) -> str:
        """What a play can expect of a message: its text, and a line for its file."""
        if not message.file:
            return message.text
        line = describe_file(message, self.bot.world.files[message.file["file_id"]])
        return "\n".join(part for part in (message.text, line) if part)

    # A play.

    async def perform(self, play: Play, *, with_code: bool) -> bool:
        """Play a play to its end or to the first reply that does not come; gives success."""
        began = time.monotonic()
        for step in play.steps(with_code=with_code):
            if not await self._perform_step(step, play.name):
                return False
        self._show_new()
        took = time.monotonic() - began
        code = "" if with_code else ", code tools off"
        verdict = f"play {play.name}: {self._met} replies as expected in {took:.1f} s{code}"
        self.terminal.say(self.terminal.paint(verdict, f"{BOLD};{GREEN}"))
        return True

    async def _perform_step(self, step: Step, name: str) -> bool:
        match step:
            case Say(_, text):
                self._show_new()
                self.terminal.message("you", f"{BOLD};{BLUE}", text)
                self._say(text)
            case Press(_, label):
                return await self._press_when_there(step, label, name)
            case Send(_, kind, words):
                self._show_new()
                self.terminal.message("you", f"{BOLD};{BLUE}", f"[{kind}] {words}".rstrip())
                self._mark, self._told = len(self.bot.sent), len(self.bot.world.answers)
                samples.send(self._person(), kind, words)
            case Timeout(_, seconds):
                self._timeout = seconds
            case Restart():
                self.terminal.say(self.terminal.paint("(the daemon is killed and restarted)", DIM))
                await self.restart()
            case Seen():
                text = "the daemon receives what was said"
                return await self._within(lambda: not len(self.bot.world.updates), text, step, name)
            case Neighbourhood():
                pass  # they have been there from the start
            case Expect():
                return await self._expect(step, name)
        return True

    async def _press_when_there(self, step: Press, label: str, name: str) -> bool:
        there = await self._within(
            lambda: self._find_button(label) is not None, f"a button {label!r}", step, name
        )
        if there:
            self.terminal.message("you", f"{BOLD};{BLUE}", f"[{label}]")
            self._press(label)
        return there

    async def _expect(self, step: Expect, name: str) -> bool:
        met = await self._within(lambda: step.met_by(self._replies()), str(step), step, name)
        self._met += met
        return met

    async def _within(
        self, look: Callable[[], bool], what: str, step: Expect | Seen | Press, name: str
    ) -> bool:
        """Wait for `look`; when it is not true in time, say what was expected and what came."""
        now = isinstance(step, Expect) and step.absent
        try:
            await self.bot.wait_for(lambda _bot: look(), 0.0 if now else self._timeout)
        except NeverHappened:
            within = "" if now else f" within {self._timeout:g} s"
            self._show_new()
            self._fail(f"play {name}, line {step.line}: expected: {what}{within}")
            return False
        self._show_new()
        return True

    def _fail(self, what: str) -> None:
        came = [f"what came: {text!r}" for text in self._replies()] or ["what came: nothing"]
        for line in (what, *came):
            self.terminal.say(self.terminal.paint(line, f"{BOLD};{RED}"))


def safe_name(name: str) -> str:
    """What a file's name has that is fit for a path here, the end of it if it is long."""
    return _UNSAFE.sub("_", name).encode()[-_NAME_BYTES:].decode(errors="ignore")


def describe_file(message: Message, stored: StoredFile) -> str:
    """A file in the chat, in brackets: `[picture plot-1.png, 14.2 kB]`."""
    kind = KINDS.get(message.file_kind, "document")
    return f"[{kind} {stored.name}, {human(len(stored.data))}]"
