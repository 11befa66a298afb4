"""What an update asks of us: a pure reading of Telegram's update, before anything is done.

`read` gives one of six values. Deny is the default: in a private chat the person must be on the
list of allowed users, elsewhere the chat must be on the list of allowed chats, whoever speaks
there. A stranger's update is `Ignored` with the outcome "stranger", and gets silence.
"""

from __future__ import annotations

import re
from typing import TypeAlias

from attrs import frozen

from daemon.store.values import Place
from daemon.telegram.types import ATTACHMENTS, CallbackQuery, Chat, Message, Update, User

CHANNEL = "telegram"
CALLBACKS = "callback queries"  # the destination of answers to buttons, which belong to no chat

# A client cuts what its user writes into messages of this length; one that is full is likely to
# be followed by the rest.
CUT_UNITS = 4096
# Longer texts cannot come from Telegram, and no model would read them.
MAX_TEXT = 100_000

_COMMAND = re.compile(r"/([a-z0-9_]{1,32})(?:@(\w+))?(?:\s+(.*))?", re.IGNORECASE | re.DOTALL)


@frozen
class Access:
    """Who is answered: ids of people (in private chats) and of group chats."""

    users: frozenset[int]
    chats: frozenset[int]

    def permits(self, user_id: int | None, chat: Chat) -> bool:
        return user_id in self.users if chat.private else chat.id in self.chats

    def reaches(self, place: Place, account: str) -> bool:
        """Whether the bot `account` may write there unasked; a private chat has its person's id."""
        if (place.channel, place.account) != (CHANNEL, account):
            return False
        return int(place.chat) in self.users | self.chats


@frozen
class Speaker:
    external_id: str
    name: str


@frozen
class Said:
    """Something to answer. `gather_key` is what further updates may be part of the same thing by.

    `more` says that the rest is likely to follow; `forwarded` that it may belong to a comment
    that came just before.
    """

    place: Place
    speaker: Speaker
    text: str
    asked_at: float
    gather_key: str
    more: bool = False
    forwarded: bool = False


@frozen
class Command:
    place: Place
    speaker: Speaker
    name: str
    rest: str
    asked_at: float


@frozen
class Pressed:
    """A button: `data` may be forged, so it only ever names a row."""

    place: Place | None
    query_id: str
    data: str


@frozen
class Moved:
    """The group is a supergroup now, and its chat is another."""

    place: Place
    chat: str


@frozen
class TooLong:
    place: Place
    length: int


@frozen
class Ignored:
    """Nothing is done. `outcome` is kept with the row; `detail` is for the log."""

    outcome: str
    detail: str = ""


Intake: TypeAlias = Said | Command | Pressed | Moved | TooLong | Ignored


def read(update: Update, account: str, access: Access, username: str | None) -> Intake:
    """What `update` asks of the bot `username` (None: not known yet), whose id is `account`."""
    if update.callback_query is not None:
        return _read_press(update.callback_query, account, access)
    if update.message is None:
        return Ignored("edited" if update.edited_message else "unread kind")
    return _read_message(update.message, account, access, username)


def _read_message(message: Message, account: str, access: Access, username: str | None) -> Intake:
    sender = message.sender
    if not access.permits(sender.id if sender else None, message.chat):
        return Ignored("stranger", _who(sender, message.chat))
    place = Place(CHANNEL, account, str(message.chat.id), message.topic)
    if message.migrate_to_chat_id is not None:
        return Moved(place, str(message.migrate_to_chat_id))
    # What a chat itself posts (a channel in its discussion group, an admin without a name) has a
    # sender only for clients that know no better.
    if sender is None or sender.is_bot or message.sender_chat is not None:
        return Ignored("not a person")
    speaker = Speaker(str(sender.id), sender.name)
    if len(message.body) > MAX_TEXT:
        return TooLong(place, len(message.body))
    command = _COMMAND.fullmatch(message.body.strip())
    if command and message.text is not None and message.forward_origin is None:
        return _read_command(command, place, speaker, message, username)
    text = _text(message)
    return _said(message, place, speaker, text) if text else Ignored("service message")


def _read_command(
    found: re.Match[str], place: Place, speaker: Speaker, message: Message, username: str | None
) -> Intake:
    name, addressee, rest = found.groups()
    if addressee and username and addressee.casefold() != username.casefold():
        return Ignored("another bot's command")
    return Command(place, speaker, name.lower(), (rest or "").strip(), message.asked_at)


def _said(message: Message, place: Place, speaker: Speaker, text: str) -> Said:
    album = message.media_group_id
    return Said(
        place,
        speaker,
        text if message.chat.private else f"{speaker.name}: {text}",
        message.asked_at,
        f"album {album}" if album else f"text {speaker.external_id}",
        more=album is not None or len(message.body.encode("utf-16-le", "replace")) >= 2 * CUT_UNITS,
        forwarded=message.forward_origin is not None,
    )


def _text(message: Message) -> str:
    """What the model is to read: the words, and the names of what it cannot be shown."""
    body = message.body.strip()
    if message.forward_origin is not None and body:
        body = f"[forwarded] {body}"
    names = [ATTACHMENTS[kind] for kind in message.attached]
    notes = [f"[They sent {name}. You cannot open it yet; tell them so.]" for name in names]
    return "\n".join(part for part in (body, *notes) if part)


def _read_press(query: CallbackQuery, account: str, access: Access) -> Intake:
    if query.message is None:
        if query.sender.id not in access.users:
            return Ignored("stranger", f"user {query.sender.id}")
        return Pressed(None, query.id, query.data)
    if not access.permits(query.sender.id, query.message.chat):
        return Ignored("stranger", _who(query.sender, query.message.chat))
    chat = str(query.message.chat.id)
    return Pressed(Place(CHANNEL, account, chat, query.message.topic), query.id, query.data)


def _who(sender: User | None, chat: Chat) -> str:
    who = f"user {sender.id}" if sender else "somebody"
    return who if chat.private else f"{who} in chat {chat.id}"
