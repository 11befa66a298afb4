"""What an update asks of us: a pure reading of Telegram's update, before anything is done.

`read` gives one of the values below. Who is answered is `daemon.chat.access`'s to say; deny is the
default. A stranger's update is `Ignored` with the outcome "stranger", and gets silence, but for the
one `/start` that asks for a code where pairing is on. For a message the cases are, in order:

1. the chat has moved: followed, if it was allowed under its old id;
2. a stranger, or no person: ignored;
3. a group that answers administrators alone, and none of them: ignored;
4. a command, which in a group may be another bot's;
5. something said: in a group to the bot, or to others.
"""

from __future__ import annotations

import re
from typing import TypeAlias

from attrs import evolve, frozen

from daemon.chat import access as allowing
from daemon.chat import addressing, roles, speakers
from daemon.chat.access import CHANNEL, Access
from daemon.chat.contents import NOTHING, Contents, contents
from daemon.store import closed
from daemon.store.values import Place
from daemon.telegram.types import (
    CallbackQuery,
    Chat,
    Halt,
    MembershipChange,
    Message,
    Update,
    User,
)

__all__ = [
    "CALLBACKS",
    "CHANNEL",
    "MAX_TEXT",
    "Access",
    "Command",
    "Corrected",
    "Halted",
    "Ignored",
    "Intake",
    "Knock",
    "Moved",
    "Pressed",
    "Said",
    "Speaker",
    "Standing",
    "TooLong",
    "read",
]

CALLBACKS = "callback queries"  # the destination of answers to buttons, which belong to no chat

# A client cuts what its user writes into messages of this length; one that is full is likely to
# be followed by the rest.
CUT_UNITS = 4096
# What is said of a guest's files in their place.
UNSEEN = "[They sent {told}, which is not opened for guests; tell them so.]"
ALBUM = "album "  # how the gather key of an album's items begins
# Longer texts cannot come from Telegram, and no model would read them.
MAX_TEXT = 100_000

_COMMAND = re.compile(r"/([a-z0-9_]{1,32})(?:@(\w+))?(?:\s+(.*))?", re.IGNORECASE | re.DOTALL)


@frozen
class Speaker:
    """Who speaks; `role` is theirs in this chat, and `shown` their name in its transcript."""

    external_id: str
    name: str
    role: str = roles.USER
    shown: str = ""


@frozen
class Said:
    """Something to answer. `gather_key` is what further updates may be part of the same thing by.

    `more` says that the rest is likely to follow; `forwarded` that it may belong to a comment
    that came just before. What is not `addressed` was said in a group to others, and is part of a
    turn only if it belongs to something that was said to us; else it is kept for the next one, if
    that is wanted (`kept`).
    """

    place: Place
    speaker: Speaker
    text: str
    asked_at: float
    gather_key: str
    more: bool = False
    forwarded: bool = False
    addressed: bool = True
    kept: bool = False
    message_id: str = ""  # the network's number of it, in its chat
    contents: Contents = NOTHING

    @property
    def in_album(self) -> bool:
        return self.gather_key.startswith(ALBUM)


@frozen
class Corrected:
    """A message that was said before, as it reads now."""

    said: Said


@frozen
class Command:
    """`addressed` if it can be no other bot's."""

    place: Place
    speaker: Speaker
    name: str
    rest: str
    asked_at: float
    addressed: bool = True


@frozen
class Knock:
    """A stranger asks in private to be let in, and pairing is on."""

    place: Place
    name: str


@frozen
class Standing:
    """What we may do in a chat has changed: `why` it is closed to us, None if it is open.

    `uninvited` is the chat's title if we are in a group that is not allowed, by the owner's hand.
    """

    place: Place
    why: str | None
    uninvited: str | None = None


@frozen
class Pressed:
    """A button: `data` may be forged, so it only ever names a row."""

    place: Place | None
    speaker: Speaker
    query_id: str
    data: str
    message_id: str = ""


@frozen
class Halted:
    """The Stop button of a draft."""

    place: Place
    draft_id: int


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


