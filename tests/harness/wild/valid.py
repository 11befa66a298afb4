"""Updates as Telegram may send them: of every kind, with every field, and nothing wrong with them.

A `Maker` draws from the one random source that it is given: a seeded one makes the same updates
again, and Hypothesis's own makes them shrink. People and chats are drawn from a small cast, so that
what is made is about the bot's own chats as well as about strangers'.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from attrs import Factory, define, field, frozen

from tests.harness.wild.reference import Field, alternatives, fields_of, kinds

Json = dict[str, Any]

BOT = {"id": 1000000001, "is_bot": True, "first_name": "Famulus", "username": "famulus_demo_bot"}
TELEGRAM = {"id": 777000, "is_bot": False, "first_name": "Telegram"}
OTHER_BOT = {"id": 9_000_001, "is_bot": True, "first_name": "Other", "username": "other_bot"}
STRANGER = 4_000_000_000_000  # ids need 52 bits
FORUM_TOPICS = (1, 7, 8)

DEEPEST = 4  # levels of objects in what is valid
# What is drawn for an optional field of an object at a level; below, only what must be there.
CHANCES = (0.5, 0.3, 0.15, 0.05)

# What most updates are; "" is any other kind.
KINDS = ("message",) * 12 + ("callback_query",) * 3 + ("edited_message",) * 2 + ("",) * 4

WORDS = ("hello", "what is 2 + 2?", "remember the milk", "x" * 4096, "\U0001f600" * 40, "قطة", "\0")
COMMANDS = ("/start", "/help", "/new", "/stop", "/status", "/unknown", "/new@other_bot", "/approve")
BUTTONS = ("show:1", "show:" + "f" * 59, "approve:7", "", "\n", "\U0001f600" * 16, "0", "a:b:c:d")

# Fields of a message of which it has one: what it is.
CONTENTS = (
    *("text", "photo", "document", "audio", "voice", "video", "video_note", "animation"),
    *("sticker", "location", "venue", "contact", "poll", "dice", "rich_message", "paid_media"),
    *("new_chat_members", "left_chat_member", "new_chat_title", "pinned_message"),
    "forum_topic_created",
)


@frozen
class Cast:
    """Who there is: people and groups that are answered. Everybody else is a stranger."""

    people: tuple[int, ...] = (1, 2)
    groups: tuple[int, ...] = (-1001, -1002)


@define
class Maker:
    """Makes updates. `cast` are those that the bot answers."""

    draw: random.Random
    cast: Cast = Factory(Cast)
    now: int = 1_790_000_000
    _numbers: int = 0
    _special: dict[str, Callable[[int], Any]] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._special = {
            "Chat": lambda _: self.chat(),
            "User": lambda _: self.person(),
            "Message": self.message,
            "CallbackQuery": self.callback,
        }

    def update(self) -> Json:
        """One update without a number: mostly messages, and sometimes of any other kind."""
        name = self.draw.choice(KINDS)
        kind = next((each for each in kinds() if each.name == name), None)
        kind = kind or self.draw.choice(kinds())
        return {kind.name: self.value(kind.types, 0)}

    # --- By the reference ---

    def value(self, types: tuple[str, ...], level: int) -> Any:
        """A value of one of the types."""
        name = self.draw.choice(types)
        if name.startswith("[]"):
            most = 3 if level < DEEPEST else 0
            return [self.value((name[2:],), level + 1) for _ in range(self.draw.randint(0, most))]
        if name[0] == "'":
            return name.strip("'")
        if name.isdecimal():
            return int(name)
        return self._simple(name) if name in SIMPLE else self._object(name, level)

    def _simple(self, name: str) -> Any:
        return SIMPLE[name](self.draw)

    def _object(self, name: str, level: int) -> Any:
        several = alternatives(name)
        if several != (name,):
            # Something must end what contains itself.
            plain = tuple(each for each in several if each in SIMPLE) or several[:1]
            return self.value(several if level < DEEPEST else plain, level)
        if name in self._special:
            return self._special[name](level)
        return self._fields(name, level)

    def _fields(self, name: str, level: int) -> Json:
        chance = CHANCES[level] if level < len(CHANCES) else 0.0
        found = {}
        for each in fields_of(name):
            if each.always or self.draw.random() < chance:
                found[each.name] = self._field(each, level + 1)
        return found

    def _field(self, each: Field, level: int) -> Any:
        if each.name.endswith("date") and each.types == ("int",):
            return self.now + self.draw.randint(-100, 100)
        return self.value(each.types, level)

    # --- By what is known of them ---

    def number(self) -> int:
        self._numbers += 1
        return self._numbers

    def person(self) -> Json:
        names = (
            {"first_name": "Ada"},
            {"first_name": "", "last_name": "\u202e"},
            {"first_name": "x" * 64},
        )
        known = self.draw.choice(self.cast.people)
        someone = self.draw.choice((known, known, STRANGER))
        human = {"id": someone, "is_bot": False, **self.draw.choice(names)}
        return self.draw.choice((human, human, human, human, BOT, OTHER_BOT, TELEGRAM))

    def chat(self) -> Json:
        someone = self.draw.choice((*self.cast.people, STRANGER))
        group = self.draw.choice((*self.cast.groups, -1009))
        return self.draw.choice(
            (
                {"id": someone, "type": "private", "first_name": "Ada"},
                {"id": group, "type": "supergroup", "title": "Family"},
                {"id": group, "type": "supergroup", "title": "Forum", "is_forum": True},
                {"id": group, "type": "group", "title": "Old"},
                {"id": -1008, "type": "channel", "title": "News"},
            )
        )

    def message(self, level: int) -> Json:
        """A message: who says it where, what it is, and a few of all the other fields."""
        made = {"message_id": self.number(), "date": self.now, **self._scene()}
        fields = {each.name: each for each in fields_of("Message")}
        content, chosen = "text", ["text"]
        if level < DEEPEST:
            content = self.draw.choice(("text",) * 14 + CONTENTS)
            chosen = [
                content,
                *self.draw.sample(sorted(fields), self.draw.choice((0, 0, 0, 1, 2, 4))),
            ]
        for name in chosen:
            if name in fields and name not in made:
                made[name] = self._field(fields[name], level + 1)
        if "text" in made:
            made["text"] = self.draw.choice((*WORDS, *COMMANDS, made["text"]))
        elif content in {"photo", "video", "document"} and self.draw.random() < 0.4:
            made["media_group_id"] = self.draw.choice("12")
        return made

    def _scene(self) -> Json:
        """Where, and by whom."""
        chat, sender = self.chat(), self.person()
        if chat["type"] == "private":
            return {"chat": chat, "from": {**sender, "id": chat["id"], "is_bot": False}}
        if chat["type"] == "channel":
            return {"chat": chat, "sender_chat": chat}
        scene = {"chat": chat, "from": sender}
        if chat.get("is_forum"):
            topic = self.draw.choice(FORUM_TOPICS)
            scene |= {"message_thread_id": topic, "is_topic_message": True}
        if self.draw.random() < 0.1:
            scene["sender_chat"] = self.draw.choice((chat, {"id": -1008, "type": "channel"}))
        return scene

    def callback(self, level: int) -> Json:
        """A pressed button, with anything for data, on a message that may be gone."""
        chat = self.chat()
        gone = {"chat": chat, "message_id": self.number(), "date": 0}
        made: Json = {"id": str(self.number()), "from": self.person(), "chat_instance": "1"}
        made["data"] = self.draw.choice(BUTTONS)
        shown = self.draw.choice((gone, self.message(level + 1), None))
        return {**made, "message": shown} if shown else {**made, "inline_message_id": "1"}


SIMPLE: dict[str, Callable[[random.Random], Any]] = {
    "int": lambda draw: draw.choice((0, 1, 7, 2**31, 2**52 - 1, -1, -(2**31))),
    "float": lambda draw: draw.choice((0.0, -1.5, 1e300, 52.5, 13)),
    "bool": lambda draw: draw.choice((True, False)),
    "str": lambda draw: draw.choice((*WORDS, "", "a", "file-1", "https://example.org/x?y=z")),
}
