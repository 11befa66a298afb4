"""Every kind of thing that a person can send, one case each, as a person's client sends it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import trio
from attrs import frozen

from daemon.demo.faults import Fault
from daemon.demo.people import (
    Person,
    channel_origin,
    chat_origin,
    hidden_origin,
    user_origin,
)
from daemon.demo.world import Message
from tests.harness.rig import LOOK_EVERY, Rig

# As much of a picture as tells its size, and a document of one page.
PNG: Final = b"\x89PNG\r\n\x1a\n" + bytes(8) + b"\0\0\0\x09" * 2
PDF: Final = b"%PDF-1.4 /Type /Page "
TOO_LARGE: Final = 25_000_000
GROUP: Final = -1001
SLOW: Final = 0.5  # seconds that the model takes for a message that begins with this word

UNROUTED: Final = "SELECT count(*) FROM inbox WHERE state = 'new'"
OPEN_TURNS: Final = "SELECT count(*) FROM turns WHERE state <> 'ended'"
UNSENT: Final = "SELECT count(*) FROM outbox WHERE state IN ('queued', 'sending')"

Act: TypeAlias = Callable[[Rig, Person], Awaitable[None]]


@frozen
class Case:
    """`name` is the line of the table. `setting` is what the model of that daemon can do."""

    name: str
    act: Act
    setting: str = "sees"


def quick(act: Callable[[Person], object]) -> Act:
    """A case that only sends something."""

    async def perform(_rig: Rig, person: Person) -> None:
        act(person)
        await trio.lowlevel.checkpoint()

    return perform


async def answered(rig: Rig, person: Person, count: int = 1) -> Message:
    """Wait for so many answers; the last of them."""

    def shown() -> list[Message]:
        chat = person.chat_id or person.user_id
        return [message for message in rig.bot.chat(chat) if message.from_bot]

    await rig.until(lambda: len(shown()) >= count)
    return shown()[-1]


def last_words(rig: Rig, person: Person) -> Message:
    """The last message that the person sent."""
    chat = person.chat_id or person.user_id
    return [message for message in rig.bot.chat(chat) if not message.from_bot][-1]


# --- Replies and corrections need an answer first ---


async def reply_to_bot(rig: Rig, person: Person) -> None:
    person.says("what is rain?")
    person.replies(await answered(rig, person), "why?")


async def quote_of_bot(rig: Rig, person: Person) -> None:
    person.says("what is \U0001f327?")
    person.replies(await answered(rig, person), "why?", quote="what")


async def reply_in_group(rig: Rig, person: Person) -> None:
    """To what the bot has never been told of."""
    group, eve = rig.bot.open_chat(GROUP), Person(rig.bot, 666)
    photo = group.add(rig.bot.world.user(eve.user_id), eve.content_of("photo", PNG))
    here = Person(rig.bot, person.user_id, GROUP)
    mention = {"type": "mention", "offset": 0, "length": len("@famulus_demo_bot")}
    here.replies(photo, "@famulus_demo_bot what is this?", entities=[mention])
    await answered(rig, here)


async def edit_last(rig: Rig, person: Person) -> None:
    person.says("two pounds of flour")
    await answered(rig, person)
    person.edits(last_words(rig, person), "three pounds of flour")
    await answered(rig, person, 2)


async def edit_running(rig: Rig, person: Person) -> None:
    person.says("slow: two pounds of flour")
    asked = len(rig.model.requests)
    await rig.model.wait_for(lambda model: len(model.requests) > asked)
    person.edits(last_words(rig, person), "slow: three pounds of flour")
    await answered(rig, person, 2)


async def edit_waiting(rig: Rig, person: Person) -> None:
    stall = rig.bot.faults.add(Fault.stalled(method="getFile"))
    person.sends_photo(PNG, caption="waht is this?")
    await rig.until(lambda: stall.used)
    person.edits(last_words(rig, person), "what is this?")
    await routed(rig)
    stall.release()


async def edit_old(rig: Rig, person: Person) -> None:
    person.says("one")
    first = last_words(rig, person)
    await answered(rig, person)
    person.says("two")
    await answered(rig, person, 2)
    person.edits(first, "uno")


async def touch(rig: Rig, person: Person) -> None:
    person.says("see https://example.org/")
    await answered(rig, person)
    person.touches(last_words(rig, person), link_preview_options={"url": "https://example.org/"})


async def routed(rig: Rig) -> None:
    """Wait until everything that was sent has come, and is routed."""
    with trio.fail_after(30):
        while len(rig.bot.world.updates) or rig.value(UNROUTED):  # noqa: ASYNC110 - rows ring no bell
            await trio.sleep(LOOK_EVERY)


async def settled(rig: Rig) -> None:
    """Wait until every turn has ended and every answer has arrived, too."""
    await routed(rig)
    with trio.fail_after(30):
        while rig.value(OPEN_TURNS) or rig.value(UNSENT):  # noqa: ASYNC110 - as above
            await trio.sleep(LOOK_EVERY)


async def comment_and_forward(_rig: Rig, person: Person) -> None:
    tap = int(time.time())
    person.says("what do you think of this?", date=tap)
    person.forwards(user_origin("Bob"), "a long story", date=tap)
    await trio.lowlevel.checkpoint()


async def cut_text(_rig: Rig, person: Person) -> None:
    person.says("word " * 819 + "w")
    person.says("and the end")
    await trio.lowlevel.checkpoint()


CASES: Final = (
    Case("text", quick(lambda ada: ada.says("hello"))),
    Case("text that the client cut in two", cut_text),
    Case(
        "text with a link behind a word",
        quick(
            lambda ada: ada.says(
                "\U0001f600 read this",
                entities=[
                    {"type": "text_link", "offset": 8, "length": 4, "url": "https://example.org/"}
                ],
            )
        ),
    ),
    Case("reply to the bot", reply_to_bot),
    Case("reply with a quote", quote_of_bot),
    Case("reply to somebody's photo, in a group", reply_in_group),
    Case(
        "reply to a message of another chat",
        quick(lambda ada: ada.replies_elsewhere(channel_origin("Weather"), "so?", quote="rain")),
    ),
    Case("photo with a caption", quick(lambda ada: ada.sends_photo(PNG, caption="what is this?"))),
    Case("photo", quick(lambda ada: ada.sends_photo(PNG))),
    Case(
        "photo, and a model that takes none",
        quick(lambda ada: ada.sends_photo(PNG, caption="what is this?")),
        "blind",
    ),
    Case(
        "album of three",
        quick(lambda ada: ada.sends_album([("photo", PNG)] * 3, caption="all of these")),
    ),
    Case(
        "two documents of one name, as an album",
        quick(
            lambda ada: [
                ada.sends_document(b"words", "notes.txt", media_group_id="77") for _ in range(2)
            ]
        ),
    ),
    Case("document", quick(lambda ada: ada.sends_document(b"a,b", "table.csv", caption="sum up"))),
    Case("PDF", quick(lambda ada: ada.sends_document(PDF, "report.pdf", caption="sum up"))),
    Case(
        "PDF, and a model that takes none",
        quick(lambda ada: ada.sends_document(PDF, "report.pdf", caption="sum up")),
        "blind",
    ),
    Case("document with a dangerous name", quick(lambda ada: ada.sends_document(b"x", "../-rf\n"))),
    Case(
        "document of 25 MB",
        quick(
            lambda ada: ada.says(
                None,
                caption="sum up",
                document={"file_id": "x", "file_name": "film.iso", "file_size": TOO_LARGE},
            )
        ),
    ),
    Case(
        "document that Telegram has no more",
        quick(lambda ada: ada.says(None, document={"file_id": "x", "file_name": "gone.txt"})),
    ),
    Case("voice message", quick(lambda ada: ada.sends_voice(b"OggS"))),
    Case(
        "voice message, transcription configured",
        quick(lambda ada: ada.sends_voice(b"OggS")),
        "hears",
    ),
    Case("audio file", quick(lambda ada: ada.sends_file("audio", b"ID3", "air.mp3"))),
    Case(
        "audio file, transcription configured",
        quick(lambda ada: ada.sends_file("audio", b"ID3", "air.mp3")),
        "hears",
    ),
    Case("video", quick(lambda ada: ada.sends_file("video", b"....ftyp", "clip.mp4"))),
    Case("video message", quick(lambda ada: ada.sends_file("video_note", b"....ftyp"))),
    Case("animation", quick(lambda ada: ada.sends_file("animation", b"....ftyp", "cat.mp4"))),
    Case("sticker", quick(lambda ada: ada.sends_sticker())),
    Case("location", quick(lambda ada: ada.sends_location(52.520008, 13.404954))),
    Case("live location", quick(lambda ada: ada.sends_location(52.52, 13.4, live_period=600))),
    Case("venue", quick(lambda ada: ada.sends_venue("Cafe", "Main Street 1", 52.52, 13.4))),
    Case("contact", quick(lambda ada: ada.sends_contact("Bob", "+4930123456"))),
    Case("poll", quick(lambda ada: ada.sends_poll("Tea?", ["yes", "no"]))),
    Case("dice", quick(lambda ada: ada.rolls_dice(4))),
    Case("story", quick(lambda ada: ada.says(None, story={"id": 1, "chat": {"id": 5}}))),
    Case("forward from a person", quick(lambda ada: ada.forwards(user_origin("Bob"), "a story"))),
    Case(
        "forward from a hidden person",
        quick(lambda ada: ada.forwards(hidden_origin("Bob"), "a story")),
    ),
    Case("forward from a group", quick(lambda ada: ada.forwards(chat_origin("Family"), "a story"))),
    Case(
        "forward from a channel",
        quick(lambda ada: ada.forwards(channel_origin("News", signed="Eve"), "a story")),
    ),
    Case("comment and the forward after it", comment_and_forward),
    Case("edit of a message whose turn has not begun", edit_waiting),
    Case("edit of the message that is being answered", edit_running),
    Case("edit of the last message that was answered", edit_last),
    Case("edit of an older message", edit_old),
    Case("edit that changes no words", touch),
    Case("service message", quick(lambda ada: ada.says(None, new_chat_title="News"))),
)
