"""Who is on the chat page: two people, the private chat of each, and a group with both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from daemon.demo.botapi import BotApiServer
from daemon.demo.setup import USER_ID

PEOPLE: Final[Mapping[int, str]] = {USER_ID: "Ada", USER_ID + 1: "Ben"}
GROUP: Final = -1005
GROUP_TITLE: Final = "Garden Club"


def gather(bot: BotApiServer) -> None:
    """Make them known to the server; nobody has said anything yet."""
    for user_id, name in PEOPLE.items():
        bot.world.user(user_id)["first_name"] = name
        bot.open_chat(user_id).title = name
    bot.open_chat(GROUP).title = GROUP_TITLE


def admit(document: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with all of them allowed to talk to the bot; the first is its owner.

    The page shows rich messages, so tables are sent as such.
    """
    who = {"owner": USER_ID, "allowed_users": list(PEOPLE), "allowed_chats": [GROUP]}
    return {**document, "telegram": {**document["telegram"], **who, "rich": "auto"}}
