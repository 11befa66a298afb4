"""What a chat and a person have chosen, and buttons, through the whole daemon."""

from __future__ import annotations

from typing import Any

from daemon.chat.commands import MENUS
from daemon.demo.model import MODEL_NAME
from daemon.demo.replies import ChatRequest, Item, Reply, ToolCall, text_of
from daemon.demo.world import Message
from tests.harness.rig import Rig, open_rig


def last_said(request: ChatRequest) -> str:
    return text_of([each for each in request.messages if each["role"] == "user"][-1])


async def page(rig: Rig, command: str) -> Message:
    """The page that a command brings."""
    rig.bot.user_says(command)
    return await rig.until(lambda: next((m for m in rig.bot.chat(1) if m.buttons), None))


async def press(rig: Rig, message: Message, label: str) -> str:
    """Press a button; what the person is shown of it."""
    (data,) = (each["callback_data"] for each in message.buttons if each["text"] == label)
    done = len(rig.bot.world.answers)
    rig.bot.press(message, data)
    await rig.until(lambda: len(rig.bot.world.answers) > done)
    return str(list(rig.bot.world.answers.values())[-1]["text"])


async def said(rig: Rig, words: str) -> None:
    await rig.until(lambda: any(words in text for text in rig.bot.texts(1)))


async def test_a_chat_is_answered_by_the_model_that_it_has_chosen() -> None:
    """From the next message on; the times beside it are of the zone that its person has chosen."""
    async with open_rig() as rig:
        key = {"file": str(rig.place.root / "model.key")}
        second = {"base_url": rig.model.base_url, "name": "second", "api_key": key}
        rig.configure([1], model={"fallback": [second]})
        rig.model.script = lambda request: f"answered by {request.body['model']}"
        await rig.start()
        message = await page(rig, "/model")
        assert [each["text"] for each in message.buttons] == [f"✓ {MODEL_NAME}", "second"]
        assert await press(rig, message, "second") == "From the next message on: second"
        rig.bot.user_says("/settings zone Asia/Tokyo")
        rig.bot.user_says("hello")
        await said(rig, "answered by second")
        assert "(Asia/Tokyo)]" in last_said(rig.model.requests[-1])
        assert "(Asia/Tokyo)." in text_of(rig.model.requests[-1].messages[0])
        await rig.until(lambda: "second" in rig.bot.chat(1)[1].text)
        assert rig.bot.violations == []


async def test_each_kind_of_chat_has_its_menu() -> None:
    async with open_rig() as rig:
        rig.configure([1])
        await rig.start()
        await rig.until(lambda: rig.bot.count("setMyCommands") == len(MENUS))
        told = {
            call.params["scope"]["type"]: [each["command"] for each in call.params["commands"]]
            for call in rig.bot.calls
            if call.method == "setMyCommands"
        }
        assert told == {scope: list(menu) for scope, menu in MENUS.items()}


def asks_first(request: ChatRequest) -> Item:
    """Asks which, and says what was answered."""
    if request.messages[-1]["role"] == "tool":
        return f"So it is {text_of(request.messages[-1])}."
    arguments: dict[str, Any] = {"question": "Which?", "choices": ["this", "that"]}
    return Reply(calls=(ToolCall("ask_user", arguments),))


async def test_a_question_is_answered_across_a_kill() -> None:
    """By its button, which is pressed while nobody is there."""
    async with open_rig() as rig:
        rig.configure([1])
        rig.model.script = asks_first
        await rig.start()
        message = await page(rig, "begin")
        await rig.until(lambda: rig.value("SELECT count(*) FROM turns WHERE state = 'waiting'"))
        # Else it may have arrived for all that the next run knows, and is asked twice.
        await rig.until(lambda: rig.value("SELECT count(*) FROM outbox WHERE state = 'sent'"))
        rig.kill_now()
        await rig.ended()
        (data,) = (each["callback_data"] for each in message.buttons if each["text"] == "that")
        rig.bot.press(message, data)
        await rig.start()
        await said(rig, "So it is that.")
        assert (message.text, message.buttons) == ("Which?\n\nUser 1: that", [])
        assert rig.bot.world.open_queries == set()
