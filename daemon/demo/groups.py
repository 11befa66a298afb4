"""What happens to groups at the demo's Bot API server, with the updates that Telegram would send.

The bot is added, loses its right to write, is thrown out; a group becomes a supergroup.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from daemon.demo.botapi import BotApiServer
from daemon.demo.world import Chat, Wire


def group(
    bot: BotApiServer, chat_id: int, title: str, *, admins: Iterable[int] = (), forum: bool = False
) -> Chat:
    """A group that the bot is in already."""
    chat = bot.open_chat(chat_id, "supergroup", is_forum=forum)
    chat.title, chat.admins = title, set(admins)
    return chat


def add_bot(bot: BotApiServer, chat: Chat, by: int) -> int:
    """Somebody adds the bot to a group."""
    chat.blocked = False
    return _changed(bot, chat, by, {"status": "left"}, {"status": "member"})


def throw_out(bot: BotApiServer, chat: Chat, by: int) -> int:
    """Somebody throws the bot out: its sends are answered 403."""
    chat.blocked = True
    return _changed(bot, chat, by, {"status": "member"}, _until({"status": "kicked"}))


def mute(bot: BotApiServer, chat: Chat, by: int, *, muted: bool = True) -> int:
    """Take the right to write from the bot, or give it back: its sends are answered 400."""
    chat.muted = muted
    rights = _until({"status": "restricted", "is_member": True, "can_send_messages": False})
    standings = [{"status": "member"}, rights]
    old, new = standings if muted else standings[::-1]
    return _changed(bot, chat, by, old, new)


def upgrade(bot: BotApiServer, chat: Chat, new_id: int) -> Chat:
    """Make a supergroup of a group. Messages to the old id are refused, with the new one."""
    chat.moved_to = new_id
    new = group(bot, new_id, chat.title, admins=chat.admins)
    someone = bot.world.user(next(iter(chat.admins), 1))
    gone = chat.add(someone, {"migrate_to_chat_id": new_id})
    come = new.add(someone, {"migrate_from_chat_id": chat.chat_id})
    for message in (gone, come):
        bot.push_update({"message": message.wire()})
    return new


def _until(standing: Wire) -> Wire:
    return {**standing, "until_date": 0}


def _changed(bot: BotApiServer, chat: Chat, by: int, old: Wire, new: Wire) -> int:
    body: Wire = {"chat": chat.wire(), "from": bot.world.user(by), "date": int(time.time())}
    me = {"user": bot.world.bot}
    body |= {"old_chat_member": {**me, **old}, "new_chat_member": {**me, **new}}
    return bot.push_update({"my_chat_member": body})
