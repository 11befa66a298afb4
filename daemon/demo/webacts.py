"""What the people on the chat page do: JSON of the page in, acts of the demo's Bot API server out.

`read_act` trusts nothing, since a handler that fails ends the server. The act is then a value with
the right types; `perform` still refuses what names a message or a chat that is not there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any, Final

from attrs import frozen

from daemon.demo.botapi import BotApiServer
from daemon.demo.forms import Form, FormError, Upload, read_form
from daemon.demo.world import Chat, Message, Wire

# As Telegram's own clients: a longer text is sent in pieces of this length.
MAX_TEXT: Final = 4096
MAX_PIECES: Final = 30
MAX_CAPTION: Final = 1024
MAX_NAME: Final = 200
# As Telegram's own clients: an album has at most ten items.
MAX_FILES: Final = 10
PICTURES: Final = frozenset({"png", "jpg", "jpeg", "webp"})
VOICES: Final = frozenset({"ogg", "oga", "opus"})

_MARKS: Final = re.compile(
    r"(?P<bot_command>(?<!\S)/[a-z0-9_]++(?:@\w++)?(?![/<>]))|(?P<mention>(?<!\w)@\w{3,})"
    r"|(?P<url>https?://[^\s<>\"]*[^\s<>\".,:;!?)])"
)


class BadAct(Exception):
    """The page asked for something that cannot be done; the text says what."""


@frozen(kw_only=True)
class Act:
    """One act of a person. What a kind has no use for is empty."""

    kind: str
    chat: int
    user: int
    message: int = 0
    reply_to: int = 0
    text: str = ""
    data: str = ""
    names: tuple[str, ...] = ()
    as_files: bool = False
    files: tuple[Upload, ...] = ()


def read_act(content_type: str, body: bytes) -> Act:
    """Read a request's body: JSON, or a form with the JSON in `act` and files. Raises BadAct."""
    try:
        form = read_form(content_type, "", body)
        values = json.loads(form.values["act"]) if "act" in form.values else form.values
    except (FormError, ValueError, TypeError, RecursionError) as error:
        raise BadAct(f"unreadable: {error}") from None
    if not isinstance(values, dict):
        raise BadAct("an act is an object")
    return Act(
        kind=_typed(values, "kind", str, ""),
        chat=_typed(values, "chat", int, 0),
        user=_typed(values, "user", int, 0),
        message=_typed(values, "message", int, 0),
        reply_to=_typed(values, "reply_to", int, 0),
        text=_typed(values, "text", str, "").strip(),
        data=_typed(values, "data", str, ""),
        names=tuple(str(name) for name in _typed(values, "names", list, [])),
        as_files=_typed(values, "as_files", bool, False),
        files=_uploads(form),
    )


def _typed(values: Mapping[str, Any], name: str, kind: type, default: Any) -> Any:  # noqa: ANN401
    value = values.get(name, default)
    if type(value) is not kind:
        raise BadAct(f"{name}: not a {kind.__name__}")
    return value


def _uploads(form: Form) -> tuple[Upload, ...]:
    """The files in the order in which the page numbered them."""
    return tuple(form.files[name] for name in sorted(form.files))


def perform(bot: BotApiServer, act: Act) -> Wire:
    """Do it, and give what the page may want to know of it. Raises BadAct."""
    do = ACTS.get(act.kind)
    if do is None:
        raise BadAct(f"no such act: {act.kind}")
    if act.user not in bot.world.users or act.chat not in bot.world.chats:
        raise BadAct("no such person or chat")
    if act.chat > 0 and act.chat != act.user:
        raise BadAct("this chat is somebody else's")
    done = do(bot, act)
    bot.world.changes.tell()
    return done


def _say(bot: BotApiServer, act: Act) -> Wire:
    if act.files:
        return _send_files(bot, act)
    if not act.text:
        raise BadAct("there is nothing to send")
    if len(act.text) > MAX_PIECES * MAX_TEXT:
        raise BadAct(f"a text has {MAX_PIECES * MAX_TEXT} characters at most; attach it as a file")
    replied = _reply(bot, act)
    for begin in range(0, len(act.text), MAX_TEXT):
        piece = act.text[begin : begin + MAX_TEXT]
        _add(bot, act, {"text": piece, **marks(piece, "entities"), **replied})
    return {}


