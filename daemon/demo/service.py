"""The methods that are about the bot itself: who it is, its files, commands, buttons, webhook."""

from __future__ import annotations

import re

from daemon.demo.calls import Action, ApiError, Call
from daemon.demo.world import Wire, World, scope_key

MAX_DOWNLOAD_BYTES = 20 * 1024 * 1024
MAX_COMMANDS = 100
COMMAND_NAME = re.compile(r"[a-z0-9_]{1,32}")
CHAT_ACTIONS = frozenset(
    [
        "typing",
        "upload_photo",
        "record_video",
        "upload_video",
        "record_voice",
        "upload_voice",
        "upload_document",
        "choose_sticker",
        "find_location",
        "record_video_note",
        "upload_video_note",
    ]
)


def get_me(world: World, call: Call) -> Wire:  # noqa: ARG001 (every method has this signature)
    """Say who the bot is."""
    return world.bot


def get_chat(world: World, call: Call) -> Wire:
    """Describe a chat."""
    chat = world.chat_of(call)
    gifts = dict.fromkeys(("unlimited_gifts", "limited_gifts", "unique_gifts"), False)
    extra = {"accent_color_id": 0, "max_reaction_count": 11, "accepted_gift_types": gifts}
    return {**chat.wire(), **extra}


def get_chat_administrators(world: World, call: Call) -> list[Wire]:
    """The people who administer a group; bots are left out, as long as nobody asks for them."""
    chat = world.chat_of(call)
    if chat.kind == "private":
        raise ApiError(400, "Bad Request: there are no administrators in the private chat")
    plain = {"status": "administrator", "can_be_edited": False, "is_anonymous": False}
    return [{"user": world.user(each), **plain} for each in sorted(chat.admins)]


def send_chat_action(world: World, call: Call) -> bool:
    """Show that the bot is busy, for some seconds or until its next message."""
    chat = world.chat_of(call)
    if call.params["action"] not in CHAT_ACTIONS:
        raise ApiError(400, "Bad Request: wrong parameter action in request")
    chat.action = Action(chat.chat_id, call.params["action"], call.at)
    world.actions.append(chat.action)
    return True


def get_file(world: World, call: Call) -> Wire:
    """Give the path for the download of a file."""
    stored = world.files.get(call.params["file_id"])
    if stored is None:
        raise ApiError(400, "Bad Request: invalid file_id")
    if len(stored.data) > MAX_DOWNLOAD_BYTES:
        raise ApiError(400, "Bad Request: file is too big")
    return {**stored.wire(), "file_path": stored.path}


def answer_callback_query(world: World, call: Call) -> bool:
    """Answer a pressed button, once."""
    query = call.params["callback_query_id"]
    if query not in world.open_queries:
        raise ApiError(
            400,
            "Bad Request: query is too old and response timeout expired or query ID is invalid",
        )
    world.open_queries.remove(query)
    world.answers[query] = call.params
    return True


def set_my_commands(world: World, call: Call) -> bool:
    """Set the menu of commands of a scope and language."""
    commands = call.params["commands"]
    if len(commands) > MAX_COMMANDS:
        raise ApiError(400, "Bad Request: BOT_COMMANDS_TOO_MUCH")
    for command in commands:
        if not COMMAND_NAME.fullmatch(command["command"].removeprefix("/")):
            raise ApiError(400, "Bad Request: BOT_COMMAND_INVALID")
        if not 1 <= len(command["description"]) <= 256:  # noqa: PLR2004 (the reference's limit)
            raise ApiError(400, "Bad Request: BOT_COMMAND_DESCRIPTION_INVALID")
    world.commands[scope_key(*_scope(call))] = commands
    return True


def get_my_commands(world: World, call: Call) -> list[Wire]:
    """Give the menu of a scope and language."""
    scope, language = _scope(call)
    return world.menu(scope, language)


def delete_my_commands(world: World, call: Call) -> bool:
    """Remove the menu of a scope and language."""
    world.commands.pop(scope_key(*_scope(call)), None)
    return True


def _scope(call: Call) -> tuple[Wire, str]:
    scope = call.params.get("scope") or {"type": "default"}
    return scope, call.params.get("language_code", "")


def set_webhook(world: World, call: Call) -> bool:
    """Note a webhook; while there is one, getUpdates is refused. Nothing is delivered to it."""
    url = call.params["url"]
    if url and not url.startswith("https://"):
        raise ApiError(400, "Bad Request: bad webhook: An HTTPS URL must be provided for webhook")
    if call.params.get("drop_pending_updates"):
        world.updates.forget_all()
    if "allowed_updates" in call.params:
        world.updates.allowed = tuple(call.params["allowed_updates"])
    world.webhook.url = url
    world.webhook.params = call.params
    return True


def delete_webhook(world: World, call: Call) -> bool:
    """Forget the webhook."""
    world.webhook.url = ""
    if call.params.get("drop_pending_updates"):
        world.updates.forget_all()
    return True


def get_webhook_info(world: World, call: Call) -> Wire:  # noqa: ARG001 (every method has this signature)
    """Describe the webhook; without one the URL is empty."""
    allowed = list(world.updates.allowed)
    return {
        "url": world.webhook.url,
        "has_custom_certificate": False,
        "pending_update_count": len(world.updates),
        **({"max_connections": 40} if world.webhook.url else {}),
        **({"allowed_updates": allowed} if allowed else {}),
    }