Intake: TypeAlias = (
    Said | Corrected | Command | Pressed | Halted | Moved | TooLong | Knock | Standing | Ignored
)


def read(update: Update, account: str, access: Access, username: str | None) -> Intake:
    """What `update` asks of the bot `username` (None: not known yet), whose id is `account`."""
    if update.callback_query is not None:
        return _read_press(update.callback_query, account, access)
    if update.my_chat_member is not None:
        return _read_standing(update.my_chat_member, account, access)
    if update.edited_message is not None:
        return _read_edit(_read_message(update.edited_message, account, access, username))
    if update.stopped_message_generation is not None:
        return _read_halt(update.stopped_message_generation, account, access)
    if update.message is None:
        return Ignored("unread kind")
    return _read_message(update.message, account, access, username)


def _read_edit(asked: Intake) -> Intake:
    """What an edit asks, by what the message would ask if it were new: only words are corrected."""
    match asked:
        case Said():
            return Corrected(asked)
        case TooLong() | Ignored():
            return asked
        case Knock(place):
            return Ignored("stranger", f"user {place.chat}")
        case _:
            return Ignored("edited command")


def _read_message(message: Message, account: str, access: Access, username: str | None) -> Intake:
    place = Place(CHANNEL, account, str(message.chat.id), message.topic)
    turned_away = _moved(message, place, access) or _turned_away(message, place, access)
    if turned_away is not None:
        return turned_away
    sender = message.sender
    assert sender is not None  # noqa: S101  (nobody else is let through)
    role, shown = access.role(sender.id, message.chat), access.named(sender.name, sender.id)
    speaker = Speaker(str(sender.id), sender.name, role, shown)
    if command := _command(message):
        return _read_command(command, place, speaker, message, username)
    addressed = _is_addressed(message, account, access, username)
    if len(message.body) > MAX_TEXT:
        return TooLong(place, len(message.body)) if addressed else Ignored("not addressed")
    found = contents(message, account)
    if found.is_empty:
        return Ignored("service message")
    if speaker.role == roles.GUEST:
        found = found.without_files(UNSEEN)
    said = _said(message, place, speaker, found)
    if not message.chat.private:
        said = evolve(said, text=speakers.spoken(speaker.shown, found.text))
    kept = not addressed and access.group(message.chat.id).listens
    return evolve(said, addressed=addressed, kept=kept)


def _turned_away(message: Message, place: Place, access: Access) -> Knock | Ignored | None:
    """What becomes of a message of somebody who is not heard here; None if they are."""
    sender, chat = message.sender, message.chat
    if not access.permits(sender.id if sender else None, chat):
        return _stranger(message, place, access)
    # What a chat itself posts (a channel in its discussion group, an admin without a name) has a
    # sender only for clients that know no better.
    if sender is None or sender.is_bot or message.sender_chat is not None:
        return Ignored("not a person")
    if not _may_speak(sender.id, access.role(sender.id, chat), chat, access):
        return Ignored("not an administrator", _who(sender, chat))
    return None


def _moved(message: Message, place: Place, access: Access) -> Moved | None:
    """The old chat says where to, and the new one from where; only Telegram writes either.

    A person's chat, whose id is positive, is neither of them.
    """
    to, origin = message.migrate_to_chat_id, message.migrate_from_chat_id
    if to is not None and to < 0 and message.chat.id in access.chats:
        return Moved(evolve(place, topic=""), str(to))
    if origin is not None and origin in access.chats and message.chat.id < 0:
        return Moved(evolve(place, chat=str(origin), topic=""), str(message.chat.id))
    return None


def _stranger(message: Message, place: Place, access: Access) -> Knock | Ignored:
    sender = message.sender
    command = _command(message)
    asks = command is not None and command[1].lower() == "start" and message.chat.private
    # A private chat has its person's id; anything else is not one.
    person = sender is not None and not sender.is_bot and sender.id == message.chat.id
    if access.pairing and asks and person and sender is not None:
        return Knock(evolve(place, topic=""), speakers.shown_name(sender.name, sender.id, {}))
    return Ignored("stranger", _who(sender, message.chat))


