"""The few parts of Telegram's types that this program reads.

Unknown fields are ignored, because the Bot API grows about monthly; a missing or mistyped field
that we do read is a `MalformedUpdate`, which names it. What is kept raw (`dict`) is only ever
tested for presence here.
"""

from __future__ import annotations

from typing import Any, TypeVar

import cattrs
from attrs import frozen
from cattrs.gen import make_dict_structure_fn, override

from agent.text import clean

T = TypeVar("T")

Json = dict[str, Any]

# What we ask Telegram for. The server remembers the list per token, so it is sent at every start.
ALLOWED_UPDATES = (
    "message",
    "edited_message",
    "callback_query",
    "my_chat_member",
    "message_reaction",
    "stopped_message_generation",
)

# Fields of a message that carry something a person sent and this program cannot open yet,
# with the word by which it tells the model so.
ATTACHMENTS = {
    "photo": "a photo",
    "document": "a document",
    "audio": "an audio file",
    "voice": "a voice message",
    "video": "a video",
    "video_note": "a video message",
    "animation": "an animation",
    "sticker": "a sticker",
    "location": "a location",
    "venue": "a place",
    "contact": "a contact",
    "poll": "a poll",
    "dice": "a dice",
}


MAX_INTEGER = 2**53  # ids need 52 bits; JSON is exact up to here


class MalformedUpdate(Exception):
    """An update lacks a field that its kind always has, or holds one of the wrong type."""


@frozen
class User:
    id: int
    first_name: str = ""
    is_bot: bool = False
    last_name: str = ""
    username: str = ""

    @property
    def name(self) -> str:
        return f"{self.first_name} {self.last_name}".strip() or self.username or str(self.id)


@frozen
class Chat:
    id: int
    type: str
    title: str = ""
    is_forum: bool = False

    @property
    def private(self) -> bool:
        return self.type == "private"


@frozen
class Message:
    """A message; `attached` names the kinds of what came with it, in the order of `ATTACHMENTS`."""

    message_id: int
    date: int
    chat: Chat
    sender: User | None = None
    sender_chat: Json | None = None
    message_thread_id: int | None = None
    is_topic_message: bool = False
    text: str | None = None
    caption: str | None = None
    media_group_id: str | None = None
    forward_origin: Json | None = None
    migrate_to_chat_id: int | None = None
    attached: tuple[str, ...] = ()

    @property
    def body(self) -> str:
        """What the person wrote: the text, or the caption of what they sent."""
        return self.text if self.text is not None else self.caption or ""

    @property
    def asked_at(self) -> float:
        """When it was sent, in Unix seconds; never a time that no calendar has."""
        return float(max(0, self.date))

    @property
    def topic(self) -> str:
        """The thread's id where the message belongs to one; '' elsewhere.

        A reply in an ordinary group also carries a thread id, which is not a topic; and the
        General topic, thread 1, is addressed by leaving the id out.
        """
        if not self.is_topic_message or self.message_thread_id in {None, 1}:
            return ""
        return str(self.message_thread_id)


@frozen
class CallbackQuery:
    """A pressed button. `message` is missing where Telegram no longer shows it."""

    id: str
    sender: User
    data: str = ""
    message: Message | None = None


@frozen
class Update:
    """One update; every kind that is not read here leaves all three fields empty."""

    update_id: int
    message: Message | None = None
    edited_message: Message | None = None
    callback_query: CallbackQuery | None = None


def _strict(kind: type[T], expected: str) -> Any:  # noqa: ANN401  (a cattrs hook)
    def hook(value: Any, _type: Any) -> T:  # noqa: ANN401
        if type(value) is not kind:
            raise TypeError(f"expected {expected}, found {type(value).__name__}")
        if isinstance(value, int) and abs(value) > MAX_INTEGER:
            raise TypeError("the integer is larger than any that Telegram uses")
        return value

    return hook


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter()
    for kind, expected in ((int, "an integer"), (bool, "true or false")):
        converter.register_structure_hook(kind, _strict(kind, expected))
    text = _strict(str, "a string")
    converter.register_structure_hook(str, lambda value, kind: clean(text(value, kind)))
    rename = override(rename="from")
    query = make_dict_structure_fn(CallbackQuery, converter, sender=rename)
    converter.register_structure_hook(CallbackQuery, query)
    plain = make_dict_structure_fn(Message, converter, sender=rename)

    def message(value: Any, kind: Any) -> Message:  # noqa: ANN401
        found = tuple(name for name in ATTACHMENTS if value.get(name))
        return plain({**value, "attached": found}, kind)

    converter.register_structure_hook(Message, message)
    return converter


_CONVERTER = _converter()


def parse_update(body: Json) -> Update:
    """The update in `body`. Raises MalformedUpdate, naming every field that is not as expected."""
    try:
        return _CONVERTER.structure(body, Update)
    except (cattrs.BaseValidationError, AttributeError, TypeError) as error:
        raise MalformedUpdate(_explain(error)) from error


def _explain(error: Exception) -> str:
    if isinstance(error, cattrs.BaseValidationError):
        return "; ".join(cattrs.transform_error(error))
    return str(error)
