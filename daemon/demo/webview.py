"""What the chat page shows, as flat entries that can be compared: a key and a JSON text each.

A page holds the same entries as the server. It is sent all of them once, and then those that have
changed; so it cannot miss an edit, and one that comes late sees what the others see. Pure: the
world and a time in, entries out.

The keys: `chat:ID`, `user:ID`, `message:CHAT:ID`, `draft:CHAT`, `action:CHAT`, `answer:QUERY`,
`commands:CHAT` and `bot`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias
from weakref import WeakKeyDictionary

import attrs

from daemon.demo.webacts import marks
from daemon.demo.webrich import blocks
from daemon.demo.world import Chat, Message, Wire, World

Entries: TypeAlias = dict[str, str]

# A page shows the answer to a button once, when it comes; older ones are of no use.
ANSWERS: Final = 20
# Entities within which nothing else is found.
OPAQUE: Final = frozenset({"code", "pre", "text_link", "text_mention"})

# What a message held when its text was made, and the text.
_MADE: Final = WeakKeyDictionary[Message, tuple[Wire, tuple[Wire, ...], str]]()


def entries(world: World, now: float) -> Entries:
    """Everything that there is to be seen at `now`, in seconds of `time.monotonic()`."""
    found = {key: _json(value) for key, value in _values(world, now)}
    for chat_id, chat in world.chats.items():
        for message in chat.messages.values():
            found[f"message:{chat_id}:{message.message_id}"] = _message(message)
    return found


def difference(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """The JSON object that makes `new` of `old`; "" where nothing has changed."""
    changed = [f"{json.dumps(k)}:{v}" for k, v in new.items() if old.get(k) != v]
    gone = [key for key in old if key not in new]
    if not changed and not gone:
        return ""
    return f'{{"set":{{{",".join(changed)}}},"gone":{json.dumps(gone)}}}'


def _values(world: World, now: float) -> Iterator[tuple[str, Any]]:
    yield "bot", world.bot
    for user_id, user in world.users.items():
        yield f"user:{user_id}", user
    for chat_id, chat in world.chats.items():
        yield f"chat:{chat_id}", chat.wire()
        yield f"commands:{chat_id}", _commands(world, chat)
        yield from _passing(chat, now)
    for query, answer in list(world.answers.items())[-ANSWERS:]:
        yield f"answer:{query}", answer


def _commands(world: World, chat: Chat) -> list[Wire]:
    """The menu of a chat: that of the narrowest scope which has one, as a client chooses it."""
    wide = "all_private_chats" if chat.kind == "private" else "all_group_chats"
    found = [world.menu({"type": scope}) for scope in (wide, "default")]
    return next(filter(None, found), [])


def _json(value: Any) -> str:  # noqa: ANN401 (any JSON)
    return json.dumps(value, ensure_ascii=False)


def _message(message: Message) -> str:
    """A message's text, made once: all of a chat is looked at after each change.

    What a message holds is never changed in its place, so the same object is the same content.
    """
    made = _MADE.get(message)
    if made is None or made[0] is not message.content or made[1] is not message.reaction:
        made = message.content, message.reaction, _json(_shown(message))
        _MADE[message] = made
    return made[2]


def _shown(message: Message) -> Wire:
    shown = {**message.wire(), "reaction": message.reaction}
    if message.from_bot and "text" in shown:
        shown["entities"] = _with_found(shown["text"], shown.get("entities", []))
    if rich := message.content.get("rich_message"):
        shown["rich"] = blocks("\n\n".join(str(block["text"]) for block in rich["blocks"]))
    return shown


def _with_found(text: str, entities: list[Wire]) -> list[Wire]:
    """The entities, and the commands, links and names that Telegram finds by itself."""
    taken = [(e["offset"], e["offset"] + e["length"]) for e in entities if e["type"] in OPAQUE]
    found = marks(text, "entities").get("entities", [])
    return [*entities, *(e for e in found if not any(a <= e["offset"] < b for a, b in taken))]


def _passing(chat: Chat, now: float) -> Iterator[tuple[str, Any]]:
    """What a chat shows for a while: a preview, or that the bot is busy."""
    if (draft := chat.shown_draft(now)) is not None:
        yield f"draft:{chat.chat_id}", attrs.asdict(draft)
    if action := chat.shown_action(now):
        yield f"action:{chat.chat_id}", action