def _may_speak(user_id: int, role: str, chat: Chat, access: Access) -> bool:
    """Where administrators alone are answered, nobody is one who is not known to be."""
    group = access.group(chat.id)
    if chat.private or group.answer != allowing.ADMINS or role == roles.OWNER:
        return True
    return group.admins is not None and user_id in group.admins


def _is_addressed(message: Message, account: str, access: Access, username: str | None) -> bool:
    if message.chat.private or access.group(message.chat.id).answer == allowing.ALL:
        return True
    return addressing.is_addressed(message, account, username, access.called)


def _command(message: Message) -> re.Match[str] | None:
    """The command that a message is; a caption, or what somebody else has written, is none."""
    foreign = message.forward_origin is not None or message.via_bot is not None
    if message.text is None or foreign:
        return None
    return _COMMAND.fullmatch(message.text.strip()) if len(message.text) <= MAX_TEXT else None


def _read_command(
    found: re.Match[str], place: Place, speaker: Speaker, message: Message, username: str | None
) -> Intake:
    name, addressee, rest = found.groups()
    if addressee and username and addressee.casefold() != username.casefold():
        return Ignored("another bot's command")
    addressed = message.chat.private or bool(addressee)
    rest = (rest or "").strip()
    return Command(place, speaker, name.lower(), rest, message.asked_at, addressed)


def _said(message: Message, place: Place, speaker: Speaker, found: Contents) -> Said:
    album = message.media_group_id
    return Said(
        place,
        speaker,
        found.text,
        message.asked_at,
        f"{ALBUM}{album}" if album else f"text {speaker.external_id}",
        more=album is not None or len(message.body.encode("utf-16-le", "replace")) >= 2 * CUT_UNITS,
        forwarded=found.forwarded,
        message_id=str(message.message_id or ""),  # 0: it has none
        contents=found,
    )


def _read_standing(change: MembershipChange, account: str, access: Access) -> Standing | Ignored:
    """Of chats that are none of ours only one thing is news: that the owner has added us there."""
    chat, why = change.chat, _why_closed(change)
    place = Place(CHANNEL, account, str(chat.id))
    if access.permits(chat.id, chat):
        return Standing(place, why)
    by_owner = access.owner is not None and change.sender.id == access.owner
    if by_owner and why is None and chat.type in {"group", "supergroup"}:
        return Standing(place, None, chat.title)
    return Ignored("stranger", _who(change.sender, chat))


def _why_closed(change: MembershipChange) -> str | None:
    member = change.new_chat_member
    if member.status in {"kicked", "left"} or not member.is_member:
        return closed.BLOCKED if change.chat.private else closed.KICKED
    return closed.RIGHTS if not member.can_send_messages else None


def _read_press(query: CallbackQuery, account: str, access: Access) -> Intake:
    message, sender = query.message, query.sender
    if message is None:
        if sender.id not in access.people:
            return Ignored("stranger", f"user {sender.id}")
        return Pressed(None, Speaker(str(sender.id), sender.name), query.id, query.data)
    if not access.permits(sender.id, message.chat):
        return Ignored("stranger", _who(sender, message.chat))
    role = access.role(sender.id, message.chat)
    if not _may_speak(sender.id, role, message.chat, access):
        return Pressed(None, Speaker(str(sender.id), sender.name), query.id, query.data)
    speaker = Speaker(str(sender.id), sender.name, role)
    place = Place(CHANNEL, account, str(message.chat.id), message.topic)
    return Pressed(place, speaker, query.id, query.data, str(message.message_id))


def _read_halt(halt: Halt, account: str, access: Access) -> Intake:
    """It does not say who pressed; but drafts are in private chats, which have one person."""
    if not (halt.chat.private and access.permits(halt.chat.id, halt.chat)):
        return Ignored("stranger", f"chat {halt.chat.id}")
    return Halted(Place(CHANNEL, account, str(halt.chat.id), halt.topic), halt.draft_id)


def _who(sender: User | None, chat: Chat) -> str:
    who = f"user {sender.id}" if sender else "somebody"
    return who if chat.private else f"{who} in chat {chat.id}"
