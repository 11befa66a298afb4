"""What the demo's people send is what a client would: the daemon's own reader understands it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from daemon.chat.contents import Contents, contents
from daemon.demo.botapi import BotApiServer
from daemon.demo.people import (
    Person,
    channel_origin,
    chat_origin,
    hidden_origin,
    quote_of,
    user_origin,
)
from daemon.demo.servers import DemoServers
from daemon.telegram.types import Message, parse_update


def waiting(bot: BotApiServer) -> list[Message]:
    """The messages that wait for the bot, new ones and edited ones."""
    updates = [parse_update(each) for each in bot.world.updates.first(100)]
    return [found for each in updates if (found := each.message or each.edited_message)]


def read(bot: BotApiServer) -> Contents:
    """The contents of the newest."""
    return contents(waiting(bot)[-1], str(bot.world.bot["id"]))


@pytest.fixture
def bot() -> BotApiServer:
    return BotApiServer()


@pytest.fixture
def ada(bot: BotApiServer) -> Person:
    return Person(bot, 1)


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("photo", "a photo"),
        ("document", "the file a.bin, 4 B"),
        ("audio", 'an audio file "Prelude" by Chopin, 3:12 long'),
        ("voice", "a voice message, 0:12 long"),
        ("video", "a video, a.bin, 0:45 long"),
        ("video_note", "a video message, 0:09 long"),
        ("animation", "an animation, 0:03 long"),
    ],
)
async def test_a_file_of_every_kind_is_named_and_can_be_fetched(
    demo: DemoServers, kind: str, told: str
) -> None:
    """By getFile and the address that it gives, as from Telegram."""
    Person(demo.bot, 1).sends_file(kind, b"data", "a.bin", caption="look")
    found = read(demo.bot)
    assert (found.words, [file.told for file in found.files]) == ("look", [told])
    base, token = demo.bot.base_url, demo.bot.token
    async with httpx.AsyncClient() as client:
        file_id = {"file_id": found.files[0].file_id}
        answer = (await client.post(f"{base}/bot{token}/getFile", json=file_id)).json()
        path = answer["result"]["file_path"]
        assert (await client.get(f"{base}/file/bot{token}/{path}")).content == b"data"


def test_an_album_is_a_message_for_each_with_one_caption(bot: BotApiServer, ada: Person) -> None:
    ada.sends_album([("photo", b"1"), ("document", b"2"), ("photo", b"3")], caption="three")
    ada.sends_album([("photo", b"4"), ("photo", b"5")])
    messages = waiting(bot)
    assert [message.body for message in messages] == ["three", "", "", "", ""]
    assert len({message.media_group_id for message in messages}) == 2


SENT: list[tuple[Callable[[Person], Any], str]] = [
    (lambda ada: ada.sends_sticker("\U0001f600", "Faces"), "[sticker \U0001f600 of the set Faces]"),
    (lambda ada: ada.sends_contact("Bob", "+49"), "[contact: Bob, +49]"),
    (lambda ada: ada.sends_poll("Tea?", ["yes", "no"]), '[poll: "Tea?" Options: yes; no]'),
    (lambda ada: ada.rolls_dice(6), "[dice \U0001f3b2: 6]"),
    (
        lambda ada: ada.sends_location(1.5, 2),
        "[location: latitude 1.500000, longitude 2.000000]",
    ),
    (
        lambda ada: ada.sends_venue("Cafe", "Street", 1, 2),
        "[place: Cafe, Street (latitude 1.000000, longitude 2.000000)]",
    ),
    (lambda ada: ada.forwards(user_origin("Bob"), "x"), "[Forwarded from Bob, written "),
    (lambda ada: ada.forwards(hidden_origin("Bob"), "x"), "[Forwarded from Bob, written "),
    (lambda ada: ada.forwards(chat_origin("Family"), "x"), "[Forwarded from Family, "),
    (lambda ada: ada.forwards(channel_origin("N"), "x"), "[Forwarded from the channel N, "),
    (
        lambda ada: ada.replies_elsewhere(user_origin("Bob"), "so?", quote="rain"),
        '[Replying to a message of Bob in another chat: "rain"]',
    ),
]


@pytest.mark.parametrize(("send", "said"), SENT)
def test_everything_else_is_read_as_words(
    bot: BotApiServer, ada: Person, send: Callable[[Person], Any], said: str
) -> None:
    send(ada)
    assert read(bot).text.startswith(said)


def test_a_quote_is_at_its_place_in_utf16_units(bot: BotApiServer, ada: Person) -> None:
    ada.says("\U0001f600 it rains")
    quote = quote_of(bot.chat(1)[0], "rains")
    assert quote["position"] == 6
    ada.replies(bot.chat(1)[0], "why?", quote="rains")
    assert read(bot).text == '[Replying to a message of User 1: "... rains"]\nwhy?'
    with pytest.raises(ValueError, match="is not in"):
        quote_of(bot.chat(1)[0], "snows")


def test_a_text_and_a_caption_are_edited(bot: BotApiServer, ada: Person) -> None:
    """As updates of their own, with the number of the message."""
    bot.world.updates.allowed = ("message", "edited_message")
    ada.says("one")
    ada.edits(bot.chat(1)[0], "two")
    ada.sends_photo(b"1", caption="three")
    ada.edits(bot.chat(1)[1], "four")
    ada.touches(bot.chat(1)[1], has_media_spoiler=True)
    assert [message.body for message in waiting(bot)] == ["one", "two", "three", "four", "four"]
    assert [message.message_id for message in waiting(bot)] == [1, 1, 2, 2, 2]


def test_a_person_speaks_in_a_topic_of_a_group(bot: BotApiServer) -> None:
    Person(bot, 7, -100, topic=5).sends_photo(b"1")
    (message,) = waiting(bot)
    assert (message.chat.id, message.topic) == (-100, "5")
    assert message.sender is not None
    assert message.sender.id == 7
