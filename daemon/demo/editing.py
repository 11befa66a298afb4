"""The methods that change or remove what a chat shows."""

from __future__ import annotations

import time

from daemon.demo.calls import ApiError, Call
from daemon.demo.sending import read_caption, read_content_text, read_markup
from daemon.demo.world import Message, Wire, World

NOT_MODIFIED = (
    "Bad Request: message is not modified: specified new message content and reply markup are "
    "exactly the same as a current content and reply markup of the message"
)


def edit_message_text(world: World, call: Call) -> Wire:
    """Replace a text and its buttons."""
    message = _own(world, call)
    if "text" not in message.content:
        raise ApiError(400, "Bad Request: there is no text in the message to edit")
    content = {**read_content_text(call), **read_markup(call)}
    return _change(world, call, message, ("text", "entities", "reply_markup"), content)


def edit_message_caption(world: World, call: Call) -> Wire:
    """Replace a caption and the buttons."""
    message = _own(world, call)
    if "text" in message.content:
        raise ApiError(400, "Bad Request: there is no caption in the message to edit")
    content = {**read_caption(call), **read_markup(call)}
    return _change(world, call, message, ("caption", "caption_entities", "reply_markup"), content)


def edit_message_reply_markup(world: World, call: Call) -> Wire:
    """Replace the buttons; without a keyboard they go."""
    return _change(world, call, _own(world, call), ("reply_markup",), read_markup(call))


def delete_message(world: World, call: Call) -> bool:
    """Remove a message."""
    chat = world.chat_of(call)
    message = chat.messages.get(call.params["message_id"])
    if message is None:
        raise ApiError(400, "Bad Request: message to delete not found")
    world.show(call, chat.messages.pop(message.message_id))
    return True


def delete_messages(world: World, call: Call) -> bool:
    """Remove several; those that are not found are passed over."""
    chat = world.chat_of(call)
    for message_id in call.params["message_ids"]:
        if message_id in chat.messages:
            world.show(call, chat.messages.pop(message_id))
    return True


def set_message_reaction(world: World, call: Call) -> bool:
    """Set the bot's reaction to a message."""
    message = world.chat_of(call).messages.get(call.params["message_id"])
    if message is None:
        raise ApiError(400, "Bad Request: message to react not found")
    message.reaction = tuple(call.params.get("reaction", ()))
    return True


def _own(world: World, call: Call) -> Message:
    if "message_id" not in call.params:
        raise ApiError(400, "Bad Request: message identifier is not specified")
    message = world.chat_of(call).messages.get(call.params["message_id"])
    if message is None:
        raise ApiError(400, "Bad Request: message to edit not found")
    if not message.from_bot:
        raise ApiError(400, "Bad Request: message can't be edited")
    return message


def _change(
    world: World, call: Call, message: Message, fields: tuple[str, ...], content: Wire
) -> Wire:
    """Put `content` in place of `fields`. Raises ApiError when that changes nothing."""
    if {k: v for k, v in message.content.items() if k in fields} == content:
        raise ApiError(400, NOT_MODIFIED)
    kept = {k: v for k, v in message.content.items() if k not in fields}
    message.content = {**kept, **content, "edit_date": int(time.time())}
    return world.show(call, message).wire()
