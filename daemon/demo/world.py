"""What Telegram knows: users, chats and the messages in them, files, and the bot's own settings.

The methods of the Bot API change it and the driving side of the server reads it. Everything is in
memory and synchronous, so a call takes effect in one step or not at all.
"""

from __future__ import annotations

import json
import time
from typing import Any, TypeAlias

from attrs import define, field

from daemon.demo.calls import Action, ApiError, Call, Draft, Sent, Violation
from daemon.demo.changes import Changes
from daemon.demo.updates import UpdateQueue

Wire: TypeAlias = dict[str, Any]

FILE_KINDS = ("photo", "document", "animation", "video", "audio", "voice")
DRAFT_SECONDS = 30.0  # for which a draft is shown
ACTION_SECONDS = 5.0


@define(eq=False)
class Message:
    """A message in a chat. `content` holds the fields that make its kind: text, document, ..."""

    chat: Chat
    message_id: int
    sender: Wire
    date: int
    content: Wire = field(factory=dict)
    # The bot's reactions to it.
    reaction: tuple[Wire, ...] = ()

    @property
    def chat_id(self) -> int:
        """The chat's number."""
        return self.chat.chat_id

    @property
    def text(self) -> str:
        """The text or caption that is shown."""
        return str(self.content.get("text", self.content.get("caption", "")))

    @property
    def file(self) -> Wire:
        """The picture (in its largest size), document or sound in it; {} if there is none."""
        sizes = self.content.get("photo")
        found: Wire = sizes[-1] if sizes else self.content.get(self.file_kind, {})
        return found

    @property
    def file_kind(self) -> str:
        """The field that holds its file; "" if there is none."""
        return next((kind for kind in FILE_KINDS if kind in self.content), "")

    @property
    def from_bot(self) -> bool:
        """Whether the bot wrote it."""
        return bool(self.sender["is_bot"])

    @property
    def buttons(self) -> list[Wire]:
        """The inline buttons below it, row after row."""
        rows = self.content.get("reply_markup", {}).get("inline_keyboard", [])
        return [button for row in rows for button in row]

    def wire(self) -> Wire:
        """Give the Message object."""
        return {
            "message_id": self.message_id,
            "from": self.sender,
            "chat": self.chat.wire(),
            "date": self.date,
            **self.content,
        }


@define(eq=False)
class Chat:
    """A chat that the bot is in. `messages` are the visible ones, by number, oldest first."""

    chat_id: int
    kind: str
    title: str = ""
    is_forum: bool = False
    # The bot was blocked by the user, or thrown out of the group: sends are answered 403.
    blocked: bool = False
    # The bot may not write in the group.
    muted: bool = False
    # The id of the supergroup that the group has become.
    moved_to: int | None = None
    admins: set[int] = field(factory=set)
    threads: set[int] = field(factory=set)
    messages: dict[int, Message] = field(factory=dict)
    last_message_id: int = 0
    draft: Draft | None = None
    action: Action | None = None

    def shown_draft(self, now: float) -> Draft | None:
        """The preview that is shown at `time.monotonic()` = `now`, if one is."""
        draft = self.draft
        return draft if draft and draft.text and now < draft.at + DRAFT_SECONDS else None

    def shown_action(self, now: float) -> str:
        """What the bot is shown to be doing then; '' if that is nothing."""
        action = self.action
        return action.action if action and now < action.at + ACTION_SECONDS else ""

    def wire(self) -> Wire:
        """Give the Chat object."""
        name = "first_name" if self.kind == "private" else "title"
        chat: Wire = {"id": self.chat_id, "type": self.kind, name: self.title}
        if self.is_forum:
            chat["is_forum"] = True
        return chat

    def add(self, sender: Wire, content: Wire) -> Message:
        """Put a new message at the end; one of the bot's ends what was shown before it."""
        if sender["is_bot"]:
            self.draft = self.action = None
        self.last_message_id += 1
        message = Message(self, self.last_message_id, sender, int(time.time()), content)
        self.messages[message.message_id] = message
        return message


