"""The whole daemon against telegram-test-api, an emulator of the Bot API that nobody here wrote.

From npm, looked for in .peers/node_modules. It serves one bot's side and, by a few calls of its
own, the person's. Against Telegram it lacks, and so it is no test of:

- holding a poll: it answers at once, also that there is nothing;
- `offset` and `allowed_updates`: an update is handed out once, and forgotten as it is handed out;
- what a button hangs on: a callback's `message` has neither number nor date unless the person's
  side gives them;
- every method but getMe, getUpdates, sendMessage, editMessageText, editMessageReplyMarkup,
  deleteMessage, answerCallbackQuery, setWebhook and deleteWebhook: the others, setMyCommands and
  all that sends a file, a draft, an action or a reaction among them, are a 500;
- refusals: no length, entity, chat, token or button is checked, no call is ever too many;
- results: edits, deletions and answered callbacks give null, a message's date is in milliseconds.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from attrs import define, field

from daemon.demo.replies import Reply, ToolCall
from tests.harness.rig import Rig, open_rig

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / ".peers/node_modules/telegram-test-api"
NODE = shutil.which("node")

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(NODE is None, reason="needs node"),
    pytest.mark.skipif(
        not PACKAGE.is_dir(), reason="needs telegram-test-api in .peers (make test-peers)"
    ),
]

# Its options take no port 0, its configuration does.
SERVE = """
const {TelegramServer} = require(process.argv[1] + '/lib/telegramServer.js');
const server = new TelegramServer({host: '127.0.0.1'});
server.config.port = 0;
server.start().then(() => console.log(server.server.address().port));
"""
TIMEOUT = 20.0  # seconds; only reached by a test that has failed
LOOK_EVERY = 0.05  # the emulator rings no bell
USER = 1

Json = dict[str, Any]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where the emulator listens."""
    command = [str(NODE), "-e", SERVE, str(PACKAGE)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


@define
class Person:
    """The emulator's other side: somebody who writes to the bot and reads what it says."""

    client: httpx.AsyncClient
    rig: Rig
    _unread: deque[Json] = field(factory=deque, init=False)

    async def sends(self, how: str, **more: Any) -> None:
        """`how` is the emulator's word: sendMessage, sendCommand, sendCallback."""
        sender = {"id": USER, "first_name": "Ada", "username": "ada", "is_bot": False}
        chat = {"id": USER, "first_name": "Ada", "type": "private"}
        common = {"from": sender, "chat": chat, "date": int(time.time())}
        told = await self.client.post(f"/{how}", json={"botToken": self._token, **common, **more})
        assert told.json()["ok"], told.text

    async def presses(self, data: str) -> None:
        """Press a button; the emulator does not say of which message."""
        chat = {"id": USER, "type": "private"}
        message = {"message_id": 1, "date": int(time.time()), "chat": chat}
        await self.sends("sendCallback", data=data, message=message)

    @property
    def _token(self) -> str:
        return self.rig.bot.token

    async def reads(self, text: str) -> Json:
        """Wait until the next thing that the bot says, which must have this text; gives it."""
        asks = {"token": self._token, "chatId": USER}
        with trio.fail_after(TIMEOUT):
            while not self._unread:
                self._unread.extend(
                    (await self.client.post("/getUpdates", json=asks)).json()["result"]
                )
                assert self.rig.runs, self.rig.last_words()
                await trio.sleep(LOOK_EVERY)
        message: Json = self._unread.popleft()["message"]
        assert text in message["text"]
        return message


@pytest.fixture
async def person(address: str) -> AsyncIterator[Person]:
    """Somebody to talk with the daemon, which runs; the model is our own."""
    async with open_rig([USER], telegram={"api_base_url": address}) as rig:
        rig.model.script = lambda request: f"you said: {request.messages[-1]['content']}"
        rig.spawn()
        async with httpx.AsyncClient(base_url=address, trust_env=False) as client:
            person = Person(client, rig)
            yield person
            assert await rig.stop() == 0
        assert "Traceback" not in rig.log()


async def test_texts_are_answered_in_order(person: Person) -> None:
    """What is polled becomes a turn, and its answer a message with its entities."""
    await person.sends("sendMessage", text="one **bold** word")
    message = await person.reads("you said: one bold word")
    assert [(e["type"], e["length"]) for e in message["entities"]] == [("bold", 4)]
    for number in range(3):
        await person.sends("sendMessage", text=f"number {number}")
    for number in range(3):
        await person.reads(f"number {number}")


async def test_commands_are_done(person: Person) -> None:
    """They are no talk for the model."""
    entities = [{"type": "bot_command", "offset": 0, "length": 7}]
    await person.sends("sendCommand", text="/status", entities=entities)
    await person.reads("up ")
    assert person.rig.model.requests == []


async def test_a_button_is_pressed(person: Person) -> None:
    """The question has buttons, and the one that denies is as good as saying so."""
    call = ToolCall("http_client", {"method": "POST", "url": "https://example.org/", "body": "x"})
    person.rig.model.script = [Reply(calls=(call,)), "so be it"]
    await person.sends("sendMessage", text="post something")
    question = await person.reads("POST")
    buttons = [each for row in question["reply_markup"]["inline_keyboard"] for each in row]
    (deny,) = [each["callback_data"] for each in buttons if "Deny" in each["text"]]
    await person.presses(deny)
    await person.reads("so be it")
    rows = person.rig.rows("SELECT outcome FROM inbox ORDER BY id")
    assert [row["outcome"] for row in rows] == ["turn", "button"]


async def test_a_forged_button_is_answered_and_does_nothing(person: Person) -> None:
    """Whatever its data says; what comes after it is answered as ever."""
    await person.presses("show:forged")
    await person.sends("sendMessage", text="still there?")
    await person.reads("still there?")
    rows = person.rig.rows("SELECT outcome FROM inbox ORDER BY id")
    assert [row["outcome"] for row in rows] == ["button", "turn"]
    (answer,) = person.rig.rows("SELECT * FROM outbox WHERE method = 'answerCallbackQuery'")
    assert (answer["state"], "no longer valid" in answer["params"]) == ("sent", True)
