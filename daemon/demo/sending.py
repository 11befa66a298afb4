"""The methods that put messages into a chat."""

from __future__ import annotations

from typing import Any

from daemon.demo.calls import ApiError, Call, Draft
from daemon.demo.text import MAX_CAPTION, read_text
from daemon.demo.world import Chat, Message, StoredFile, Wire, World

MAX_PHOTO_BYTES = 10 * 1024 * 1024
MAX_DOCUMENT_BYTES = 50 * 1024 * 1024
MAX_RICH_CHARACTERS = 32_768
MAX_BUTTON_DATA_BYTES = 64
ALBUM_SIZES = range(2, 11)
_SIDES = {"width": 90, "height": 90, "duration": 1}
# What such a file has besides, which a real server would find out.
_MEASURES: dict[str, Wire] = {
    "animation": _SIDES,
    "video": _SIDES,
    "audio": {"duration": 1},
    "voice": {"duration": 1},
}


def send_message(world: World, call: Call) -> Wire:
    """Show a text."""
    chat = world.chat_of(call)
    if chat.muted:
        raise ApiError(400, "Bad Request: not enough rights to send text messages to the chat")
    return _put(world, call, chat, {**_text(call), **_surroundings(chat, call)}).wire()


def send_rich_message(world: World, call: Call) -> Wire:
    """Show Markdown with tables and formulas; what is in its blocks is not looked into."""
    chat, wanted = world.chat_of(call), call.params["rich_message"]
    kinds = [kind for kind in ("blocks", "html", "markdown") if wanted.get(kind)]
    if len(kinds) != 1:
        raise ApiError(400, "Bad Request: rich message must have exactly one kind of content")
    text = str(wanted[kinds[0]])
    if len(text) > MAX_RICH_CHARACTERS:
        raise ApiError(400, "Bad Request: RICH_MESSAGE_TOO_LONG")
    shown = {"rich_message": {"blocks": [{"type": "paragraph", "text": text}]}}
    return _put(world, call, chat, {**shown, **_surroundings(chat, call)}).wire()


def send_message_draft(world: World, call: Call) -> bool:
    """Show a preview for half a minute, in a private chat only.

    It is no message and has no number. Another one takes its place, and any message of the bot's.
    """
    chat = world.chat_of(call)
    if chat.kind != "private":
        raise ApiError(400, "Bad Request: TEXTDRAFT_PEER_INVALID")
    if not call.params["draft_id"]:
        raise ApiError(400, "Bad Request: RANDOM_ID_INVALID")
    text, entities = _read(call, "text", "entities")
    chat.draft = Draft(
        chat.chat_id,
        call.params["draft_id"],
        text,
        call.at,
        _thread(chat, call).get("message_thread_id"),
        tuple(entities),
        bool(call.params.get("can_stop")),
        bool(call.params.get("keep_on_stop")),
    )
    world.drafts.append(chat.draft)
    return True


def send_photo(world: World, call: Call) -> Wire:
    """Show a picture."""
    return _send_file(world, call, "photo")


def send_document(world: World, call: Call) -> Wire:
    """Show a file."""
    return _send_file(world, call, "document")


def send_animation(world: World, call: Call) -> Wire:
    """Show a film without sound that plays by itself."""
    return _send_file(world, call, "animation")


def send_video(world: World, call: Call) -> Wire:
    """Show a film."""
    return _send_file(world, call, "video")


def send_audio(world: World, call: Call) -> Wire:
    """Show music."""
    return _send_file(world, call, "audio")


def send_voice(world: World, call: Call) -> Wire:
    """Show a voice message."""
    return _send_file(world, call, "voice")


def send_media_group(world: World, call: Call) -> list[Wire]:
    """Show an album: one message an item, all with one `media_group_id`."""
    chat = world.chat_of(call)
    media = call.params["media"]
    if len(media) not in ALBUM_SIZES:
        raise ApiError(400, "Bad Request: an album has 2-10 items")
    kinds = {"photo" if item["type"] == "video" else item["type"] for item in media}
    if len(kinds) > 1 or "animation" in kinds:
        raise ApiError(400, "Bad Request: these kinds of media can't be in one album")
    around = _surroundings(chat, call)
    around["media_group_id"] = str(call.at.hex())[-12:]
    contents = [{**_media(world, call, item), **around} for item in media]
    return [_put(world, call, chat, content).wire() for content in contents]


def forward_message(world: World, call: Call) -> Wire:
    """Show another chat's message, naming whom it is from."""
    chat, source = world.chat_of(call), _source(world, call, call.params["message_id"])
    return _put(world, call, chat, _forwarded(source)).wire()


def forward_messages(world: World, call: Call) -> list[Wire]:
    """Show several; those that are not found are left out."""
    chat, origin = world.chat_of(call), world.chat_of(call, "from_chat_id")
    found = [origin.messages[i] for i in call.params["message_ids"] if i in origin.messages]
    shown = [_put(world, call, chat, _forwarded(source)) for source in found]
    return [{"message_id": message.message_id} for message in shown]


def copy_message(world: World, call: Call) -> Wire:
    """Show another chat's message as the bot's own."""
    chat, source = world.chat_of(call), _source(world, call, call.params["message_id"])
    kept = {k: v for k, v in source.content.items() if k not in {"reply_markup", "forward_origin"}}
    message = _put(world, call, chat, {**kept, **_surroundings(chat, call)})
    return {"message_id": message.message_id}


