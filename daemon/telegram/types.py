"""The few parts of Telegram's types that this program reads.

Unknown fields are ignored, because the Bot API grows about monthly; a missing or mistyped field
that decides what to do with an update is a `MalformedUpdate`, which names it. What a message shows
(pictures, places, what it replies to) is kept raw, and read leniently by `daemon.chat.contents`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import cattrs
from attrs import field, frozen
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
    "stopped_message_generation",
)

# Fields that a message can do without, with their types: one of another type counts as absent, so
# that it never costs the text. What decides who speaks and where is not among them.
OPTIONAL: dict[str, type] = {
    "caption": str,
    "media_group_id": str,
    "message_thread_id": int,
    "is_topic_message": bool,
    "migrate_to_chat_id": int,
    "migrate_from_chat_id": int,
    "first_name": str,
    "last_name": str,
    "username": str,
    "title": str,
    "is_forum": bool,
}
# Fields whose presence alone says that a message is not in its sender's own words.
FOREIGN = ("forward_origin", "sender_chat", "via_bot")

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
    """A message; `raw` is all that Telegram says of it."""

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
    via_bot: Json | None = None
    migrate_to_chat_id: int | None = None
    migrate_from_chat_id: int | None = None
    raw: Json = field(factory=dict, repr=False)

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
class Member:
    """The bot's own standing in a chat. Only who is `restricted` has `can_send_messages`."""

    status: str
    is_member: bool = True
    can_send_messages: bool = True


@frozen
class MembershipChange:
    """The bot was let in, thrown out, blocked or restricted, by `sender`."""

    chat: Chat
    sender: User
    new_chat_member: Member


@frozen
class Halt:
    """Somebody has pressed the Stop button of a draft."""

    chat: Chat
    draft_id: int
    message_thread_id: int | None = None

    @property
    def topic(self) -> str:
        """As of a message; only private chats have drafts."""
        return "" if self.message_thread_id in {None, 1} else str(self.message_thread_id)


@frozen
class Update:
    """One update; every kind that is not read here leaves all other fields empty."""

    update_id: int
    message: Message | None = None
    edited_message: Message | None = None
    callback_query: CallbackQuery | None = None
    my_chat_member: MembershipChange | None = None
    stopped_message_generation: Halt | None = None


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
    for named in (User, Chat):
        strict = make_dict_structure_fn(named, converter)
        converter.register_structure_hook(named, _after(_leniently, strict))
    rename = override(rename="from")
    query = make_dict_structure_fn(CallbackQuery, converter, sender=rename)
    converter.register_structure_hook(CallbackQuery, query)
    change = make_dict_structure_fn(MembershipChange, converter, sender=rename)
    converter.register_structure_hook(MembershipChange, change)
    plain = make_dict_structure_fn(Message, converter, sender=rename)

    def message(value: Any, kind: Any) -> Message:  # noqa: ANN401
        foreign = {name: _present(value.get(name)) for name in FOREIGN}
        return plain({**_leniently(value), **foreign, "raw": dict(value)}, kind)

    converter.register_structure_hook(Message, message)
    return converter


def _after(first: Callable[[Any], Any], then: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    return lambda value, kind: then(first(value), kind)


def _leniently(value: Any) -> Any:  # noqa: ANN401
    """An object of Telegram's without the optional fields that are not what they should be."""
    return {name: found for name, found in value.items() if _fits(found, OPTIONAL.get(name))}


def _fits(found: object, kind: type | None) -> bool:
    if kind is None:
        return True
    return type(found) is kind and not (isinstance(found, int) and abs(found) > MAX_INTEGER)


def _present(found: object) -> Json | None:
    return found if found is None or isinstance(found, dict) else {}


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
