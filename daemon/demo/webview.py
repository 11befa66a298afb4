"""What the chat page shows, as flat entries that can be compared: a key and a JSON text each.

A page holds the same entries as the server. It is sent all of them once, and then those that have
changed; so it cannot miss an edit, and one that comes late sees what the others see. Pure: the
world and a time in, entries out.

The keys: `chat:ID`, `user:ID`, `message:CHAT:ID`, `draft:CHAT`, `action:CHAT`, `answer:QUERY`,
`commands` and `bot`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

import attrs

from daemon.demo.world import Chat, Message, World

Entries: TypeAlias = dict[str, str]

# A page shows the answer to a button once, when it comes; older ones are of no use.
ANSWERS: Final = 20


def entries(world: World, now: float) -> Entries:
    """Everything that there is to be seen at `now`, in seconds of `time.monotonic()`."""
    return {key: json.dumps(value, ensure_ascii=False) for key, value in _values(world, now)}


def difference(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """The JSON object that makes `new` of `old`; "" where nothing has changed."""
    changed = [f"{json.dumps(k)}:{v}" for k, v in new.items() if old.get(k) != v]
    gone = [key for key in old if key not in new]
    if not changed and not gone:
        return ""
    return f'{{"set":{{{",".join(changed)}}},"gone":{json.dumps(gone)}}}'


def _values(world: World, now: float) -> Iterator[tuple[str, Any]]:
    yield "bot", world.bot
    yield "commands", next(iter(world.commands.values()), [])
    for user_id, user in world.users.items():
        yield f"user:{user_id}", user
    for chat_id, chat in world.chats.items():
        yield f"chat:{chat_id}", chat.wire()
        for message in chat.messages.values():
            yield f"message:{chat_id}:{message.message_id}", _message(message)
        yield from _passing(chat, now)
    for query, answer in list(world.answers.items())[-ANSWERS:]:
        yield f"answer:{query}", answer


def _message(message: Message) -> dict[str, Any]:
    return {**message.wire(), "reaction": message.reaction}


def _passing(chat: Chat, now: float) -> Iterator[tuple[str, Any]]:
    """What a chat shows for a while: a preview, or that the bot is busy."""
    if (draft := chat.shown_draft(now)) is not None:
        yield f"draft:{chat.chat_id}", attrs.asdict(draft)
    if action := chat.shown_action(now):
        yield f"action:{chat.chat_id}", action
