"""Whether a message of a group is meant for the bot. Pure.

It is, if it mentions the bot (by its username, or by a link to it), answers a message of the bot,
or begins with its name and a comma or a colon. Offsets of entities count UTF-16 units.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from daemon.chat.contents import opens_topic
from daemon.chat.fields import Fields, utf16_slice
from daemon.telegram.types import Message

# What may stand between a name and what is said to its bearer, also as wide signs.
_CALL = re.compile("\\s*[,:\uff0c\uff1a\u3001]")


def is_addressed(
    message: Message, account: str, username: str | None, called: Iterable[str]
) -> bool:
    """Whether the bot `account` is meant, which is `called` so and named @`username` if known."""
    raw, text = Fields.of(message.raw), message.body
    marks = raw.objects("entities" if message.text is not None else "caption_entities")
    return (
        _answers(message, raw.inner("reply_to_message"), account)
        or any(_mentions(text, each, account, username) for each in marks)
        or is_called(text, called)
    )


def _answers(message: Message, answered: Fields, account: str) -> bool:
    """Whether it answers a message of the bot.

    In a topic, what answers nothing carries the message that opened the topic in that place.
    """
    return not opens_topic(message, answered) and _is_bot(answered.inner("from"), account)


def _is_bot(user: Fields, account: str) -> bool:
    return str(user.number("id")) == account


def _mentions(text: str, entity: Fields, account: str, username: str | None) -> bool:
    if entity.text("type") == "text_mention":
        return _is_bot(entity.inner("user"), account)
    if entity.text("type") != "mention":
        return False
    at, length = entity.number("offset") or 0, entity.number("length") or 0
    named = utf16_slice(text, at, length).removeprefix("@").casefold()
    if username is None:
        # For the moment after a start in which our name is not known. Bots' names end like this.
        return named.endswith("bot")
    return named == username.casefold()


def is_called(text: str, called: Iterable[str]) -> bool:
    """Whether `text` begins with one of these names, as one calls somebody."""
    start = text.lstrip().removeprefix("@")
    return any(_begins(start, name) for name in called if name)


def _begins(text: str, name: str) -> bool:
    same = text[: len(name)].casefold() == name.casefold()
    return same and _CALL.match(text, len(name)) is not None