def _put(world: World, call: Call, chat: Chat, content: Wire) -> Message:
    return world.show(call, chat.add(world.bot, content))


def _read(call: Call, text: str, entities: str) -> tuple[str, list[Wire]]:
    limit = {"limit": MAX_CAPTION} if text == "caption" else {}
    mode = str(call.params.get("parse_mode", ""))
    return read_text(call.params.get(text, ""), call.params.get(entities), mode, **limit)


def _text(call: Call) -> Wire:
    text, entities = _read(call, "text", "entities")
    if not text:
        raise ApiError(400, "Bad Request: message text is empty")
    return {"text": text, "entities": entities} if entities else {"text": text}


def read_caption(call: Call) -> Wire:
    """Give the caption's fields; none when there is no caption."""
    text, entities = _read(call, "caption", "caption_entities")
    if not text:
        return {}
    return {"caption": text, "caption_entities": entities} if entities else {"caption": text}


def read_content_text(call: Call) -> Wire:
    """Give the text's fields, for an edit."""
    return _text(call)


def read_markup(call: Call) -> Wire:
    """Give the inline keyboard's field; none when there is none. Raises ApiError."""
    markup = call.params.get("reply_markup")
    if not isinstance(markup, dict) or "inline_keyboard" not in markup:
        return {}
    for row in markup["inline_keyboard"]:
        for button in row:
            _check_button(button)
    return {"reply_markup": markup} if any(markup["inline_keyboard"]) else {}


def _check_button(button: Wire) -> None:
    if "callback_data" not in button:
        return
    if not 1 <= len(button["callback_data"].encode()) <= MAX_BUTTON_DATA_BYTES:
        raise ApiError(400, "Bad Request: BUTTON_DATA_INVALID")


def _surroundings(chat: Chat, call: Call) -> Wire:
    """Give what goes with any content: topic, reply and buttons."""
    return {**_thread(chat, call), **_reply(chat, call), **read_markup(call)}


def _thread(chat: Chat, call: Call) -> Wire:
    thread = call.params.get("message_thread_id")
    if thread is None:
        return {}
    # The General topic of a forum has the number 1 and must be left out.
    if thread not in chat.threads or (chat.is_forum and thread == 1):
        raise ApiError(400, "Bad Request: message thread not found")
    return {"message_thread_id": thread, "is_topic_message": True}


def _reply(chat: Chat, call: Call) -> Wire:
    wanted: dict[str, Any] = call.params.get("reply_parameters") or {}
    replied = chat.messages.get(wanted.get("message_id", 0))
    if replied is not None:
        shown = {k: v for k, v in replied.wire().items() if k != "reply_to_message"}
        return {"reply_to_message": shown}
    if wanted.get("message_id") and not wanted.get("allow_sending_without_reply"):
        raise ApiError(400, "Bad Request: message to be replied not found")
    return {}


def _send_file(world: World, call: Call, kind: str) -> Wire:
    chat = world.chat_of(call)
    content = _file_content(world, call, kind, call.params[kind])
    return _put(
        world, call, chat, {**content, **read_caption(call), **_surroundings(chat, call)}
    ).wire()


def _media(world: World, call: Call, item: Wire) -> Wire:
    content = _file_content(world, call, item["type"], item["media"])
    inner = Call(call.method, item, call.at)
    return {**content, **read_caption(inner)}


def _file_content(world: World, call: Call, kind: str, reference: str) -> Wire:
    stored = _stored(world, call, reference)
    limit = MAX_PHOTO_BYTES if kind == "photo" else MAX_DOCUMENT_BYTES
    if len(stored.data) > limit:
        size = len(stored.data)
        raise ApiError(
            400,
            f"Bad Request: file of size {size} bytes is too big for a {kind}; "
            f"the maximum size is {limit} bytes",
        )
    if kind == "photo":
        return {"photo": [{**stored.wire(), "width": 90, "height": 90}]}
    named = {**stored.wire(), "file_name": stored.name, "mime_type": stored.mime_type}
    if kind == "voice":
        del named["file_name"]
    return {kind: named | _MEASURES.get(kind, {})}


def _stored(world: World, call: Call, reference: str) -> StoredFile:
    """Give the file that was uploaded with the call, or that Telegram has by this id."""
    if reference.startswith("attach://"):
        upload = call.files.get(reference.removeprefix("attach://"))
        if upload is None:
            raise ApiError(400, "Bad Request: there is no file with this name in the request")
        if not upload.data:
            raise ApiError(400, "Bad Request: file must be non-empty")
        return world.add_file(upload.data, upload.filename, upload.content_type)
    if reference not in world.files:
        raise ApiError(400, "Bad Request: wrong file identifier/HTTP URL specified")
    return world.files[reference]


def _source(world: World, call: Call, message_id: int) -> Message:
    source = world.chat_of(call, "from_chat_id").messages.get(message_id)
    if source is None:
        raise ApiError(400, "Bad Request: message to forward not found")
    return source


def _forwarded(source: Message) -> Wire:
    origin = {"type": "user", "date": source.date, "sender_user": source.sender}
    kept = {k: v for k, v in source.content.items() if k != "reply_markup"}
    return {"forward_origin": origin, **kept}