@define(eq=False)
class StoredFile:
    """A file that Telegram holds."""

    file_id: str
    data: bytes = field(repr=False)
    name: str = ""
    mime_type: str = "application/octet-stream"

    def wire(self) -> Wire:
        """Give the fields that every kind of file has."""
        return {
            "file_id": self.file_id,
            "file_unique_id": self.file_id[-12:],
            "file_size": len(self.data),
        }

    @property
    def path(self) -> str:
        """The path for the download; it says nothing of the name, as with the real server."""
        suffix = self.name.rpartition(".")[2] if "." in self.name else "bin"
        return f"documents/file_{self.file_id[-6:]}.{suffix}"


@define(eq=False)
class Webhook:
    """What setWebhook was told; without a URL there is none."""

    url: str = ""
    params: Wire = field(factory=dict)


def scope_key(scope: Wire, language: str) -> str:
    """The key of `World.commands`."""
    return json.dumps([scope, language], sort_keys=True)


@define(eq=False)
class World:
    """Everything that one bot can see, and the records that tests read."""

    bot: Wire
    changes: Changes = field(factory=Changes)
    updates: UpdateQueue = field(factory=UpdateQueue)
    chats: dict[int, Chat] = field(factory=dict)
    users: dict[int, Wire] = field(factory=dict)
    files: dict[str, StoredFile] = field(factory=dict)
    webhook: Webhook = field(factory=Webhook)
    commands: dict[str, list[Wire]] = field(factory=dict)
    # Callback queries that wait for their answer, and what was answered to the others.
    open_queries: set[str] = field(factory=set)
    answers: dict[str, Wire] = field(factory=dict)
    sent: list[Sent] = field(factory=list)
    drafts: list[Draft] = field(factory=list)
    actions: list[Action] = field(factory=list)
    calls: list[Call] = field(factory=list)
    violations: list[Violation] = field(factory=list)

    def menu(self, scope: Wire, language: str = "") -> list[Wire]:
        """Give the commands that were set for a scope and language."""
        return self.commands.get(scope_key(scope, language), [])

    def user(self, user_id: int) -> Wire:
        """Give a person's User object, who comes into being when first named."""
        if user_id not in self.users:
            self.users[user_id] = {
                "id": user_id,
                "is_bot": False,
                "first_name": f"User {user_id}",
                "language_code": "en",
            }
        return self.users[user_id]

    def open_chat(self, chat_id: int, kind: str | None = None, *, is_forum: bool = False) -> Chat:
        """Give a chat, made if need be; positive numbers are private chats."""
        if chat_id not in self.chats:
            kind = kind or ("private" if chat_id > 0 else "supergroup")
            title = f"User {chat_id}" if kind == "private" else f"Group {-chat_id}"
            self.chats[chat_id] = Chat(chat_id, kind, title, is_forum)
        return self.chats[chat_id]

    def chat_of(self, call: Call, name: str = "chat_id") -> Chat:
        """Give the chat that a call names. Raises ApiError when the bot may not write there."""
        given = call.params.get(name, "")
        if given == "":
            raise ApiError(400, "Bad Request: chat_id is empty")
        chat = self.chats.get(given) if isinstance(given, int) else None
        if chat is None:
            raise ApiError(400, "Bad Request: chat not found")
        if chat.moved_to is not None:
            why = "Bad Request: group chat was upgraded to a supergroup chat"
            raise ApiError(400, why, {"migrate_to_chat_id": chat.moved_to})
        if chat.blocked:
            private = chat.kind == "private"
            why = "blocked by the user" if private else f"kicked from the {chat.kind} chat"
            raise ApiError(403, f"Forbidden: bot was {why}")
        return chat

    def add_file(self, data: bytes, name: str = "", mime_type: str = "") -> StoredFile:
        """Keep a file and give it a file id."""
        file_id = f"BQACAgIAAxkBAAI{len(self.files) + 1:012d}"
        kind = mime_type or "application/octet-stream"
        self.files[file_id] = StoredFile(file_id, data, name, kind)
        return self.files[file_id]

    def show(self, call: Call, message: Message) -> Message:
        """Record that a chat now shows this message as it is because of the call."""
        self.sent.append(
            Sent(
                call.method,
                call.params,
                message.chat_id,
                message.message_id,
                message.text,
                call.at,
                call.status_if_done,
            )
        )
        return message