def _send_files(bot: BotApiServer, act: Act) -> Wire:
    """Send each as what it is, several as an album; the words go with the first."""
    if len(act.files) > MAX_FILES:
        raise BadAct(f"at most {MAX_FILES} files at once")
    if len(act.text) > MAX_CAPTION:
        raise BadAct(f"words that go with a file have {MAX_CAPTION} characters at most")
    contents = [_file(bot, act, number) for number in range(len(act.files))]
    if act.text:
        contents[0] |= {"caption": act.text, **marks(act.text, "caption_entities")}
    if len(contents) > 1:
        album = {"media_group_id": str(13_000_000_000 + bot.world.updates.next_id)}
        contents = [{**content, **album} for content in contents]
    for content in contents:
        _add(bot, act, {**content, **_reply(bot, act)})
    return {}


def _file(bot: BotApiServer, act: Act, number: int) -> Wire:
    upload = act.files[number]
    if not upload.data:
        raise BadAct("Telegram takes no empty files")
    name = PurePosixPath(act.names[number] if number < len(act.names) else "file").name[-MAX_NAME:]
    stored = bot.world.add_file(upload.data, name, upload.content_type)
    if _suffix(name) in PICTURES and not act.as_files:
        return {"photo": [{**stored.wire(), "width": 800, "height": 600}]}
    typed = {**stored.wire(), "mime_type": stored.mime_type}
    if _suffix(name) in VOICES and not act.as_files:
        return {"voice": {**typed, "duration": 1}}
    return {"document": {**typed, "file_name": name}}


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower().removeprefix(".")


def _add(bot: BotApiServer, act: Act, content: Wire) -> None:
    bot.user_says(**{"text": None, **content}, chat_id=act.chat, user_id=act.user)


def _reply(bot: BotApiServer, act: Act) -> Wire:
    if not act.reply_to:
        return {}
    replied = _found(bot, act.chat, act.reply_to).wire()
    return {"reply_to_message": {k: v for k, v in replied.items() if k != "reply_to_message"}}


def marks(text: str, name: str) -> Wire:
    """The field with the entities that Telegram finds in a person's text by itself."""
    found = [
        {
            "type": match.lastgroup,
            "offset": _units(text[: match.start()]),
            "length": _units(match[0]),
        }
        for match in _MARKS.finditer(text)
    ]
    return {name: found} if found else {}


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _edit(bot: BotApiServer, act: Act) -> Wire:
    message = _own(bot, act)
    if not act.text or "text" not in message.content:
        raise BadAct("only texts can be edited, and not to nothing")
    if len(act.text) > MAX_TEXT:
        raise BadAct(f"a message has {MAX_TEXT} characters at most")
    bot.user_edits(message, act.text, **marks(act.text, "entities"))
    return {}


def _press(bot: BotApiServer, act: Act) -> Wire:
    message = _found(bot, act.chat, act.message)
    if act.data not in [button.get("callback_data") for button in message.buttons]:
        raise BadAct("there is no such button any more")
    before = set(bot.world.open_queries)
    bot.press(message, act.data, user_id=act.user)
    return {"query": next(iter(bot.world.open_queries - before))}


def _stop(bot: BotApiServer, act: Act) -> Wire:
    draft = bot.world.chats[act.chat].draft
    if draft is None:
        raise BadAct("nothing is being written")
    try:
        bot.press_stop(draft)
    except ValueError as error:  # a draft without that button
        raise BadAct(str(error)) from None
    return {}


def _found(bot: BotApiServer, chat_id: int, message_id: int) -> Message:
    chat: Chat = bot.world.chats[chat_id]
    if message_id not in chat.messages:
        raise BadAct("there is no such message any more")
    return chat.messages[message_id]


def _own(bot: BotApiServer, act: Act) -> Message:
    message = _found(bot, act.chat, act.message)
    if message.sender["id"] != act.user:
        raise BadAct("only one's own messages can be edited")
    return message


ACTS: Final[Mapping[str, Callable[[BotApiServer, Act], Wire]]] = {
    "say": _say,
    "edit": _edit,
    "press": _press,
    "stop": _stop,
}
