"""What people send, of every kind that a client can: a person at the demo's Bot API server.

    ada = Person(bot, 1)
    ada.says("hello")
    ada.sends_photo(png, caption="what is this?")
    ada.sends_album([("photo", png), ("photo", other)], caption="two of them")
    ada.replies(bot.chat(1)[0], "why?", quote="I think")
    ada.forwards(user_origin("Bob"), text="a story")
    ada.edits(bot.chat(1)[-1], "what I meant")

Each puts a message into the person's private chat, or into the group `chat_id` and its topic, as
Telegram would show it there, and queues its update. All take further fields of a Message as keyword
arguments, and return the number of the update (of the last one, for an album).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Final

from attrs import field, frozen

from daemon.demo.botapi import BotApiServer
from daemon.demo.world import Message, Wire

# What a client says of a file of this kind, besides its size.
_SHAPES: Final[dict[str, Wire]] = {
    "document": {},
    "audio": {"duration": 192, "title": "Prelude", "performer": "Chopin"},
    "voice": {"duration": 12, "mime_type": "audio/ogg"},
    "video": {"width": 640, "height": 480, "duration": 45, "mime_type": "video/mp4"},
    "video_note": {"length": 240, "duration": 9},
    "animation": {"width": 320, "height": 240, "duration": 3, "mime_type": "video/mp4"},
}
# Kinds that carry the name that they had on the sender's disk.
_NAMED: Final = frozenset({"document", "audio", "video", "animation"})
_ENDINGS: Final = {"photo": "jpg", "voice": "ogg", "video_note": "mp4"}

_albums = itertools.count(13_000_000_000_000_001)


def user_origin(name: str, user_id: int = 99, *, date: int = 1_700_000_000) -> Wire:
    """Where a forward comes from: a person who may be named with a link."""
    person = {"id": user_id, "is_bot": False, "first_name": name}
    return {"type": "user", "date": date, "sender_user": person}


def hidden_origin(name: str, *, date: int = 1_700_000_000) -> Wire:
    """A person who lets forwards carry no more than the name."""
    return {"type": "hidden_user", "date": date, "sender_user_name": name}


def channel_origin(title: str, *, signed: str = "", date: int = 1_700_000_000) -> Wire:
    """A post of a channel."""
    chat = {"id": -1_001_234_567_890, "type": "channel", "title": title}
    origin = {"type": "channel", "date": date, "chat": chat, "message_id": 5}
    return {**origin, "author_signature": signed} if signed else origin


def chat_origin(title: str, *, date: int = 1_700_000_000) -> Wire:
    """A group that spoke for itself."""
    chat = {"id": -1_009_876_543_210, "type": "supergroup", "title": title}
    return {"type": "chat", "date": date, "sender_chat": chat}


def quote_of(message: Message, text: str) -> Wire:
    """A TextQuote of words that the message has, at their place in UTF-16 units."""
    before, found, _ = message.text.partition(text)
    if not found:
        raise ValueError(f"{text!r} is not in {message.text!r}")
    position = len(before.encode("utf-16-le")) // 2
    return {"text": text, "position": position, "is_manual": True}


@frozen
class Person:
    """Somebody with a client. Without a `chat_id` it is the private chat with the bot."""

    bot: BotApiServer
    user_id: int = 1
    chat_id: int | None = None
    topic: int | None = None
    fields: Wire = field(factory=dict)  # of every message

    # --- Words ---

    def says(self, text: str | None, **more: Any) -> int:  # noqa: ANN401 (fields of a Message)
        """Send a text, or with None whatever `more` holds."""
        return self.bot.user_says(
            text,
            user_id=self.user_id,
            chat_id=self.chat_id,
            message_thread_id=self.topic,
            **{**self.fields, **more},
        )

    def replies(
        self,
        to: Message,
        text: str | None,
        *,
        quote: str = "",
        **more: Any,  # noqa: ANN401
    ) -> int:
        """Reply to a message of the same chat, perhaps to a part of it."""
        shown = {k: v for k, v in to.wire().items() if k != "reply_to_message"}
        more["reply_to_message"] = shown
        if quote:
            more["quote"] = quote_of(to, quote)
        return self.says(text, **more)

    def replies_elsewhere(
        self,
        origin: Wire,
        text: str,
        *,
        quote: str = "",
        **more: Any,  # noqa: ANN401
    ) -> int:
        """Reply here to a message of another chat; `origin` as for a forward."""
        shown: Wire = {"external_reply": {"origin": origin}}
        if quote:
            shown["quote"] = {"text": quote, "position": 0, "is_manual": True}
        return self.says(text, **shown, **more)

    def forwards(self, origin: Wire, text: str | None = None, **more: Any) -> int:  # noqa: ANN401
        """Forward a message; `origin` is made by the functions above."""
        return self.says(text, forward_origin=origin, **more)

    def edits(self, message: Message, text: str) -> int:
        """Change the words of a message: its text, or the caption of its file."""
        words = "text" if "text" in message.content else "caption"
        message.content = {**message.content, words: text, "edit_date": message.date + 60}
        return self.bot.push_edit(message)

    def touches(self, message: Message, **more: Any) -> int:  # noqa: ANN401
        """Change something of a message that is no word, such as where a live location is."""
        message.content = {**message.content, **more, "edit_date": message.date + 60}
        return self.bot.push_edit(message)

    # --- Files ---

    def sends_file(
        self,
        kind: str,
        data: bytes,
        name: str = "",
        *,
        caption: str = "",
        **more: Any,  # noqa: ANN401
    ) -> int:
        """Send a photo, document, audio, voice, video, video_note or animation."""
        more |= self.content_of(kind, data, name)
        if caption:
            more["caption"] = caption
        return self.says(None, **more)

    def sends_photo(self, data: bytes, *, caption: str = "", **more: Any) -> int:  # noqa: ANN401
        """Send a picture."""
        return self.sends_file("photo", data, caption=caption, **more)

    def sends_voice(self, data: bytes, **more: Any) -> int:  # noqa: ANN401
        """Send a voice message."""
        return self.sends_file("voice", data, **more)

    def sends_document(
        self,
        data: bytes,
        name: str,
        *,
        caption: str = "",
        **more: Any,  # noqa: ANN401
    ) -> int:
        """Send a file."""
        return self.sends_file("document", data, name, caption=caption, **more)

    def sends_album(
        self,
        items: Sequence[tuple[str, bytes]],
        *,
        caption: str = "",
        **more: Any,  # noqa: ANN401
    ) -> int:
        """Send files as one album, each a message of its own; the first has the caption."""
        album, update = str(next(_albums)), 0
        for number, (kind, data) in enumerate(items):
            words = caption if number == 0 else ""
            name = f"{kind}-{number + 1}.bin" if kind in _NAMED else ""
            update = self.sends_file(kind, data, name, caption=words, media_group_id=album, **more)
        return update

    def content_of(self, kind: str, data: bytes, name: str = "") -> Wire:
        """The fields of a Message that has such a file."""
        stored = self.bot.world.add_file(data, name or f"file.{_ENDINGS.get(kind, 'bin')}")
        if kind == "photo":
            small = {**stored.wire(), "file_id": f"{stored.file_id}s", "width": 90, "height": 67}
            return {"photo": [small, {**stored.wire(), "width": 1280, "height": 960}]}
        named = {"file_name": name} if kind in _NAMED and name else {}
        return {kind: {**stored.wire(), **_SHAPES[kind], **named}}

    # --- Everything else ---

    def sends_sticker(self, emoji: str = "\U0001f44d", pack: str = "Thumbs") -> int:
        """Send a sticker."""
        stored = self.bot.world.add_file(b"RIFF....WEBP", "sticker.webp")
        kind = {"type": "regular", "width": 512, "height": 512}
        kind |= {"is_animated": False, "is_video": False, "emoji": emoji, "set_name": pack}
        return self.says(None, sticker={**stored.wire(), **kind})

    def sends_location(self, latitude: float, longitude: float, **more: Any) -> int:  # noqa: ANN401
        """Send a place on the map; `live_period=3600` makes it one that moves."""
        return self.says(None, location={"latitude": latitude, "longitude": longitude, **more})

    def sends_venue(self, title: str, address: str, latitude: float, longitude: float) -> int:
        """Send a place that has a name."""
        where = {"latitude": latitude, "longitude": longitude}
        return self.says(
            None, location=where, venue={"location": where, "title": title, "address": address}
        )

    def sends_contact(self, name: str, number: str) -> int:
        """Send somebody's card."""
        return self.says(None, contact={"first_name": name, "phone_number": number})

    def sends_poll(self, question: str, options: Sequence[str]) -> int:
        """Send a poll, on which nobody has voted yet."""
        listed = [
            {"persistent_id": str(n), "text": o, "voter_count": 0} for n, o in enumerate(options)
        ]
        kind: Wire = {"total_voter_count": 0, "is_closed": False, "is_anonymous": True}
        kind |= {"type": "regular", "allows_multiple_answers": False}
        return self.says(None, poll={"id": "9", "question": question, "options": listed, **kind})

    def rolls_dice(self, value: int, emoji: str = "\U0001f3b2") -> int:
        """Send a die, as it fell."""
        return self.says(None, dice={"emoji": emoji, "value": value})
